//! The event bus. [`Bus::put`] puts an event on it, and returns the id that EventBridge gave to it.
//!
//! One task makes all calls of `PutEvents`, for the deliveries and the parked messages of the process. `put` sends it an entry,
//! with a channel for the reply. The task puts the entries that are waiting at the same time into one call. A call belongs to
//! none of them: it ends when the bus has answered, after the SDK's timeout, or when nobody waits for a reply any more. If
//! the bus is being checked at the same time, the replies wait for the outcome of the check.
//! Everything that the calls share is a field of the task.
//!
//! | file | contents |
//! |---|---|
//! | `call.rs` | one call, and what its response proves |
//! | `health.rs` | what failing calls change: which deliveries try the bus, and how many calls run at once |
//! | `check.rs` | whether the bus exists |

mod call;
mod check;
mod health;

use std::time::{Duration, SystemTime};
use std::{collections::VecDeque, mem, panic::AssertUnwindSafe, pin::pin, thread};

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use futures_util::future::{BoxFuture, FutureExt, OptionFuture, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::instrument::WithSubscriber;

pub use self::call::EventId;
pub use self::check::{BusStatus, CHECK_TIME, check_exists};
use crate::aws::retry::{Backoff, MAX_ATTEMPTS};
use crate::aws::{AwsError, ErrorClass};
use crate::entry::{Entry, MAX_ENTRY_BYTES};

/// The most entries that `PutEvents` accepts in one call.
const MAX_ENTRIES: usize = 10;

/// Where an entry comes from, which decides how it is treated while the breaker is open because the bus is failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A delivery whose event can be parked instead. While the breaker is open, it fails without a call.
    Delivery,
    /// A delivery that is put even while the breaker is open: its event can't be parked, or it is its turn to try the bus.
    LastResort,
    /// A parked message. It waits behind the deliveries. While the breaker is open, parked messages try one call at a time.
    Parked,
}

/// The event bus. After it is dropped, its task ends with the calls that are running.
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
            calls: FuturesUnordered::new(),
            paused_until: Instant::now(),
            clock: (checked_at, Instant::now()),
        };
        tokio::spawn(task.run(arrivals).with_current_subscriber());
        Self { name: name.to_owned(), entries }
    }

    /// Puts an entry on the bus. `at` is the system's time. An attempt is repeated up to four times if it failed with a
    /// temporary error, or if another entry of its call may be the reason. For a parked message, attempts that are throttled
    /// don't count.
    ///
    /// # Errors
    /// [`AwsError`] if the bus hasn't confirmed the entry, at `until` at the latest.
    pub async fn put(&self, entry: Entry<'_>, lane: Lane, at: SystemTime, until: Instant) -> Result<EventId, AwsError> {
        let began = Instant::now();
        let (mut attempts, mut alone) = (0, false);
        loop {
            let (reply, receiver) = oneshot::channel();
            let (request, clock) = (entry.to_request_entry(&self.name), (at, began));
            let waiting = Waiting { entry: request, bytes: entry.bytes(), lane, alone, clock, until, reply };
            // If the task has ended, this drops the reply's channel, which the receiver notices.
            let _ = self.entries.send(waiting);
            let no_answer = |_| AwsError::transient("PutEvents: no answer in time");
            let panicked =
                |_| Err(Failure { error: AwsError::transient("PutEvents: panicked"), retry_at: Some(began) });
            let failure = match timeout_at(until, receiver).await.map_err(no_answer)?.unwrap_or_else(panicked) {
                Ok(id) => return Ok(id),
                Err(failure) => failure,
            };
            attempts += u32::from(lane != Lane::Parked || failure.error.class != ErrorClass::Throttled);
            match failure.retry_at {
                Some(retry_at) if attempts < MAX_ATTEMPTS && retry_at < until => sleep_until(retry_at).await,
                _ => return Err(failure.error),
            }
            // A call that was throttled is no reason to suspect one of its entries.
            alone = failure.error.class != ErrorClass::Throttled;
        }
    }
}

/// An entry that waits for a call.
struct Waiting {
    entry: PutEventsRequestEntry,
    /// The size that EventBridge counts.
    bytes: usize,
    lane: Lane,
    /// Whether the entry must not share a call, because it may be the reason why the last one failed.
    alone: bool,
    /// The system's time at an instant. The task doesn't read the system's clock itself.
    clock: (SystemTime, Instant),
    /// Until when its sender waits for the reply.
    until: Instant,
    /// It is closed when nobody waits for the reply any more.
    reply: oneshot::Sender<Result<EventId, Failure>>,
}

/// Why the bus hasn't accepted an entry.
struct Failure {
    error: AwsError,
    /// When to send the entry again. `None` if the error is final.
    retry_at: Option<Instant>,
}

/// The task.
struct Task {
    client: Client,
    bus: String,
    check: check::Check,
    health: health::Health,
    /// The entries of deliveries, and behind them those of parked messages.
    waiting: VecDeque<Waiting>,
    calls: FuturesUnordered<BoxFuture<'static, thread::Result<Call>>>,
    /// Until when parked messages wait, and everybody who sends an entry again, because a call has failed.
    paused_until: Instant,
    /// The system's time at an instant, from the last entry that arrived.
    clock: (SystemTime, Instant),
}

/// A call that has ended.
struct Call {
    replies: Vec<oneshot::Sender<Result<EventId, Failure>>>,
    /// The outcome of `PutEvents`, and that of the check, if one was due. There is no outcome of `PutEvents` if the bus was
    /// missing, and none of either if nobody waited any more.
    ended: (Option<call::Outcome>, Option<BusStatus>),
    /// Whether Lambda may have frozen the process before the call.
    was_idle: bool,
}

