//! The function under test, with real SDK clients that call local endpoints.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sdk_eventbridge::config::SharedHttpClient;
use lambda_runtime::{Context, LambdaEvent};
use scalekit_eventbridge::{
    aws,
    bus::{Bus, CHECK_TIME, check_exists},
    event::Validation,
    function::{Function, Policy},
    log,
    queue::Queue,
    secret::Keyring,
    signature::Key,
};
use serde_json::{Value, json};
use test_support::SignedDelivery;
pub use test_support::message;
use tokio::time::Instant;
use tracing::{Dispatch, instrument::WithSubscriber, level_filters::LevelFilter};

use super::endpoint::{Endpoint, event_id};

/// The secret that signs the tests' deliveries. It is not the development secret, so no test depends on that one.
pub const SECRET: &str = "whsec_dGVzdHMtc2lnbi13aXRoLXRoaXMtc2VjcmV0";

/// The tests' current time, in seconds since the Unix epoch. Deliveries are signed at this time by default.
pub const NOW: u64 = 1_760_434_167;

/// The body of a valid event, from the vendor's documentation.
pub const BODY: &str = include_str!("../../../events/bodies/organization.sso_enabled.json");

/// The maximum size in bytes, as EventBridge counts it, of an entry and also of a whole `PutEvents` call.
pub const MAX_BYTES: usize = 1_047_552;

/// The trace header of the tests' invocations.
pub const TRACE: &str = "Root=1-68ee1577-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1";

/// The function, its endpoints and its log.
pub struct App {
    pub bus: Endpoint,
    pub queue: Endpoint,
    pub function: Function,
    lines: Lines,
    /// The subscriber of this function only, so that tests can run in parallel.
    pub subscriber: Dispatch,
}

/// The function's response to an HTTP request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Value,
    /// The problem details, or `null` when the body is empty.
    pub problem: Value,
}

impl Answer {
    /// The code at the end of the problem's `type`.
    #[track_caller]
    pub fn code(&self) -> &str {
        let urn = self.problem["type"].as_str().unwrap_or_else(|| panic!("no problem: {self:?}"));
        urn.strip_prefix("urn:scalekit-eventbridge:problem:").unwrap()
    }
}

pub fn key() -> Key {
    Key::parse(SECRET).unwrap()
}

/// A delivery of this body that is signed at [`NOW`].
pub fn signed(body: impl AsRef<[u8]>) -> SignedDelivery {
    SignedDelivery::new(&key(), "msg_2aXyZ", NOW, body.as_ref())
}

/// A client without TLS. The endpoints are local, and loading the system's certificates would slow the tests down.
pub fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new().build_http()
}

pub fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

impl App {
    /// Starts the function without queues, which is the default.
    pub async fn start() -> Self {
        Self::with_log(log::Format::Json, LevelFilter::INFO).await
    }

    /// Starts the function with a parking queue and a dead-letter queue.
    pub async fn with_queues() -> Self {
        Self::start().await.and_queues()
    }

    /// Starts the function with a parking queue alone.
    pub async fn with_parking_queue() -> Self {
        let mut app = Self::with_queues().await;
        app.function.dead_letter_queue = None;
        app
    }

    /// Starts the function without queues, with this log format and level.
    pub async fn with_log(format: log::Format, level: LevelFilter) -> Self {
        Self::between(Endpoint::start().await, Endpoint::start().await, format, level).await
    }

    /// Starts the function with these endpoints, which may fail from the start.
    pub async fn before(bus: Endpoint, queue: Endpoint) -> Self {
        Self::between(bus, queue, log::Format::Json, LevelFilter::INFO).await
    }

