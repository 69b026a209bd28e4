//! The soak test sends many distinct deliveries at once while the bus and the queue fail at random. The sender retries
//! deliveries that are not acknowledged, and the parking queue is drained at the end. Every acknowledged event must
//! then be on the bus.
//!
//! `cargo test` runs a short version. The long version takes a few minutes:
//!
//! ```sh
//! SOAK_DELIVERIES=50000 cargo test --release --test suite soak
//! ```
//!
//! The faults are derived from a seed (`SOAK_SEED`), which is printed with the figures. Which delivery meets which
//! fault also depends on the timing, so a seed reproduces the sequence of faults but not the whole run.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    env, fmt,
    io::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use test_support::SignedDelivery;

use crate::{
    support::app::{App, NOW, at, batch, context, key, message},
    support::endpoint::{Behaviour, Recorded, event_id, failed_call},
};

/// The number of deliveries unless `SOAK_DELIVERIES` is set.
const DELIVERIES: u64 = 1_500;

/// The number of concurrent deliveries.
const CONCURRENT_DELIVERIES: usize = 64;

/// The maximum number of times that a delivery is sent while faults are injected.
const TRIES: usize = 4;

/// The time limit of each invocation while faults are injected. It is short so that hanging calls don't slow the test
/// down.
const SHORT_TIME_LIMIT: Duration = Duration::from_millis(1_500);

/// The time limit of each invocation when no faults are injected.
const LONG_TIME_LIMIT: Duration = Duration::from_secs(10);

/// The body of the `n`th event. Its unusual notation reveals whether it was forwarded byte for byte.
fn body(n: u64) -> String {
    format!(
        "{{\"spec_version\":\"1\", \"id\":\"evt_{n}\",\"type\":\"user.login\",\"object\":\"User\",\
         \"environment_id\":\"env_1\",\"occurred_at\":\"2025-10-14T09:29:27.{n:09}Z\",\t\"n\":{n}.50}}"
    )
}

/// Decides which calls of an operation fail: single calls at random, and series of calls that fail alike in an outage.
struct FaultPlan {
    rng: Rng,
    faults_in_percent: u8,
    /// The average number of calls between two outages, and the maximum number of calls in an outage.
    outages: (u16, usize),
    outage: Option<(Behaviour, usize)>,
    injected: Arc<AtomicUsize>,
}

impl FaultPlan {
    fn behaviour(&mut self, request: &Recorded) -> Option<Behaviour> {
        let behaviour = match &mut self.outage {
            Some((behaviour, left)) if *left > 0 => {
                *left -= 1;
                Some(behaviour.clone())
            }
            _ if self.rng.u16(..self.outages.0) == 0 => {
                let behaviour = self.outage();
                self.outage = Some((behaviour.clone(), self.rng.usize(..self.outages.1)));
                Some(behaviour)
            }
            _ => (self.rng.u8(..100) < self.faults_in_percent).then(|| self.fault(request)),
        };
        self.injected.fetch_add(usize::from(behaviour.is_some()), Ordering::Relaxed);
        behaviour
    }

    fn outage(&mut self) -> Behaviour {
        match self.rng.u8(..6) {
            0 => Behaviour::Reset,
            1 => Behaviour::Close,
            2 => failed_call(400, "ThrottlingException"),
            3 => failed_call(400, "AccessDeniedException"),
            4 => failed_call(503, "ServiceUnavailable"),
            _ => Behaviour::Raw(500, Vec::new()),
        }
    }

    fn fault(&mut self, request: &Recorded) -> Behaviour {
        match self.rng.u8(..100) {
            0 => Behaviour::Hang,
            1 => Behaviour::HalfThenHang,
            2..20 => Behaviour::HalfThenClose,
            20..30 => Behaviour::Slow(Duration::from_millis(self.rng.u64(..300))),
            30..40 => Behaviour::Raw(200, b"<garbage>".to_vec()),
            40..50 => Behaviour::Answer(200, json!({"FailedEntryCount": 0, "Entries": [{}]})),
            50..75 if request.operation == "PutEvents" => self.failed_entries(request),
            _ => self.outage(),
        }
    }

    /// Fails half of the call's entries, but at least one.
    fn failed_entries(&mut self, request: &Recorded) -> Behaviour {
        let mut ids: Vec<_> = request.body["Entries"].as_array().unwrap().iter().map(event_id).collect();
        self.rng.shuffle(&mut ids);
        ids.truncate(ids.len().div_ceil(2));
        let codes = ["ThrottlingException", "InternalFailure", "InternalException"];
        Behaviour::Fail(ids.into_iter().map(|id| (id, codes[self.rng.usize(..codes.len())])).collect())
    }
}

