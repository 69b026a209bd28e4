//! A model test of the way to the bus: random deliveries, batches, deadlines, cancellations and pauses of the process, while
//! the bus and the queues behave at random. Time is paused and AWS is in the same process, so a minute takes no time.
//!
//! Whatever happens, each acknowledged event is stored, each result belongs to its own event, no event is put on the bus
//! again after the bus has confirmed it, no more calls run at once than the pace allows, and none runs while the process is
//! frozen.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use aws_sdk_eventbridge::config::{
    BehaviorVersion, Credentials, Region, RuntimeComponents, SharedCredentialsProvider, SharedHttpClient,
    retry::RetryConfig,
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use lambda_runtime::LambdaEvent;
use proptest::{prelude::*, sample::Index, test_runner::Config};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use scalekit_eventbridge::{
    aws,
    bus::{Bus, BusStatus},
    event::Validation,
    function::{Function, Policy},
    queue::Queue,
    secret::Keyring,
};
use serde_json::{Value, json};
use test_support::SignedDelivery;
use tokio::{
    runtime::Runtime,
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::support::app::{NOW, at, batch, body_of, context, key, message};

/// How the bus treats calls.
#[derive(Debug, Clone, Copy)]
enum Weather {
    /// It accepts them after this many milliseconds.
    Fine(u64),
    /// It fails the calls that contain certain events.
    Poison,
    /// It rejects certain entries.
    Rejecting,
    /// Certain entries fail with an unknown error.
    Odd,
    Throttling,
    Unavailable,
    Hanging,
    /// It accepts the entries, and the connection is lost before it answers.
    Losing,
}

/// Whether the bus treats this event in the special way of its weather.
fn is_special(event: &str) -> bool {
    let number: u32 = event.trim_start_matches("evt_").parse().unwrap();
    number.is_multiple_of(7)
}

#[derive(Debug, Clone)]
enum Step {
    Bus(Weather),
    /// Whether the queues accept messages.
    Queues(bool),
    /// Deliveries at once, each with this many milliseconds until Lambda's deadline.
    Deliver(u32, u64),
    /// Parked messages in one batch.
    Drain(u32, u64),
    /// Cancels one of the running invocations.
    Cancel(Index),
    /// Time passes, in milliseconds.
    Wait(u64),
    /// All invocations end, Lambda freezes the process for this many seconds, and perhaps its connection dies.
    Freeze(u64, bool),
}

/// The number of the next event.
#[derive(Debug, Clone)]
struct Numbers(u32);

impl ReferenceStateMachine for Numbers {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self(1)).boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let left = prop_oneof![Just(0), 200..1_000_u64, 1_000..10_000_u64, Just(10_000)];
        let weather = prop_oneof![
            3 => (1..2_490_u64).prop_map(Weather::Fine),
            3 => (1..100_u64).prop_map(Weather::Fine),
            2 => Just(Weather::Poison),
            1 => Just(Weather::Rejecting),
            1 => Just(Weather::Odd),
            2 => Just(Weather::Throttling),
            2 => Just(Weather::Unavailable),
            2 => Just(Weather::Hanging),
            2 => Just(Weather::Losing),
        ];
        prop_oneof![
            4 => weather.prop_map(Step::Bus),
            1 => any::<bool>().prop_map(Step::Queues),
            4 => (1..30_u32, left.clone()).prop_map(|(count, left)| Step::Deliver(count, left)),
            4 => (1..120_u32, left).prop_map(|(count, left)| Step::Drain(count, left)),
            1 => any::<Index>().prop_map(Step::Cancel),
            4 => (1..3_000_u64).prop_map(Step::Wait),
            1 => (1..600_u64, any::<bool>()).prop_map(|(seconds, dies)| Step::Freeze(seconds, dies)),
        ]
        .boxed()
    }

    fn apply(Self(next): Self, step: &Step) -> Self {
        match step {
            Step::Deliver(count, _) | Step::Drain(count, _) => Self(next + count),
            _ => Self(next),
        }
    }
}