impl Task {
    /// Serves entries until the other end of the channel is dropped.
    async fn run(mut self, mut arrivals: mpsc::UnboundedReceiver<Waiting>) {
        loop {
            let now = Instant::now();
            while let Some(entries) = self.next_call(now) {
                self.start(entries);
            }
            tokio::select! {
                // The calls first, so that those that have just begun don't wait for other entries.
                biased;
                Some(call) = self.calls.next() => self.finish(call),
                Some(waiting) = arrivals.recv() => self.enqueue(waiting),
                () = sleep_until(self.paused_until), if now < self.paused_until => {}
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
        }
    }

    fn enqueue(&mut self, waiting: Waiting) {
        self.clock = waiting.clock;
        let end = self.waiting.partition_point(|other| waiting.lane == Lane::Parked || other.lane != Lane::Parked);
        self.waiting.insert(end, waiting);
    }

    fn system_time(&self) -> SystemTime {
        self.clock.0 + self.clock.1.elapsed()
    }

    /// Decides for each waiting entry whether it goes on waiting: not if nobody waits for its reply any more, not while the bus
    /// is missing, and not if it is a delivery that the breaker doesn't admit.
    fn admit_or_refuse(&mut self) {
        let time = self.system_time();
        self.waiting.retain(|waiting| !waiting.reply.is_closed());
        for mut waiting in mem::take(&mut self.waiting) {
            let refusal = match waiting.lane {
                _ if self.check.is_missing && !self.check.is_due(time) => {
                    Err(AwsError::new(ErrorClass::Misconfigured, format!("there is no event bus `{}`", self.bus)))
                }
                Lane::Delivery => self.health.admit(time),
                Lane::LastResort | Lane::Parked => Ok(()),
            };
            if let Err(error) = refusal {
                let _ = waiting.reply.send(Err(Failure { error, retry_at: None }));
            } else {
                if self.health.is_open() && waiting.lane != Lane::Parked {
                    // It has been admitted, so it is not judged again. All calls fail, so no entry is suspect.
                    (waiting.lane, waiting.alone) = (Lane::LastResort, false);
                }
                self.waiting.push_back(waiting);
            }
        }
    }

    /// Takes the entries of the next call, if one may begin: as many as the limits of `PutEvents` allow. A call has entries of
    /// deliveries or of parked messages, never of both, so that a parked message can't fail the call of a delivery.
    fn next_call(&mut self, now: Instant) -> Option<Vec<Waiting>> {
        self.admit_or_refuse();
        let first = self.waiting.front()?;
        let is_parked = first.lane == Lane::Parked;
        let must_pause = is_parked && now < self.paused_until;
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
        let (time, is_missing) = (self.system_time(), self.check.is_missing);
        let was_idle = self.health.is_idle(time);
        let check = self.check.is_due(time).then(|| {
            self.check.begin(time);
            // A check that hangs takes at most half of the time of the entry that has least of it.
            let half = |waiting: &Waiting| waiting.until.saturating_duration_since(Instant::now()) / 2;
            let until = Instant::now() + entries.iter().map(half).fold(CHECK_TIME, Duration::min);
            check_exists(self.client.clone(), self.bus.clone(), until).boxed()
        });
        let client = self.client.clone();
        let call = async move {
            let (entries, mut replies): (Vec<_>, Vec<_>) =
                entries.into_iter().map(|waiting| (waiting.entry, waiting.reply)).unzip();
            // Nothing is sent to a bus that was missing. If it exists now, the entries are sent again.
            // Pinned in place here and boxed below, because moving the SDK's large futures costs more than the rest.
            let put = pin!(async { if is_missing { None } else { Some(call::put_events(&client, entries).await) } });
            let ended = tokio::select! {
                biased;
                // Nobody waits for a reply any more.
                _ = join_all(replies.iter_mut().map(oneshot::Sender::closed)) => (None, None),
                ended = async { tokio::join!(put, OptionFuture::from(check)) } => ended,
            };
            Call { replies, ended, was_idle }
        };
        self.calls.push(AssertUnwindSafe(call).catch_unwind().boxed());
    }

    fn finish(&mut self, call: thread::Result<Call>) {
        // If the call panicked, the channels for its replies are closed.
        let Ok(Call { replies, ended: (outcome, status), was_idle }) = call else { return };
        if let Some(status) = status {
            self.check.record(&status);
        }
        let now = Instant::now();
        let mut outcomes = Err(AwsError::transient("PutEvents: the event bus was missing"));
        // The outcome proves nothing if the bus is missing. The entries are sent again, and refused.
        if let Some(call::Outcome { results, bus_failure }) = outcome.filter(|_| !self.check.is_missing) {
            self.paused_until = now + self.health.record(bus_failure, was_idle, self.system_time());
            outcomes = results;
        }
        let retry_at = self.paused_until.max(now + Backoff::default().next_pause());
        // Another entry may be the reason for an error of the whole call, so each of them gets a call of its own.
        let is_shared_error = outcomes.is_err() && replies.len() > 1;
        let outcomes = outcomes.unwrap_or_else(|error| vec![Err(error); replies.len()]);
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            let _ = reply.send(outcome.map_err(|error| {
                let retry_at = if error.class.is_temporary() { Some(retry_at) } else { is_shared_error.then_some(now) };
                Failure { error, retry_at }
            }));
        }
    }
}
