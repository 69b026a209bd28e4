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
