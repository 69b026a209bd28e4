//! The task that makes the calls of `PutEvents`, for all deliveries and parked messages of the process.
//!
//! Whoever has an entry sends it to the task, with a channel for its result. The task puts the entries that are waiting at
//! the same time into one call. A call belongs to none of them: it ends when the bus answers, after the SDK's timeout, or
//! when nobody waits for a result of it any more. Everything that the calls share is a field of the task.

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use tokio::{
    select,
    sync::{mpsc::UnboundedReceiver, oneshot},
    task::{JoinError, JoinSet, yield_now},
    time::{Instant, sleep_until},
};
use tracing::instrument::WithSubscriber;

use super::{
    Lane,
    breaker::Breaker,
    call::{EventId, Outcome, put_events},
    check::{BusStatus, CHECK_TIME, Check, check_exists},
    pace::Pace,
};
use crate::{
    aws::{AwsError, ErrorClass, retry::jitter},
    entry::MAX_ENTRY_BYTES,
};

/// The most entries that `PutEvents` accepts in one call.
const MAX_ENTRIES: usize = 10;

/// If the process has had no answer from the bus for longer than this, Lambda may have frozen it in the meantime.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// An entry that waits for a call.
#[derive(Debug)]
pub struct Waiting {
    pub entry: PutEventsRequestEntry,
    /// The size that EventBridge counts.
    pub bytes: usize,
    pub lane: Lane,
    /// Whether the entry must not share a call, because it may be the reason why the last one failed.
    pub alone: bool,
    /// When it was sent to the task, by the system's clock.
    pub sent_at: SystemTime,
    /// How long its sender waits for the result.
    pub until: Instant,
    pub result: ResultSender,
}

/// Where the result of an entry goes. It is closed when nobody waits for the result any more.
pub type ResultSender = oneshot::Sender<Result<EventId, Failure>>;

/// Why the bus hasn't accepted an entry, and what its sender should do.
#[derive(Debug)]
pub struct Failure {
    pub error: AwsError,
    pub next: Next,
}

/// What to do with an entry that the bus hasn't accepted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Nothing: the result is final.
    GiveUp,
    /// Send it again, after a pause that begins at this time. Its beginning and its random part are the same for all entries
    /// of a call, so that they share the next call, too.
    Retry { from: Instant, jitter: f64 },
    /// Send it again at once, for a call of its own: another entry may be the reason why the call failed.
    RepeatAlone,
}

/// The task.
#[derive(Debug)]
pub struct Dispatcher {
    client: Client,
    bus: Arc<str>,
    /// The entries of deliveries. They go before those of parked messages.
    deliveries: VecDeque<Waiting>,
    parked: VecDeque<Waiting>,
    calls: JoinSet<Call>,
    breaker: Breaker,
    pace: Pace,
    check: Check,
    /// Parked messages wait until then, after calls that failed.
    parked_from: Instant,
    /// The system's time when the last entry was sent to the task, and when that was.
    clock: (SystemTime, Instant),
    /// When the bus last answered, or failed to.
    last_answer: Option<SystemTime>,
}

/// A call that has ended.
#[derive(Debug)]
struct Call {
    senders: Vec<ResultSender>,
    /// `None` if the call was not made or dropped.
    outcome: Option<Outcome>,
    check: Checked,
    /// Whether Lambda may have frozen the process before the call.
    was_idle: bool,
}

/// The check that belongs to a call.
#[derive(Debug)]
enum Checked {
    NotDue,
    Cancelled,
    Ended(BusStatus),
}

impl Dispatcher {
    pub fn new(client: Client, bus: Arc<str>, now: SystemTime, status: &BusStatus) -> Self {
        Self {
            client,
            bus,
            deliveries: VecDeque::new(),
            parked: VecDeque::new(),
            calls: JoinSet::new(),
            breaker: Breaker::default(),
            pace: Pace::default(),
            check: Check::new(now, status),
            parked_from: Instant::now(),
            clock: (now, Instant::now()),
            last_answer: None,
        }
    }