/// Makes all services fail at random. `outages` sets how often the bus has an outage and how long it lasts, in calls.
fn inject_faults(app: &App, seed: u64, outages: (u16, usize), injected: &Arc<AtomicUsize>) {
    let plans = [
        (&app.bus, "PutEvents", 30, outages),
        (&app.bus, "DescribeEventBus", 50, (5, 5)),
        (&app.queue, "SendMessage", 50, (100, 200)),
    ];
    for (nth, (endpoint, operation, faults_in_percent, outages)) in (1..).zip(plans) {
        let rng = Rng::with_seed(seed.wrapping_add(nth));
        let injected = Arc::clone(injected);
        let mut faults = FaultPlan { rng, faults_in_percent, outages, outage: None, injected };
        endpoint.plan(operation, move |request| faults.behaviour(request));
    }
}

fn stop_faults(app: &App) {
    app.bus.recover();
    app.queue.recover();
}

/// Sends the `n`th delivery once. The time advances with each delivery, so that the periodic checks of the bus become
/// due.
async fn send(app: &App, n: u64, limit: Duration) -> u16 {
    let now = NOW + n;
    let envelope = SignedDelivery::new(&key(), &format!("msg_{n}"), now, body(n).as_bytes()).function_url();
    let reply = app.invoke_with(&envelope, context(at(now), limit), at(now)).await.unwrap();
    u16::try_from(reply["statusCode"].as_u64().unwrap()).unwrap()
}

/// Sends each delivery until it is acknowledged, at most `tries` times. Returns the deliveries that were not
/// acknowledged.
async fn deliver_all(
    app: &Arc<App>,
    deliveries: Vec<u64>,
    tries: usize,
    limit: Duration,
    sent: &Arc<AtomicUsize>,
) -> Vec<u64> {
    let waiting = Arc::new(Mutex::new(VecDeque::from(deliveries)));
    let mut senders = JoinSet::new();
    for _ in 0..CONCURRENT_DELIVERIES {
        let (app, waiting, sent) = (Arc::clone(app), Arc::clone(&waiting), Arc::clone(sent));
        senders.spawn(async move {
            let mut unacknowledged = Vec::new();
            loop {
                let Some(n) = waiting.lock().unwrap().pop_front() else { return unacknowledged };
                let mut acknowledged = false;
                for _ in 0..tries {
                    sent.fetch_add(1, Ordering::Relaxed);
                    let status = send(&app, n, limit).await;
                    acknowledged = status == 200;
                    assert!([200, 500, 503].contains(&status), "delivery {n}: {status}");
                    if acknowledged {
                        break;
                    }
                }
                if !acknowledged {
                    unacknowledged.push(n);
                }
            }
        });
    }
    senders.join_all().await.concat()
}

/// Invokes the function with these messages in batches of ten, as Lambda does. Returns the messages that it reported as
/// failed.
async fn drain_once(app: &Arc<App>, messages: Vec<Value>, limit: Duration) -> Vec<Value> {
    let waiting = Arc::new(Mutex::new(VecDeque::from(messages)));
    let mut pollers = JoinSet::new();
    for _ in 0..CONCURRENT_DELIVERIES / 8 {
        let (app, waiting) = (Arc::clone(app), Arc::clone(&waiting));
        pollers.spawn(async move {
            let mut failed = Vec::new();
            loop {
                let ten: Vec<_> = {
                    let mut waiting = waiting.lock().unwrap();
                    let ten = waiting.len().min(10);
                    waiting.drain(..ten).collect()
                };
                if ten.is_empty() {
                    return failed;
                }
                let now = at(NOW + 86_400);
                let reply = app.invoke_with(&batch(&ten), context(now, limit), now).await.unwrap();
                let failures = reply["batchItemFailures"].as_array().unwrap();
                let failures: HashSet<_> = failures.iter().map(|failure| &failure["itemIdentifier"]).collect();
                failed.extend(ten.iter().filter(|message| failures.contains(&message["messageId"])).cloned());
            }
        });
    }
    pollers.join_all().await.concat()
}

