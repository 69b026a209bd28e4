//! What goes onto the bus? One entry of `PutEvents`, made from an event and nothing else, and its size.

use std::fmt;

use aws_sdk_eventbridge::{primitives::DateTime, types::PutEventsRequestEntry};

use crate::event::Event;

/// The largest entry that we send, in bytes.
///
/// EventBridge takes entries of 1 MB (1,048,576 bytes) in all, but an event of exactly that size can be dropped at a
/// target once the envelope is added: 1,024 bytes are left for it.
pub const MAX_ENTRY_BYTES: usize = 1_047_552;

/// How many entries `PutEvents` takes in one call.
pub const MAX_ENTRIES: usize = 10;

/// What `Time` adds to an entry's size, in bytes.
const TIME_BYTES: usize = 14;

/// The entry is larger than [`MAX_ENTRY_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// How large it is, in bytes; before the event is parsed, how large it is at least.
    pub bytes: usize,
}

/// Where entries go, and under which name.
#[derive(Debug, Clone)]
pub struct Address {
    /// The bus: a name or an ARN.
    pub bus: String,
    /// The entries' `Source`.
    pub source: String,
}

impl Address {
    /// Whether an entry with this body can fit, whatever its detail-type: told before anything is verified.
    ///
    /// # Errors
    /// [`TooLarge`] when it can't.
    pub fn can_fit(&self, body: &[u8]) -> Result<(), TooLarge> {
        self.fits(body.len())
    }

    /// The entry for an event.
    ///
    /// # Errors
    /// [`TooLarge`] when the bus wouldn't take it, or could drop it at a target.
    pub fn entry<'a>(&'a self, event: &'a Event<'a>, trace_header: Option<&'a str>) -> Result<Entry<'a>, TooLarge> {
        self.fits(event.body().len() + event.event_type().as_str().len())?;
        Ok(Entry { address: self, event, trace_header })
    }

    fn bytes(&self, body_and_type: usize) -> usize {
        body_and_type + self.source.len() + TIME_BYTES
    }

    fn fits(&self, body_and_type: usize) -> Result<(), TooLarge> {
        let bytes = self.bytes(body_and_type);
        if bytes > MAX_ENTRY_BYTES { Err(TooLarge { bytes }) } else { Ok(()) }
    }
}

/// One event as it goes onto the bus: it fits, and its detail is the body exactly as received.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    address: &'a Address,
    event: &'a Event<'a>,
    trace_header: Option<&'a str>,
}

impl Entry<'_> {
    /// The size that EventBridge counts, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.address.bytes(self.event.body().len() + self.event.event_type().as_str().len())
    }

    /// The entry in the SDK's terms.
    #[must_use]
    pub fn to_request_entry(&self) -> PutEventsRequestEntry {
        let time = self.event.occurred_at();
        PutEventsRequestEntry::builder()
            .event_bus_name(&self.address.bus)
            .source(&self.address.source)
            .detail_type(self.event.event_type().as_str())
            .detail(self.event.body())
            .time(DateTime::from_secs_and_nanos(time.timestamp(), time.timestamp_subsec_nanos()))
            .set_trace_header(self.trace_header.map(str::to_owned))
            .build()
    }
}

/// Divides entries, in their order, into as few calls as `PutEvents`' limits allow: ten entries, and the size of one.
pub fn calls<'e, 'a>(entries: &'e [Entry<'a>]) -> impl Iterator<Item = &'e [Entry<'a>]> {
    let (mut count, mut bytes) = (0, 0);
    entries.chunk_by(move |last, next| {
        count += 1;
        bytes += last.bytes();
        let fits = count < MAX_ENTRIES && bytes + next.bytes() <= MAX_ENTRY_BYTES;
        if !fits {
            (count, bytes) = (0, 0);
        }
        fits
    })
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the entry for the bus is {} bytes large, the limit is {MAX_ENTRY_BYTES} bytes", self.bytes)
    }
}

