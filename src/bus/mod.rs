//! The event bus. [`Bus::put`] puts an event on it and proves that it is there.
//!
//! One task makes all calls of `PutEvents`, for the deliveries and the parked messages of the process. `put` sends it an entry,
//! with a channel for the result. The task puts the entries that are waiting at the same time into one call. A call belongs to
//! none of them: it ends when the bus answers, after the SDK's timeout, or when nobody waits for a result of it any more.
//! Everything that the calls share is a field of the task.
//!
//! | file | contents |
//! |---|---|
//! | `call.rs` | one call, and what its response proves |
//! | `health.rs` | what failing calls change: deliveries are parked at once, parked events are forwarded more slowly |
//! | `check.rs` | whether the bus exists |

mod call;
mod check;
mod health;

use std::time::{Duration, SystemTime};
use std::{collections::VecDeque, mem};

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use futures_util::future::{OptionFuture, join_all};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::instrument::WithSubscriber;

pub use self::call::EventId;
pub use self::check::{BusStatus, CHECK_TIME, check_exists};
use crate::aws::retry::{Backoff, MAX_ATTEMPTS};
use crate::aws::{AwsError, ErrorClass};
use crate::entry::{Entry, MAX_ENTRY_BYTES};

/// The most entries that `PutEvents` accepts in one call.
const MAX_ENTRIES: usize = 10;

/// Where an entry comes from, which decides how it is treated while the bus is failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A delivery whose event can be parked instead. While the bus is failing, it fails without a call.
    Delivery,
    /// A delivery whose event can't be parked. It is put even while the bus is failing.
    LastResort,
    /// A parked message. It waits behind the deliveries, and while the bus is failing.
    Parked,
}

/// The event bus. Dropping it ends its task.
#[derive(Debug)]
pub struct Bus {
    name: String,
    entries: mpsc::UnboundedSender<Waiting>,
}

impl Bus {
    /// A bus by its name or ARN, which was checked at this time with this result. Starts the task that makes the calls.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn new(client: Client, name: &str, checked_at: SystemTime, status: &BusStatus) -> Self {
        let (entries, arrivals) = mpsc::unbounded_channel();
        let task = Task {
            client,
            bus: name.to_owned(),
            check: check::Check::new(checked_at, status),
            health: health::Health::default(),
            waiting: VecDeque::new(),
            calls: JoinSet::new(),
            parked_from: Instant::now(),
            now: checked_at,
        };
        tokio::spawn(task.run(arrivals).with_current_subscriber());
        Self { name: name.to_owned(), entries }
    }

    /// Puts an entry on the bus. `at` is the system's time. An attempt that fails with a temporary error is repeated up to
    /// four times. For a parked message, attempts that are throttled don't count.
    ///
    /// # Errors
    /// [`AwsError`] if the bus hasn't confirmed the entry by `until`.
    pub async fn put(&self, entry: Entry<'_>, lane: Lane, at: SystemTime, until: Instant) -> Result<EventId, AwsError> {
        let began = Instant::now();
        let (mut attempts, mut alone) = (0, false);
        loop {
            let (result, receiver) = oneshot::channel();
            let (sent_at, bytes) = (at + began.elapsed(), entry.bytes());
            let waiting =
                Waiting { entry: entry.to_request_entry(&self.name), bytes, lane, alone, sent_at, until, result };
            // If the task has ended, so has the channel for the result.
            let _ = self.entries.send(waiting);
            let answer = timeout_at(until, receiver).await;
            let answer = answer.map_err(|_| AwsError::transient("PutEvents: no answer in time"))?;
            let panicked = AwsError::transient("PutEvents: the call panicked");
            let failure = match answer.unwrap_or_else(|_| Err(Failure { error: panicked, again: Some(Instant::now()) }))
            {
                Ok(id) => return Ok(id),
                Err(failure) => failure,
            };
            attempts += u32::from(lane != Lane::Parked || failure.error.class != ErrorClass::Throttled);
            match failure.again {
                Some(again) if attempts < MAX_ATTEMPTS && again < until => sleep_until(again).await,
                _ => return Err(failure.error),
            }
            // A call that was throttled is no reason to suspect one of its entries.
            alone = failure.error.class != ErrorClass::Throttled;
        }
    }
}

