//! The event bus of the local AWS: how it answers `PutEvents`, and what it has accepted.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

/// The start of the ids of the events whose arrival is recorded. A number follows.
pub const ID: &str = "evt_parked_";

const EVENT_ID: &str = "00000000-0000-4000-8000-000000000000";

/// How the bus answers.
#[derive(Clone, Copy, Default)]
pub struct Behaviour {
    /// The time until the answer.
    pub latency: Duration,
    /// The number of entries that it accepts in a second, and at once. It throttles the others one by one.
    pub quota: Option<f64>,
    /// A status and an error code with which it answers every call.
    pub error: Option<(u16, &'static str)>,
}

/// What has happened since the behaviour was set.
#[derive(Default)]
pub struct Seen {
    /// The number of calls.
    pub calls: u32,
    /// The number of entries that were throttled.
    pub throttled: u32,
    /// How often each recorded event was accepted, by its number.
    pub accepted: HashMap<usize, u32>,
    /// When an entry was first accepted after the outage.
    pub accepted_again: Option<Instant>,
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    seen: Seen,
    /// The entries that the quota still allows, and when that was computed.
    allowed: Option<(f64, Instant)>,
    outage_end: Option<Instant>,
}

/// The bus.
#[derive(Default)]
pub struct Bus(Mutex<State>);

impl Bus {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no thread panics")
    }

    /// Changes the behaviour from now on, and forgets what has happened.
    pub fn set(&self, behaviour: Behaviour) {
        *self.state() = State { behaviour, ..State::default() };
    }

    /// Makes every call fail from now on for this time. Returns its end.
    pub fn fail_for(&self, time: Duration) -> Instant {
        let end = Instant::now() + time;
        self.state().outage_end = Some(end);
        end
    }

    /// What has happened since the behaviour was set.
    pub fn take_seen(&self) -> Seen {
        std::mem::take(&mut self.state().seen)
    }

    /// Handles a `PutEvents` call. Returns the status and the body of the answer, after the bus's latency.
    pub fn put_events(&self, body: &[u8]) -> (u16, String) {
        let (latency, answer) = self.state().answer(body, Instant::now());
        if !latency.is_zero() {
            thread::sleep(latency);
        }
        answer
    }
}

impl State {
    fn answer(&mut self, body: &[u8], now: Instant) -> (Duration, (u16, String)) {
        self.seen.calls += 1;
        let Behaviour { latency, quota, error } = self.behaviour;
        let outage = self.outage_end.filter(|end| now < *end).map(|_| (500, "InternalException"));
        if let Some((status, code)) = error.or(outage) {
            return (latency, (status, format!(r#"{{"__type":"{code}","message":"on purpose"}}"#)));
        }
        // A member name inside of the detail, which is a string, is followed by an escaped quotation mark.
        let body = String::from_utf8_lossy(body);
        let (mut entries, mut failed) = (String::new(), 0);
        for detail in body.split(r#""Detail":"#).skip(1) {
            let comma = if entries.is_empty() { "" } else { "," };
            if quota.is_some_and(|quota| !self.take_allowed(quota, now)) {
                failed += 1;
                let _ = write!(entries, r#"{comma}{{"ErrorCode":"ThrottlingException","ErrorMessage":"on purpose"}}"#);
                continue;
            }
            let _ = write!(entries, r#"{comma}{{"EventId":"{EVENT_ID}"}}"#);
            if let Some(number) = number(detail) {
                *self.seen.accepted.entry(number).or_default() += 1;
            }
            if self.outage_end.is_some() {
                self.seen.accepted_again.get_or_insert(now);
            }
        }
        self.seen.throttled += failed;
        (latency, (200, format!(r#"{{"FailedEntryCount":{failed},"Entries":[{entries}]}}"#)))
    }

    /// Takes one entry from the quota, if it still allows one.
    fn take_allowed(&mut self, quota: f64, now: Instant) -> bool {
        let (allowed, since) = self.allowed.unwrap_or((quota, now));
        let allowed = (allowed + quota * (now - since).as_secs_f64()).min(quota);
        let takes = allowed >= 1.0;
        self.allowed = Some((if takes { allowed - 1.0 } else { allowed }, now));
        takes
    }
}

/// The number of the event in the text of an entry's detail.
fn number(detail: &str) -> Option<usize> {
    let (_, rest) = detail.split_once(ID)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
