//! The entry of `PutEvents` that an event becomes, and its size.

use std::fmt;

use aws_sdk_eventbridge::{primitives::DateTime, types::PutEventsRequestEntry};

use crate::event::Event;

/// The largest entry that the function sends, in bytes.
///
/// EventBridge accepts 1 MB (1,048,576 bytes) in one call. An event of exactly that size can be dropped at a target,
/// because the event envelope is added to it. This limit leaves 1,024 bytes for the envelope.
pub const MAX_ENTRY_BYTES: usize = 1_047_552;

/// The size that EventBridge counts for `Time`, in bytes. It is counted for an entry without `Time`, too, so that the size of
/// a body can be checked before the event is parsed.
const TIME_BYTES: usize = 14;

/// An entry of more than [`MAX_ENTRY_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// The entry's size in bytes.
    pub bytes: usize,
    /// Whether the size is a lower bound, because the detail-type isn't known yet.
    pub is_lower_bound: bool,
}

/// One event as it is put on the bus. It is not too large, and its detail is the body exactly as received.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    source: &'a str,
    event: &'a Event<'a>,
    trace_header: Option<&'a str>,
}

/// Rejects a body that makes the entry too large even without its detail-type. An entry that passes can still be too large
/// once its detail-type is counted.
///
/// # Errors
/// [`TooLarge`] if the source, the body and the time alone exceed the limit.
pub fn check_body_size(source: &str, body: &[u8]) -> Result<(), TooLarge> {
    check_size(source.len() + body.len() + TIME_BYTES, true)
}

fn check_size(bytes: usize, is_lower_bound: bool) -> Result<(), TooLarge> {
    if bytes > MAX_ENTRY_BYTES { Err(TooLarge { bytes, is_lower_bound }) } else { Ok(()) }
}

impl<'a> Entry<'a> {
    /// The entry for an event.
    ///
    /// # Errors
    /// [`TooLarge`] if EventBridge would refuse it, or could drop it at a target.
    pub fn new(source: &'a str, event: &'a Event<'a>, trace_header: Option<&'a str>) -> Result<Self, TooLarge> {
        let entry = Self { source, event, trace_header };
        check_size(entry.bytes(), false)?;
        Ok(entry)
    }

    /// The size that EventBridge counts, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.source.len() + self.event.event_type().as_str().len() + self.event.body().len() + TIME_BYTES
    }

    /// The SDK's entry for this bus, given by its name or ARN.
    #[must_use]
    pub fn to_request_entry(&self, bus: &str) -> PutEventsRequestEntry {
        let time = self.event.occurred_at();
        // A time before 1970, such as Go's zero time, would be a negative number, which EventBridge doesn't define.
        let time = (time.timestamp() >= 0)
            .then(|| DateTime::from_secs_and_nanos(time.timestamp(), time.timestamp_subsec_nanos()));
        PutEventsRequestEntry::builder()
            .event_bus_name(bus)
            .source(self.source)
            .detail_type(self.event.event_type().as_str())
            .detail(self.event.body())
            .set_time(time)
            .set_trace_header(self.trace_header.map(str::to_owned))
            .build()
    }
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_least = if self.is_lower_bound { "at least " } else { "" };
        write!(
            f,
            "the entry for the bus would have {at_least}{} bytes; the limit is {MAX_ENTRY_BYTES} bytes",
            self.bytes
        )
    }
}

impl std::error::Error for TooLarge {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Validation, parked::Message, signature::Verified};

    const BODY: &str = r#"{"spec_version":"1","id":"evt_1","type":"user.login","object":"User","environment_id":"env_1","occurred_at":"2025-10-14T09:29:27.5Z"}"#;

    /// Calls `then` with the event of this body.
    fn with_event<T>(body: &str, then: impl FnOnce(&Event<'_>) -> T) -> T {
        let message = Message::with_body(body);
        then(&Event::parse(&Verified::before_parking(&message), Validation::Tolerant, None).unwrap())
    }

    #[test]
    fn the_size_limit_is_inclusive() {
        let size = |bytes: usize| {
            let padding = bytes - BODY.len() - "user.login".len() - "s".len() - TIME_BYTES;
            let body = format!("{BODY}{}", " ".repeat(padding));
            with_event(&body, |event| Entry::new("s", event, None).map(|entry| entry.bytes()))
        };
        assert_eq!(size(200), Ok(200));
        assert_eq!(size(1_047_552), Ok(1_047_552));
        assert_eq!(size(1_047_553), Err(TooLarge { bytes: 1_047_553, is_lower_bound: false }));
    }

    #[test]
    fn the_size_counts_source_type_detail_and_time_in_bytes() {
        for (source, bytes) in [("s", 1), ("scalekit", 8), ("é😀", 6)] {
            let size = with_event(BODY, |event| Entry::new(source, event, Some("Root=1")).unwrap().bytes());
            assert_eq!(size, BODY.len() + "user.login".len() + bytes + 14, "{source}");
        }
    }

    #[test]
    fn a_body_can_be_too_large_for_every_detail_type() {
        let largest = vec![0xff; 1_047_552 - 14 - 6];
        assert_eq!(check_body_size("source", b""), Ok(()));
        assert_eq!(check_body_size("source", &largest), Ok(()));
        let larger = [&largest[..], b"1"].concat();
        assert_eq!(check_body_size("source", &larger), Err(TooLarge { bytes: 1_047_553, is_lower_bound: true }));
    }

    #[test]
    fn the_request_entry_has_every_member_except_resources() {
        let request_entry = |trace_header| {
            with_event(BODY, |event| Entry::new("s", event, trace_header).unwrap().to_request_entry("scalekit-events"))
        };
        let expected = PutEventsRequestEntry::builder()
            .event_bus_name("scalekit-events")
            .source("s")
            .detail_type("user.login")
            .detail(BODY)
            .time(DateTime::from_secs_and_nanos(1_760_434_167, 500_000_000))
            .trace_header("Root=1");
        assert_eq!(request_entry(Some("Root=1")), expected.build());
        assert_eq!(request_entry(None).trace_header(), None);
    }

    #[test]
    fn an_event_before_1970_has_no_time() {
        for (occurred_at, time) in [
            ("0001-01-01T00:00:00Z", None),
            ("1969-12-31T23:59:59.999999999Z", None),
            ("1970-01-01T00:00:00Z", Some(DateTime::from_secs(0))),
        ] {
            let body = BODY.replace("2025-10-14T09:29:27.5Z", occurred_at);
            let entry = with_event(&body, |event| Entry::new("s", event, None).unwrap().to_request_entry("bus"));
            assert_eq!(entry.time(), time.as_ref(), "{occurred_at}");
        }
    }

    #[test]
    fn the_error_names_the_size_and_the_limit() {
        for (is_lower_bound, size) in [(true, "at least 1047553"), (false, "1047553")] {
            let text = format!("the entry for the bus would have {size} bytes; the limit is 1047552 bytes");
            assert_eq!(TooLarge { bytes: 1_047_553, is_lower_bound }.to_string(), text);
        }
    }
}