    /// Serves entries until the other end of the channel is dropped.
    pub async fn run(mut self, mut arrivals: UnboundedReceiver<Waiting>) {
        loop {
            let parked_wait = !self.parked.is_empty() && Instant::now() < self.parked_from;
            select! {
                arrival = arrivals.recv() => match arrival {
                    Some(waiting) => self.enqueue(waiting),
                    None => return,
                },
                Some(call) = self.calls.join_next() => self.finish(call),
                () = sleep_until(self.parked_from), if parked_wait => {}
            }
            // Under load, let all tasks that are ready send their entries first: a call with ten entries costs little more
            // than a call with one.
            if !self.calls.is_empty() {
                yield_now().await;
            }
            while let Ok(waiting) = arrivals.try_recv() {
                self.enqueue(waiting);
            }
            self.start_calls();
        }
    }

    fn enqueue(&mut self, waiting: Waiting) {
        self.clock = (waiting.sent_at, Instant::now());
        let lane = if waiting.lane == Lane::Parked { &mut self.parked } else { &mut self.deliveries };
        lane.push_back(waiting);
    }

    /// The system's time. The task doesn't read the clock itself.
    fn now(&self) -> SystemTime {
        let (time, instant) = self.clock;
        time + instant.elapsed()
    }

    fn start_calls(&mut self) {
        loop {
            self.refuse();
            if self.calls.len() >= self.pace.calls_at_once() {
                return;
            }
            // While the bus is failing, parked messages try one call at a time.
            let parked_may_call =
                Instant::now() >= self.parked_from && (!self.breaker.is_open() || self.calls.is_empty());
            let mut entries = gather(&mut self.deliveries);
            if entries.is_empty() && parked_may_call {
                entries = gather(&mut self.parked);
            }
            if entries.is_empty() {
                return;
            }
            self.start_call(entries);
        }
    }

    /// Removes the entries for which nobody waits any more, and refuses those that shouldn't wait for a call.
    fn refuse(&mut self) {
        let now = self.now();
        for lane in [&mut self.deliveries, &mut self.parked] {
            lane.retain(|waiting| !waiting.result.is_closed());
            if self.check.is_missing() && !self.check.is_due(now) {
                lane.drain(..).for_each(|waiting| send(waiting.result, Err(Failure::last(missing(&self.bus)))));
            }
        }
        if self.breaker.is_open() {
            for mut waiting in mem::take(&mut self.deliveries) {
                if waiting.lane == Lane::Delivery {
                    if let Err(error) = self.breaker.admit(now) {
                        send(waiting.result, Err(Failure::last(error)));
                        continue;
                    }
                    // It is not refused while it waits for its call.
                    waiting.lane = Lane::LastResort;
                }
                // Calls that all fail are the bus's fault, not an entry's.
                waiting.alone = false;
                self.deliveries.push_back(waiting);
            }
        }
    }

    fn start_call(&mut self, entries: Vec<Waiting>) {
        let now = self.now();
        let was_idle =
            self.last_answer.is_some_and(|last| now.duration_since(last).is_ok_and(|since| since > IDLE_TIME));
        let check = self.check.is_due(now).then(|| {
            self.check.begin(now);
            // Leave half of the time of the entry that has least of it, so that a check that hangs delays no result too long.
            let now = Instant::now();
            let left = entries.iter().map(|waiting| waiting.until.saturating_duration_since(now)).min();
            now + left.map_or(CHECK_TIME, |left| CHECK_TIME.min(left / 2))
        });
        let is_missing = self.check.is_missing();
        let (client, bus) = (self.client.clone(), Arc::clone(&self.bus));
        let call = async move {
            let (entries, mut senders): (Vec<_>, Vec<_>) =
                entries.into_iter().map(|waiting| (waiting.entry, waiting.result)).unzip();
            let work = async {
                let Some(until) = check else { return (Some(put_events(&client, entries).await), Checked::NotDue) };
                let check = check_exists(&client, &bus, until);
                if !is_missing {
                    let (outcome, status) = tokio::join!(put_events(&client, entries), check);
                    return (Some(outcome), Checked::Ended(status));
                }
                let status = check.await;
                let outcome = if status == BusStatus::Exists { Some(put_events(&client, entries).await) } else { None };
                (outcome, Checked::Ended(status))
            };
            let nobody_waits = async {
                for sender in &mut senders {
                    sender.closed().await;
                }
            };
            let (outcome, checked) = select! {
                ended = work => ended,
                () = nobody_waits => (None, if check.is_some() { Checked::Cancelled } else { Checked::NotDue }),
            };
            Call { senders, outcome, check: checked, was_idle }
        };
        self.calls.spawn(call.with_current_subscriber());
    }

