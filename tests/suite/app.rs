//! The function under test: the real one, with real SDK clients, against endpoints of ours.

use std::{
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lambda_runtime::{Context, LambdaEvent};
use scalekit_eventbridge::{
    aws,
    bus::Bus,
    entry::Address,
    event::UnknownEvents,
    function::{Function, Rules},
    log,
    queue::Queue,
    secret::Keyring,
    signature::Key,
};
use serde_json::{Value, json};
use tracing::{level_filters::LevelFilter, subscriber::DefaultGuard};

use crate::{endpoint::Endpoint, envelope::SignedDelivery};

/// The secret of the tests' deliveries: not the development secret, so that nothing depends on that one.
pub const SECRET: &str = "whsec_dGVzdHMtc2lnbi13aXRoLXRoaXMtc2VjcmV0";

/// The present, in seconds: deliveries are signed now unless a test says otherwise.
pub const NOW: u64 = 1_760_434_167;

/// The function's own body of a valid event: the vendor's example.
pub const BODY: &str = include_str!("../../events/bodies/organization.sso_enabled.json");

pub const TRACE: &str = "Root=1-68ee1577-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1";

/// The function and what it talks to.
pub struct App {
    pub bus: Endpoint,
    pub queue: Endpoint,
    pub function: Function,
    lines: Lines,
    _subscriber: DefaultGuard,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Value,
    /// The problem details; `null` when the body is empty.
    pub problem: Value,
}

impl Answer {
    /// The code at the end of the problem's type.
    #[track_caller]
    pub fn code(&self) -> &str {
        let urn = self.problem["type"].as_str().unwrap_or_else(|| panic!("no problem: {self:?}"));
        urn.strip_prefix("urn:scalekit-eventbridge:problem:").unwrap()
    }
}

pub fn key() -> Key {
    Key::parse(SECRET).unwrap()
}

/// A delivery of this body, signed now.
pub fn signed(body: impl AsRef<[u8]>) -> SignedDelivery {
    SignedDelivery::new(&key(), "msg_2aXyZ", NOW, body.as_ref())
}

pub fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

impl App {
    /// Without queues, as the function runs by default.
    pub async fn start() -> Self {
        Self::with_log(log::Format::Json, LevelFilter::INFO).await
    }

    /// With a parking queue and a queue for refused deliveries.
    pub async fn with_queues() -> Self {
        let mut app = Self::start().await;
        let client = aws_sdk_sqs::Client::from_conf(
            aws_sdk_sqs::Config::builder()
                .behavior_version_latest()
                .region(aws_sdk_sqs::config::Region::new("eu-central-1"))
                .credentials_provider(aws_sdk_sqs::config::Credentials::for_tests())
                .endpoint_url(app.queue.url())
                .http_client(aws::http_client(None).unwrap())
                .timeout_config(aws::timeouts())
                .retry_config(aws_sdk_sqs::config::retry::RetryConfig::disabled())
                .build(),
        );
        let url = |name: &str| format!("{}/123456789012/{name}", app.queue.url());
        app.function.parking = Some(Queue::new(client.clone(), &url("parking")));
        app.function.refused = Some(Queue::new(client, &url("refused")));
        app
    }

    pub async fn with_log(format: log::Format, level: LevelFilter) -> Self {
        let (bus, queue) = (Endpoint::start().await, Endpoint::start().await);
        let client = aws_sdk_eventbridge::Client::from_conf(
            aws_sdk_eventbridge::Config::builder()
                .behavior_version_latest()
                .region(aws_sdk_eventbridge::config::Region::new("eu-central-1"))
                .credentials_provider(aws_sdk_eventbridge::config::Credentials::for_tests())
                .endpoint_url(bus.url())
                .http_client(aws::http_client(None).unwrap())
                .timeout_config(aws::timeouts())
                .retry_config(aws_sdk_eventbridge::config::retry::RetryConfig::disabled())
                .build(),
        );
        let rules = Rules { tolerance: Duration::from_mins(5), unknown_events: UnknownEvents::Forward };
        let function = Function {
            keyring: Keyring::fixed(vec![key()]),
            rules,
            address: Address { bus: "scalekit-events".into(), source: "scalekit".into() },
            bus: Bus::new(client, "scalekit-events"),
            parking: None,
            refused: None,
        };
        function.bus.look(at(NOW)).await;
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = log::subscriber(format, level, move || writer.clone());
        let subscriber = tracing::subscriber::set_default(subscriber);
        Self { bus, queue, function, lines, _subscriber: subscriber }
    }

    /// Hands an event to the function, now, and takes its reply.
    pub async fn invoke(&self, event: &Value) -> Result<Value, lambda_runtime::Diagnostic> {
        self.invoke_at(event, at(NOW)).await
    }

    pub async fn invoke_at(&self, event: &Value, now: SystemTime) -> Result<Value, lambda_runtime::Diagnostic> {
        let mut context = Context::default();
        context.request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd".into();
        context.xray_trace_id = Some(TRACE.into());
        let deadline = now + Duration::from_secs(10);
        context.deadline = u64::try_from(deadline.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        self.invoke_with(event, context, now).await
    }

    pub async fn invoke_with(
        &self,
        event: &Value,
        context: Context,
        now: SystemTime,
    ) -> Result<Value, lambda_runtime::Diagnostic> {
        let invocation = serde_json::from_str(&event.to_string()).unwrap();
        let reply = self.function.invoke(LambdaEvent::new(invocation, context), now).await?;
        Ok(serde_json::to_value(reply).unwrap())
    }

    /// Hands an HTTP envelope to the function, now, and reads its answer.
    pub async fn deliver(&self, envelope: &Value) -> Answer {
        read(&self.invoke(envelope).await.unwrap())
    }

    /// The log's lines so far, in JSON.
    pub fn lines(&self) -> Vec<Value> {
        self.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap()
    }
}

/// Reads an answer as the caller of the function would.
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