/// An entry that waits for a call.
#[derive(Debug)]
struct Waiting {
    entry: PutEventsRequestEntry,
    /// The size that EventBridge counts.
    bytes: usize,
    lane: Lane,
    /// Whether the entry must not share a call, because it may be the reason why the last one failed.
    alone: bool,
    /// When it was sent to the task, by the system's clock.
    sent_at: SystemTime,
    /// How long its sender waits for the result.
    until: Instant,
    /// It is closed when nobody waits for the result any more.
    result: oneshot::Sender<Result<EventId, Failure>>,
}

/// Why the bus hasn't accepted an entry.
#[derive(Debug)]
struct Failure {
    error: AwsError,
    /// When to send the entry again. `None` if the error is final.
    again: Option<Instant>,
}

/// The task.
struct Task {
    client: Client,
    bus: String,
    check: check::Check,
    health: health::Health,
    /// The entries of deliveries, and behind them those of parked messages.
    waiting: VecDeque<Waiting>,
    calls: JoinSet<Call>,
    /// After a call that failed, parked messages wait until then.
    parked_from: Instant,
    /// When the last entry was sent, by the system's clock, which the task doesn't read itself.
    now: SystemTime,
}

/// A call that has ended.
struct Call {
    results: Vec<oneshot::Sender<Result<EventId, Failure>>>,
    /// `None` if it was not made, because the bus was missing, or dropped, because nobody waits for its results.
    outcome: Option<call::Outcome>,
    /// The outcome of the check that was due.
    status: Option<BusStatus>,
    /// Whether Lambda may have frozen the process before it.
    was_idle: bool,
}

impl Task {
    /// Serves entries until the other end of the channel is dropped.
    async fn run(mut self, mut arrivals: mpsc::UnboundedReceiver<Waiting>) {
        loop {
            tokio::select! {
                Some(waiting) = arrivals.recv() => self.enqueue(waiting),
                Some(call) = self.calls.join_next() => self.finish(call),
                () = sleep_until(self.parked_from), if Instant::now() < self.parked_from => {}
                else => return,
            }
            // Under load, let all tasks that are ready send their entries first: a call with ten entries costs little more
            // than a call with one.
            if !self.calls.is_empty() {
                yield_now().await;
            }
            while let Ok(waiting) = arrivals.try_recv() {
                self.enqueue(waiting);
            }
            while let Some(entries) = self.gather() {
                self.start(entries);
            }
        }
    }

    fn enqueue(&mut self, waiting: Waiting) {
        self.now = waiting.sent_at;
        let end = self.waiting.partition_point(|other| waiting.lane == Lane::Parked || other.lane != Lane::Parked);
        self.waiting.insert(end, waiting);
    }

    /// Removes the entries that shouldn't wait for a call: those for which nobody waits any more, all of them while the bus is
    /// missing, and the deliveries that the breaker doesn't admit.
    fn refuse(&mut self) {
        for mut waiting in mem::take(&mut self.waiting) {
            let refusal = match waiting.lane {
                _ if self.check.is_missing && !self.check.is_due(self.now) => {
                    Err(AwsError::new(ErrorClass::Misconfigured, format!("there is no event bus `{}`", self.bus)))
                }
                Lane::Delivery => self.health.admit(self.now),
                Lane::LastResort | Lane::Parked => Ok(()),
            };
            if let Err(error) = refusal {
                let _ = waiting.result.send(Err(Failure { error, again: None }));
            } else if !waiting.result.is_closed() {
                if self.health.is_failing() && waiting.lane != Lane::Parked {
                    // It is not refused while it waits. Calls that all fail are the bus's fault, so it can share one.
                    (waiting.lane, waiting.alone) = (Lane::LastResort, false);
                }
                self.waiting.push_back(waiting);
            }
        }
    }

