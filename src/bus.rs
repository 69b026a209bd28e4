//! Does the bus have the events? `PutEvents`, read to the end, and a look at whether there is a bus at all.
//!
//! `PutEvents` answers HTTP 200 with failed entries in it, and answers success for a bus that doesn't exist. So an
//! [`EventId`] is made here alone: from an entry without error, of a call without failed entries, to a bus that the last
//! look found.

use std::{
    fmt,
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_sdk_eventbridge::{
    Client,
    operation::{describe_event_bus::DescribeEventBusError, put_events::PutEventsOutput},
    types::PutEventsResultEntry,
};
use tokio::time::{Instant, timeout};

use crate::{
    entry::Entry,
    trouble::{Attempts, Fault, Trouble},
};

/// How long a look at the bus may take.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// How old the last look may be before a delivery looks again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// What the bus calls an event that it took: the proof that it has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId(String);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a look at the bus shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// There is such a bus.
    Found,
    /// There is none: `PutEvents` would take events for it and drop them.
    Missing,
    /// The look itself failed.
    Unclear(Trouble),
}

/// The event bus.
#[derive(Debug)]
pub struct Bus {
    client: Client,
    name: String,
    /// What the last clear look showed.
    missing: AtomicBool,
    /// When the next look is due.
    look_due: Mutex<SystemTime>,
}

impl Bus {
    /// A bus by name or ARN, not looked at yet.
    #[must_use]
    pub fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
            missing: AtomicBool::new(false),
            look_due: Mutex::new(SystemTime::UNIX_EPOCH),
        }
    }

    /// Looks whether there is such a bus, for at most [`LOOK_TIME`], and remembers what it saw.
    pub async fn look(&self, now: SystemTime) -> Look {
        self.postpone_look(now);
        let call = self.client.describe_event_bus().name(&self.name).send();
        let look = match timeout(LOOK_TIME, call).await {
            Ok(Ok(_)) => Look::Found,
            Ok(Err(error)) => match error.as_service_error() {
                Some(DescribeEventBusError::ResourceNotFoundException(_)) => Look::Missing,
                _ => Look::Unclear(Trouble::of_call("DescribeEventBus", &error)),
            },
            Err(_) => Look::Unclear(Trouble::transient("DescribeEventBus: no answer in time")),
        };
        match &look {
            Look::Found => self.missing.store(false, Ordering::Relaxed),
            Look::Missing => self.missing.store(true, Ordering::Relaxed),
            Look::Unclear(trouble) => tracing::warn!(error = %trouble, "could not look whether the bus exists"),
        }
        look
    }

    /// Puts up to ten entries on the bus and says what became of each, in their order.
    ///
    /// While the bus is known to be missing, a look comes first; when one is due, it runs beside the call.
    pub async fn put(&self, entries: &[Entry<'_>], now: SystemTime, until: Instant) -> Vec<Result<EventId, Trouble>> {
        if self.missing.load(Ordering::Relaxed) {
            self.look(now).await;
            if self.missing.load(Ordering::Relaxed) {
                return vec![Err(self.missing_trouble()); entries.len()];
            }
            return self.put_all(entries, until).await;
        }
        if !self.take_due_look(now) {
            return self.put_all(entries, until).await;
        }
        let (look, put) = (pin!(self.look(now)), pin!(self.put_all(entries, until)));
        let (_, results) = tokio::join!(look, put);
        if self.missing.load(Ordering::Relaxed) {
            return vec![Err(self.missing_trouble()); entries.len()];
        }
        results
    }

    /// Puts the entries, and those again that failed in a way that may pass.
    async fn put_all(&self, entries: &[Entry<'_>], until: Instant) -> Vec<Result<EventId, Trouble>> {
        let mut results = vec![None; entries.len()];
        let mut attempts = Attempts::until(until);
        let trouble = loop {
            let call = pin!(self.put_open(entries, &mut results));
            let trouble = match attempts.attempt(call).await {
                Ok(()) => break Trouble::transient("PutEvents: no result"),
                Err(trouble) => trouble,
            };
            if let Err(trouble) = attempts.pause_after(trouble).await {
                break trouble;
            }
        };
        results.into_iter().map(|result| result.unwrap_or_else(|| Err(trouble.clone()))).collect()
    }

    /// Makes one call for the entries without a result yet, and settles those that it can.
    async fn put_open(
        &self,
        entries: &[Entry<'_>],
        results: &mut [Option<Result<EventId, Trouble>>],
    ) -> Result<(), Trouble> {
        let open: Vec<_> = results.iter_mut().zip(entries).filter(|(result, _)| result.is_none()).collect();
        let request = open.iter().map(|(_, entry)| entry.to_request_entry()).collect();
        let output = self.client.put_events().set_entries(Some(request)).send().await;
        let output = output.map_err(|error| Trouble::of_call("PutEvents", &error))?;
        let judged = judge(&output, open.len())?;
        let mut passing = Ok(());
        for ((result, _), judged) in open.into_iter().zip(judged) {
            match judged {
                Err(trouble) if trouble.fault == Fault::Transient => passing = Err(trouble),
                settled => *result = Some(settled),
            }
        }
        passing
    }

    fn missing_trouble(&self) -> Trouble {
        Trouble { fault: Fault::Deployment, reason: format!("there is no event bus `{}`", self.name) }
    }

    /// Whether a look is due; of several deliveries at once, one is told so.
    fn take_due_look(&self, now: SystemTime) -> bool {
        let due = self.look_due.lock().is_ok_and(|due| now >= *due);
        if due {
            self.postpone_look(now);
        }
        due
    }

    fn postpone_look(&self, now: SystemTime) {
        if let Ok(mut due) = self.look_due.lock() {
            *due = now + LOOK_AGAIN_AFTER;
        }
    }
}

/// What became of each entry of a call that was answered with success.
fn judge(output: &PutEventsOutput, count: usize) -> Result<Vec<Result<EventId, Trouble>>, Trouble> {
    if output.entries().len() != count {
        return Err(Trouble::transient(format!(
            "PutEvents: answered for {} entries of {count}",
            output.entries().len()
        )));
    }
    let results: Vec<_> = output.entries().iter().map(judge_entry).collect();
    let failed = results.iter().filter(|result| result.is_err()).count();
    if usize::try_from(output.failed_entry_count()) != Ok(failed) {
        // It contradicts itself: believe nothing of it but what it says of failures.
        return Err(results.into_iter().find_map(Result::err).unwrap_or_else(|| {
            Trouble::transient(format!("PutEvents: {} failed entries, none named", output.failed_entry_count()))
        }));
    }
    Ok(results)
}

fn judge_entry(entry: &PutEventsResultEntry) -> Result<EventId, Trouble> {
    match (entry.error_code(), entry.event_id()) {
        (Some(code), _) => Err(Trouble::of_code("PutEvents, in the entry", code)),
        (None, Some(id)) if !id.is_empty() => Ok(EventId(id.to_owned())),
        (None, _) => Err(Trouble::transient("PutEvents: success without an event id")),
    }
}