impl std::error::Error for TooLarge {}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{event::UnknownEvents, queue::Message, signature::Verified};

    const BODY: &str = r#"{"spec_version":"1","id":"evt_1","type":"user.login","object":"User","environment_id":"env_1","occurred_at":"2025-10-14T09:29:27.5Z"}"#;

    fn address(source: &str) -> Address {
        Address { bus: "scalekit-events".into(), source: source.into() }
    }

    /// What is made of an event with this body, as it comes from our queue.
    fn with_event<T>(body: &str, then: impl FnOnce(&Event<'_>) -> T) -> T {
        let message = json!({"messageId": "1", "body": body, "eventSource": "aws:sqs"}).to_string();
        let message: Message = serde_json::from_str(&message).unwrap();
        then(&Event::parse(&Verified::parked(&message), UnknownEvents::Forward).unwrap())
    }

    /// A body whose entry has this size, for an address with the source `s`.
    fn body_for(bytes: usize) -> String {
        let padding = bytes - BODY.len() - "user.login".len() - "s".len() - TIME_BYTES;
        format!("{BODY}{}", " ".repeat(padding))
    }

    #[test]
    fn the_largest_entry_and_one_byte_more() {
        let address = address("s");
        let size = |bytes| with_event(&body_for(bytes), |event| address.entry(event, None).map(|entry| entry.bytes()));
        assert_eq!(size(200), Ok(200));
        assert_eq!(size(MAX_ENTRY_BYTES), Ok(1_047_552));
        assert_eq!(size(MAX_ENTRY_BYTES + 1), Err(TooLarge { bytes: 1_047_553 }));
    }

    #[test]
    fn the_size_counts_source_type_detail_and_time_in_bytes() {
        for (source, bytes) in [("s", 1), ("scalekit", 8), ("é😀", 6)] {
            let size = with_event(BODY, |event| address(source).entry(event, Some("Root=1")).unwrap().bytes());
            assert_eq!(size, BODY.len() + "user.login".len() + bytes + 14, "{source}");
        }
    }

    #[test]
    fn what_can_not_fit_whatever_its_type() {
        let address = address("source");
        let largest = vec![0xff; MAX_ENTRY_BYTES - 14 - 6];
        assert_eq!(address.can_fit(b""), Ok(()));
        assert_eq!(address.can_fit(&largest), Ok(()));
        assert_eq!(address.can_fit(&[&largest[..], b"1"].concat()), Err(TooLarge { bytes: 1_047_553 }));
    }

    #[test]
    fn the_entry_in_the_sdks_terms() {
        let address = address("s");
        let entry = with_event(BODY, |event| address.entry(event, Some("Root=1")).unwrap().to_request_entry());
        let expected = PutEventsRequestEntry::builder()
            .event_bus_name("scalekit-events")
            .source("s")
            .detail_type("user.login")
            .detail(BODY)
            .time(DateTime::from_secs_and_nanos(1_760_434_167, 500_000_000))
            .trace_header("Root=1");
        assert_eq!(entry, expected.build());
        let entry = with_event(BODY, |event| address.entry(event, None).unwrap().to_request_entry());
        assert_eq!(entry.trace_header(), None);
    }

    #[test]
    fn as_few_calls_as_the_limits_allow() {
        let address = address("s");
        let small = 200;
        let max = MAX_ENTRY_BYTES;
        for (why, sizes, expected) in [
            ("none", vec![], vec![]),
            ("one", vec![small], vec![1]),
            ("as many as one call takes", vec![small; 10], vec![10]),
            ("one more", vec![small; 11], vec![10, 1]),
            ("a batch of 25", vec![small; 25], vec![10, 10, 5]),
            ("the largest alone", vec![max], vec![1]),
            ("the largest among others", vec![small, max, small], vec![1, 1, 1]),
            ("two of exactly one call's size", vec![max - small, small], vec![2]),
            ("two of one byte more", vec![max - small, small + 1], vec![1, 1]),
            ("the size counts from a call's first", vec![max, max - small, small], vec![1, 2]),
            ("the count counts from a call's first", [vec![max], vec![small; 10]].concat(), vec![1, 10]),
            ("five of 400 KB", vec![400_000; 5], vec![2, 2, 1]),
        ] {
            let bodies: Vec<_> = sizes.iter().map(|bytes| body_for(*bytes)).collect();
            let messages: Vec<_> = bodies
                .iter()
                .map(|body| json!({"messageId": "1", "body": body, "eventSource": "aws:sqs"}).to_string())
                .collect();
            let messages: Vec<Message> = messages.iter().map(|json| serde_json::from_str(json).unwrap()).collect();
            let events: Vec<_> = messages
                .iter()
                .map(|message| Event::parse(&Verified::parked(message), UnknownEvents::Forward).unwrap())
                .collect();
            let entries: Vec<_> = events.iter().map(|event| address.entry(event, None).unwrap()).collect();

            let calls: Vec<_> = calls(&entries).collect();
            assert_eq!(calls.iter().map(|call| call.len()).collect::<Vec<_>>(), expected, "{why}");
            let in_order: Vec<_> = calls.into_iter().flatten().map(Entry::bytes).collect();
            assert_eq!(in_order, sizes, "{why}");
        }
    }

    #[test]
    fn how_it_is_told() {
        let text = "the entry for the bus is 1047553 bytes large, the limit is 1047552 bytes";
        assert_eq!(TooLarge { bytes: 1_047_553 }.to_string(), text);
    }
}
