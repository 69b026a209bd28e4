//! Does the binary itself do what the function promises? The real process, with no variable but its own, between a Runtime
//! API and an AWS endpoint of ours.

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

use crate::{
    app::{Answer, BODY, SECRET, key, read},
    contract::calendar::instant,
    endpoint::{Behaviour, Endpoint, failed_call},
    envelope::SignedDelivery,
    runtime_api::{PATIENCE, RuntimeApi},
};

/// What the process meets, and what it is told.
pub struct Surroundings {
    api: RuntimeApi,
    pub aws: Endpoint,
    variables: BTreeMap<&'static str, String>,
}

/// The process, killed when it is dropped.
pub struct Process {
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

/// What a process leaves behind.
#[derive(Debug)]
pub struct Ended {
    success: bool,
    stdout: String,
    stderr: String,
}

impl Surroundings {
    /// All that the function needs, and no more.
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

    /// The same with other variables; an empty value takes one away.
    async fn with(changes: &[(&'static str, &str)]) -> Self {
        let mut surroundings = Self::new().await;
        for (name, value) in changes {
            surroundings.set(name, value);
        }
        surroundings
    }

    /// Sets a variable; an empty value takes it away.
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

    /// Delivers a valid event, signed now, and expects it to be acknowledged.
    pub async fn deliver(&mut self) {
        let reply = self.invoke().await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// Delivers a valid event, signed now.
    pub async fn invoke(&mut self) -> Answer {
        read(&self.api.invoke(&signed_now(BODY).function_url()).await.unwrap())
    }
}

impl Process {
    /// Ends the process, and takes what it wrote.
    pub async fn stop(mut self) -> Ended {
        self.child.start_kill().unwrap();
        self.end().await
    }

    /// Waits until the process ends by itself.
    async fn end(mut self) -> Ended {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("the process ends").unwrap();
        Ended { success: status.success(), stdout: self.stdout.await.unwrap(), stderr: self.stderr.await.unwrap() }
    }
}

impl Ended {
    /// The log's lines, which are all that the process writes.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        assert_eq!(self.stderr, "");
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        self.stdout.lines().map(line).collect()
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
async fn a_delivery_is_forwarded_and_logged_in_json() {
    let mut around = Surroundings::new().await;
    let process = around.start();
    around.deliver().await;
    let lines = process.stop().await.lines();

    let entries = around.aws.entries();
    assert_eq!((entries.len(), &entries[0]["Detail"]), (1, &json!(BODY)));
    assert_eq!(entries[0]["TraceHeader"], json!("Root=1-68ee1577-0123456789abcdef01234567"));

    let [line] = &lines[..] else { panic!("one line is expected: {lines:?}") };
    let (logged_at, _) = instant(line["timestamp"].as_str().unwrap()).unwrap();
    assert!(seconds_now().abs_diff(logged_at.try_into().unwrap()) < 60, "{line}");
    assert_eq!(line["level"], json!("INFO"));
    assert_eq!(line["outcome"], json!("forwarded"));
    assert_eq!(line["status"], json!(200));
    assert_eq!(line["webhook_id"], json!("msg_2aXyZ"));
    assert_eq!(line["type"], json!("organization.sso_enabled"));
    assert_eq!(line["request_id"], json!(around.api.last_request_id()));
}

#[tokio::test]
async fn a_delivery_is_logged_in_text_unless_lambda_says_json() {
    let mut around = Surroundings::with(&[("AWS_LAMBDA_LOG_FORMAT", "")]).await;
    let process = around.start();
    around.deliver().await;
    let ended = process.stop().await;
    let [line] = &ended.stdout.lines().collect::<Vec<_>>()[..] else { panic!("one line is expected: {ended:?}") };
    let (timestamp, rest) = line.split_once(' ').unwrap();
    assert!(instant(timestamp).is_some(), "{line}");
    assert!(rest.trim_start().starts_with("INFO "), "{line}");
    for field in ["outcome=\"forwarded\"", "status=200", &format!("request_id=\"{}\"", around.api.last_request_id())] {
        assert!(line.contains(field), "{field} is not in {line}");
    }
}

#[tokio::test]
async fn whatever_comes_the_process_lives_on() {
    let with = |pointer: &str, value: Value| {
        let mut envelope = signed_now(BODY).function_url();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        envelope.pointer_mut(parent).unwrap()[name] = value;
        envelope
    };
    let mut around = Surroundings::new().await;
    let process = around.start();
    for (why, envelope) in [
        ("a line break in a header", with("/headers/x-other", json!("a\r\nb"))),
        ("a number for a header", with("/headers/x-other", json!(1))),
        ("base64 that is none", with("/isBase64Encoded", json!(true))),
        ("an object for a body", with("/body", json!({}))),
        ("a method that is none", with("/requestContext/http/method", json!("PO ST"))),
    ] {
        let answer = read(&around.api.invoke(&envelope).await.unwrap());
        assert_eq!((answer.status, answer.code()), (400, "malformed-request"), "{why}");
        around.deliver().await;
    }
    for (why, envelope) in [
        ("a host that is none", with("/headers/host", json!("a host"))),
        ("a protocol that is none", with("/headers/x-forwarded-proto", json!("no proto"))),
        ("a query that is none", with("/rawQueryString", json!("a b=\"é\""))),
        ("a path of 70 KB", with("/rawPath", json!("/x".repeat(35_000)))),
    ] {
        let answer = read(&around.api.invoke(&envelope).await.unwrap());
        assert_eq!(answer.status, 200, "{why}: {answer:?}");
    }
    for event in [json!({}), json!([]), json!([[]]), json!("text"), json!({"Records": [{"eventSource": "aws:sns"}]})] {
        let error = around.api.invoke(&event).await.unwrap_err();
        assert_eq!(error["errorType"], json!("UnknownEvent"), "{event}");
        let message = "the event is neither an HTTP request nor a batch of the parking queue";
        assert_eq!(error["errorMessage"], json!(message), "{event}");
        around.deliver().await;
    }
    // The runtime's own lines tell of these five, and nothing of them.
    let lines = process.stop().await.lines();
    let errors: Vec<_> = lines.iter().filter(|line| line["level"] == json!("ERROR")).collect();
    assert_eq!(errors.len(), 5, "{errors:?}");
    for line in errors {
        let message = "Diagnostic { error_type: \"UnknownEvent\", error_message: \"the event is neither an HTTP request \
                       nor a batch of the parking queue\" }";
        assert_eq!(line["message"], json!(message));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_delivery_is_answered_though_no_line_can_be_written() {
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut around = Surroundings::new().await;
    let _process = around.command().stdout(full()).stderr(full()).spawn().unwrap();
    for _ in 0..2 {
        around.deliver().await;
    }
    assert_eq!(around.aws.entries().len(), 2);
}

#[tokio::test]
async fn deliveries_are_served_together_where_lambda_sends_them_together() {
    let mut around = Surroundings::with(&[("AWS_LAMBDA_MAX_CONCURRENCY", "4")]).await;
    let slow = Duration::from_secs(1);
    around.aws.always("PutEvents", Behaviour::Slow(slow));
    let process = around.start();
    around.api.ready().await;
    let started = Instant::now();
    let replies = around.api.invoke_all(&vec![signed_now(BODY).function_url(); 4]).await;
    assert!(started.elapsed() < 3 * slow, "one after the other: {:?}", started.elapsed());
    assert!(replies.iter().all(|reply| read(reply).status == 200), "{replies:?}");
    process.stop().await;
}

/// The configuration errors that a log tells: variable and error.
fn configuration_errors(lines: &[Value]) -> Vec<(&str, &str)> {
    let errors =
        lines.iter().filter(|line| line["level"] == json!("ERROR") && line["message"] == json!("configuration"));
    errors.map(|line| (line["variable"].as_str().unwrap(), line["error"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_wrong_configuration_stops_the_start() {
    const BUS: &str = "it should hold the name or the ARN of an event bus";
    const SECRETS: &str =
        "it should hold Scalekit's signing secret, `whsec_…`, or several of them separated by white space or commas";
    const ARN: &str = "it should hold the ARN of a secret in AWS Secrets Manager, `arn:aws:secretsmanager:{region}:{account}:secret:{name}`";
    const QUEUE: &str = "it should hold the URL of an SQS queue, `https://sqs.{region}.amazonaws.com/{account}/{name}`";
    const PEM: &str = "it should hold the path of a file of PEM certificates";
    const NO_PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let short = format!("{SECRET} whsec_c2VjcmV0");
    let development = "whsec_c2NhbGVraXQtZXZlbnRicmlkZ2UtZGV2ZWxvcG1lbnQ=";
    for (changes, variable, error) in [
        (vec![("EVENT_BUS_NAME", "")], "EVENT_BUS_NAME", format!("is not set; {BUS}")),
        (vec![("EVENT_BUS_NAME", "a bus")], "EVENT_BUS_NAME", format!("holds `a bus`, which is no such name; {BUS}")),
        (
            vec![("WEBHOOK_SECRET", "")],
            "WEBHOOK_SECRET",
            format!("is not set, nor is WEBHOOK_SECRET_ARN; one of them must be; {SECRETS}"),
        ),
        (
            vec![("WEBHOOK_SECRET", "marked-garbage")],
            "WEBHOOK_SECRET",
            format!("holds, as secret 1 of 1, one that does not start with `whsec_`; {SECRETS}"),
        ),
        (
            vec![("WEBHOOK_SECRET", &short)],
            "WEBHOOK_SECRET",
            format!("holds, as secret 2 of 2, one that holds a key of 6 bytes, not 24 to 64; {SECRETS}"),
        ),
        (
            vec![("WEBHOOK_SECRET", development), ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")],
            "WEBHOOK_SECRET",
            format!("holds, as secret 1 of 1, the published development secret, which anyone can sign with; {SECRETS}"),
        ),
        (
            vec![("WEBHOOK_SECRET_ARN", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:scalekit")],
            "WEBHOOK_SECRET",
            "is set, and WEBHOOK_SECRET_ARN too; set one of them alone".into(),
        ),
        (
            vec![("WEBHOOK_SECRET", ""), ("WEBHOOK_SECRET_ARN", "scalekit")],
            "WEBHOOK_SECRET_ARN",
            format!("holds `scalekit`; {ARN}"),
        ),
        (
            vec![("WEBHOOK_SECRET", ""), ("WEBHOOK_SECRET_ARN", SECRET)],
            "WEBHOOK_SECRET_ARN",
            format!("holds what looks like a signing secret; {ARN}"),
        ),
        (
            vec![("WEBHOOK_TOLERANCE_SECONDS", "5m")],
            "WEBHOOK_TOLERANCE_SECONDS",
            "holds `5m`; it should hold a whole number of seconds from 0 to 4294967295, such as `300`".into(),
        ),
        (
            vec![("UNKNOWN_EVENTS", "drop")],
            "UNKNOWN_EVENTS",
            "holds `drop`; it should hold `forward` (the default) or `reject`".into(),
        ),
        (
            vec![("EVENT_SOURCE", "aws.scalekit")],
            "EVENT_SOURCE",
            "holds `aws.scalekit`, but sources that start with `aws.` are AWS's own; \
             it should hold 1 to 256 characters, such as `scalekit`"
                .into(),
        ),
        (vec![("PARKING_QUEUE_URL", "parking")], "PARKING_QUEUE_URL", format!("holds `parking`; {QUEUE}")),
        (
            vec![("REFUSED_QUEUE_URL", "arn:aws:sqs:eu-central-1:123456789012:refused")],
            "REFUSED_QUEUE_URL",
            format!("holds `arn:aws:sqs:eu-central-1:123456789012:refused`; {QUEUE}"),
        ),
        (
            vec![("AWS_REGION", "")],
            "AWS_REGION",
            "is not set; it should hold the bus's region, such as `eu-central-1`".into(),
        ),
        (
            vec![("AWS_CA_BUNDLE", "/nowhere/bundle.pem")],
            "AWS_CA_BUNDLE",
            format!("holds `/nowhere/bundle.pem`, which can't be read (No such file or directory (os error 2)); {PEM}"),
        ),
        (
            vec![("AWS_CA_BUNDLE", NO_PEM)],
            "AWS_CA_BUNDLE",
            format!("holds `{NO_PEM}`, which holds no usable certificate; {PEM}"),
        ),
        (
            vec![("AWS_LAMBDA_RUNTIME_API", "")],
            "AWS_LAMBDA_RUNTIME_API",
            "is not set; Lambda sets it, and so does `cargo lambda watch`, which runs the function locally".into(),
        ),
    ] {
        let around = Surroundings::with(&changes).await;
        let ended = around.start().end().await;
        assert!(!ended.success, "{changes:?}: {ended:?}");
        assert_eq!(configuration_errors(&ended.lines()), [(variable, &*error)], "{changes:?}");
        assert_eq!(around.aws.requests("DescribeEventBus"), Vec::<Value>::new(), "{changes:?}");
        for secret in [SECRET, development, "c2VjcmV0", "marked"] {
            assert!(!ended.stdout.contains(secret.trim_start_matches("whsec_")), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once() {
    let changes = [
        ("EVENT_BUS_NAME", ""),
        ("EVENT_SOURCE", "aws.events"),
        ("WEBHOOK_SECRET", "garbage"),
        ("WEBHOOK_TOLERANCE_SECONDS", "-1"),
        ("UNKNOWN_EVENTS", "REJECT"),
        ("PARKING_QUEUE_URL", "parking"),
        ("REFUSED_QUEUE_URL", "refused"),
        ("AWS_LAMBDA_RUNTIME_API", ""),
        ("AWS_REGION", ""),
    ];
    let ended = Surroundings::with(&changes).await.start().end().await;
    assert!(!ended.success);
    let lines = ended.lines();
    let told: Vec<_> = configuration_errors(&lines).into_iter().map(|(variable, _)| variable).collect();
    assert_eq!(told, changes.map(|(variable, _)| variable));
    assert_eq!(lines.last().unwrap()["error"], json!("the configuration is wrong in 9 place(s), each told above"));
}

const NO_SUCH_BUS: &str = "holds `scalekit-events`, but there is no such event bus in this account and region; \
                           it should hold one that exists";

#[tokio::test]
async fn a_missing_bus_stops_the_start() {
    let around = Surroundings::new().await;
    around.aws.always("DescribeEventBus", failed_call(400, "ResourceNotFoundException"));
    let ended = around.start().end().await;
    assert!(!ended.success);
    assert_eq!(configuration_errors(&ended.lines()), [("EVENT_BUS_NAME", NO_SUCH_BUS)]);
}

#[tokio::test]
async fn a_missing_bus_does_not_stop_a_function_that_can_park() {
    let mut around = Surroundings::new().await;
    around.variables.insert("PARKING_QUEUE_URL", around.aws.queue_url("parking"));
    around.aws.always("DescribeEventBus", failed_call(400, "ResourceNotFoundException"));
    let process = around.start();
    around.deliver().await;
    assert_eq!(around.aws.entries(), Vec::<Value>::new());
    assert_eq!(around.aws.requests("SendMessage")[0]["MessageBody"], json!(BODY));
    let lines = process.stop().await.lines();
    assert_eq!(configuration_errors(&lines), [("EVENT_BUS_NAME", NO_SUCH_BUS)]);
    assert_eq!(lines.last().unwrap()["outcome"], json!("parked"));
}

#[tokio::test]
async fn a_look_that_fails_is_a_warning() {
    let denied = "DescribeEventBus: AccessDeniedException (HTTP 400): it failed";
    for (behaviour, error) in [
        (failed_call(400, "AccessDeniedException"), denied),
        (failed_call(400, "ThrottlingException"), "DescribeEventBus: ThrottlingException (HTTP 400)"),
        (failed_call(500, "InternalException"), "DescribeEventBus: InternalException (HTTP 500)"),
        (Behaviour::Hang, "DescribeEventBus: no answer in time"),
    ] {
        let mut around = Surroundings::new().await;
        around.aws.always("DescribeEventBus", behaviour.clone());
        let started = Instant::now();
        let process = around.start();
        around.api.ready().await;
        // Two seconds of network work at most, and a busy machine's own time.
        assert!(started.elapsed() < Duration::from_secs(3), "{behaviour:?} takes {:?}", started.elapsed());
        around.deliver().await;
        let lines = process.stop().await.lines();
        assert_eq!(lines[0]["level"], json!("WARN"), "{behaviour:?}");
        assert_eq!(lines[0]["message"], json!("could not look whether the bus exists"), "{behaviour:?}");
        assert_eq!(lines[0]["error"], json!(error), "{behaviour:?}");
        assert_eq!(lines[1]["outcome"], json!("forwarded"), "{behaviour:?}");
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}

const NO_CREDENTIALS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_SESSION_TOKEN", "")];

/// What a container is told: its role's credentials are to be had at this URL.
fn in_container(url: &str) -> Vec<(&'static str, &str)> {
    [&NO_CREDENTIALS[..], &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]].concat()
}

#[tokio::test]
async fn credentials_that_are_missing_or_wrong() {
    let (misconfigured, unavailable) = ((500, "misconfigured"), (503, "bus-unavailable"));
    let (closed, mute, failing) = (Endpoint::closed(), Endpoint::mute(), Endpoint::start().await);
    failing.always("GetCredentials", Behaviour::Raw(500, Vec::new()));
    let (closed, mute, failing) = (closed.url(), mute.url(), failing.url());
    let rows = [
        ("none", NO_CREDENTIALS.to_vec(), misconfigured),
        ("an id without its secret", NO_CREDENTIALS[1..].to_vec(), misconfigured),
        ("an address that is no container's", in_container("http://192.0.2.1/"), misconfigured),
        ("a container's, and nothing listens", in_container(&closed), unavailable),
        ("a container's, and no answer", in_container(&mute), unavailable),
        ("a container's that fails", in_container(&failing), unavailable),
    ];
    join_all(rows.into_iter().map(async |(why, changes, expected)| {
        let mut around = Surroundings::with(&changes).await;
        let process = around.start();
        around.api.ready().await;
        let begun = Instant::now();
        let answer = read(&around.api.invoke(&signed_now(BODY).function_url()).await.unwrap());
        let took = begun.elapsed();
        let lines = process.stop().await.lines();
        assert_eq!((answer.status, answer.code()), expected, "{why}: {lines:?}");
        assert!(took < Duration::from_secs(9), "{why}: {took:?}");
        assert_eq!(around.aws.entries(), Vec::<Value>::new(), "{why}");
        assert!(lines.last().unwrap()["error"].as_str().unwrap().starts_with("PutEvents: "), "{why}: {lines:?}");
    }))
    .await;
}

#[tokio::test]
async fn a_containers_credentials_are_used_as_soon_as_they_can_be_had() {
    let mut container = Endpoint::closed();
    let mut around = Surroundings::with(&in_container(&container.url())).await;
    let process = around.start();
    let reply = around.api.invoke(&signed_now(BODY).function_url()).await.unwrap();
    assert_eq!(read(&reply).code(), "bus-unavailable");
    container.open();
    around.deliver().await;
    process.stop().await;
}

/// A configuration file of AWS's with this in it.
fn profiles(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_profile_holds_what_no_variable_does() {
    let mut around = Surroundings::with(&NO_CREDENTIALS).await;
    let (right, wrong) = (around.aws.url(), Endpoint::closed().url());
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
        around.set(name, "");
    }
    around.set("AWS_CONFIG_FILE", &file);
    for profile in ["", "other"] {
        around.set("AWS_PROFILE", profile);
        let process = around.start();
        around.deliver().await;
        process.stop().await;
    }
    assert_eq!(around.aws.entries().len(), 2);

    around.set("AWS_ENDPOINT_URL_EVENTBRIDGE", &wrong);
    let process = around.start();
    assert_eq!(around.invoke().await.code(), "bus-unavailable", "a variable comes before a profile");
    process.stop().await;
}

#[tokio::test]
async fn kinds_of_endpoints_are_those_of_the_variables() {
    for (variable, kind) in [("AWS_USE_FIPS_ENDPOINT", "FIPS"), ("AWS_USE_DUALSTACK_ENDPOINT", "Dualstack")] {
        // Where they'd go is AWS; with an endpoint of ours they contradict it.
        let mut around = Surroundings::with(&[(variable, "true")]).await;
        let process = around.start();
        around.invoke().await;
        let lines = process.stop().await.lines();
        let error = lines.last().unwrap()["error"].as_str().unwrap();
        assert!(error.contains(&format!("{kind} and custom endpoint are not supported")), "{error}");
    }
}

#[tokio::test]
async fn a_profile_without_keys_of_its_own_is_told() {
    let role = "role_arn = arn:aws:iam::123456789012:role/a\nsource_profile = default\n";
    for (member, profile) in [
        ("role_arn", role),
        ("sso_session", "sso_session = ours\nsso_account_id = 123456789012\n"),
        ("credential_process", "credential_process = /bin/true\n"),
    ] {
        let mut around = Surroundings::with(&NO_CREDENTIALS).await;
        around.set("AWS_CONFIG_FILE", &profiles(member, &format!("[profile ours]\n{profile}")));
        around.set("AWS_PROFILE", "ours");
        let process = around.start();
        assert_eq!(around.invoke().await.code(), "misconfigured");
        let lines = process.stop().await.lines();
        let error = lines.last().unwrap()["error"].as_str().unwrap();
        let expected = format!(
            "the profile `ours` has `{member}` in the place of keys, which is not supported here; \
             AWS CLI 2 prints its keys as variables: `aws configure export-credentials --format env`"
        );
        assert!(error.ends_with(&expected), "{error}");
    }
}

#[tokio::test]
async fn a_wide_tolerance_is_warned_about() {
    for (seconds, warnings) in [
        ("3600", vec![]),
        (
            "3601",
            vec![
                "WEBHOOK_TOLERANCE_SECONDS: 3601 s let a recorded delivery be sent again for as long; \
                 at most 3600 is advised, 300 is the default",
            ],
        ),
    ] {
        let mut around = Surroundings::with(&[("WEBHOOK_TOLERANCE_SECONDS", seconds)]).await;
        let process = around.start();
        around.api.ready().await;
        let lines = process.stop().await.lines();
        assert!(lines.iter().all(|line| line["level"] == json!("WARN")), "{lines:?}");
        assert_eq!(lines.iter().map(|line| line["warning"].as_str().unwrap()).collect::<Vec<_>>(), warnings);
    }
}

/// An event whose every value, but those that the log line names, is marked.
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

/// What must not be found in the log, in lower case: the marks, the numbers, the secret.
const MARKS: [&str; 5] = ["marked", "999888777666", "123456789z", "1760434167", "dgvzdhmtc2lnbi13axrolxroaxmtc2vjcmv0"];

#[tokio::test]
async fn nothing_of_a_delivery_is_logged_at_any_level() {
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
        let mut around = Surroundings::with(&[
            ("AWS_LAMBDA_LOG_FORMAT", format),
            ("AWS_LAMBDA_LOG_LEVEL", "TRACE"),
            ("RUST_LOG", "trace"),
            ("RUST_BACKTRACE", "full"),
        ])
        .await;
        let process = around.start();
        let mut signatures = Vec::new();
        for (why, envelope, behaviour, status) in [
            ("valid", valid(), None, 200),
            ("a host that is none", tampered("/headers/host", "marked host"), None, 200),
            ("a violation", with("type", json!("Marked.Type")), None, 400),
            ("violations everywhere", with("spec_version", json!({"marked": "marked"})), None, 400),
            ("malformed", marked(signed_now("{\"marked\": \"marked\" marked}").function_url()), None, 400),
            ("no object", marked(signed_now("\"marked\"").function_url()), None, 400),
            ("no HTTP header", tampered("/headers/user-agent", "marked\r\nline"), None, 400),
            ("another method", tampered("/requestContext/http/method", "MARKED"), None, 405),
            ("another content type", tampered("/headers/content-type", "marked/type"), None, 415),
            ("too large", tampered("/body", &"marked".repeat(200_000)), None, 413),
            ("forged", tampered("/headers/webhook-signature", "v1,marked"), None, 401),
            ("an id that is none", tampered("/headers/webhook-id", "marked id"), None, 401),
            ("a timestamp that is none", tampered("/headers/webhook-timestamp", "marked time"), None, 401),
            ("stale", marked(stale.function_url()), None, 401),
            ("the bus quotes it, refusing", valid(), Some(quoting("ValidationException")), 422),
            ("the bus quotes it, refusing the entry", valid(), Some(quoting_entry("MalformedDetail")), 422),
            ("the bus quotes it, failing", valid(), Some(quoting("InternalException")), 200),
            ("the bus answers no JSON", valid(), Some(Behaviour::Raw(200, b"{marked".to_vec())), 200),
            ("the bus resets the connection", valid(), Some(Behaviour::Reset), 200),
            ("the bus denies the entry", valid(), Some(quoting_entry("AccessDeniedException")), 500),
        ] {
            if let Some(behaviour) = behaviour {
                around.aws.once("PutEvents", behaviour);
            }
            let reply = around.api.invoke(&envelope).await.unwrap();
            assert_eq!(read(&reply).status, status, "{why}: {reply}");
            signatures
                .push(envelope["headers"]["webhook-signature"].as_str().unwrap().replace("v1,", "").to_lowercase());
        }
        let error = around.api.invoke(&json!({"marked": marked_event()})).await.unwrap_err();
        assert_eq!(error["errorType"], json!("UnknownEvent"));
        let Ended { stdout, stderr, .. } = process.stop().await;

        assert!(stdout.lines().count() >= 20, "the log is there: {stdout}");
        assert_eq!(stderr, "");
        for mark in MARKS.into_iter().chain(signatures.iter().map(String::as_str)) {
            let found = stdout.lines().find(|line| line.to_lowercase().contains(mark));
            assert_eq!(found, None, "{mark} is logged");
        }
    }
}

/// The SDK's error shows the whole request then, in its text.
#[tokio::test]
async fn nothing_of_a_delivery_is_logged_when_the_endpoint_is_no_url() {
    let mut around = Surroundings::with(&[("AWS_ENDPOINT_URL", "no-url"), ("AWS_LAMBDA_LOG_LEVEL", "TRACE")]).await;
    let process = around.start();
    let reply = around.api.invoke(&signed_now(&marked_event().to_string()).function_url()).await.unwrap();
    assert_eq!(read(&reply).code(), "bus-unavailable");
    let stdout = process.stop().await.stdout.to_lowercase();
    assert!(stdout.contains("failed to apply endpoint `no-url`"), "{stdout}");
    assert_eq!(MARKS.into_iter().find(|mark| stdout.contains(mark)), None, "{stdout}");
}
