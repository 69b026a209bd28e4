//! The event bus: puts entries on it, and checks the results.
//!
//! A successful `PutEvents` proves nothing by itself: it can contain failed entries, and it also succeeds for a bus that
//! doesn't exist. Only this module makes an [`EventId`], and it returns one only if the entry has no error, the response is
//! consistent, and the bus is not known to be missing.

use std::{
    collections::VecDeque,
    fmt,
    pin::{Pin, pin},
    slice,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_sdk_eventbridge::{
    Client,
    operation::put_events::PutEventsOutput,
    types::{PutEventsRequestEntry, PutEventsResultEntry},
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    aws_error::{AwsError, ErrorClass},
    batcher::Batcher,
    breaker::Breaker,
    bus_check::{BusCheck, BusStatus},
    entry::{Entry, MAX_ENTRY_BYTES},
    pace::Pace,
    retry::{Attempts, retry},
};

/// The most entries that `PutEvents` accepts in one call.
const MAX_ENTRIES: usize = 10;

/// EventBridge's id of an event that it accepted, for a bus that isn't known to be missing: the proof that the bus has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId(String);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The result of each entry of a call, or the error of the whole call.
type Results = Result<Vec<Result<EventId, AwsError>>, AwsError>;

/// An entry, the caller's own data about its origin, and its result, which [`Bus::put`] sets.
#[derive(Debug)]
pub struct Submission<'a, T> {
    origin: T,
    entry: Entry<'a>,
    /// A temporary error until the bus has accepted the entry or refused it for good.
    result: Mutex<Result<EventId, AwsError>>,
}

impl<'a, T> Submission<'a, T> {
    /// An entry that has yet to be put on the bus. The origin is the caller's own data.
    #[must_use]
    pub fn new(origin: T, entry: Entry<'a>) -> Self {
        Self { origin, entry, result: Mutex::new(Err(AwsError::transient("PutEvents: not called"))) }
    }