/// EventBridge and SQS.
#[derive(Debug)]
struct Aws {
    weather: Weather,
    queues_work: bool,
    /// Whether the connection has died, which the next call notices.
    is_dead: bool,
    /// The calls of `PutEvents` that are running.
    running: usize,
    /// The most calls that may run at once, by the rules of the pace.
    pace: usize,
    /// The pace before it last changed, and when that was: what changes in the same instant is not known to the function yet.
    last_pace: (usize, Instant),
    successes: usize,
    failures: usize,
    last_was_throttled: bool,
    /// The ids that the bus has given to each event.
    on_bus: HashMap<String, Vec<String>>,
    /// The events for which the function has received the bus's answer in time.
    confirmed: HashSet<String>,
    in_queues: HashSet<String>,
    /// The events of parked messages.
    parked: HashSet<String>,
    /// When the function stops waiting for the bus, for each event.
    deadlines: HashMap<String, Vec<Instant>>,
    /// What must not happen. A panic in a call would not end the test.
    violations: Vec<String>,
}

#[derive(Debug, Clone)]
struct FakeAws(Arc<Mutex<Aws>>);

impl HttpClient for FakeAws {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for FakeAws {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let aws = self.clone();
        let body: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let target = request.headers().get("x-amz-target").unwrap_or_default().to_owned();
        HttpConnectorFuture::new(async move {
            match target.rsplit('.').next().unwrap() {
                "PutEvents" => aws.put_events(&body).await,
                "SendMessage" => Ok(aws.send_message(&body)),
                "DescribeEventBus" => Ok(answer(200, &json!({"Name": "bus"}))),
                other => panic!("unexpected call: {other}"),
            }
        })
    }
}

/// A running call. It ends when the function drops it, too.
struct Running(FakeAws);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

fn answer(status: u16, body: &Value) -> HttpResponse {
    HttpResponse::new(StatusCode::try_from(status).unwrap(), body.to_string().into())
}

fn event_id(body: &str) -> String {
    serde_json::from_str::<Value>(body).unwrap()["id"].as_str().unwrap().to_owned()
}