    fn finish(&mut self, call: Result<Call, JoinError>) {
        // If the call panicked, the senders of its results are dropped.
        let Ok(Call { senders, outcome, check, was_idle }) = call else { return };
        match check {
            Checked::NotDue => {}
            Checked::Cancelled => self.check.cancel(),
            Checked::Ended(status) => self.check.record(&status),
        }
        if let Some(outcome) = &outcome {
            self.judge_bus(outcome, was_idle);
        }
        let may_be_anothers_fault = senders.len() > 1 && !self.check.is_missing();
        let results = match outcome {
            _ if self.check.is_missing() => Err(missing(&self.bus)),
            // Nobody waits for the results.
            None => return,
            Some(outcome) => outcome.results,
        };
        let (now, jitter) = (Instant::now(), jitter());
        match results {
            Ok(results) => {
                for (sender, result) in senders.into_iter().zip(results) {
                    send(sender, result.map_err(|error| Failure::new(error, now, jitter)));
                }
            }
            Err(error) => {
                for sender in senders {
                    let mut failure = Failure::new(error.clone(), now, jitter);
                    if failure.next == Next::GiveUp && may_be_anothers_fault {
                        failure.next = Next::RepeatAlone;
                    }
                    send(sender, Err(failure));
                }
            }
        }
    }

    /// Adjusts breaker and pace to the outcome of a call.
    fn judge_bus(&mut self, outcome: &Outcome, was_idle: bool) {
        let now = self.now();
        self.last_answer = Some(now);
        match &outcome.bus_failure {
            // The connection died, or the request grew old, while the process was frozen.
            Some(failure) if was_idle && failure.class == ErrorClass::Interrupted => {}
            Some(failure) => {
                self.breaker.record_failure(failure.clone(), now);
                self.parked_from = Instant::now() + self.pace.slow_down();
            }
            None => {
                self.pace.speed_up();
                self.parked_from = Instant::now();
                // After an outage, the bus takes as much as before it. A bus that throttles doesn't.
                if self.breaker.close().is_some_and(|failure| failure.class != ErrorClass::Throttled) {
                    self.pace = Pace::default();
                }
            }
        }
    }
}

impl Failure {
    /// A failure at this time. If the error is temporary, the entry should be sent again.
    pub fn new(error: AwsError, from: Instant, jitter: f64) -> Self {
        let next = if error.class.is_temporary() { Next::Retry { from, jitter } } else { Next::GiveUp };
        Self { error, next }
    }

    fn last(error: AwsError) -> Self {
        Self { error, next: Next::GiveUp }
    }
}

fn missing(bus: &str) -> AwsError {
    AwsError::new(ErrorClass::Misconfigured, format!("there is no event bus `{bus}`"))
}

/// Sends a result. This fails if nobody waits for it any more.
fn send(sender: ResultSender, result: Result<EventId, Failure>) {
    let _ = sender.send(result);
}

/// Takes the entries of the next call: as many as the limits of `PutEvents` allow, or one that must be alone.
fn gather(lane: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut entries: Vec<Waiting> = lane.pop_front().into_iter().collect();
    let mut bytes = entries.iter().map(|first| first.bytes).sum::<usize>();
    while let (Some(first), Some(next)) = (entries.first(), lane.front())
        && !first.alone
        && !next.alone
        && entries.len() < MAX_ENTRIES
        && bytes + next.bytes <= MAX_ENTRY_BYTES
    {
        bytes += next.bytes;
        entries.extend(lane.pop_front());
    }
    entries
}