    /// Takes the entries of the next call, if one may begin: as many as the limits of `PutEvents` allow. Deliveries and parked
    /// messages share no call, so that neither can make the other's fail.
    fn gather(&mut self) -> Option<Vec<Waiting>> {
        self.refuse();
        let first = self.waiting.front()?;
        let is_parked = first.lane == Lane::Parked;
        let must_pause = is_parked && Instant::now() < self.parked_from;
        if must_pause || self.calls.len() >= self.health.calls_at_once(first.lane) {
            return None;
        }
        let mut bytes = 0;
        let fits = |(index, next): &(usize, &Waiting)| {
            bytes += next.bytes;
            let can_share = !first.alone && !next.alone && is_parked == (next.lane == Lane::Parked);
            *index == 0 || can_share && *index < MAX_ENTRIES && bytes <= MAX_ENTRY_BYTES
        };
        let count = self.waiting.iter().enumerate().take_while(fits).count();
        Some(self.waiting.drain(..count).collect())
    }

    fn start(&mut self, entries: Vec<Waiting>) {
        let (was_idle, is_missing) = (self.health.is_idle(self.now), self.check.is_missing);
        let check_until = self.check.is_due(self.now).then(|| {
            self.check.begin(self.now);
            // If the check hangs, half of the time of the entry that has least of it is left.
            let left = |waiting: &Waiting| waiting.until.saturating_duration_since(Instant::now()) / 2;
            Instant::now() + entries.iter().map(left).fold(CHECK_TIME, Duration::min)
        });
        let (client, bus) = (self.client.clone(), self.bus.clone());
        let call = async move {
            let (entries, mut results): (Vec<_>, Vec<_>) =
                entries.into_iter().map(|waiting| (waiting.entry, waiting.result)).unzip();
            // If the bus was missing, the check alone decides whether the entries can be sent again.
            let put = OptionFuture::from((!is_missing).then(|| call::put_events(&client, entries)));
            let check = OptionFuture::from(check_until.map(|until| check_exists(&client, &bus, until)));
            let (outcome, status) = tokio::select! {
                ended = async { tokio::join!(put, check) } => ended,
                // Nobody waits for a result any more.
                _ = join_all(results.iter_mut().map(oneshot::Sender::closed)) => (None, None),
            };
            Call { results, outcome, status, was_idle }
        };
        self.calls.spawn(call.with_current_subscriber());
    }

    fn finish(&mut self, call: Result<Call, JoinError>) {
        // If the call panicked, the channels for its results are closed.
        let Ok(Call { results, outcome, status, was_idle }) = call else { return };
        if let Some(status) = status {
            self.check.record(&status);
        }
        let now = Instant::now();
        let mut outcomes = Err(AwsError::transient("PutEvents: not called"));
        // The outcome proves nothing if the bus is missing. The entries are refused when they are sent again.
        if let Some(call::Outcome { results, bus_failure }) = outcome.filter(|_| !self.check.is_missing) {
            self.parked_from = now + self.health.record(bus_failure, was_idle, self.now);
            outcomes = results;
        }
        let again_at = self.parked_from.max(now + Backoff::default().next_pause());
        // An error of the whole call may be the fault of one entry, so repeat them one by one.
        let may_be_anothers_fault = outcomes.is_err() && results.len() > 1;
        let outcomes = outcomes.unwrap_or_else(|error| vec![Err(error); results.len()]);
        for (result, outcome) in results.into_iter().zip(outcomes) {
            let _ = result.send(outcome.map_err(|error| {
                let is_temporary = error.class.is_temporary();
                let again = if is_temporary { Some(again_at) } else { may_be_anothers_fault.then_some(now) };
                Failure { error, again }
            }));
        }
    }
}