impl FakeAws {
    fn lock(&self) -> MutexGuard<'_, Aws> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn put_events(&self, body: &Value) -> Result<HttpResponse, ConnectorError> {
        let entries = body["Entries"].as_array().unwrap();
        let events: Vec<_> = entries.iter().map(|entry| event_id(entry["Detail"].as_str().unwrap())).collect();
        assert!(events.len() <= 10);
        let (weather, _running) = {
            let mut aws = self.lock();
            let pace = if aws.last_pace.1 == Instant::now() { aws.pace.max(aws.last_pace.0) } else { aws.pace };
            // Deliveries don't wait for the pace, nor for the calls of parked messages.
            let is_parked = events.iter().all(|event| aws.parked.contains(event));
            let allowed = if is_parked { pace } else { 20 };
            if aws.running >= allowed {
                let violation = format!("{} calls run, and the pace allows {allowed}", aws.running);
                aws.violations.push(violation);
            }
            if let Some(event) = events.iter().find(|event| aws.confirmed.contains(*event)) {
                let violation = format!("{event} is put again, although the bus has confirmed it");
                aws.violations.push(violation);
            }
            aws.running += 1;
            if std::mem::take(&mut aws.is_dead) {
                drop(aws);
                // The call of a process that was frozen says nothing about the bus, so the pace stays.
                let _running = Running(self.clone());
                return Err(ConnectorError::io("the connection has died".into()));
            }
            (aws.weather, Running(self.clone()))
        };
        let began = Instant::now();
        let is_poisoned = events.iter().any(|event| is_special(event));
        let fail = async |status, code: &str| {
            sleep(Duration::from_millis(5)).await;
            self.lock().count(false, code.starts_with("Throttling"));
            Ok(answer(status, &json!({"__type": code})))
        };
        match weather {
            Weather::Throttling => fail(400, "ThrottlingException").await,
            Weather::Unavailable => fail(503, "ServiceUnavailable").await,
            Weather::Poison if is_poisoned => fail(500, "InternalException").await,
            Weather::Hanging => {
                // The SDK ends the call after 2.5 seconds.
                sleep(Duration::from_millis(2_499)).await;
                self.lock().count_hanging(&events);
                std::future::pending().await
            }
            Weather::Losing => {
                self.lock().accept(&events);
                self.lock().count(false, false);
                Err(ConnectorError::io("the connection was lost".into()))
            }
            Weather::Fine(_) | Weather::Poison | Weather::Rejecting | Weather::Odd => {
                let code = match weather {
                    Weather::Rejecting => Some("MalformedDetail"),
                    Weather::Odd => Some("NeverHeardOf"),
                    _ => None,
                };
                let accepted: Vec<_> =
                    events.iter().filter(|event| code.is_none() || !is_special(event)).cloned().collect();
                let ids = self.lock().accept(&accepted);
                sleep(Duration::from_millis(if let Weather::Fine(time) = weather { time } else { 5 })).await;
                let results: Vec<_> = events
                    .iter()
                    .map(|event| match ids.get(event) {
                        Some(id) => json!({"EventId": id}),
                        None => json!({"ErrorCode": code}),
                    })
                    .collect();
                let mut aws = self.lock();
                let in_time = |event: &&String| {
                    !aws.deadlines[*event].iter().any(|deadline| (began..=Instant::now()).contains(deadline))
                };
                let in_time: Vec<_> = accepted.iter().filter(in_time).cloned().collect();
                aws.confirmed.extend(in_time);
                aws.count(true, false);
                Ok(answer(200, &json!({"FailedEntryCount": events.len() - ids.len(), "Entries": results})))
            }
        }
    }

    fn send_message(&self, body: &Value) -> HttpResponse {
        let mut aws = self.lock();
        if !aws.queues_work {
            return answer(403, &json!({"__type": "AccessDeniedException"}));
        }
        aws.in_queues.insert(event_id(body["MessageBody"].as_str().unwrap()));
        answer(200, &json!({"MessageId": "1"}))
    }
}

impl Aws {
    /// Accepts entries, and returns the id of each.
    fn accept(&mut self, events: &[String]) -> HashMap<String, String> {
        let accept = |event: &String| {
            let ids = self.on_bus.entry(event.clone()).or_default();
            let id = format!("{event}/{}", ids.len());
            ids.push(id.clone());
            (event.clone(), id)
        };
        events.iter().map(accept).collect()
    }

    /// Counts a call that hangs until the SDK ends it, one millisecond from now. If everybody stops waiting for it in the same
    /// instant, the function may or may not notice the failure.
    fn count_hanging(&mut self, events: &[String]) {
        let instant = Instant::now()..=Instant::now() + Duration::from_millis(1);
        let is_awaited = |event: &String| !self.deadlines[event].iter().any(|deadline| instant.contains(deadline));
        if events.iter().any(is_awaited) {
            self.count(false, false);
        } else {
            self.failures += 1;
        }
    }

    /// Counts a call, by the rules of the pace.
    fn count(&mut self, succeeded: bool, throttled: bool) {
        if self.last_pace.1 != Instant::now() {
            self.last_pace = (self.pace, Instant::now());
        }
        self.last_pace.0 = self.last_pace.0.max(self.pace);
        if !succeeded {
            self.pace = 1.max(self.pace / 2);
            (self.successes, self.failures, self.last_was_throttled) = (0, self.failures + 1, throttled);
            return;
        }
        self.successes += 1;
        if self.successes >= self.pace {
            (self.pace, self.successes) = (10.min(self.pace + 1), 0);
        }
        if self.failures >= 5 && !self.last_was_throttled {
            (self.pace, self.successes) = (10, 0);
        }
        self.failures = 0;
    }
}