    /// The origin, and the id of the event on the bus.
    ///
    /// # Errors
    /// [`AwsError`] instead of the id if the bus hasn't confirmed the entry.
    pub fn into_parts(self) -> (T, Result<EventId, AwsError>) {
        (self.origin, self.result.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether another attempt can change the result.
    fn is_open(&self) -> bool {
        is_temporary(&self.result.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the result that remains if the next call is cancelled.
    fn set_cancelled(&self) {
        self.set_result(Err(AwsError::transient("PutEvents: no answer in time")));
    }

    fn set_result(&self, result: Result<EventId, AwsError>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = result;
    }
}

/// The event bus.
#[derive(Debug)]
pub struct Bus {
    client: Client,
    name: String,
    /// Each running [`put_single`](Self::put_single) holds a clone of this, so the number of clones tells whether others run.
    running: Arc<()>,
    /// The output of a shared call is the number of its entries, and their results.
    batcher: Batcher<PutEventsRequestEntry, (usize, Results)>,
    check: BusCheck,
    breaker: Breaker,
    pace: Pace,
}

impl Bus {
    /// A bus by its name or ARN. Whether it exists is not known yet.
    #[must_use]
    pub fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
            running: Arc::default(),
            batcher: Batcher::new(MAX_ENTRIES, MAX_ENTRY_BYTES),
            check: BusCheck::default(),
            breaker: Breaker::default(),
            pace: Pace::default(),
        }
    }

    /// The name or ARN.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks whether the bus exists, for at most a second.
    pub async fn check_exists(&self, now: SystemTime, until: Instant) -> BusStatus {
        // Boxed because a check is rare and its future is large: otherwise, the future of every delivery would contain it.
        self.check.run(&self.client, &self.name, now, until).boxed().await
    }

    /// Puts one entry on the bus, with up to five attempts.
    ///
    /// # Errors
    /// [`AwsError`] if the bus hasn't confirmed it.
    pub async fn put_one(&self, entry: Entry<'_>, now: SystemTime, until: Instant) -> Result<EventId, AwsError> {
        let submission = Submission::new((), entry);
        {
            let call = slice::from_ref(&submission);
            // Each attempt sets the result of the submission.
            let put = pin!(retry("PutEvents", until, || self.put_open(call)).map(drop));
            self.put_and_check(put, call, now, until).await;
        }
        submission.into_parts().1
    }

    /// Puts one entry on the bus like [`put_one`](Self::put_one). If another entry has just failed with a temporary error,
    /// it fails without a call, except for one entry every five seconds. Deliveries are then parked without a delay while
    /// the bus is unavailable.
    ///
    /// # Errors
    /// [`AwsError`] if the bus hasn't confirmed it.
    pub async fn put_one_or_fail_fast(
        &self,
        entry: Entry<'_>,
        now: SystemTime,
        until: Instant,
    ) -> Result<EventId, AwsError> {
        let started = Instant::now();
        let until = self.breaker.admit(now, until)?;
        let result = self.put_one(entry, now, until).await;
        self.breaker.record(now + started.elapsed(), result.as_ref().err());
        result
    }

    /// Puts entries on the bus, in as few calls as the limits of `PutEvents` allow, and fills in their results.
    ///
    /// Several calls run at once, and fewer of them while EventBridge throttles calls or is unavailable. A throttled call is
    /// retried until `until`. A call that fails with another temporary error gets up to five attempts.
    pub async fn put<T: Sync>(&self, submissions: &[Submission<'_, T>], now: SystemTime, until: Instant) {
        let put = pin!(self.put_all(submissions, until));
        self.put_and_check(put, submissions, now, until).await;
    }

    /// Awaits a put of these entries, and checks whether the bus exists if that is due.
    ///
    /// If the bus is known to be missing, it is checked first. Otherwise, the check runs concurrently with the put. If a check
    /// finds no bus, every result is an error, even if its call succeeded.
    async fn put_and_check<T>(
        &self,
        put: Pin<&mut impl Future<Output = ()>>,
        submissions: &[Submission<'_, T>],
        now: SystemTime,
        until: Instant,
    ) {
        if self.check.is_missing() {
            self.check_exists(now, until).await;
        }
        if !self.check.is_missing() {
            if self.check.take_due(now) {
                let check = pin!(self.check_exists(now, until));
                tokio::join!(put, check);
            } else {
                put.await;
            }
        }
        // The check of a concurrent delivery may have found that the bus is missing.
        if self.check.is_missing() {
            let error = AwsError::new(ErrorClass::Misconfigured, format!("there is no event bus `{}`", self.name));
            for submission in submissions {
                submission.set_result(Err(error.clone()));
            }
        }
    }

    /// Puts entries on the bus by several calls at once. Each attempt of a call sets the results of its entries.
    async fn put_all<T: Sync>(&self, submissions: &[Submission<'_, T>], until: Instant) {
        let attempt = async |call, attempts, pause| {
            // The timeout includes the pause. If the call had to wait for its turn, the pause could end after `until`.
            let outcome = timeout_at(until, async {
                sleep(pause).await;
                self.put_open(call).await
            });
            let outcome = outcome.await;
            (call, attempts, outcome.unwrap_or_else(|_| Err(AwsError::transient("PutEvents: no answer in time"))))
        };
        let first_attempt = |call| (call, Attempts::five_besides_throttled(), Duration::ZERO);
        let mut waiting: VecDeque<_> = calls(submissions).map(first_attempt).collect();
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < self.pace.calls_at_once()
                && Instant::now() < until
                && let Some((call, attempts, pause)) = waiting.pop_front()
            {
                running.push(attempt(call, attempts, pause));
            }
            let Some((call, mut attempts, outcome)) = running.next().await else { return };
            match outcome {
                Err(error) if error.class.is_temporary() => {
                    self.pace.slow_down();
                    // During its pause, the call still counts as one of the running calls, so fewer calls are made.
                    if let Some(pause) = attempts.pause_after(&error, until) {
                        waiting.push_back((call, attempts, pause));
                    }
                }
                _ => self.pace.speed_up(),
            }
        }
    }

    /// One attempt at the entries of a call that are still open.
    ///
    /// # Errors
    /// A temporary error if another attempt is worth it, or the error of the whole call.
    async fn put_open<T: Sync>(&self, call: &[Submission<'_, T>]) -> Result<(), AwsError> {
        let open: Vec<_> = call.iter().filter(|submission| submission.is_open()).collect();
        let outcome = self.put_once(&open).await;
        if open.len() == 1 || !outcome.as_ref().is_err_and(|error| !error.class.is_temporary()) {
            return outcome;
        }
        // One entry that is invalid or not allowed fails the whole call, so put them one by one. First replace the error with a
        // transient one in every entry: if the loop is cancelled, the entries that it didn't reach haven't failed for good.
        let mut outcome = Ok(());
        for submission in &open {
            submission.set_cancelled();
        }
        for submission in open {
            if let Err(error) = self.put_once(&[submission]).await
                && error.class.is_temporary()
            {
                outcome = Err(error);
            }
        }
        outcome
    }

    /// Puts these entries once, and sets the result of each.
    ///
    /// # Errors
    /// The error of the whole call, or one of the entries' temporary errors.
    async fn put_once<T: Sync>(&self, submissions: &[&Submission<'_, T>]) -> Result<(), AwsError> {
        for submission in submissions {
            submission.set_cancelled();
        }
        let results = if let [submission] = submissions {
            self.put_single(&submission.entry).await
        } else {
            let entry = |submission: &&Submission<'_, T>| submission.entry.to_request_entry(&self.name);
            put_events(&self.client, submissions.iter().map(entry).collect()).await
        };
        match results {
            Ok(results) => {
                let temporary = results.iter().find(|result| is_temporary(result)).cloned();
                submissions.iter().zip(results).for_each(|(submission, result)| submission.set_result(result));
                temporary.map_or(Ok(()), |error| error.map(|_| ()))
            }
            Err(error) => {
                for submission in submissions {
                    submission.set_result(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    /// Puts a single entry once. While other single entries are put, it shares a call with those that are ready at the same
    /// time: a call with ten entries costs little more than a call with one. If the shared call is cancelled, or fails
    /// permanently, the entry gets a call to itself.
    async fn put_single(&self, entry: &Entry<'_>) -> Results {
        let call_alone = || put_events(&self.client, vec![entry.to_request_entry(&self.name)]);
        let running = Arc::clone(&self.running);
        // The clone of this entry, and the bus's own.
        if Arc::strong_count(&running) == 2 {
            return call_alone().await;
        }
        let call = |entries: Vec<_>| async { (entries.len(), put_events(&self.client, entries).await) };
        let output = self.batcher.call(entry.to_request_entry(&self.name), entry.bytes(), call).await;
        // The delivery that made the call was cancelled, for example because its deadline is earlier than this one's.
        let Some((output, index)) = output else { return call_alone().await };
        match &*output {
            (_, Ok(results)) => Ok(vec![results[index].clone()]),
            // One entry that is invalid or not allowed fails the whole call, and it may be another delivery's.
            (2.., Err(error)) if !error.class.is_temporary() => call_alone().await,
            (_, Err(error)) => Err(error.clone()),
        }
    }
}

/// One call.
async fn put_events(client: &Client, entries: Vec<PutEventsRequestEntry>) -> Results {
    let count = entries.len();
    let output = client.put_events().set_entries(Some(entries)).send().await;
    output.map_err(|error| AwsError::from_sdk("PutEvents", &error)).and_then(|output| read_results(&output, count))
}

fn is_temporary(result: &Result<EventId, AwsError>) -> bool {
    result.as_ref().is_err_and(|error| error.class.is_temporary())
}

/// Divides submissions, in their order, into calls of at most ten entries and [`MAX_ENTRY_BYTES`] in total.
fn calls<'s, 'a, T>(submissions: &'s [Submission<'a, T>]) -> impl Iterator<Item = &'s [Submission<'a, T>]> {
    let (mut count, mut bytes) = (0, 0);
    submissions.chunk_by(move |last, next| {
        count += 1;
        bytes += last.entry.bytes();
        let fits = count < MAX_ENTRIES && bytes + next.entry.bytes() <= MAX_ENTRY_BYTES;
        if !fits {
            (count, bytes) = (0, 0);
        }
        fits
    })
}

/// The result of each entry of a successful call, in the order of the entries.
///
/// # Errors
/// [`AwsError`] if the response has another number of entries.
fn read_results(output: &PutEventsOutput, count: usize) -> Result<Vec<Result<EventId, AwsError>>, AwsError> {
    let answered = output.entries().len();
    if answered != count {
        return Err(AwsError::transient(format!(
            "PutEvents: {count} entries were sent, but the response has {answered}"
        )));
    }
    let mut results: Vec<_> = output.entries().iter().map(read_result).collect();
    let failed = results.iter().filter(|result| result.is_err()).count();
    if usize::try_from(output.failed_entry_count()) != Ok(failed) {
        // The response contradicts itself: trust only the failures in it.
        let reason = format!("PutEvents: FailedEntryCount is {}, but {failed} failed", output.failed_entry_count());
        let succeeded = results.iter_mut().filter(|result| result.is_ok());
        succeeded.for_each(|result| *result = Err(AwsError::transient(reason.clone())));
    }
    Ok(results)
}

fn read_result(entry: &PutEventsResultEntry) -> Result<EventId, AwsError> {
    match (entry.error_code(), entry.event_id()) {
        (Some(code), _) => Err(AwsError::from_code("PutEvents: the entry failed", code)),
        (None, Some(id)) if !id.is_empty() => Ok(EventId(id.to_owned())),
        (None, _) => Err(AwsError::transient("PutEvents: neither an error code nor an event id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Event, event::Validation, queue::Message, signature::Verified};

    const BODY: &str = r#"{"spec_version":"1","id":"evt_1","type":"user.login","object":"User","environment_id":"env_1","occurred_at":"2025-10-14T09:29:27.5Z"}"#;

    #[test]
    fn there_are_as_few_calls_as_the_limits_allow() {
        let small = 200;
        let max = MAX_ENTRY_BYTES;
        for (description, sizes, expected) in [
            ("no entry", vec![], vec![]),
            ("one entry", vec![small], vec![1]),
            ("ten entries", vec![small; 10], vec![10]),
            ("eleven entries", vec![small; 11], vec![10, 1]),
            ("25 entries", vec![small; 25], vec![10, 10, 5]),
            ("the largest entry", vec![max], vec![1]),
            ("the largest among others", vec![small, max, small], vec![1, 1, 1]),
            ("two that fill a call", vec![max - small, small], vec![2]),
            ("two that exceed a call by a byte", vec![max - small, small + 1], vec![1, 1]),
            ("the size is counted anew for each call", vec![max, max - small, small], vec![1, 2]),
            ("the number is counted anew for each call", [vec![max], vec![small; 10]].concat(), vec![1, 10]),
            ("five of 400 KB", vec![400_000; 5], vec![2, 2, 1]),
        ] {
            let padding = |bytes: usize| " ".repeat(bytes - BODY.len() - "user.login".len() - "s".len() - 14);
            let bodies: Vec<_> = sizes.iter().map(|bytes| format!("{BODY}{}", padding(*bytes))).collect();
            let messages: Vec<_> = bodies.iter().map(|body| Message::with_body(body)).collect();
            let parse = |message| Event::parse(&Verified::from_queue(message), Validation::Tolerant, None).unwrap();
            let events: Vec<_> = messages.iter().map(parse).collect();
            let submission = |event| Submission::new((), Entry::new("s", event, None).unwrap());
            let submissions: Vec<_> = events.iter().map(submission).collect();

            let calls: Vec<_> = calls(&submissions).collect();
            assert_eq!(calls.iter().map(|call| call.len()).collect::<Vec<_>>(), expected, "{description}");
            let in_order: Vec<_> = calls.into_iter().flatten().map(|submission| submission.entry.bytes()).collect();
            assert_eq!(in_order, sizes, "{description}");
        }
    }
}
