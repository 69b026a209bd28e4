//! Does the bus have the events? `PutEvents`, read to the end, and a look at whether there is a bus at all.
//!
//! `PutEvents` answers HTTP 200 with failed entries in it, and answers success for a bus that doesn't exist. So an
//! [`EventId`] is made here alone: from an entry without error, of a call that counts no other failures, to a bus that
//! no look found missing.

use std::{
    fmt,
    pin::pin,
    slice,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_sdk_eventbridge::{
    Client,
    operation::{describe_event_bus::DescribeEventBusError, put_events::PutEventsOutput},
    types::PutEventsResultEntry,
};
use tokio::time::Instant;

use crate::{
    entry::Entry,
    trouble::{Attempts, Fault, Trouble},
};

/// How long a look at the bus may take.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// How old the last look may be before a delivery looks again.
const LOOK_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// The same after a look that failed in a way that may pass.
const LOOK_AGAIN_SOON: Duration = Duration::from_secs(10);

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

    /// Looks whether there is such a bus, for at most a second, and remembers what it saw.
    pub async fn look(&self, now: SystemTime) -> Look {
        self.look_until(now, Instant::now() + LOOK_TIME).await
    }

    async fn look_until(&self, now: SystemTime, until: Instant) -> Look {
        // Before the call, so that of deliveries at once just one looks.
        self.look_at(now + LOOK_AGAIN_AFTER);
        let mut attempts = Attempts::of("DescribeEventBus", until.min(Instant::now() + LOOK_TIME));
        let look = loop {
            match attempts.attempt(pin!(self.look_once())).await {
                Ok(look) => break look,
                Err(trouble) => {
                    if let Err(trouble) = attempts.pause_after(trouble).await {
                        break Look::Unclear(trouble);
                    }
                }
            }
        };
        match &look {
            Look::Found => self.missing.store(false, Ordering::Relaxed),
            Look::Missing => self.missing.store(true, Ordering::Relaxed),
            Look::Unclear(trouble) => {
                tracing::warn!(error = %trouble, "could not look whether the bus exists");
                if trouble.fault == Fault::Transient {
                    self.look_at(now + LOOK_AGAIN_SOON);
                }
            }
        }
        look
    }

    async fn look_once(&self) -> Result<Look, Trouble> {
        let Err(error) = self.client.describe_event_bus().name(&self.name).send().await else {
            return Ok(Look::Found);
        };
        if error.as_service_error().is_some_and(DescribeEventBusError::is_resource_not_found_exception) {
            return Ok(Look::Missing);
        }
        match Trouble::of_call("DescribeEventBus", &error) {
            // No bus can have a name that EventBridge finds invalid.
            trouble if trouble.fault == Fault::Payload => Ok(Look::Missing),
            trouble => Err(trouble),
        }
    }

    /// Puts up to ten entries on the bus and says what became of each, in their order.
    ///
    /// While the bus is known to be missing, a look comes first; when one is due, it runs beside the call.
    pub async fn put(&self, entries: &[Entry<'_>], now: SystemTime, until: Instant) -> Vec<Result<EventId, Trouble>> {
        if self.is_missing() {
            self.look_until(now, until).await;
            if self.is_missing() {
                return vec![Err(self.missing_trouble()); entries.len()];
            }
        }
        let results = if self.take_due_look(now) {
            let (put, look) = (pin!(self.put_all(entries, until)), pin!(self.look_until(now, until)));
            tokio::join!(put, look).0
        } else {
            self.put_all(entries, until).await
        };
        // What a look saw meanwhile, this delivery's or another's, holds for these entries too.
        if self.is_missing() { vec![Err(self.missing_trouble()); entries.len()] } else { results }
    }

    /// Puts the entries, and those again that failed in a way that may pass.
    async fn put_all(&self, entries: &[Entry<'_>], until: Instant) -> Vec<Result<EventId, Trouble>> {
        let mut results = vec![Err(Trouble::transient("PutEvents: no result")); entries.len()];
        let mut attempts = Attempts::of("PutEvents", until);
        loop {
            let open = results.iter_mut().zip(entries).filter(|(result, _)| passing(result).is_some());
            let (open, put): (Vec<_>, Vec<_>) = open.unzip();
            let judged = {
                let call = pin!(self.put_once(&put));
                attempts.attempt(call).await
            };
            let judged = match judged {
                // Refused as a whole for the sake of any of them: alone, the others pass.
                Err(trouble) if trouble.fault == Fault::Payload && put.len() > 1 => {
                    let mut judged = Vec::new();
                    for entry in put {
                        judged.extend(Box::pin(self.put_all(slice::from_ref(entry), until)).await);
                    }
                    judged
                }
                judged => judged.unwrap_or_else(|trouble| vec![Err(trouble); put.len()]),
            };
            open.into_iter().zip(judged).for_each(|(result, judged)| *result = judged);

            let Some(trouble) = results.iter().find_map(passing) else {
                return results;
            };
            if attempts.pause_after(trouble.clone()).await.is_err() {
                return results;
            }
        }
    }

    /// Makes one call, and says what became of each entry.
    async fn put_once(&self, entries: &[&Entry<'_>]) -> Result<Vec<Result<EventId, Trouble>>, Trouble> {
        let request = entries.iter().map(|entry| entry.to_request_entry()).collect();
        let output = self.client.put_events().set_entries(Some(request)).send().await;
        judge(&output.map_err(|error| Trouble::of_call("PutEvents", &error))?, entries.len())
    }

    fn missing_trouble(&self) -> Trouble {
        Trouble { fault: Fault::Deployment, reason: format!("there is no event bus `{}`", self.name) }
    }

    fn is_missing(&self) -> bool {
        self.missing.load(Ordering::Relaxed)
    }

    /// Whether a look is due; of several deliveries at once, one is told so.
    fn take_due_look(&self, now: SystemTime) -> bool {
        let mut due = self.look_due.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = now >= *due;
        if is_due {
            *due = now + LOOK_AGAIN_AFTER;
        }
        is_due
    }

    fn look_at(&self, due: SystemTime) {
        *self.look_due.lock().unwrap_or_else(PoisonError::into_inner) = due;
    }
}

/// The trouble of an entry that is worth another try.
fn passing(result: &Result<EventId, Trouble>) -> Option<&Trouble> {
    result.as_ref().err().filter(|trouble| trouble.fault == Fault::Transient)
}

/// What became of each entry of a call that was answered with success.
fn judge(output: &PutEventsOutput, count: usize) -> Result<Vec<Result<EventId, Trouble>>, Trouble> {
    if output.entries().len() != count {
        return Err(Trouble::transient(format!(
            "PutEvents: answered for {} entries of {count}",
            output.entries().len()
        )));
    }
    let mut results: Vec<_> = output.entries().iter().map(judge_entry).collect();
    let failed = results.iter().filter(|result| result.is_err()).count();
    if usize::try_from(output.failed_entry_count()) != Ok(failed) {
        // It contradicts itself: believe nothing of it but what it says of failures.
        let said = format!("PutEvents: {} failed entries, {failed} named", output.failed_entry_count());
        results.iter_mut().filter(|result| result.is_ok()).for_each(|result| *result = Err(Trouble::transient(&*said)));
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
