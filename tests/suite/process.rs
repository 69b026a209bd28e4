//! Tests that start the compiled binary with its own environment variables and connect it to a local Runtime API and a
//! local AWS endpoint.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use test_support::SignedDelivery;

use crate::{
    contract::calendar::instant,
    support::app::{Answer, BODY, SECRET, key, read},
    support::endpoint::{Behaviour, Endpoint, failed_call},
    support::runtime_api::{PATIENCE, RuntimeApi},
};

/// What surrounds the process: the Runtime API, the AWS endpoint and the environment variables.
pub struct Environment {
    api: RuntimeApi,
    pub aws: Endpoint,
    variables: BTreeMap<&'static str, String>,
}

/// A running process, which is killed when this value is dropped.
pub struct Process {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

/// The exit status and the output of a process that has exited.
#[derive(Debug)]
pub struct Output {
    success: bool,
    stdout: String,
    stderr: String,
}

impl Environment {
    /// A small environment in which the function starts and forwards to the local endpoint.
    pub async fn new() -> Self {
        let (api, aws) = (RuntimeApi::start().await, Endpoint::start().await);
        let variables = [
            ("EVENT_BUS_NAME", "scalekit-events"),
            ("WEBHOOK_SECRET", SECRET),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "AKIDMARKEDACCESSKEY"),
            ("AWS_SECRET_ACCESS_KEY", "marked-secret-access-key"),
            ("AWS_SESSION_TOKEN", "marked-session-token"),
            ("AWS_ENDPOINT_URL", &aws.url()),
            ("AWS_LAMBDA_RUNTIME_API", api.address()),
            ("AWS_LAMBDA_FUNCTION_NAME", "scalekit"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        Self { api, aws, variables }
    }

    /// This environment with these variables changed. An empty value removes the variable.
    async fn with(changes: &[(&'static str, &str)]) -> Self {
        let mut environment = Self::new().await;
        for (name, value) in changes {
            environment.set(name, value);
        }
        environment
    }

    /// Sets a variable. An empty value removes it.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.variables.remove(name);
        if !value.is_empty() {
            self.variables.insert(name, value.to_owned());
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scalekit-eventbridge"));
        command.env_clear().envs(&self.variables).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    pub fn start(&self) -> Process {
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = tokio::spawn(read_all(child.stdout.take().unwrap()));
        let stderr = tokio::spawn(read_all(child.stderr.take().unwrap()));
        Process { child, stdout, stderr }
    }

    /// Delivers a valid event that is signed now, and asserts that it is acknowledged.
    pub async fn deliver(&mut self) {
        let reply = self.invoke().await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// Delivers a valid event that is signed now.
    pub async fn invoke(&mut self) -> Answer {
        read(&self.api.invoke(&signed_now(BODY).function_url()).await.unwrap())
    }
}

impl Process {
    /// Kills the process and returns its output.
    pub async fn stop(mut self) -> Output {
        self.child.start_kill().unwrap();
        self.wait().await
    }

    /// Waits until the process exits by itself and returns its output.
    async fn wait(mut self) -> Output {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("the process should exit").unwrap();
        Output { success: status.success(), stdout: self.stdout.await.unwrap(), stderr: self.stderr.await.unwrap() }
    }
}

impl Output {
    /// The lines of the log after the first, which has the version. The process must not write anything else.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        assert_eq!(self.stderr, "");
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        let mut lines = self.stdout.lines().map(line);
        let first: Value = lines.next().expect("the log should have a line");
        assert_eq!(
            (&first["level"], &first["message"], &first["version"]),
            (&json!("INFO"), &json!("starting"), &json!(env!("CARGO_PKG_VERSION")))
        );
        lines.collect()
    }
}

async fn read_all(mut pipe: impl AsyncRead + Unpin) -> String {
    let mut text = String::new();
    pipe.read_to_string(&mut text).await.unwrap();
    text
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn signed_now(body: &str) -> SignedDelivery {
    SignedDelivery::new(&key(), "msg_2aXyZ", seconds_now(), body.as_bytes())
}

#[tokio::test]
async fn a_delivery_is_forwarded_and_logged_as_json() {
    let mut environment = Environment::new().await;
    let process = environment.start();
    environment.deliver().await;
    let lines = process.stop().await.lines();

    let entries = environment.aws.entries();
    assert_eq!((entries.len(), &entries[0]["Detail"]), (1, &json!(BODY)));
    assert_eq!(entries[0]["TraceHeader"], json!("Root=1-68ee1577-0123456789abcdef01234567"));

    let [line] = &lines[..] else { panic!("expected one line: {lines:?}") };
    let (logged_at, _) = instant(line["timestamp"].as_str().unwrap()).unwrap();
    assert!(seconds_now().abs_diff(logged_at.try_into().unwrap()) < 60, "{line}");
    assert_eq!(line["level"], json!("INFO"));
    assert_eq!(line["outcome"], json!("forwarded"));
    assert_eq!(line["status"], json!(200));
    assert_eq!(line["webhook_id"], json!("msg_2aXyZ"));
    assert_eq!(line["type"], json!("organization.sso_enabled"));
    assert_eq!(line["request_id"], json!(environment.api.last_request_id()));
}

#[tokio::test]
async fn a_delivery_is_logged_as_text_unless_the_log_format_is_json() {
    let mut environment = Environment::with(&[("AWS_LAMBDA_LOG_FORMAT", "")]).await;
    let process = environment.start();
    environment.deliver().await;
    let output = process.stop().await;
    let [first, line] = &output.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("expected two lines: {output:?}")
    };
    assert!(first.ends_with(concat!(" INFO starting version=\"", env!("CARGO_PKG_VERSION"), "\"")), "{first}");
    let (timestamp, rest) = line.split_once(' ').unwrap();
    assert!(instant(timestamp).is_some(), "{line}");
    assert!(rest.trim_start().starts_with("INFO "), "{line}");
    for field in
        ["outcome=\"forwarded\"", "status=200", &format!("request_id=\"{}\"", environment.api.last_request_id())]
    {
        assert!(line.contains(field), "{field} is not in {line}");
    }
}

#[tokio::test]
async fn invalid_invocations_do_not_end_the_process() {
    let with = |pointer: &str, value: Value| {
        let mut envelope = signed_now(BODY).function_url();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        envelope.pointer_mut(parent).unwrap()[name] = value;
        envelope
    };
    let mut environment = Environment::new().await;
    let process = environment.start();
    for (description, envelope) in [
        ("the header `webhook-id` is a number", with("/headers/webhook-id", json!(1))),
        ("the body is not valid base64", with("/isBase64Encoded", json!(true))),
        ("the body is an object", with("/body", json!({}))),
        ("the method is a number", with("/requestContext/http/method", json!(1))),
    ] {
        let answer = read(&environment.api.invoke(&envelope).await.unwrap());
        assert_eq!((answer.status, answer.code()), (400, "malformed-request"), "{description}");
        environment.deliver().await;
    }
    for (description, envelope) in [
        ("a header contains a line break", with("/headers/x-other", json!("a\r\nb"))),
        ("the host is invalid", with("/headers/host", json!("a host"))),
        ("the protocol is invalid", with("/headers/x-forwarded-proto", json!("no proto"))),
        ("the query string is invalid", with("/rawQueryString", json!("a b=\"é\""))),
        ("the path has 70 KB", with("/rawPath", json!("/x".repeat(35_000)))),
    ] {
        let answer = read(&environment.api.invoke(&envelope).await.unwrap());
        assert_eq!(answer.status, 200, "{description}: {answer:?}");
    }
    for event in [json!({}), json!([]), json!([[]]), json!("text"), json!({"Records": [{"eventSource": "aws:sns"}]})] {
        let error = environment.api.invoke(&event).await.unwrap_err();
        assert_eq!(error["errorType"], json!("UnknownInvocation"), "{event}");
        let message = "expected an HTTP request from a function URL or API Gateway, \
                       or a batch of messages of the parking queue";
        assert_eq!(error["errorMessage"], json!(message), "{event}");
        environment.deliver().await;
    }
    // The function logs one line for each of these five invocations. A line of the runtime would have no request id.
    let lines = process.stop().await.lines();
    let unknown: Vec<_> = lines.iter().filter(|line| line.get("outcome").is_none()).collect();
    assert_eq!(unknown.len(), 5, "{unknown:?}");
    for line in unknown {
        assert_eq!((&line["level"], &line["message"]), (&json!("WARN"), &json!("unknown invocation")));
        assert!(line["request_id"].is_string(), "{line}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_delivery_is_answered_when_the_log_cannot_be_written() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut environment = Environment::new().await;
    let _process = environment.command().stdout(full()).stderr(full()).spawn().unwrap();
    for _ in 0..2 {
        environment.deliver().await;
    }
    assert_eq!(environment.aws.entries().len(), 2);
}

#[tokio::test]
async fn concurrent_deliveries_are_handled_concurrently() {
    let mut environment = Environment::with(&[("AWS_LAMBDA_MAX_CONCURRENCY", "4")]).await;
    let slow = Duration::from_secs(1);
    environment.aws.always("PutEvents", Behaviour::Slow(slow));
    let process = environment.start();
    environment.api.ready().await;
    let started = Instant::now();
    let replies = environment.api.invoke_all(&vec![signed_now(BODY).function_url(); 4]).await;
    assert!(started.elapsed() < 3 * slow, "the deliveries were handled one after the other: {:?}", started.elapsed());
    assert!(replies.iter().all(|reply| read(reply).status == 200), "{replies:?}");
    process.stop().await;
}

/// The configuration errors in a log, as pairs of variable and error.
fn configuration_errors(lines: &[Value]) -> Vec<(&str, &str)> {
    let errors =
        lines.iter().filter(|line| line["level"] == json!("ERROR") && line["message"] == json!("configuration"));
    errors.map(|line| (line["variable"].as_str().unwrap(), line["error"].as_str().unwrap())).collect()
}

#[allow(clippy::too_many_lines, reason = "it is a table")]
#[tokio::test]
async fn an_invalid_configuration_stops_the_start() {
    const BUS: &str = "it should hold the name or the ARN of an event bus";
    const SECRETS: &str =
        "should hold Scalekit's signing secret, `whsec_…`, or several of them separated by white space or commas";
    const ARN: &str = "it should hold the ARN of a secret in AWS Secrets Manager, `arn:aws:secretsmanager:{region}:{account}:secret:{name}`";
    const QUEUE: &str = "it should hold the URL of an SQS queue, `https://sqs.{region}.amazonaws.com/{account}/{name}`";
    const REGION: &str = "it should hold the bus's region, such as `eu-central-1`";
    const SOURCE: &str = "it should hold 1 to 256 characters, such as `scalekit`";
    const HIDDEN: &str = "holds what could be a secret, and is not shown here";
    const LOCAL: &str = "http://localhost:4566/123456789012/parking";
    const LOCAL_REFUSED: &str = "holds `http://localhost:4566/123456789012/parking`, whose host is not one of SQS; the function \
                                 calls it only if AWS_ENDPOINT_URL or AWS_ENDPOINT_URL_SQS is set to its URL";
    const PEM: &str = "it should hold the path of a file of PEM certificates";
    const NO_PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let short = format!("{SECRET} whsec_c2VjcmV0");
    let members = format!(r#"{{"SCALEKIT":"{SECRET}","PAYMENTS":"{SECRET}"}}"#);
    let unprefixed = SECRET.trim_start_matches("whsec_");
    let a_secret = format!("a {unprefixed}");
    let development = "whsec_c2NhbGVraXQtZXZlbnRicmlkZ2UtZGV2ZWxvcG1lbnQ=";
    for (changes, variable, error) in [
        (vec![("EVENT_BUS_NAME", "")], "EVENT_BUS_NAME", format!("is not set; {BUS}")),
        (
            vec![("EVENT_BUS_NAME", "arn:aws:events:eu-west-1:123456789012:event-bus/a")],
            "EVENT_BUS_NAME",
            "holds `arn:aws:events:eu-west-1:123456789012:event-bus/a`, a bus in another region; \
             it should hold the name or the ARN of a bus in the function's region, eu-central-1"
                .into(),
        ),
        (vec![("EVENT_BUS_NAME", "a bus")], "EVENT_BUS_NAME", format!("holds `a bus`; {BUS}")),
        (
            vec![("WEBHOOK_SECRET", "")],
            "WEBHOOK_SECRET",
            format!("is not set, and neither is WEBHOOK_SECRET_ARN; set one of them; this one {SECRETS}"),
        ),
        (
            vec![("WEBHOOK_SECRET", "marked-garbage")],
            "WEBHOOK_SECRET",
            format!("can't be used: secret 1 of 1 is invalid: it does not start with `whsec_`; the variable {SECRETS}"),
        ),
        (
            vec![("WEBHOOK_SECRET", &short)],
            "WEBHOOK_SECRET",
            format!(
                "can't be used: secret 2 of 2 is invalid: its key has 6 bytes instead of 24 to 64; the variable {SECRETS}"
            ),
        ),
        (
            vec![("WEBHOOK_SECRET", development), ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")],
            "WEBHOOK_SECRET",
            format!(
                "can't be used: secret 1 of 1 is the published development secret, which anyone can sign with; the variable {SECRETS}"
            ),
        ),
        (
            vec![("WEBHOOK_SECRET", &*members)],
            "WEBHOOK_SECRET",
            format!(
                "holds a JSON object in which several members contain a signing secret: `PAYMENTS`, `SCALEKIT`; it {SECRETS}"
            ),
        ),
        (
            vec![("WEBHOOK_SECRET_ARN", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:scalekit")],
            "WEBHOOK_SECRET",
            "is set, and so is WEBHOOK_SECRET_ARN; set only one of them".into(),
        ),
        (
            vec![("WEBHOOK_SECRET", ""), ("WEBHOOK_SECRET_ARN", "scalekit")],
            "WEBHOOK_SECRET_ARN",
            format!("does not hold an ARN; {ARN}"),
        ),
        (
            vec![("WEBHOOK_SECRET", ""), ("WEBHOOK_SECRET_ARN", SECRET)],
            "WEBHOOK_SECRET_ARN",
            format!("does not hold an ARN; {ARN}"),
        ),
        (
            vec![
                ("WEBHOOK_SECRET", ""),
                ("WEBHOOK_SECRET_ARN", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:scalekit-AbCdEf\n"),
            ],
            "WEBHOOK_SECRET_ARN",
            format!("holds `arn:aws:secretsmanager:eu-central-1:123456789012:secret:scalekit-AbCdEf\\u{{a}}`; {ARN}"),
        ),
        (
            vec![
                ("WEBHOOK_SECRET", ""),
                ("WEBHOOK_SECRET_ARN", "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:scalekit-AbCdEf"),
            ],
            "WEBHOOK_SECRET_ARN",
            "holds `arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:scalekit-AbCdEf`, a secret in another \
             partition; it should hold the ARN of a secret in the partition `aws`, like the function"
                .into(),
        ),
        (
            vec![("WEBHOOK_TOLERANCE_SECONDS", "5m")],
            "WEBHOOK_TOLERANCE_SECONDS",
            "holds `5m`; it should hold a whole number of seconds from 0 to 4294967295, such as `300`".into(),
        ),
        (
            vec![("VALIDATION", "lax")],
            "VALIDATION",
            "holds `lax`; it should hold `tolerant` (the default) or `strict`".into(),
        ),
        (
            vec![("UNKNOWN_EVENTS", "forward")],
            "UNKNOWN_EVENTS",
            "is set, but VALIDATION has replaced it; instead of `reject`, set VALIDATION to `strict`; instead of `forward`, \
             leave VALIDATION out; then remove UNKNOWN_EVENTS"
                .into(),
        ),
        (
            vec![("EVENT_SOURCE", "aws.scalekit")],
            "EVENT_SOURCE",
            "holds `aws.scalekit`, but sources that start with `aws.` are AWS's own; \
             it should hold 1 to 256 characters, such as `scalekit`"
                .into(),
        ),
        (
            vec![("EVENT_SOURCE", "scale\u{200b}kit")],
            "EVENT_SOURCE",
            format!("holds `scale\\u{{200b}}kit`, which contains the invisible character U+200B; {SOURCE}"),
        ),
        (
            vec![("EVENT_SOURCE", "scalekit ")],
            "EVENT_SOURCE",
            format!("holds `scalekit `, which starts or ends with a space (U+0020); {SOURCE}"),
        ),
        (vec![("EVENT_BUS_NAME", &a_secret)], "EVENT_BUS_NAME", format!("{HIDDEN}; {BUS}")),
        (vec![("PARKING_QUEUE_URL", unprefixed)], "PARKING_QUEUE_URL", format!("{HIDDEN}; {QUEUE}")),
        (
            vec![("PARKING_QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/123456789012/parking")],
            "PARKING_QUEUE_URL",
            "holds `https://sqs.eu-west-1.amazonaws.com/123456789012/parking`, whose host is not one of SQS in the \
             function's region; it should hold the URL of a queue in that region, eu-central-1"
                .into(),
        ),
        (vec![("AWS_ENDPOINT_URL", ""), ("PARKING_QUEUE_URL", LOCAL)], "PARKING_QUEUE_URL", LOCAL_REFUSED.into()),
        (
            vec![("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"), ("PARKING_QUEUE_URL", LOCAL)],
            "PARKING_QUEUE_URL",
            LOCAL_REFUSED.into(),
        ),
        (
            vec![("PARKING_QUEUE_URL", LOCAL), ("DEAD_LETTER_QUEUE_URL", LOCAL)],
            "DEAD_LETTER_QUEUE_URL",
            format!(
                "holds `{LOCAL}`, the same queue as PARKING_QUEUE_URL; it should hold another one, because the function \
                 would forward the copies of refused deliveries"
            ),
        ),
        (vec![("PARKING_QUEUE_URL", "parking")], "PARKING_QUEUE_URL", format!("holds `parking`; {QUEUE}")),
        (
            vec![("DEAD_LETTER_QUEUE_URL", "arn:aws:sqs:eu-central-1:123456789012:refused")],
            "DEAD_LETTER_QUEUE_URL",
            format!("holds `arn:aws:sqs:eu-central-1:123456789012:refused`; {QUEUE}"),
        ),
        (vec![("AWS_REGION", "")], "AWS_REGION", format!("is not set; {REGION}")),
        (vec![("AWS_REGION", "eu-central-1 ")], "AWS_REGION", format!("holds `eu-central-1 `; {REGION}")),
        (vec![("AWS_REGION", SECRET)], "AWS_REGION", format!("{HIDDEN}; {REGION}")),
        (
            vec![("AWS_ENDPOINT_URL", "localhost:4566")],
            "AWS_ENDPOINT_URL",
            "holds `localhost:4566`; it should hold a URL, such as `http://localhost:4566`".into(),
        ),
        (
            vec![("AWS_ENDPOINT_URL", SECRET)],
            "AWS_ENDPOINT_URL",
            format!("{HIDDEN}; it should hold a URL, such as `http://localhost:4566`"),
        ),
        (
            vec![("AWS_USE_FIPS_ENDPOINT", "yes")],
            "AWS_USE_FIPS_ENDPOINT",
            "holds `yes`; it should hold `true` or `false`".into(),
        ),
        (vec![("AWS_CONFIG_FILE", SECRET)], "AWS_CONFIG_FILE", format!("{HIDDEN}; it should hold a path")),
        (
            vec![("AWS_ENDPOINT_URL_SQS", unprefixed)],
            "AWS_ENDPOINT_URL_SQS",
            format!("{HIDDEN}; it should hold a URL, such as `http://localhost:4566`"),
        ),
        (
            vec![("AWS_CA_BUNDLE", "/nowhere/bundle.pem")],
            "AWS_CA_BUNDLE",
            format!("names a file that can't be read (No such file or directory (os error 2)); {PEM}"),
        ),
        (
            vec![("AWS_CA_BUNDLE", SECRET)],
            "AWS_CA_BUNDLE",
            format!("names a file that can't be read (No such file or directory (os error 2)); {PEM}"),
        ),
        (
            vec![("AWS_CA_BUNDLE", NO_PEM)],
            "AWS_CA_BUNDLE",
            format!("names a file that holds no usable certificate; {PEM}"),
        ),
        (
            vec![("SSL_CERT_FILE", "/nowhere/bundle.pem")],
            "SSL_CERT_FILE",
            format!("names a file that can't be read (No such file or directory (os error 2)); {PEM}"),
        ),
        (
            vec![("SSL_CERT_FILE", NO_PEM)],
            "SSL_CERT_FILE",
            format!("names a file that holds no usable certificate; {PEM}"),
        ),
        (
            vec![("AWS_LAMBDA_RUNTIME_API", "")],
            "AWS_LAMBDA_RUNTIME_API",
            "is not set; Lambda sets it, and so does `cargo lambda watch`, which runs the function locally".into(),
        ),
    ] {
        let environment = Environment::with(&changes).await;
        let output = environment.start().wait().await;
        assert!(!output.success, "{changes:?}: {output:?}");
        assert_eq!(configuration_errors(&output.lines()), [(variable, &*error)], "{changes:?}");
        assert_eq!(environment.aws.requests("DescribeEventBus"), Vec::<Value>::new(), "{changes:?}");
        for secret in [SECRET, development, "c2VjcmV0", "marked"] {
            assert!(!output.stdout.contains(secret.trim_start_matches("whsec_")), "{output:?}");
        }
    }
}

#[tokio::test]
async fn all_configuration_errors_are_reported_at_once() {
    let changes = [
        ("EVENT_BUS_NAME", ""),
        ("EVENT_SOURCE", "aws.events"),
        ("WEBHOOK_SECRET", "garbage"),
        ("WEBHOOK_TOLERANCE_SECONDS", "-1"),
        ("VALIDATION", "STRICT"),
        ("UNKNOWN_EVENTS", "reject"),
        ("PARKING_QUEUE_URL", "parking"),
        ("DEAD_LETTER_QUEUE_URL", "refused"),
        ("AWS_LAMBDA_RUNTIME_API", ""),
        ("AWS_REGION", ""),
    ];
    let output = Environment::with(&changes).await.start().wait().await;
    assert!(!output.success);
    let lines = output.lines();
    let reported: Vec<_> = configuration_errors(&lines).into_iter().map(|(variable, _)| variable).collect();
    assert_eq!(reported, changes.map(|(variable, _)| variable));
    assert_eq!(lines.last().unwrap()["error"], json!("the configuration has 10 error(s), which are logged above"));
}

#[tokio::test]
async fn an_empty_variable_of_aws_counts_as_not_set() {
    let mut environment = Environment::with(&[("AWS_DEFAULT_REGION", "eu-central-1")]).await;
    for name in [
        "AWS_REGION",
        "AWS_PROFILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_SESSION_TOKEN",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_ENDPOINT_URL_EVENTBRIDGE",
        "AWS_ENDPOINT_URL_SQS",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_USE_FIPS_ENDPOINT",
        "AWS_USE_DUALSTACK_ENDPOINT",
        "AWS_CA_BUNDLE",
        "AWS_MAX_ATTEMPTS",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_LOG_LEVEL",
    ] {
        environment.variables.insert(name, String::new());
    }
    environment.variables.insert("PARKING_QUEUE_URL", environment.aws.queue_url("parking"));
    let process = environment.start();
    environment.deliver().await;
    environment.aws.always("PutEvents", failed_call(400, "AccessDeniedException"));
    environment.deliver().await;
    let lines = process.stop().await.lines();
    let outcomes: Vec<_> = lines.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, [&json!("forwarded"), &json!("parked")], "{lines:?}");

    environment.variables.remove("AWS_DEFAULT_REGION");
    environment.variables.insert("AWS_LAMBDA_RUNTIME_API", String::new());
    let lines = environment.start().wait().await.lines();
    let variables: Vec<_> = configuration_errors(&lines).into_iter().map(|(variable, _)| variable).collect();
    assert_eq!(variables, ["AWS_LAMBDA_RUNTIME_API", "AWS_REGION"]);
}

/// The URL of a local queue is only right if calls go to the local endpoint.
#[tokio::test]
async fn a_local_queue_needs_an_endpoint_for_sqs() {
    let mut environment = Environment::with(&[("AWS_ENDPOINT_URL", "")]).await;
    let endpoint = environment.aws.url();
    environment.set("AWS_ENDPOINT_URL_EVENTBRIDGE", &endpoint);
    environment.set("PARKING_QUEUE_URL", &environment.aws.queue_url("parking"));
    environment.aws.always("PutEvents", failed_call(400, "AccessDeniedException"));
    let services = format!("[default]\nservices = own\n[services own]\nsqs =\n  endpoint_url = {endpoint}\n");
    let services = profiles("sqs-endpoint", &services);
    let global = profiles("endpoint", &format!("[default]\nendpoint_url = {endpoint}\n"));
    for (variable, value) in
        [("AWS_ENDPOINT_URL_SQS", &endpoint), ("AWS_CONFIG_FILE", &services), ("AWS_CONFIG_FILE", &global)]
    {
        environment.set(variable, value);
        let process = environment.start();
        environment.deliver().await;
        let lines = process.stop().await.lines();
        assert_eq!(lines.last().unwrap()["outcome"], json!("parked"), "{variable}: {lines:?}");
        environment.set(variable, "");
    }
    let output = environment.start().wait().await;
    assert_eq!(configuration_errors(&output.lines())[0].0, "PARKING_QUEUE_URL");
}

const NO_SUCH_BUS: &str = "holds `scalekit-events`, but this account and region have no such event bus; \
                           it should hold one that exists";

#[tokio::test]
async fn a_missing_bus_stops_the_start() {
    let environment = Environment::new().await;
    environment.aws.always("DescribeEventBus", failed_call(400, "ResourceNotFoundException"));
    let output = environment.start().wait().await;
    assert!(!output.success);
    assert_eq!(configuration_errors(&output.lines()), [("EVENT_BUS_NAME", NO_SUCH_BUS)]);
}

#[tokio::test]
async fn a_missing_bus_does_not_stop_the_start_when_events_can_be_parked() {
    let mut environment = Environment::new().await;
    environment.variables.insert("PARKING_QUEUE_URL", environment.aws.queue_url("parking"));
    environment.aws.always("DescribeEventBus", failed_call(400, "ResourceNotFoundException"));
    let process = environment.start();
    environment.deliver().await;
    assert_eq!(environment.aws.entries(), Vec::<Value>::new());
    assert_eq!(environment.aws.requests("SendMessage")[0]["MessageBody"], json!(BODY));
    let lines = process.stop().await.lines();
    assert_eq!(configuration_errors(&lines), [("EVENT_BUS_NAME", NO_SUCH_BUS)]);
    assert_eq!(lines.last().unwrap()["outcome"], json!("parked"));
}

#[tokio::test]
async fn a_failed_bus_check_is_a_warning() {
    let denied = "DescribeEventBus: AccessDeniedException (HTTP 400): it failed";
    let no_answer = "DescribeEventBus: no answer in time";
    for (behaviour, error) in [
        (failed_call(400, "AccessDeniedException"), denied),
        (failed_call(400, "ThrottlingException"), "DescribeEventBus: ThrottlingException (HTTP 400)"),
        (failed_call(500, "InternalException"), "DescribeEventBus: InternalException (HTTP 500)"),
        (Behaviour::Hang, no_answer),
    ] {
        let mut environment = Environment::new().await;
        environment.aws.always("DescribeEventBus", behaviour.clone());
        let started = Instant::now();
        let process = environment.start();
        environment.api.ready().await;
        // The check may take two seconds. The third second allows for a busy machine.
        assert!(started.elapsed() < Duration::from_secs(3), "{behaviour:?}: the start took {:?}", started.elapsed());
        environment.deliver().await;
        let lines = process.stop().await.lines();
        assert_eq!(lines[0]["level"], json!("WARN"), "{behaviour:?}");
        let message = lines[0]["message"].as_str().unwrap();
        assert!(message.starts_with("could not check whether the event bus exists"), "{behaviour:?}: {message}");
        // The last of several attempts may begin right before the time is over.
        let is_retried = error != denied;
        let logged = lines[0]["error"].as_str().unwrap();
        assert!(logged == error || (is_retried && logged == no_answer), "{behaviour:?}: {logged}");
        assert_eq!(lines[1]["outcome"], json!("forwarded"), "{behaviour:?}");
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}

const NO_CREDENTIALS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_SESSION_TOKEN", "")];

/// The variables of a container that gets its role's credentials from this URL.
fn container_credentials(url: &str) -> Vec<(&'static str, &str)> {
    [&NO_CREDENTIALS[..], &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]].concat()
}

#[tokio::test]
async fn missing_credentials_are_a_configuration_error_and_unavailable_ones_are_an_outage() {
    let (misconfigured, unavailable) = ((500, "misconfigured"), (503, "bus-unavailable"));
    let (closed, mute, failing) = (Endpoint::closed(), Endpoint::mute(), Endpoint::start().await);
    failing.always("GetCredentials", Behaviour::Raw(500, Vec::new()));
    let (closed, mute, failing) = (closed.url(), mute.url(), failing.url());
    let rows = [
        ("there are no credentials", NO_CREDENTIALS.to_vec(), misconfigured),
        ("the access key id is missing", NO_CREDENTIALS[1..].to_vec(), misconfigured),
        (
            "the URL is not a container's credentials endpoint",
            container_credentials("http://192.0.2.1/"),
            misconfigured,
        ),
        ("the container's endpoint refuses connections", container_credentials(&closed), unavailable),
        ("the container's endpoint does not answer", container_credentials(&mute), unavailable),
        ("the container's endpoint fails", container_credentials(&failing), unavailable),
    ];
    join_all(rows.into_iter().map(async |(description, changes, expected)| {
        let mut environment = Environment::with(&changes).await;
        let process = environment.start();
        environment.api.ready().await;
        let begun = Instant::now();
        let answer = read(&environment.api.invoke(&signed_now(BODY).function_url()).await.unwrap());
        let took = begun.elapsed();
        let lines = process.stop().await.lines();
        assert_eq!((answer.status, answer.code()), expected, "{description}: {lines:?}");
        assert!(took < Duration::from_secs(9), "{description}: {took:?}");
        assert_eq!(environment.aws.entries(), Vec::<Value>::new(), "{description}");
        assert!(
            lines.last().unwrap()["error"].as_str().unwrap().starts_with("PutEvents: "),
            "{description}: {lines:?}"
        );
    }))
    .await;
}

#[tokio::test]
async fn container_credentials_are_used_as_soon_as_they_are_available() {
    let mut container = Endpoint::closed();
    let mut environment = Environment::with(&container_credentials(&container.url())).await;
    let process = environment.start();
    let reply = environment.api.invoke(&signed_now(BODY).function_url()).await.unwrap();
    assert_eq!(read(&reply).code(), "bus-unavailable");
    container.open();
    environment.deliver().await;
    process.stop().await;
}

/// Writes an AWS configuration file with this text and returns its path.
fn profiles(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_profile_provides_the_settings_that_no_variable_sets() {
    let mut environment = Environment::with(&NO_CREDENTIALS).await;
    let (right, wrong) = (environment.aws.url(), Endpoint::closed().url());
    let file = profiles(
        "profiles",
        &format!(
            "[default]\nregion = eu-central-1\nendpoint_url = {right}\n\
             aws_access_key_id = AKIDMARKEDACCESSKEY\naws_secret_access_key = marked-secret-access-key\n\
             [profile other]\nregion = eu-central-1\nendpoint_url = {wrong}\nservices = own\n\
             aws_access_key_id = AKIDMARKEDACCESSKEY\naws_secret_access_key = marked-secret-access-key\n\
             [services own]\neventbridge =\n  endpoint_url = {right}\n"
        ),
    );
    for name in ["AWS_REGION", "AWS_ENDPOINT_URL"] {
        environment.set(name, "");
    }
    environment.set("AWS_CONFIG_FILE", &file);
    for profile in ["", "other"] {
        environment.set("AWS_PROFILE", profile);
        let process = environment.start();
        environment.deliver().await;
        process.stop().await;
    }
    assert_eq!(environment.aws.entries().len(), 2);

    environment.set("AWS_ENDPOINT_URL_EVENTBRIDGE", &wrong);
    let process = environment.start();
    assert_eq!(environment.invoke().await.code(), "bus-unavailable", "a variable takes precedence over a profile");
    process.stop().await;
}

#[tokio::test]
async fn the_variables_for_fips_and_dual_stack_endpoints_are_applied() {
    for (variable, kind) in [("AWS_USE_FIPS_ENDPOINT", "FIPS"), ("AWS_USE_DUALSTACK_ENDPOINT", "Dualstack")] {
        // These endpoints are AWS's own, so the test reads the SDK's error about the conflict with our custom endpoint.
        let mut environment = Environment::with(&[(variable, "true")]).await;
        let process = environment.start();
        environment.invoke().await;
        let lines = process.stop().await.lines();
        let error = lines.last().unwrap()["error"].as_str().unwrap();
        assert!(error.contains(&format!("{kind} and custom endpoint are not supported")), "{error}");
    }
}

#[tokio::test]
async fn a_profile_that_the_function_does_not_support_is_reported() {
    let sso = "sso_session = ours\nsso_account_id = 123456789012\nsso_role_name = a\n\
               [sso-session ours]\nsso_region = eu-central-1\nsso_start_url = https://example.com\n";
    for (feature, profile) in [("sso", sso), ("credentials-process", "credential_process = /bin/true\n")] {
        let mut environment = Environment::with(&NO_CREDENTIALS).await;
        environment.set("AWS_CONFIG_FILE", &profiles(feature, &format!("[profile ours]\n{profile}")));
        environment.set("AWS_PROFILE", "ours");
        let process = environment.start();
        assert_ne!(environment.invoke().await.status, 200, "{feature}");
        let lines = process.stop().await.lines();
        let expected = format!("This behavior requires following cargo feature(s) enabled: {feature}");
        assert!(lines.iter().any(|line| line["error"].to_string().contains(&expected)), "{feature}: {lines:?}");
    }
}

#[tokio::test]
async fn a_profile_can_assume_a_role() {
    let mut environment = Environment::with(&NO_CREDENTIALS).await;
    let response = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
        <AccessKeyId>ASIAASSUMED</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
        <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
    environment.aws.always("AssumeRole", Behaviour::Raw(200, response.into()));
    let role = "[profile ours]\nrole_arn = arn:aws:iam::123456789012:role/a\nsource_profile = keys\n\
                [profile keys]\naws_access_key_id = AKIDMARKEDACCESSKEY\naws_secret_access_key = secret\n";
    environment.set("AWS_CONFIG_FILE", &profiles("role", role));
    environment.set("AWS_PROFILE", "ours");
    let process = environment.start();
    environment.deliver().await;
    process.stop().await;
    assert_eq!(environment.aws.calls("AssumeRole"), 1, "the role is assumed once");
}

#[tokio::test]
async fn a_tolerance_of_more_than_an_hour_causes_a_warning() {
    for (seconds, warnings) in [
        ("3600", vec![]),
        (
            "3601",
            vec![
                "WEBHOOK_TOLERANCE_SECONDS: a recorded delivery can be replayed for 3601 s; \
                 use at most 3600 s; the default is 300",
            ],
        ),
    ] {
        let mut environment = Environment::with(&[("WEBHOOK_TOLERANCE_SECONDS", seconds)]).await;
        let process = environment.start();
        environment.api.ready().await;
        let lines = process.stop().await.lines();
        assert!(lines.iter().all(|line| line["level"] == json!("WARN")), "{lines:?}");
        assert_eq!(lines.iter().map(|line| line["warning"].as_str().unwrap()).collect::<Vec<_>>(), warnings);
    }
}

/// An event in which every value that the log line must not contain is marked.
fn marked_event() -> Value {
    json!({
        "spec_version": "1",
        "id": "evt_1",
        "type": "user.login",
        "object": "User",
        "environment_id": "env_1",
        "occurred_at": "2025-10-14T09:29:27.123456789Z",
        "organization_id": "org_1",
        "display_name": "marked display name",
        "marked_member": "marked value",
        "data": {
            "user": {"email": "marked@example.com", "name": "Marked Name", "marked_name": [{"marked": "marked element"}]},
            "user_session": {"device": {"ip": "marked ip", "number": 999_888_777_666_u64}},
        },
    })
}

/// Texts that must not appear in the log, in lower case: the marks, the numbers and the secret.
const MARKS: [&str; 5] = ["marked", "999888777666", "123456789z", "1760434167", "dgvzdhmtc2lnbi13axrolxroaxmtc2vjcmv0"];

#[tokio::test]
async fn no_content_of_a_delivery_is_logged_at_any_level() {
    let marked = |mut envelope: Value| {
        envelope["headers"]["x-marked"] = json!("marked header");
        envelope["headers"]["user-agent"] = json!("marked agent");
        envelope["headers"]["cookie"] = json!("marked cookie");
        envelope["rawQueryString"] = json!("marked=query");
        envelope["rawPath"] = json!("/marked/path");
        envelope
    };
    let delivery = |event: &Value| marked(signed_now(&event.to_string()).function_url());
    let with = |name: &str, value: Value| {
        let mut event = marked_event();
        event[name] = value;
        delivery(&event)
    };
    let valid = || delivery(&marked_event());
    let tampered = |pointer: &str, value: &str| {
        let mut envelope = valid();
        *envelope.pointer_mut(pointer).unwrap() = json!(value);
        envelope
    };
    let stale = SignedDelivery::new(&key(), "msg_1", 1_760_434_167, marked_event().to_string().as_bytes());
    let quoting = |code: &str| {
        let message = json!({"message": marked_event().to_string(), "__type": code});
        Behaviour::Answer(400, message)
    };
    let quoting_entry = |code: &str| {
        let entry = json!({"ErrorCode": code, "ErrorMessage": marked_event().to_string()});
        Behaviour::Answer(200, json!({"FailedEntryCount": 1, "Entries": [entry]}))
    };
    for format in ["JSON", "Text"] {
        let mut environment = Environment::with(&[
            ("AWS_LAMBDA_LOG_FORMAT", format),
            ("AWS_LAMBDA_LOG_LEVEL", "TRACE"),
            ("RUST_LOG", "trace"),
            ("RUST_BACKTRACE", "full"),
        ])
        .await;
        let process = environment.start();
        let mut signatures = Vec::new();
        for (description, envelope, behaviour, status) in [
            ("valid", valid(), None, 200),
            ("the host is invalid", tampered("/headers/host", "marked host"), None, 200),
            ("the type violates the contract", with("type", json!("Marked.Type")), None, 400),
            (
                "the version is an object with marked members",
                with("spec_version", json!({"marked": "marked"})),
                None,
                400,
            ),
            (
                "the body is malformed JSON",
                marked(signed_now("{\"marked\": \"marked\" marked}").function_url()),
                None,
                400,
            ),
            ("the body is not a JSON object", marked(signed_now("\"marked\"").function_url()), None, 400),
            ("a header contains a line break", tampered("/headers/user-agent", "marked\r\nline"), None, 200),
            ("the method is unknown", tampered("/requestContext/http/method", "MARKED"), None, 405),
            ("the content type is unknown", tampered("/headers/content-type", "marked/type"), None, 200),
            ("the body is too large", marked(signed_now(&"marked".repeat(200_000)).function_url()), None, 413),
            ("the signature is forged", tampered("/headers/webhook-signature", "v1,marked"), None, 401),
            ("the webhook id is invalid", tampered("/headers/webhook-id", "marked id"), None, 401),
            ("the timestamp is invalid", tampered("/headers/webhook-timestamp", "marked time"), None, 401),
            ("the timestamp is stale", marked(stale.function_url()), None, 401),
            ("the bus rejects the call and quotes the event", valid(), Some(quoting("ValidationException")), 422),
            ("the bus rejects the entry and quotes the event", valid(), Some(quoting_entry("MalformedDetail")), 422),
            ("the bus fails and quotes the event", valid(), Some(quoting("InternalException")), 200),
            ("the bus answers with invalid JSON", valid(), Some(Behaviour::Raw(200, b"{marked".to_vec())), 200),
            ("the bus resets the connection", valid(), Some(Behaviour::Reset), 200),
            ("the bus denies the entry", valid(), Some(quoting_entry("AccessDeniedException")), 500),
        ] {
            if let Some(behaviour) = behaviour {
                environment.aws.once("PutEvents", behaviour);
            }
            let reply = environment.api.invoke(&envelope).await.unwrap();
            assert_eq!(read(&reply).status, status, "{description}: {reply}");
            signatures
                .push(envelope["headers"]["webhook-signature"].as_str().unwrap().replace("v1,", "").to_lowercase());
        }
        let error = environment.api.invoke(&json!({"marked": marked_event()})).await.unwrap_err();
        assert_eq!(error["errorType"], json!("UnknownInvocation"));
        let Output { stdout, stderr, .. } = process.stop().await;

        assert!(stdout.lines().count() >= 20, "the log should have a line for each delivery: {stdout}");
        assert_eq!(stderr, "");
        for mark in MARKS.into_iter().chain(signatures.iter().map(String::as_str)) {
            let found = stdout.lines().find(|line| line.to_lowercase().contains(mark));
            assert_eq!(found, None, "the log contains {mark}");
        }
    }
}

/// In this case, the text of the SDK's error contains the whole request.
#[tokio::test]
async fn no_content_of_a_delivery_is_logged_when_the_endpoint_is_not_a_url() {
    // The function checks the variable, but not the profile.
    let profile = profiles("no-url", "[default]\nendpoint_url = no-url\n");
    let mut environment = Environment::with(&[
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_CONFIG_FILE", &profile),
        ("AWS_LAMBDA_LOG_LEVEL", "TRACE"),
    ])
    .await;
    let process = environment.start();
    let reply = environment.api.invoke(&signed_now(&marked_event().to_string()).function_url()).await.unwrap();
    assert_eq!(read(&reply).code(), "bus-unavailable");
    let stdout = process.stop().await.stdout.to_lowercase();
    assert!(stdout.contains("failed to apply endpoint `no-url`"), "{stdout}");
    assert_eq!(MARKS.into_iter().find(|mark| stdout.contains(mark)), None, "{stdout}");
}
