//! `doctor`: each link in each of its states. Every case starts from a deployment in which all links hold, so only what the
//! case changes can be the reason for the finding.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Request, Stub, program_on, text};

const REGION_ACCOUNT: &str = "eu-central-1:123456789012";
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER_SECRET: &str = "whsec_c29tZS1vdGhlci1zZWNyZXQtb2Ytb3Vycw==";
const CONFIGURATION: &str = "GET /2015-03-31/functions/function/configuration";

/// The answers of AWS and of the function by operation. An operation that is called for several resources has an answer for
/// each: its key is followed by a part of the request.
type Answers = BTreeMap<String, (u16, String)>;

fn arn(service: &str, resource: &str) -> String {
    format!("arn:aws:{service}:{REGION_ACCOUNT}:{resource}")
}

fn policy(action: &str) -> String {
    let statement =
        json!({"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": action, "Resource": "*"});
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

fn seconds_ago(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - seconds
}

/// The answer to `DescribeStacks`, with this status, and with other outputs and parameters.
fn stack(status: &str, changes: &[(&str, &str)]) -> String {
    let mut outputs = BTreeMap::from([
        ("WebhookUrl", "URL/".to_owned()),
        ("SecretArn", arn("secretsmanager", "secret:scalekit-AbCdEf")),
        ("EventBusName", "scalekit".to_owned()),
        ("EventBusArn", arn("events", "event-bus/scalekit")),
        ("FunctionName", "function".to_owned()),
        ("Version", "0.1.0".to_owned()),
        ("AlarmTopicArn", arn("sns", "alarms")),
        ("ParkingQueueUrl", "https://sqs/123456789012/parking".to_owned()),
        ("DeadLetterQueueUrl", "https://sqs/123456789012/dead-letters".to_owned()),
    ]);
    let mut parameters =
        BTreeMap::from([("DrainConcurrency", "5"), ("EventSource", "scalekit"), ("Ingress", "FunctionUrl")]);
    for (name, value) in changes {
        if outputs.contains_key(name) || name.ends_with("QueueUrl") {
            outputs.insert(name, (*value).to_owned());
        } else {
            parameters.insert(name, value);
        }
    }
    let member = |key: &str, name: &str, value: &str| {
        format!("<member><{key}Key>{name}</{key}Key><{key}Value>{value}</{key}Value></member>")
    };
    let outputs = outputs.iter().map(|(name, value)| member("Output", name, value)).collect::<Vec<_>>().concat();
    let parameters =
        parameters.iter().map(|(name, value)| member("Parameter", name, value)).collect::<Vec<_>>().concat();
    let id = arn("cloudformation", "stack/scalekit/1");
    format!(
        "<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>scalekit</StackName><StackId>{id}</StackId>\
         <StackStatus>{status}</StackStatus><Outputs>{outputs}</Outputs><Parameters>{parameters}</Parameters></member></Stacks>\
         </DescribeStacksResult></DescribeStacksResponse>"
    )
}

fn subscriptions(arns: &[&str]) -> String {
    let members = arns
        .iter()
        .map(|arn| format!("<member><SubscriptionArn>{arn}</SubscriptionArn></member>"))
        .collect::<Vec<_>>()
        .concat();
    let name = "ListSubscriptionsByTopic";
    format!("<{name}Response><{name}Result><Subscriptions>{members}</Subscriptions></{name}Result></{name}Response>")
}

fn topic(policy: &str) -> String {
    let entry = format!("<entry><key>Policy</key><value>{}</value></entry>", policy.replace('"', "&quot;"));
    let name = "GetTopicAttributes";
    format!("<{name}Response><{name}Result><Attributes>{entry}</Attributes></{name}Result></{name}Response>")
}

fn resources(resources: &[(&str, &str)]) -> String {
    let member = |(kind, id): &(&str, &str)| {
        format!("<member><ResourceType>{kind}</ResourceType><PhysicalResourceId>{id}</PhysicalResourceId></member>")
    };
    let members = resources.iter().map(member).collect::<Vec<_>>().concat();
    let name = "ListStackResources";
    format!(
        "<{name}Response><{name}Result><StackResourceSummaries>{members}</StackResourceSummaries></{name}Result></{name}Response>"
    )
}

fn alarm(name: &str, state: &str) -> Value {
    json!({"AlarmName": name, "StateValue": state, "StateReason": "a reason", "ActionsEnabled": true})
}

fn rule(state: &str) -> Value {
    let pattern = r#"{"source":["scalekit"]}"#;
    json!({"Rules": [
        {"Name": "mine", "Arn": arn("events", "rule/scalekit/mine"), "State": state, "EventPattern": pattern},
        {"Name": "Events-Archive-scalekit", "State": "ENABLED", "ManagedBy": "prod.vhs.events.aws.internal"},
        {"Name": "scalekit-tail-0123456789abcdef", "State": "ENABLED"},
    ]})
}

fn target(target: &Value) -> Value {
    json!({"Targets": [target]})
}

/// A deployment in which every link holds.
fn healthy() -> Answers {
    let refusal = json!({"type": "urn:scalekit-eventbridge:problem:invalid-signature", "status": 401});
    let code = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="; // of "abc"
    let trigger = json!({"UUID": "trigger-1", "State": "Enabled", "EventSourceArn": arn("sqs", "parking")});
    let secret = json!({"SecretString": SECRET, "CreatedDate": seconds_ago(7_200)});
    let empty =
        json!({"Attributes": {"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0"}});
    let quota = json!({"QuotaName": "PutEvents throttle limit in transactions per second", "Value": 2400.0});
    let account = json!({"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}});
    let answers = [
        ("DescribeStacks", 200, stack("UPDATE_COMPLETE", &[])),
        ("POST /", 401, refusal.to_string()),
        (CONFIGURATION, 200, json!({"FunctionName": "function", "State": "Active", "LastUpdateStatus": "Successful", "CodeSha256": code}).to_string()),
        ("GET /2015-03-31/event-source-mappings/?FunctionName=function", 200, json!({"EventSourceMappings": [trigger]}).to_string()),
        ("GET /2019-09-30/functions/function/concurrency", 200, "{}".to_owned()),
        ("GET /2016-08-19/account-settings/", 200, account.to_string()),
        ("DescribeSecret", 200, json!({"VersionIdsToStages": {"1": ["AWSCURRENT"], "2": ["AWSPREVIOUS"]}}).to_string()),
        ("GetSecretValue", 200, secret.to_string()),
        ("DescribeEventBus", 200, "{}".to_owned()),
        ("ListRules", 200, rule("ENABLED").to_string()),
        ("ListTargetsByRule", 200, target(&json!({"Id": "1", "Arn": arn("sqs", "mine")})).to_string()),
        ("GetQueueUrl", 200, json!({"QueueUrl": "https://sqs/123456789012/mine"}).to_string()),
        ("GetQueueAttributes mine", 200, json!({"Attributes": {"Policy": policy("sqs:SendMessage")}}).to_string()),
        ("GetQueueAttributes parking", 200, empty.to_string()),
        ("GetQueueAttributes dead-letters", 200, empty.to_string()),
        ("GetMetricStatistics FailedInvocations", 200, json!({"Datapoints": []}).to_string()),
        ("GetMetricStatistics ApproximateAgeOfOldestMessage", 200, json!({"Datapoints": [{"Timestamp": 1.0, "Maximum": 1.0}, {"Timestamp": 2.0, "Maximum": 90_000.0}]}).to_string()),
        ("DescribeAlarms", 200, json!({"MetricAlarms": [alarm("scalekit-Faults", "OK"), alarm("scalekit-b-Faults", "ALARM")]}).to_string()),
        ("ListStackResources", 200, resources(&[("AWS::SQS::Queue", "parking"), ("AWS::CloudWatch::Alarm", "scalekit-Faults")])),
        ("ListSubscriptionsByTopic", 200, subscriptions(&[&arn("sns", "alarms:1"), "PendingConfirmation"])),
        ("ListServiceQuotas", 200, json!({"Quotas": [quota]}).to_string()),
    ];
    answers.into_iter().map(|(key, status, body)| (key.to_owned(), (status, body))).collect()
}

/// The answer for a request. The URL of the function is that of the server.
fn answer(answers: &Answers, request: &Request, url: &str) -> (u16, String) {
    let body = text(&request.body);
    let key = answers.keys().find(|key| {
        let (operation, part) = match key.split_once(' ') {
            Some((operation, part)) if !operation.chars().all(char::is_uppercase) => (operation, part),
            _ => (key.as_str(), ""),
        };
        operation == request.operation && body.contains(part)
    });
    match key {
        Some(key) => (answers[key].0, answers[key].1.replace("URL/", &format!("{url}/"))),
        None => (
            400,
            json!({"__type": "AccessDeniedException", "message": format!("{} is not allowed", request.operation)})
                .to_string(),
        ),
    }
}

/// Starts a server with these answers. Signed deliveries get 200.
fn start(answers: Answers) -> Stub {
    let url = Arc::new(Mutex::new(String::new()));
    let stub = Stub::start({
        let url = Arc::clone(&url);
        move |request| match request.headers.get("webhook-signature") {
            Some(_) => (200, String::new()),
            None => answer(&answers, request, &url.lock().unwrap()),
        }
    });
    url.lock().unwrap().push_str(&stub.url());
    stub
}

/// Runs `doctor`, and returns its exit status and its findings: the link, its state, the text and the runbook.
fn doctor(answers: Answers, arguments: &[&str]) -> (i32, Vec<[String; 4]>) {
    doctor_on(&start(answers), arguments)
}

fn doctor_on(stub: &Stub, arguments: &[&str]) -> (i32, Vec<[String; 4]>) {
    let output = program_on(stub).args(["doctor", "scalekit", "--json"]).args(arguments).output().unwrap();
    for secret in [SECRET, OTHER_SECRET] {
        assert!(!text(&output.stdout).contains(&secret[6..]) && !text(&output.stderr).contains(&secret[6..]));
    }
    let findings = text(&output.stdout).lines().map(|line| {
        let finding: Value = serde_json::from_str(line).unwrap();
        let [link, state, text, runbook] =
            ["link", "state", "text", "runbook"].map(|name| finding[name].as_str().unwrap_or_default());
        let page = runbook.strip_prefix("scalekit-eventbridge/").unwrap_or_default();
        assert_eq!(page.is_empty(), runbook.is_empty(), "{runbook} should be in the repository");
        [link, state, text, page].map(str::to_owned)
    });
    (output.status.code().unwrap(), findings.collect())
}

#[test]
fn every_link_can_hold() {
    let (code, findings) = doctor(healthy(), &[]);
    let states: Vec<_> = findings.iter().map(|[link, state, ..]| (link.as_str(), state.as_str())).collect();
    let expected = [
        ("stack", "ok"),
        ("url", "ok"),
        ("function", "ok"),
        ("code", "skipped"),
        ("trigger", "ok"),
        ("secret", "ok"),
        ("bus", "ok"),
        ("rule mine", "ok"),
        ("parking-queue", "ok"),
        ("dead-letter-queue", "ok"),
        ("alarms", "ok"),
        ("alarm-topic", "ok"),
        ("concurrency", "ok"),
        ("put-events", "ok"),
    ];
    assert_eq!((code, &states[..]), (0, &expected[..]), "{findings:#?}");
    let secret = &findings.iter().find(|[link, ..]| link == "secret").unwrap()[2];
    assert_eq!(secret, "it is set, for 2 h; the previous version is accepted for another 21 h 59 min");
}

/// What is changed, the answers that change, and the finding: the link, its state, a part of its text, and its runbook.
type Case = (&'static str, Vec<(&'static str, u16, String)>, [&'static str; 4]);

fn not_found() -> String {
    json!({"__type": "ResourceNotFoundException", "message": "there is no such resource"}).to_string()
}

fn check(cases: Vec<Case>) {
    for (what, changes, [link, state, part, runbook]) in cases {
        let mut answers = healthy();
        answers.extend(changes.into_iter().map(|(key, status, body)| (key.to_owned(), (status, body))));
        let (code, findings) = doctor(answers, &[]);
        let finding =
            findings.iter().find(|finding| finding[0] == link).unwrap_or_else(|| panic!("{what}: {findings:#?}"));
        assert_eq!(finding[1], state, "{what}: {finding:?}");
        assert!(finding[2].contains(part), "{what}: {finding:?}");
        assert_eq!(finding[3], runbook, "{what}");
        assert!(
            findings.iter().filter(|it| !["ok", "skipped"].contains(&it[1].as_str())).count() <= 1,
            "{what}: {findings:#?}"
        );
        let expected = match state {
            "broken" => 1,
            "warning" | "unknown" => 3,
            _ => 0,
        };
        assert_eq!(code, expected, "{what}");
    }
}

const IN_FRONT: &str = "docs/operations.md#if-requests-dont-reach-the-function";
const TOOLS: &str = "docs/tools.md#checking-a-deployment";

#[test]
fn the_stack() {
    let missing = "<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack with id scalekit does not exist</Message></Error></ErrorResponse>";
    check(vec![
        (
            "there is no stack",
            vec![("DescribeStacks", 400, missing.to_owned())],
            ["stack", "broken", "there is no stack scalekit", "README.md#deploy"],
        ),
        (
            "its creation failed",
            vec![("DescribeStacks", 200, stack("ROLLBACK_COMPLETE", &[]).replace("WebhookUrl", "Other"))],
            ["stack", "broken", "is ROLLBACK_COMPLETE and has no output WebhookUrl", "README.md#deploy"],
        ),
        (
            "its update failed",
            vec![("DescribeStacks", 200, stack("UPDATE_ROLLBACK_COMPLETE", &[]))],
            ["stack", "warning", "UPDATE_ROLLBACK_COMPLETE", "docs/releases.md#upgrading"],
        ),
        (
            "it is being updated",
            vec![("DescribeStacks", 200, stack("UPDATE_IN_PROGRESS", &[]))],
            ["stack", "warning", "UPDATE_IN_PROGRESS", "docs/releases.md#upgrading"],
        ),
        (
            "it can't be read",
            vec![(
                "DescribeStacks",
                403,
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
                    .to_owned(),
            )],
            ["stack", "unknown", "DescribeStacks failed: AccessDenied: no", TOOLS],
        ),
    ]);
}

#[test]
fn the_url() {
    let cases = [
        ("a policy refuses", 403, r#"{"Message":"Forbidden"}"#, IN_FRONT),
        ("something else refuses", 401, r#"{"message":"Unauthorized"}"#, IN_FRONT),
        ("there is nothing", 404, r#"{"message":"Not Found"}"#, IN_FRONT),
        ("something else accepts", 200, "", IN_FRONT),
        ("it is throttled", 429, r#"{"Reason":"ConcurrentInvocationLimitExceeded"}"#, "docs/operations.md#throttles"),
        ("the function can't start", 502, "Internal Server Error", "docs/operations.md#errors"),
    ];
    for (what, status, body, runbook) in cases {
        let mut answers = healthy();
        answers.insert("POST /".to_owned(), (status, body.to_owned()));
        let (code, findings) = doctor(answers, &[]);
        assert_eq!(code, 1, "{what}");
        assert_eq!([&*findings[1][0], &*findings[1][1], &*findings[1][3]], ["url", "broken", runbook], "{what}");
        assert!(findings[1][2].contains(&status.to_string()), "{what}");
    }
    let unreachable = stack("UPDATE_COMPLETE", &[("WebhookUrl", "http://127.0.0.1:1/")]);
    check(vec![(
        "nothing listens",
        vec![("DescribeStacks", 200, unreachable)],
        ["url", "broken", "could not be posted", IN_FRONT],
    )]);
}

#[test]
fn the_function_and_its_trigger() {
    const TRIGGERS: &str = "GET /2015-03-31/event-source-mappings/?FunctionName=function";
    const RUNBOOK: &str = "docs/operations.md#parkedlong";
    let configuration = |state: &str, update: &str| {
        json!({"State": state, "StateReason": "r1", "LastUpdateStatus": update, "LastUpdateStatusReason": "r2"})
            .to_string()
    };
    let trigger = |state: &str, queue: &str| {
        json!({"EventSourceMappings": [{"UUID": "trigger-1", "State": state, "EventSourceArn": arn("sqs", queue)}]})
            .to_string()
    };
    check(vec![
        (
            "there is no function",
            vec![(CONFIGURATION, 404, not_found())],
            ["function", "broken", "doesn't exist", "docs/releases.md#deploying-a-release"],
        ),
        (
            "it failed",
            vec![(CONFIGURATION, 200, configuration("Failed", "Successful"))],
            ["function", "broken", "it can't be invoked: r1", "docs/operations.md#errors"],
        ),
        (
            "its update failed",
            vec![(CONFIGURATION, 200, configuration("Active", "Failed"))],
            ["function", "broken", "its last update failed: r2", "docs/releases.md#upgrading"],
        ),
        (
            "it is being updated",
            vec![(CONFIGURATION, 200, configuration("Active", "InProgress"))],
            ["function", "warning", "being updated", "docs/releases.md#upgrading"],
        ),
        (
            "it can't be read",
            vec![(CONFIGURATION, 403, json!({"Message": "no"}).to_string())],
            ["function", "unknown", "GetFunctionConfiguration failed: HTTP 403: no", TOOLS],
        ),
        (
            "the trigger is disabled",
            vec![(TRIGGERS, 200, trigger("Disabled", "parking"))],
            ["trigger", "broken", "is disabled", RUNBOOK],
        ),
        (
            "there is no trigger",
            vec![(TRIGGERS, 200, trigger("Enabled", "another"))],
            ["trigger", "broken", "doesn't trigger", RUNBOOK],
        ),
        (
            "the trigger changes",
            vec![(TRIGGERS, 200, trigger("Updating", "parking"))],
            ["trigger", "warning", "is Updating", RUNBOOK],
        ),
        (
            "it can't be read",
            vec![(TRIGGERS, 403, "{}".to_owned())],
            ["trigger", "unknown", "ListEventSourceMappings", TOOLS],
        ),
    ]);
}

#[test]
fn the_code_is_compared_with_the_checksums_of_a_release() {
    let folder = std::env::temp_dir().join(format!("scalekit-events-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for (what, content, state, part) in [
        (
            "the release",
            format!("{}  other.zip\n{abc}  function-arm64.zip\n", abc.replace('b', "c")),
            "ok",
            "it is that of function-arm64.zip",
        ),
        (
            "another release",
            format!("{}  function-arm64.zip\n", abc.replace('b', "c")),
            "broken",
            "not one of the release's files",
        ),
    ] {
        let file = folder.join("SHA256SUMS");
        std::fs::write(&file, content).unwrap();
        let (_, findings) = doctor(healthy(), &["--checksums", file.to_str().unwrap()]);
        let code = findings.iter().find(|[link, ..]| link == "code").unwrap();
        assert_eq!(code[1], state, "{what}");
        assert!(code[2].contains(part), "{what}: {code:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_secret() {
    const RUNBOOK: &str = "docs/operations.md#secrettrouble";
    let value = |text: &str| json!({"SecretString": text, "CreatedDate": seconds_ago(60)}).to_string();
    check(vec![
        (
            "there is no secret",
            vec![("DescribeSecret", 400, not_found())],
            ["secret", "broken", "doesn't exist", RUNBOOK],
        ),
        (
            "it will be deleted",
            vec![("DescribeSecret", 200, json!({"DeletedDate": 1.0}).to_string())],
            ["secret", "broken", "scheduled for deletion", RUNBOOK],
        ),
        (
            "it is not set",
            vec![("GetSecretValue", 200, value("paste-the-signing-secret-here"))],
            ["secret", "broken", "the template's placeholder", RUNBOOK],
        ),
        (
            "it has no value",
            vec![("GetSecretValue", 400, not_found())],
            ["secret", "broken", "has no value", "docs/operations.md#setting-the-secret"],
        ),
        ("it is malformed", vec![("GetSecretValue", 200, value("whsec_*"))], ["secret", "broken", "base64", RUNBOOK]),
        (
            "it can't be read",
            vec![("GetSecretValue", 400, json!({"__type": "AccessDeniedException", "message": "no"}).to_string())],
            ["secret", "unknown", "GetSecretValue failed: AccessDeniedException: no", TOOLS],
        ),
        (
            "it is not described",
            vec![("DescribeSecret", 400, json!({"__type": "AccessDeniedException"}).to_string())],
            ["secret", "unknown", "DescribeSecret", TOOLS],
        ),
    ]);
}

/// The answer about a function that reads this secret.
fn function_with(secret: &str) -> (&'static str, u16, String) {
    let environment = json!({"Variables": {"WEBHOOK_SECRET_ARN": secret}});
    (CONFIGURATION, 200, json!({"State": "Active", "Environment": environment}).to_string())
}

/// The answer of a secret in which two members contain a signing secret.
fn two_members() -> (&'static str, u16, String) {
    let members = json!({"PAYMENTS\n": OTHER_SECRET, "SCALEKIT": SECRET, "client_id": "skc_1", "port": 1});
    ("GetSecretValue", 200, json!({"SecretString": members.to_string(), "CreatedDate": seconds_ago(60)}).to_string())
}

#[test]
fn one_of_several_signing_secrets_is_named_after_the_arn() {
    const RUNBOOK: &str = "docs/operations.md#secrettrouble";
    let arn = arn("secretsmanager", "secret:scalekit-AbCdEf");
    let with_parameter =
        |secret: &str| ("DescribeStacks", 200, stack("UPDATE_COMPLETE", &[("ExistingSecretArn", secret)]));
    let several = "several members of the JSON object contain a signing secret: `PAYMENTS\\u{a}`, `SCALEKIT`; none of them is \
                   used until the end of WEBHOOK_SECRET_ARN names one";
    let not_an_arn =
        "WEBHOOK_SECRET_ARN should be the ARN of a secret in Secrets Manager, with or without `:MEMBER::` after it";
    let unreadable = (CONFIGURATION, 403, json!({"Message": "no"}).to_string());
    check(vec![
        ("none is named", vec![two_members(), function_with(&arn)], ["secret", "broken", several, RUNBOOK]),
        (
            "one is named",
            vec![two_members(), function_with(&format!("{arn}:SCALEKIT::"))],
            ["secret", "ok", "it is set", ""],
        ),
        (
            "one is named only in the stack's parameter, which the function doesn't have",
            vec![two_members(), with_parameter(&format!("{arn}:SCALEKIT::")), function_with(&arn)],
            ["secret", "broken", several, RUNBOOK],
        ),
        (
            "another one is named",
            vec![two_members(), function_with(&format!("{arn}:OURS::"))],
            [
                "secret",
                "broken",
                "WEBHOOK_SECRET_ARN names the member `OURS`, but the JSON object has no such member",
                RUNBOOK,
            ],
        ),
        (
            "a version follows the ARN, which the function refuses",
            vec![two_members(), function_with(&format!("{arn}:SCALEKIT:AWSCURRENT:"))],
            ["secret", "broken", not_an_arn, RUNBOOK],
        ),
        (
            "the signing secret is in the place of the ARN",
            vec![function_with(SECRET)],
            ["secret", "broken", not_an_arn, RUNBOOK],
        ),
        (
            "the signing secret is in the ARN",
            vec![function_with(&format!("{arn}:{SECRET}::"))],
            ["secret", "broken", not_an_arn, RUNBOOK],
        ),
        (
            "the function's variables can't be read, but the stack's parameters can",
            vec![two_members(), with_parameter(&format!("{arn}:SCALEKIT::")), unreadable],
            ["function", "unknown", "GetFunctionConfiguration", TOOLS],
        ),
    ]);
}

#[test]
fn the_bus() {
    let other_account =
        stack("UPDATE_COMPLETE", &[("EventBusArn", "arn:aws:events:eu-central-1:210987654321:event-bus/scalekit")]);
    let denied = json!({"__type": "AccessDeniedException", "message": "no"}).to_string();
    check(vec![
        (
            "there is no bus",
            vec![("DescribeEventBus", 400, not_found())],
            ["bus", "broken", "doesn't exist", "docs/operations.md#if-the-event-bus-is-deleted"],
        ),
        (
            "it can't be read",
            vec![("DescribeEventBus", 400, denied)],
            ["bus", "unknown", "AccessDeniedException: no", TOOLS],
        ),
        (
            "it is another account's",
            vec![("DescribeStacks", 200, other_account)],
            ["bus", "skipped", "in another account", ""],
        ),
        (
            "there is no rule",
            vec![("ListRules", 200, json!({"Rules": []}).to_string())],
            ["rules", "warning", "no rule", "events/rules.md"],
        ),
    ]);
}

const RULES: &str = "events/rules.md";

/// The answer about a rule's only target.
fn to(service: &str, resource: &str) -> (&'static str, u16, String) {
    ("ListTargetsByRule", 200, target(&json!({"Id": "1", "Arn": arn(service, resource)})).to_string())
}

#[test]
fn the_rules() {
    let denied = json!({"__type": "AccessDeniedException"}).to_string();
    let no_rules = ("ListRules", 400, denied.clone());
    let failed = json!({"Datapoints": [{"Timestamp": 1.0, "Sum": 3.0}]}).to_string();
    let elsewhere = json!({"Id": "1", "Arn": "arn:aws:sqs:eu-central-1:210987654321:mine"});
    let with_role = json!({"Id": "1", "Arn": arn("sqs", "mine"), "RoleArn": "arn:aws:iam::123456789012:role/mine"});
    check(vec![
        ("they can't be read", vec![no_rules], ["rules", "unknown", "AccessDeniedException", TOOLS]),
        (
            "it is disabled",
            vec![("ListRules", 200, rule("DISABLED").to_string())],
            ["rule mine", "warning", "is disabled", RULES],
        ),
        (
            "it has no target",
            vec![("ListTargetsByRule", 200, json!({"Targets": []}).to_string())],
            ["rule mine", "broken", "has no target", RULES],
        ),
        (
            "its targets can't be read",
            vec![("ListTargetsByRule", 400, denied)],
            ["rule mine", "unknown", "ListTargetsByRule", TOOLS],
        ),
        (
            "deliveries failed",
            vec![("GetMetricStatistics FailedInvocations", 200, failed)],
            ["rule mine", "broken", "3 deliveries to its targets failed", RULES],
        ),
        (
            "a target of another account",
            vec![("ListTargetsByRule", 200, target(&elsewhere).to_string())],
            ["rule mine", "skipped", "another account or region", ""],
        ),
        (
            "a target with a role",
            vec![("ListTargetsByRule", 200, target(&with_role).to_string())],
            ["rule mine", "skipped", "uses a role", ""],
        ),
    ]);
}

#[test]
fn a_queue_as_a_target() {
    let queue = |attributes: Value| ("GetQueueAttributes mine", 200, json!({"Attributes": attributes}).to_string());
    let with_key = |key: &str| queue(json!({"Policy": policy("sqs:SendMessage"), "KmsMasterKeyId": key}));
    let key = |state: &str| {
        (
            "DescribeKey",
            200,
            json!({"KeyMetadata": {"KeyId": "k", "Arn": arn("kms", "key/k"), "KeyState": state}}).to_string(),
        )
    };
    let key_policy = |action: &str| ("GetKeyPolicy", 200, json!({"Policy": policy(action)}).to_string());
    let missing_queue = json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "none"}).to_string();
    check(vec![
        (
            "it has no policy",
            vec![queue(json!({}))],
            ["rule mine", "broken", "its policy doesn't let EventBridge send", RULES],
        ),
        (
            "there is no queue",
            vec![("GetQueueUrl", 400, missing_queue)],
            ["rule mine", "broken", "the queue doesn't exist", RULES],
        ),
        (
            "it has AWS's key",
            vec![with_key("alias/aws/sqs")],
            ["rule mine", "broken", "can't use its key alias/aws/sqs", RULES],
        ),
        (
            "the key may be used",
            vec![with_key("k"), key("Enabled"), key_policy("kms:*")],
            ["rule mine", "ok", "its target can receive", ""],
        ),
        (
            "the key may not be used",
            vec![with_key("k"), key("Enabled"), key_policy("kms:Decrypt")],
            ["rule mine", "broken", "doesn't let EventBridge use the key", RULES],
        ),
        (
            "the key is disabled",
            vec![with_key("k"), key("Disabled")],
            ["rule mine", "broken", "its key k is Disabled", RULES],
        ),
        ("the key can't be read", vec![with_key("k")], ["rule mine", "skipped", "DescribeKey is not allowed", ""]),
    ]);
}

#[test]
fn other_targets() {
    let function = "GET /2015-03-31/functions/mine/policy";
    let invoke = json!({"Policy": policy("lambda:InvokeFunction")}).to_string();
    check(vec![
        (
            "a topic",
            vec![to("sns", "mine"), ("GetTopicAttributes", 200, topic(&policy("sns:Publish")))],
            ["rule mine", "ok", "can receive", ""],
        ),
        (
            "a topic without a policy",
            vec![to("sns", "mine"), ("GetTopicAttributes", 200, topic("{}"))],
            ["rule mine", "broken", "its policy", RULES],
        ),
        (
            "a function",
            vec![to("lambda", "function:mine"), (function, 200, invoke.clone())],
            ["rule mine", "ok", "can receive", ""],
        ),
        (
            "a version of a function",
            vec![
                to("lambda", "function:mine:live"),
                ("GET /2015-03-31/functions/mine/policy?Qualifier=live", 200, invoke),
            ],
            ["rule mine", "ok", "can receive", ""],
        ),
        (
            "a function without a policy",
            vec![to("lambda", "function:mine"), (function, 404, not_found())],
            ["rule mine", "broken", "no policy that lets EventBridge invoke it", RULES],
        ),
        (
            "another kind of target",
            vec![to("states", "stateMachine:mine")],
            ["rule mine", "skipped", "targets of this kind aren't checked", ""],
        ),
    ]);
}

#[test]
fn the_queues_and_the_key() {
    const KEY: &str = "docs/configuration.md#one-kms-key";
    let waiting =
        json!({"Attributes": {"ApproximateNumberOfMessages": "2", "ApproximateNumberOfMessagesNotVisible": "3"}})
            .to_string();
    let missing = json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "none"}).to_string();
    let with_key = (
        "DescribeStacks",
        200,
        stack("UPDATE_COMPLETE", &[("KmsKeyArn", "arn:aws:kms:eu-central-1:123456789012:key/k")]),
    );
    let of_bus = (
        "DescribeStacks",
        200,
        stack("UPDATE_COMPLETE", &[("BusDeadLetterQueueUrl", "https://sqs/123456789012/of-the-bus")]),
    );
    let key = |state: &str| ("DescribeKey", 200, json!({"KeyMetadata": {"KeyState": state}}).to_string());
    check(vec![
        (
            "events are parked",
            vec![("GetQueueAttributes parking", 200, waiting.clone())],
            [
                "parking-queue",
                "warning",
                "5 events wait for the bus; the oldest is 1 d 1 h old",
                "docs/operations.md#parkedage",
            ],
        ),
        (
            "messages are dead-lettered",
            vec![("GetQueueAttributes dead-letters", 200, waiting.clone())],
            [
                "dead-letter-queue",
                "warning",
                "5 messages need an operator; the oldest is 1 d 1 h old",
                "docs/operations.md#deadletters",
            ],
        ),
        (
            "the bus couldn't use the key",
            vec![of_bus, ("GetQueueAttributes of-the-bus", 200, waiting)],
            ["bus-dead-letter-queue", "warning", "5 events reached no consumer", "docs/operations.md#busdeadletters"],
        ),
        (
            "there is no parking queue",
            vec![("GetQueueAttributes parking", 400, missing)],
            ["parking-queue", "broken", "doesn't exist", "docs/operations.md#parked-and-dead-lettered-events"],
        ),
        (
            "it can't be read",
            vec![("GetQueueAttributes parking", 400, json!({"__type": "AccessDeniedException"}).to_string())],
            ["parking-queue", "unknown", "GetQueueAttributes", TOOLS],
        ),
        ("the key is enabled", vec![with_key.clone(), key("Enabled")], ["key", "ok", "is enabled", ""]),
        ("the key is disabled", vec![with_key.clone(), key("Disabled")], ["key", "broken", "is Disabled", KEY]),
        (
            "there is no key",
            vec![with_key.clone(), ("DescribeKey", 400, json!({"__type": "NotFoundException"}).to_string())],
            ["key", "broken", "doesn't exist", KEY],
        ),
        ("the key can't be read", vec![with_key], ["key", "unknown", "DescribeKey is not allowed", TOOLS]),
    ]);
}

#[test]
fn the_alarms_and_who_hears_them() {
    const RUNBOOK: &str = "docs/operations.md#alarms";
    let mut silent = alarm("scalekit-Faults", "OK");
    silent["ActionsEnabled"] = false.into();
    let alarms = |alarms: &[Value]| ("DescribeAlarms", 200, json!({"MetricAlarms": alarms}).to_string());
    let missing =
        "<ErrorResponse><Error><Code>NotFound</Code><Message>none</Message></Error></ErrorResponse>".to_owned();
    let topic = |arns: &[&str]| ("ListSubscriptionsByTopic", 200, subscriptions(arns));
    check(vec![
        (
            "an alarm is on",
            vec![alarms(&[alarm("scalekit-Faults", "ALARM")])],
            ["alarm Faults", "warning", "it is on: a reason", "docs/operations.md#faults"],
        ),
        (
            "an alarm notifies nobody",
            vec![alarms(&[silent])],
            ["alarm Faults", "warning", "actions are disabled", RUNBOOK],
        ),
        (
            "an alarm was deleted",
            vec![alarms(&[alarm("scalekit-Flood", "OK")])],
            ["alarm Faults", "broken", "it doesn't exist", RUNBOOK],
        ),
        (
            "the stack's resources can't be read",
            vec![("ListStackResources", 403, "{}".to_owned())],
            ["alarms", "unknown", "ListStackResources", TOOLS],
        ),
        (
            "they can't be read",
            vec![("DescribeAlarms", 403, "{}".to_owned())],
            ["alarms", "unknown", "DescribeAlarms", TOOLS],
        ),
        ("nobody is subscribed", vec![topic(&[])], ["alarm-topic", "broken", "nobody is subscribed", RUNBOOK]),
        (
            "nobody has confirmed",
            vec![topic(&["PendingConfirmation", "Deleted"])],
            ["alarm-topic", "broken", "none of the 2 subscriptions is confirmed", RUNBOOK],
        ),
        (
            "there is no topic",
            vec![("ListSubscriptionsByTopic", 404, missing)],
            ["alarm-topic", "broken", "doesn't exist", RUNBOOK],
        ),
        (
            "it can't be read",
            vec![("ListSubscriptionsByTopic", 403, "{}".to_owned())],
            ["alarm-topic", "unknown", "ListSubscriptionsByTopic", TOOLS],
        ),
    ]);
}

#[test]
fn the_quotas() {
    const SCALING: &str = "docs/operations.md#scaling";
    const CONCURRENCY: &str = "docs/operations.md#concurrency";
    let account = |all: u64| {
        json!({"AccountLimit": {"ConcurrentExecutions": all, "UnreservedConcurrentExecutions": all}}).to_string()
    };
    let throttled = stack("UPDATE_COMPLETE", &[("Ingress", "RestApi"), ("ApiRequestsPerSecond", "3000")]);
    let reserved = "GET /2019-09-30/functions/function/concurrency";
    check(vec![
        (
            "a new account",
            vec![("GET /2016-08-19/account-settings/", 200, account(10))],
            ["concurrency", "warning", "the account has 10, as new accounts have", CONCURRENCY],
        ),
        (
            "too little for deliveries",
            vec![("GET /2016-08-19/account-settings/", 200, account(5))],
            ["concurrency", "warning", "none is left for deliveries", CONCURRENCY],
        ),
        (
            "parked events may use all that is reserved",
            vec![(reserved, 200, json!({"ReservedConcurrentExecutions": 5}).to_string())],
            ["concurrency", "warning", "5 concurrent executions, reserved", CONCURRENCY],
        ),
        (
            "nothing is reserved",
            vec![(reserved, 200, json!({"ReservedConcurrentExecutions": 0}).to_string())],
            ["concurrency", "broken", "reserved concurrency is 0", "docs/operations.md#stopping-all-deliveries"],
        ),
        (
            "it can't be read",
            vec![("GET /2016-08-19/account-settings/", 403, "{}".to_owned())],
            ["concurrency", "unknown", "GetAccountSettings", TOOLS],
        ),
        (
            "the bus accepts less than the API",
            vec![("DescribeStacks", 200, throttled)],
            ["put-events", "warning", "the API lets 3000 requests through", SCALING],
        ),
        (
            "it is not listed",
            vec![("ListServiceQuotas", 200, json!({"Quotas": []}).to_string())],
            ["put-events", "skipped", "doesn't list", ""],
        ),
        (
            "it can't be read",
            vec![("ListServiceQuotas", 403, "{}".to_owned())],
            ["put-events", "unknown", "ListServiceQuotas", TOOLS],
        ),
    ]);
}

#[test]
fn only_one_unsigned_post_and_reads_are_sent() {
    let answers = healthy();
    let stub = Stub::start(move |request| answer(&answers, request, "http://127.0.0.1:1"));
    program_on(&stub).args(["doctor", "scalekit", "--url", &format!("{}/", stub.url())]).output().unwrap();

    let (posts, calls): (Vec<_>, Vec<_>) =
        stub.requests().into_iter().partition(|request| request.operation == "POST /");
    assert_eq!(posts.len(), 1);
    assert!(!posts[0].headers.keys().any(|name| name.starts_with("webhook-") || name == "authorization"));
    for call in calls {
        let is_read = ["GET /", "Describe", "Get", "List"].iter().any(|verb| call.operation.starts_with(verb));
        assert!(is_read && call.headers["authorization"].starts_with("AWS4-HMAC-SHA256 "), "{call:?}");
    }
}

#[test]
fn the_text_says_what_to_do() {
    let mut answers = healthy();
    let alarms = json!({"MetricAlarms": [alarm("scalekit-Faults", "ALARM")]}).to_string();
    let documentation = ("DocumentationUrl", "https://example.com/blob/v0.1.0");
    answers.extend([
        ("DescribeStacks".to_owned(), (200, stack("UPDATE_COMPLETE", &[documentation]))),
        ("DescribeAlarms".to_owned(), (200, alarms.replace("a reason", "\\u001b[2Jforged\\nok"))),
    ]);
    let stub = start(answers);
    let output = program_on(&stub).args(["doctor", "scalekit"]).output().unwrap();

    let expected = "warning  alarm Faults           it is on: \\u{1b}[2Jforged\\u{a}ok\n         → Follow its section of the runbook. See https://example.com/blob/v0.1.0/docs/operations.md#faults\n";
    assert!(text(&output.stdout).contains(expected), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "Broken: 0. Needs attention, or couldn't be checked: 1.\n");
    assert_eq!(output.status.code(), Some(3));
}

/// The answers for a sample that the function accepts, and that never arrives.
fn lost_sample() -> Answers {
    let queue = "https://sqs/123456789012/temporary";
    let mut answers = healthy();
    let others = [
        ("TestEventPattern", json!({"Result": false})),
        ("ListQueues", json!({})),
        ("CreateQueue", json!({"QueueUrl": queue})),
        ("GetQueueAttributes temporary", json!({"Attributes": {"QueueArn": arn("sqs", "temporary")}})),
        ("PutRule", json!({"RuleArn": arn("events", "rule/scalekit/temporary")})),
        ("SetQueueAttributes", json!({})),
        ("PutTargets", json!({"FailedEntryCount": 0, "FailedEntries": []})),
        ("ReceiveMessage", json!({})),
        ("RemoveTargets", json!({"FailedEntryCount": 0, "FailedEntries": []})),
        ("DeleteRule", json!({})),
        ("DeleteQueue", json!({})),
    ];
    answers.extend(others.into_iter().map(|(key, answer)| (key.to_owned(), (200, answer.to_string()))));
    answers
}

#[test]
fn a_sample_that_gets_200_and_never_arrives_is_broken() {
    let stub = start(lost_sample());
    let (code, findings) = doctor_on(&stub, &["--send", "--wait", "3"]);

    let sample = findings.last().unwrap();
    let event_type = "connected_account.created";
    let expected =
        format!("no sample of {event_type} arrived behind a rule within 3 s, although the function accepted 1");
    assert_eq!(
        (code, sample),
        (1, &["sample".into(), "broken".into(), expected, "docs/operations.md#when-things-fail".into()])
    );
    let not_ok: Vec<_> = findings.iter().filter(|it| !["ok", "skipped"].contains(&it[1].as_str())).collect();
    assert_eq!(not_ok, [sample]);

    let requests = stub.requests();
    let count = |operation: &str| requests.iter().filter(|it| it.operation == operation).count();
    let posted: Vec<_> = requests.iter().filter(|it| it.headers.contains_key("webhook-signature")).collect();
    assert_eq!(posted.len(), 1);
    assert_eq!(posted[0].json()["type"], event_type);
    assert!(count("ReceiveMessage") > 0);
    assert_eq!(["RemoveTargets", "DeleteRule", "DeleteQueue"].map(count), [1, 1, 1]);
}

#[test]
fn a_sample_is_signed_with_the_named_member_and_with_no_other() {
    let secret = arn("secretsmanager", "secret:scalekit-AbCdEf");
    for (name, key) in [(":SCALEKIT::", Some(SECRET)), ("", None)] {
        let mut answers = lost_sample();
        for (key, status, body) in [two_members(), function_with(&format!("{secret}{name}"))] {
            answers.insert(key.to_owned(), (status, body));
        }
        let stub = start(answers);
        let (_, findings) = doctor_on(&stub, &["--send", "--wait", "3"]);

        let requests = stub.requests();
        let posted: Vec<_> = requests.iter().filter(|it| it.headers.contains_key("webhook-signature")).collect();
        if let Some(key) = key {
            assert_eq!(posted[0].headers["webhook-signature"], signature(posted[0], key));
        } else {
            let why = "nothing was sent, because no usable signing secret could be read";
            assert_eq!(findings.last().unwrap()[..3], ["sample", "skipped", why]);
            assert_eq!(posted.len(), 0);
        }
    }
}

/// The signature of a delivery, as Standard Webhooks describes it.
fn signature(delivery: &Request, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64_STANDARD.decode(&secret[6..]).unwrap()).unwrap();
    mac.update(format!("{}.{}.", delivery.headers["webhook-id"], delivery.headers["webhook-timestamp"]).as_bytes());
    mac.update(&delivery.body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}