/// An invocation that is running.
struct Invocation {
    reply: JoinHandle<Value>,
    events: Vec<String>,
    began: Instant,
    left: Duration,
}

/// The function.
struct Process {
    runtime: Runtime,
    function: Arc<Function>,
    aws: FakeAws,
    invocations: Vec<Invocation>,
    began: Instant,
    /// How long the process was frozen.
    frozen: Duration,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("aws", &self.aws).finish_non_exhaustive()
    }
}

impl Process {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let guard = runtime.enter();
        let began = Instant::now();
        let aws = FakeAws(Arc::new(Mutex::new(Aws {
            weather: Weather::Fine(10),
            queues_work: true,
            is_dead: false,
            running: 0,
            pace: 10,
            last_pace: (10, began),
            successes: 0,
            failures: 0,
            last_was_throttled: false,
            on_bus: HashMap::new(),
            confirmed: HashSet::new(),
            in_queues: HashSet::new(),
            parked: HashSet::new(),
            deadlines: HashMap::new(),
            violations: Vec::new(),
        })));
        let sdk = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
            .http_client(SharedHttpClient::new(aws.clone()))
            .timeout_config(aws::timeouts())
            .retry_config(RetryConfig::disabled())
            .build();
        let client = aws_sdk_eventbridge::Client::new(&sdk);
        let queues = aws_sdk_sqs::Client::new(&sdk);
        let queue = |name: &str| {
            let queues = queues.clone();
            let url = format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{name}");
            Some(Queue::new(move || queues, &url, "eu-central-1"))
        };
        let function = Arc::new(Function {
            keyring: Keyring::fixed(vec![key()]),
            policy: Policy {
                tolerance: Duration::from_mins(5),
                validation: Validation::Tolerant,
                environment_id: None,
            },
            source: "scalekit".into(),
            bus: Bus::new(client, "bus", at(NOW), &BusStatus::Exists),
            parking_queue: queue("parking"),
            dead_letter_queue: queue("dead-letters"),
        });
        drop(guard);
        Self { runtime, function, aws, invocations: Vec::new(), began, frozen: Duration::ZERO }
    }

    fn now(&self) -> SystemTime {
        let _guard = self.runtime.enter();
        at(NOW) + self.began.elapsed() + self.frozen
    }

    fn invoke(&mut self, event: &Value, events: Vec<String>, left: u64) {
        let (now, left, function) = (self.now(), Duration::from_millis(left), Arc::clone(&self.function));
        let event = LambdaEvent::new(serde_json::from_value(event.clone()).unwrap(), context(now, left));
        let _guard = self.runtime.enter();
        // A delivery waits for the bus until it is parked, and again if it can't be parked. A batch waits for most of the time.
        let response = Duration::from_millis(7_500).min(left.saturating_sub(Duration::from_millis(300)));
        for event in &events {
            let parts = if events.len() == 1 { vec![2.0 / 3.0, 0.9, 1.0] } else { vec![0.9] };
            let deadlines = parts.into_iter().map(|part| Instant::now() + response.mul_f64(part)).collect();
            self.aws.lock().deadlines.insert(event.clone(), deadlines);
        }
        let reply = async move { serde_json::to_value(function.invoke(event, now).await.unwrap()).unwrap() };
        self.invocations.push(Invocation { reply: self.runtime.spawn(reply), events, began: Instant::now(), left });
    }

    /// Lets time pass, and checks the invocations that end.
    fn wait(&mut self, milliseconds: u64) {
        assert_eq!(self.aws.lock().violations, Vec::<String>::new());
        self.runtime.block_on(async { sleep(Duration::from_millis(milliseconds)).await });
        for invocation in std::mem::take(&mut self.invocations) {
            if invocation.reply.is_finished() {
                self.check(invocation);
            } else {
                // The function's own limit, and what remains until Lambda ends it.
                let _guard = self.runtime.enter();
                let limit = invocation.left.min(Duration::from_millis(7_650));
                assert!(invocation.began.elapsed() <= limit + Duration::from_millis(milliseconds), "it is late");
                self.invocations.push(invocation);
            }
        }
    }

    /// Checks that what was acknowledged is stored.
    fn check(&self, invocation: Invocation) {
        let reply = self.runtime.block_on(invocation.reply).unwrap();
        let aws = self.aws.lock();
        let acknowledged: Vec<_> = match reply.get("batchItemFailures") {
            Some(failures) => {
                let failed: Vec<_> = failures
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|failure| failure["itemIdentifier"].as_str().unwrap())
                    .collect();
                invocation.events.iter().filter(|event| !failed.contains(&event.as_str())).collect()
            }
            None if reply["statusCode"] == 200 => invocation.events.iter().collect(),
            None => {
                assert!([422, 503].contains(&reply["statusCode"].as_u64().unwrap()), "{reply}");
                Vec::new()
            }
        };
        for event in acknowledged {
            assert!(aws.on_bus.contains_key(event) || aws.in_queues.contains(event), "{event} is lost");
        }
    }

    fn end_all(&mut self) {
        // Time passes even if none is running, because one may just have been cancelled.
        loop {
            self.wait(1_000);
            if self.invocations.is_empty() {
                break;
            }
        }
        let aws = self.aws.lock();
        assert_eq!((aws.running, &aws.violations), (0, &Vec::new()), "nothing runs while the process is frozen");
    }
}