/// The figures of a run.
#[derive(Debug, Default)]
struct Figures {
    seed: u64,
    seconds: f64,
    deliveries: u64,
    faults: usize,
    sent_again: usize,
    entries_retried: usize,
    parked: usize,
    drained: usize,
    drained_again: usize,
    on_bus: usize,
    duplicates: usize,
    lost: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, seconds, deliveries, faults, sent_again, entries_retried, .. } = self;
        let Self { parked, drained, drained_again, on_bus, duplicates, lost, .. } = self;
        writeln!(f, "soak: seed {seed}, {seconds:.1} s")?;
        writeln!(f, "  deliveries         {deliveries:>8}   all acknowledged")?;
        writeln!(f, "  faults injected    {faults:>8}")?;
        writeln!(f, "  sent again         {sent_again:>8}   by the sender, after 500 or 503")?;
        writeln!(f, "  entries retried    {entries_retried:>8}   by the function, within an invocation")?;
        writeln!(f, "  parked             {parked:>8}   acknowledged by the queue")?;
        writeln!(f, "  drained            {drained:>8}   messages, {drained_again} redeliveries")?;
        writeln!(f, "  on the bus         {on_bus:>8}   distinct events, {duplicates} duplicates")?;
        writeln!(f, "  lost               {lost:>8}")
    }
}

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{variable}: {value}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_event_is_lost() {
    let (seed, deliveries) = (number("SOAK_SEED", 94_568_078), number("SOAK_DELIVERIES", DELIVERIES));
    let begun = Instant::now();
    let app = Arc::new(App::with_queues().await);
    let (injected, sent) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();

    inject_faults(&app, seed, (500, 400), &injected);
    let third = deliveries / 3;
    let mut unacknowledged = deliver_all(&app, (1..=third).collect(), TRIES, SHORT_TIME_LIMIT, &sent).await;
    // An outage of the whole bus: the queue still fails at random.
    app.bus.always("PutEvents", failed_call(503, "ServiceUnavailable"));
    let during_outage = (third + 1..=2 * third).collect();
    unacknowledged.extend(deliver_all(&app, during_outage, TRIES, SHORT_TIME_LIMIT, &sent).await);
    inject_faults(&app, seed.wrapping_add(20), (500, 400), &injected);
    let after_outage = (2 * third + 1..=deliveries).collect();
    unacknowledged.extend(deliver_all(&app, after_outage, TRIES, SHORT_TIME_LIMIT, &sent).await);
    // The sender's last attempt is made when no more faults are injected.
    stop_faults(&app);
    assert_eq!(deliver_all(&app, unacknowledged, 1, LONG_TIME_LIMIT, &sent).await, Vec::<u64>::new());
    let acknowledged: HashSet<_> = (1..=deliveries).map(|n| format!("evt_{n}")).collect();
    let mut entries: HashMap<String, usize> = HashMap::new();
    app.bus.entries().iter().for_each(|entry| *entries.entry(event_id(entry)).or_default() += 1);
    // There is one record for each invocation.
    for record in app.records() {
        let entries = entries.entry(record["event_id"].as_str().unwrap().to_owned()).or_default();
        *entries = entries.saturating_sub(1);
    }

    let parked: Vec<_> = app.queue.taken().into_iter().filter(|taken| taken.is_in("parking")).collect();
    let parked_ids: HashSet<_> = parked.iter().map(|taken| taken.id.clone()).collect();
    let mut messages: Vec<_> = parked.iter().map(|taken| message(&taken.id, taken.body(), None)).collect();
    // SQS delivers at least once, so some messages are delivered again after they were forwarded.
    messages.extend(messages.clone().into_iter().step_by(50));
    let mut drained_again = 0;
    // Ten events share one call, so there are fewer calls. Outages must be more frequent to occur at all.
    inject_faults(&app, seed.wrapping_add(10), (10, 40), &injected);
    for _ in 0..3 {
        messages = drain_once(&app, messages, SHORT_TIME_LIMIT).await;
        drained_again += messages.len();
    }
    stop_faults(&app);
    assert_eq!(
        drain_once(&app, messages, LONG_TIME_LIMIT).await,
        Vec::<Value>::new(),
        "no message should stay in the queue"
    );

    let mut on_bus: HashMap<String, usize> = HashMap::new();
    for taken in app.bus.taken() {
        let id = event_id(&taken.what);
        let n = id.strip_prefix("evt_").unwrap().parse().unwrap();
        assert_eq!(taken.body(), body(n), "the event should be forwarded byte for byte");
        *on_bus.entry(id).or_default() += 1;
    }
    let lost: Vec<_> = acknowledged.iter().filter(|id| !on_bus.contains_key(*id)).collect();
    let records = app.records();
    let parked = records.iter().filter(|record| record["outcome"] == "parked");
    let figures = Figures {
        seed,
        seconds: begun.elapsed().as_secs_f64(),
        deliveries,
        faults: injected.load(Ordering::Relaxed),
        sent_again: sent.load(Ordering::Relaxed) - usize::try_from(deliveries).unwrap(),
        entries_retried: entries.values().sum(),
        parked: parked.clone().count(),
        drained: parked_ids.len(),
        drained_again,
        on_bus: on_bus.len(),
        duplicates: on_bus.values().map(|times| times - 1).sum(),
        lost: lost.len(),
    };
    // Write to stderr directly, because the test runner captures the output of `eprintln!`.
    let _ = write!(std::io::stderr(), "{figures}");

    assert_eq!(lost, Vec::<&String>::new());
    assert_eq!(on_bus.len(), acknowledged.len(), "the bus should not have an event that was never sent");
    for record in parked {
        assert!(
            parked_ids.contains(record["queue_message_id"].as_str().unwrap()),
            "the queue should have the message: {record}"
        );
    }
    // The run is only meaningful if each kind of fault, retry and redelivery occurred.
    assert!(figures.faults > 0 && figures.sent_again > 0 && figures.entries_retried > 0, "{figures}");
    assert!(figures.parked > 0 && figures.drained_again > 0 && figures.duplicates > 0, "{figures}");
}