    async fn between(bus: Endpoint, queue: Endpoint, format: log::Format, level: LevelFilter) -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = Dispatch::new(log::subscriber(format, level, move || writer.clone()));
        let client = aws_sdk_eventbridge::Client::from_conf(bus_config(&bus).build());
        let policy =
            Policy { tolerance: Duration::from_mins(5), validation: Validation::Tolerant, environment_id: None };
        let function = Function {
            keyring: Keyring::fixed(vec![key()]),
            policy,
            source: "scalekit".into(),
            bus: connect(client).with_subscriber(subscriber.clone()).await,
            parking_queue: None,
            dead_letter_queue: None,
        };
        Self { bus, queue, function, lines, subscriber }
    }

    /// Adds a parking queue and a dead-letter queue.
    pub fn and_queues(mut self) -> Self {
        let client = aws_sdk_sqs::Client::from_conf(
            aws_sdk_sqs::Config::builder()
                .behavior_version_latest()
                .region(aws_sdk_sqs::config::Region::new("eu-central-1"))
                .credentials_provider(aws_sdk_sqs::config::Credentials::for_tests())
                .endpoint_url(self.queue.url())
                .http_client(http_client())
                .timeout_config(aws::timeouts())
                .retry_config(aws_sdk_sqs::config::retry::RetryConfig::disabled())
                .build(),
        );
        let queue = |name| {
            let client = client.clone();
            Some(Queue::new(move || client, &self.queue.queue_url(name), "eu-central-1"))
        };
        (self.function.parking_queue, self.function.dead_letter_queue) = (queue("parking"), queue("dead-letters"));
        self
    }

    /// Invokes the function with an event at [`NOW`] and returns its reply.
    pub async fn invoke(&self, event: &Value) -> Result<Value, lambda_runtime::Diagnostic> {
        self.invoke_at(event, at(NOW)).await
    }

    /// Invokes the function with an event at this time and returns its reply.
    pub async fn invoke_at(&self, event: &Value, now: SystemTime) -> Result<Value, lambda_runtime::Diagnostic> {
        self.invoke_with(event, context(now, Duration::from_secs(10)), now).await
    }

    /// Invokes the function with an event and a context at this time and returns its reply.
    pub async fn invoke_with(
        &self,
        event: &Value,
        context: Context,
        now: SystemTime,
    ) -> Result<Value, lambda_runtime::Diagnostic> {
        self.invoke_text(&event.to_string(), context, now).await
    }

    /// Invokes the function with the text of an event, which must be valid JSON.
    pub async fn invoke_text(
        &self,
        event: &str,
        context: Context,
        now: SystemTime,
    ) -> Result<Value, lambda_runtime::Diagnostic> {
        let invocation = serde_json::from_str(event).unwrap();
        // Boxed because without optimization every caller that awaits this large future reserves stack space for it.
        let reply = Box::pin(self.function.invoke(LambdaEvent::new(invocation, context), now));
        let reply = reply.with_subscriber(self.subscriber.clone()).await?;
        Ok(serde_json::to_value(reply).unwrap())
    }

    /// Invokes the function with an HTTP envelope at [`NOW`] and parses its answer.
    pub async fn deliver(&self, envelope: &Value) -> Answer {
        read(&self.invoke(envelope).await.unwrap())
    }

    /// The lines of the log so far, parsed as JSON.
    pub fn lines(&self) -> Vec<Value> {
        self.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The log lines about deliveries and messages so far, parsed as JSON.
    pub fn records(&self) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line.get("outcome").is_some()).collect()
    }

    /// Clears the log and the records of the endpoints.
    pub fn forget(&self) {
        self.lines.0.lock().unwrap().clear();
        self.bus.forget();
        self.queue.forget();
    }

    /// The log so far.
    pub fn log(&self) -> String {
        String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap()
    }
}

/// The bus `scalekit-events`, as it is after its check at start.
pub async fn connect(client: aws_sdk_eventbridge::Client) -> Bus {
    let status = check_exists(client.clone(), "scalekit-events".into(), Instant::now() + CHECK_TIME).await;
    Bus::new(client, "scalekit-events", at(NOW), &status)
}

/// The valid body with another event id.
pub fn body_of(event_id: &str) -> String {
    BODY.replacen("evt_94568078213382471", event_id, 1)
}

/// The body of a parked event whose entry has this size.
pub fn body_of_entry(event_id: &str, bytes: usize) -> String {
    let body = body_of(event_id);
    let padding = bytes - body.len() - "scalekit".len() - "organization.sso_enabled".len() - 14;
    body + &" ".repeat(padding)
}

/// The ids of the events in each `PutEvents` call.
pub fn calls(app: &App) -> Vec<Vec<String>> {
    let calls = app.bus.requests("PutEvents");
    calls.iter().map(|call| call["Entries"].as_array().unwrap().iter().map(event_id).collect()).collect()
}

/// The ids of the events that the bus accepted.
pub fn taken(app: &App) -> Vec<String> {
    app.bus.taken().iter().map(|taken| event_id(&taken.what)).collect()
}

/// The ids in alphabetical order: several calls run at once, so the order in which the bus takes events is not fixed.
pub fn in_order(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// The SQS event for a batch of messages.
pub fn batch(messages: &[Value]) -> Value {
    json!({"Records": messages})
}

/// The function's configuration of the bus client, with a local endpoint.
pub fn bus_config(bus: &Endpoint) -> aws_sdk_eventbridge::config::Builder {
    aws_sdk_eventbridge::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_eventbridge::config::Region::new("eu-central-1"))
        .credentials_provider(aws_sdk_eventbridge::config::Credentials::for_tests())
        .endpoint_url(bus.url())
        .http_client(http_client())
        .timeout_config(aws::timeouts())
        .retry_config(aws_sdk_eventbridge::config::retry::RetryConfig::disabled())
}

/// The Lambda context of an invocation that must be answered within this time.
pub fn context(now: SystemTime, within: Duration) -> Context {
    let mut context = Context::default();
    context.request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd".into();
    context.xray_trace_id = Some(TRACE.into());
    let deadline = (now + within).duration_since(UNIX_EPOCH).unwrap();
    context.deadline = u64::try_from(deadline.as_millis()).unwrap();
    context
}

/// Parses the function's reply as its caller would.
pub fn read(reply: &Value) -> Answer {
    assert_eq!(reply["isBase64Encoded"], json!(false), "{reply}");
    let body = reply["body"].as_str().unwrap();
    Answer {
        status: reply["statusCode"].as_u64().unwrap().try_into().unwrap(),
        headers: reply["headers"].clone(),
        problem: if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() },
    }
}

#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