struct Model;

impl StateMachineTest for Model {
    type SystemUnderTest = Process;
    type Reference = Numbers;

    fn init_test(_: &Numbers) -> Process {
        Process::start()
    }

    fn apply(mut process: Process, after: &Numbers, step: Step) -> Process {
        let events = |count: u32| (after.0 - count..after.0).map(|number| format!("evt_{number}"));
        match step {
            Step::Bus(weather) => process.aws.lock().weather = weather,
            Step::Queues(work) => process.aws.lock().queues_work = work,
            Step::Deliver(count, left) => {
                for event in events(count) {
                    let now = process.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
                    let delivery = SignedDelivery::new(&key(), "msg_1", now, body_of(&event).as_bytes());
                    process.invoke(&delivery.function_url(), vec![event], left);
                }
            }
            Step::Drain(count, left) => {
                let events: Vec<_> = events(count).collect();
                let messages: Vec<_> = events.iter().map(|event| message(event, &body_of(event), None)).collect();
                process.aws.lock().parked.extend(events.iter().cloned());
                process.invoke(&batch(&messages), events, left);
            }
            Step::Cancel(index) if !process.invocations.is_empty() => {
                let cancelled = index.index(process.invocations.len());
                process.invocations.swap_remove(cancelled).reply.abort();
            }
            Step::Cancel(_) => {}
            Step::Wait(milliseconds) => process.wait(milliseconds),
            Step::Freeze(seconds, dies) => {
                process.end_all();
                process.frozen += Duration::from_secs(seconds);
                process.aws.lock().is_dead = dies && seconds > 1;
            }
        }
        process
    }

    fn teardown(mut process: Process, _: Numbers) {
        process.end_all();
        // When the bus is well again, everything is forwarded.
        process.aws.lock().weather = Weather::Fine(10);
        process.frozen += Duration::from_secs(6);
        let now = process.now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let delivery = SignedDelivery::new(&key(), "msg_1", now, body_of("evt_0").as_bytes());
        process.invoke(&delivery.function_url(), vec!["evt_0".into()], 10_000);
        process.end_all();
        assert!(process.aws.lock().confirmed.contains("evt_0"), "the bus is well, and the event isn't on it");
    }
}

prop_state_machine! {
    #![proptest_config(Config { cases: 40, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_acknowledged_event_is_stored_whatever_happens(sequential 1..40 => Model);
}
