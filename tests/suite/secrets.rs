//! Tests of the signing secret in Secrets Manager: which keys verify a delivery when the secret is missing, invalid,
//! rotated or unreachable.

use base64::{Engine, prelude::BASE64_STANDARD};
use scalekit_eventbridge::{
    aws,
    secret::{DEVELOPMENT_SECRET, Keyring, PLACEHOLDER, SecretId},
    signature::Key,
};
use serde_json::json;
use tracing::instrument::WithSubscriber;

use test_support::SignedDelivery;

use crate::{
    support::app::{App, BODY, NOW, SECRET, at, context, http_client, read},
    support::endpoint::{Behaviour, Endpoint, failed_call},
};

const ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:scalekit-AbCdEf";
const DAY: u64 = 24 * 60 * 60;

/// The secret that replaces [`SECRET`] in a rotation.
fn next_secret() -> String {
    format!("whsec_{}", BASE64_STANDARD.encode([9; 32]))
}

/// A third secret.
fn other_secret() -> String {
    format!("whsec_{}", BASE64_STANDARD.encode([5; 32]))
}

struct Fixture {
    app: App,
    store: Endpoint,
}

impl Fixture {
    /// Starts a function whose current secret has this value and was created at [`NOW`].
    async fn start(value: Option<&str>) -> Self {
        Self::with(value, None, false).await
    }

    async fn on_lambda(value: Option<&str>, real_lambda: bool) -> Self {
        Self::with(value, None, real_lambda).await
    }

    /// Starts a function for which this member of the secret is named.
    async fn with_member(value: &str, member: &str) -> Self {
        Self::with(Some(value), Some(member), false).await
    }

    async fn with(value: Option<&str>, member: Option<&str>, real_lambda: bool) -> Self {
        let store = Endpoint::start().await;
        store.set_secret("AWSCURRENT", value.map(|value| (value, Some(NOW))));
        let mut app = App::start().await;
        let id = SecretId { arn: ARN.into(), member: member.map(str::to_owned) };
        app.function.keyring = Keyring::stored(client(&store), id, real_lambda);
        app.function.keyring.refresh(at(NOW)).with_subscriber(app.subscriber.clone()).await;
        Self { app, store }
    }

    /// Delivers an event that is signed with this secret at this time. Returns the status and the problem's code.
    async fn deliver(&self, secret: &str, time: u64) -> (u16, Option<String>) {
        let delivery = SignedDelivery::new(&Key::parse(secret).unwrap(), "msg_1", time, BODY.as_bytes());
        let answer = read(&self.app.invoke_at(&delivery.function_url(), at(time)).await.unwrap());
        let problem = (answer.status != 200).then(|| answer.code().to_owned());
        if answer.status == 503 {
            assert_eq!(answer.headers["retry-after"], "30");
        }
        (answer.status, problem)
    }

    #[track_caller]
    fn assert_reads(&self, expected: usize) {
        assert_eq!(self.store.requests("GetSecretValue").len(), expected);
    }
}

fn client(store: &Endpoint) -> aws_sdk_secretsmanager::Client {
    aws_sdk_secretsmanager::Client::from_conf(
        aws_sdk_secretsmanager::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_secretsmanager::config::Region::new("eu-central-1"))
            .credentials_provider(aws_sdk_secretsmanager::config::Credentials::for_tests())
            .endpoint_url(store.url())
            .http_client(http_client())
            .timeout_config(aws::timeouts())
            .retry_config(aws_sdk_secretsmanager::config::retry::RetryConfig::disabled())
            .build(),
    )
}

fn ok() -> (u16, Option<String>) {
    (200, None)
}

fn forged() -> (u16, Option<String>) {
    (401, Some("invalid-signature".into()))
}

fn unavailable() -> (u16, Option<String>) {
    (503, Some("secret-unavailable".into()))
}

#[tokio::test]
async fn every_supported_format_of_the_secret_is_read() {
    let next = next_secret();
    for (description, value) in [
        ("plain text", SECRET.to_owned()),
        ("plain text with white space before and after it", format!("  {SECRET}\n")),
        ("several secrets separated by a comma", format!("{next},{SECRET}")),
        ("a JSON object, as the console stores it", format!(r#"{{"signing_secret":"{SECRET}"}}"#)),
        ("a JSON object with two secrets in a member", format!(r#" {{"a":"{next} {SECRET}"}}"#)),
        ("a valid secret after an invalid one", format!("whsec_short {SECRET}")),
        ("a JSON object with another member", format!(r#"{{"owner":"platform team","secret":"{SECRET}"}}"#)),
    ] {
        let fixture = Fixture::start(Some(&value)).await;
        assert_eq!(fixture.deliver(SECRET, NOW).await, ok(), "{description}");
    }
}

#[tokio::test]
async fn without_a_usable_key_every_delivery_is_answered_with_503() {
    for (description, value, error) in [
        ("no value", None, "GetSecretValue: ResourceNotFoundException (HTTP 400): no such version"),
        ("an empty value", Some(""), "the value contains no signing secret"),
        ("the placeholder", Some(PLACEHOLDER), "the value is still the template's placeholder"),
        ("text that is not a secret", Some("hunter2"), "secret 1 of 1 is invalid: it does not start with `whsec_`"),
        ("a JSON array", Some("[\"whsec_a\"]"), "the value is a JSON array; store one text with all signing secrets"),
        (
            "a JSON object with a number",
            Some(r#"{"a":1}"#),
            "the value is a JSON object, but no member contains a secret that starts with `whsec_`",
        ),
        (
            "an empty JSON object",
            Some("{}"),
            "the value is a JSON object, but no member contains a secret that starts with `whsec_`",
        ),
        ("the development secret", Some(DEVELOPMENT_SECRET), "secret 1 of 1 is the published development secret"),
    ] {
        let fixture = Fixture::on_lambda(value, true).await;
        assert_eq!(fixture.deliver(SECRET, NOW).await, unavailable(), "{description}");
        assert_eq!(fixture.deliver(DEVELOPMENT_SECRET, NOW).await, unavailable(), "{description}");
        let log = fixture.app.log();
        assert!(log.contains(error), "{description}: {log}");
        assert!(
            log.contains(&format!("aws secretsmanager put-secret-value --region eu-central-1 --secret-id {ARN}")),
            "{description}: {log}"
        );
        assert!(!log.contains("hunter2") && !log.contains("whsec_a\""), "{description}: {log}");
    }
}

#[tokio::test]
async fn the_keys_of_others_in_the_same_secret_verify_nothing() {
    let payments = next_secret();
    let value = format!(r#"{{"SCALEKIT_WEBHOOK_SECRET":"{SECRET}","PAYMENTS_WEBHOOK_SECRET":"{payments}"}}"#);

    let fixture = Fixture::start(Some(&value)).await;
    assert_eq!(fixture.deliver(&payments, NOW).await, unavailable());
    assert_eq!(fixture.deliver(SECRET, NOW).await, unavailable());
    let log = fixture.app.log();
    let error = "several members of the JSON object contain a signing secret: `PAYMENTS_WEBHOOK_SECRET`, `SCALEKIT_WEBHOOK_SECRET`";
    assert!(log.contains(error), "{log}");
    for secret in [SECRET, &payments] {
        assert!(!log.contains(&secret[6..]), "{log}");
    }

    let fixture = Fixture::with_member(&value, "SCALEKIT_WEBHOOK_SECRET").await;
    assert_eq!(fixture.deliver(SECRET, NOW).await, ok());
    assert_eq!(fixture.deliver(&payments, NOW).await, forged());
    assert_eq!(fixture.store.requests("GetSecretValue")[0]["SecretId"], json!(ARN), "the ARN should not have a suffix");
    // The previous version is read in the same way.
    let next = other_secret();
    fixture.store.set_secret("AWSPREVIOUS", Some((&value, Some(NOW))));
    let rotated = format!(r#"{{"SCALEKIT_WEBHOOK_SECRET":"{next}","PAYMENTS_WEBHOOK_SECRET":"{payments}"}}"#);
    fixture.store.set_secret("AWSCURRENT", Some((&rotated, Some(NOW + 10))));
    for (secret, expected) in [(&*next, ok()), (SECRET, ok()), (&*payments, forged())] {
        assert_eq!(fixture.deliver(secret, NOW + 10).await, expected);
    }
}

#[tokio::test]
async fn the_keys_in_memory_stay_in_use_when_the_key_of_another_provider_is_added_to_the_secret() {
    let fixture = Fixture::start(Some(&format!(r#"{{"SCALEKIT":"{SECRET}"}}"#))).await;
    let payments = next_secret();
    let value = format!(r#"{{"SCALEKIT":"{SECRET}","PAYMENTS":"{payments}"}}"#);
    fixture.store.set_secret("AWSCURRENT", Some((&value, Some(NOW + 10))));
    assert_eq!(fixture.deliver(&payments, NOW + 10).await, forged());
    assert_eq!(fixture.deliver(SECRET, NOW + 10).await, ok());
    assert!(fixture.app.log().contains("the keys in memory stay in use"));
}

#[tokio::test]
async fn a_named_member_without_a_signing_secret_is_an_error() {
    for (value, error) in [
        (format!(r#"{{"PAYMENTS":"{SECRET}"}}"#), ", but the JSON object has no such member"),
        (r#"{"SCALEKIT":"hunter2"}"#.into(), ", but that contains no secret that starts with `whsec_`"),
        (SECRET.to_owned(), ", but the value is not a JSON object"),
    ] {
        let fixture = Fixture::with_member(&value, "SCALEKIT").await;
        assert_eq!(fixture.deliver(SECRET, NOW).await, unavailable(), "{error}");
        let log = fixture.app.log();
        assert!(log.contains(&format!("WEBHOOK_SECRET_ARN names the member `SCALEKIT`{error}")), "{log}");
        assert!(!log.contains("hunter2"), "{log}");
        assert!(!log.contains("put-secret-value"), "the command would delete the other members: {log}");
    }
}

#[tokio::test]
async fn a_secret_that_is_stored_after_the_deployment_is_used_within_ten_seconds() {
    let fixture = Fixture::start(Some(PLACEHOLDER)).await;
    assert_eq!(fixture.deliver(SECRET, NOW + 9).await, unavailable());
    fixture.store.set_secret("AWSCURRENT", Some((SECRET, Some(NOW + 9))));
    assert_eq!(fixture.deliver(SECRET, NOW + 9).await, unavailable(), "the last read was less than ten seconds ago");
    assert_eq!(fixture.deliver(SECRET, NOW + 10).await, ok());
}

#[tokio::test]
async fn a_rotation_loses_no_delivery() {
    let next = next_secret();
    let fixture = Fixture::start(Some(SECRET)).await;
    assert_eq!(fixture.deliver(SECRET, NOW).await, ok());

    // During a rotation, Scalekit may sign with either secret.
    let rotated = NOW + 60;
    fixture.store.set_secret("AWSPREVIOUS", Some((SECRET, Some(NOW))));
    fixture.store.set_secret("AWSCURRENT", Some((&next, Some(rotated))));
    assert_eq!(fixture.deliver(&next, rotated + 1).await, ok(), "the mismatch should cause a read of the new secret");
    assert_eq!(fixture.deliver(SECRET, rotated + 2).await, ok(), "the old secret should verify for a day");
    assert_eq!(fixture.deliver(SECRET, rotated + DAY - 1).await, ok());
    assert_eq!(fixture.deliver(SECRET, rotated + DAY).await, forged());
    assert_eq!(fixture.deliver(&next, rotated + DAY).await, ok());
}

#[tokio::test]
async fn the_previous_version_verifies_for_a_day_after_the_current_version_was_created() {
    let next = next_secret();
    for (description, created, expected) in [
        ("created now", Some(NOW), ok()),
        ("created a second less than a day ago", Some(NOW - DAY + 1), ok()),
        ("created a day ago", Some(NOW - DAY), forged()),
        ("creation time unknown", None, ok()),
    ] {
        let fixture = Fixture::start(None).await;
        fixture.store.set_secret("AWSCURRENT", Some((&next, created)));
        fixture.store.set_secret("AWSPREVIOUS", Some((SECRET, Some(0))));
        fixture.app.function.keyring.refresh(at(NOW + 300)).await;
        // The age is computed at the time of the delivery, not of the read.
        assert_eq!(fixture.deliver(SECRET, NOW).await, expected, "{description}");
        assert_eq!(fixture.deliver(&next, NOW).await, ok(), "{description}");
    }
}

#[tokio::test]
async fn a_secret_without_a_stage_is_revoked_within_five_minutes() {
    let next = next_secret();
    let fixture = Fixture::start(Some(SECRET)).await;
    // No stage refers to the old version any more.
    fixture.store.set_secret("AWSCURRENT", Some((&next, Some(NOW + 1))));
    assert_eq!(fixture.deliver(SECRET, NOW + 299).await, ok(), "the key in memory should be used for five minutes");
    assert_eq!(
        fixture.deliver(SECRET, NOW + 300).await,
        ok(),
        "the new version is read in parallel with this delivery"
    );
    assert_eq!(fixture.deliver(SECRET, NOW + 301).await, forged());
}

#[tokio::test]
async fn the_secret_is_read_every_five_minutes_and_after_a_mismatch_every_ten_seconds_at_most() {
    let fixture = Fixture::start(Some(SECRET)).await;
    fixture.assert_reads(2);
    assert_eq!(fixture.deliver(SECRET, NOW + 299).await, ok());
    fixture.assert_reads(2);
    assert_eq!(fixture.deliver(SECRET, NOW + 300).await, ok());
    fixture.assert_reads(4);
    // Forged deliveries must not cause a read each.
    for _ in 0..20 {
        assert_eq!(fixture.deliver(&next_secret(), NOW + 309).await, forged());
    }
    fixture.assert_reads(4);
    assert_eq!(fixture.deliver(&next_secret(), NOW + 310).await, forged());
    fixture.assert_reads(6);
    assert_eq!(fixture.deliver(&next_secret(), NOW + 310).await, forged());
    fixture.assert_reads(6);
    // A day after the current version was created, the previous version is no longer read.
    assert_eq!(fixture.deliver(SECRET, NOW + DAY).await, ok());
    fixture.assert_reads(7);
}

#[tokio::test]
async fn concurrent_deliveries_share_one_read() {
    let fixture = Fixture::start(Some(&next_secret())).await;
    fixture.store.set_secret("AWSCURRENT", Some((SECRET, Some(NOW))));
    let (one, two) = tokio::join!(fixture.deliver(SECRET, NOW + 10), fixture.deliver(SECRET, NOW + 10));
    assert_eq!((one, two), (ok(), ok()));
    fixture.assert_reads(4);
}

#[tokio::test]
async fn keys_in_memory_stay_in_use_while_the_secret_cannot_be_read() {
    for behaviour in [
        failed_call(400, "AccessDeniedException"),
        failed_call(500, "InternalServiceError"),
        Behaviour::Close,
        Behaviour::Answer(200, serde_json::json!({"SecretString": PLACEHOLDER})),
        Behaviour::Answer(200, serde_json::json!({})),
    ] {
        let fixture = Fixture::start(Some(SECRET)).await;
        fixture.store.always("GetSecretValue", behaviour.clone());
        assert_eq!(fixture.deliver(SECRET, NOW + 300).await, ok(), "{behaviour:?}");
        assert_eq!(fixture.deliver(SECRET, NOW + 301).await, ok(), "{behaviour:?}");
        assert_eq!(fixture.deliver(&next_secret(), NOW + 310).await, forged(), "{behaviour:?}");
        assert!(fixture.app.log().contains("the keys in memory stay in use"), "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_read_that_hangs_delays_a_delivery_by_two_seconds_at_most() {
    let fixture = Fixture::start(Some(SECRET)).await;
    fixture.store.always("GetSecretValue", Behaviour::Hang);
    let started = std::time::Instant::now();
    assert_eq!(fixture.deliver(SECRET, NOW + 300).await, ok());
    assert!(started.elapsed().as_secs() < 4, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_read_that_hangs_does_not_change_the_answer_to_a_forwarded_delivery() {
    let Fixture { app, store } = Fixture::start(Some(SECRET)).await;
    store.always("GetSecretValue", Behaviour::Hang);
    let now = at(NOW + 5 * 60);
    let delivery = SignedDelivery::new(&Key::parse(SECRET).unwrap(), "msg_1", NOW + 5 * 60, BODY.as_bytes());
    let second = context(now, std::time::Duration::from_secs(1));
    let answer = read(&app.invoke_with(&delivery.function_url(), second, now).await.unwrap());
    assert_eq!(answer.status, 200, "the bus accepted the event and a second is left to answer: {answer:?}");
    assert_eq!(store.calls("GetSecretValue"), 3, "the start should read two versions, and the delivery one");
}

#[tokio::test]
async fn keys_are_kept_while_only_the_previous_version_cannot_be_read() {
    let next = next_secret();
    let fixture = Fixture::start(Some(SECRET)).await;
    fixture.store.set_secret("AWSCURRENT", Some((&next, Some(NOW))));
    fixture.store.fail_stage("AWSPREVIOUS");
    for time in [NOW + 10, NOW + 20, NOW + 30] {
        assert_eq!(fixture.deliver(&next, time).await, ok());
        assert_eq!(
            fixture.deliver(SECRET, time).await,
            ok(),
            "the key that was current before should be kept as the previous one"
        );
        assert_eq!(fixture.deliver(&other_secret(), time).await, forged(), "the mismatch should cause another read");
        assert_eq!(
            fixture.app.function.keyring.keys().valid_at(at(time)).count(),
            2,
            "the key should be kept once, however often the read fails"
        );
    }
    let third = other_secret();
    fixture.store.set_secret("AWSCURRENT", Some((&third, Some(NOW))));
    assert_eq!(fixture.deliver(&third, NOW + 40).await, ok());
    assert_eq!(fixture.deliver(&next, NOW + 40).await, ok());
    assert_eq!(fixture.deliver(SECRET, NOW + 40).await, forged(), "a key that was replaced twice should not be kept");
}

#[tokio::test]
async fn the_previous_version_stays_in_use_for_a_day_when_the_current_one_has_no_usable_key() {
    let fixture = Fixture::start(None).await;
    fixture.store.set_secret("AWSCURRENT", Some(("whsec_pasted-in-haste", Some(NOW))));
    fixture.store.set_secret("AWSPREVIOUS", Some((SECRET, Some(0))));
    assert_eq!(fixture.deliver(SECRET, NOW + 10).await, ok());
    // The secret is read again for a signature that matches no key. The version is still the same, so it is logged once.
    let reads = fixture.store.calls("GetSecretValue");
    assert_eq!(fixture.deliver(&next_secret(), NOW + 30).await, forged());
    assert_eq!(fixture.store.calls("GetSecretValue"), reads + 2);
    let log = fixture.app.log();
    assert_eq!(log.matches("the current version of the signing secret has no usable key").count(), 1, "{log}");
    assert_eq!(
        fixture.deliver(SECRET, NOW + DAY).await,
        unavailable(),
        "the previous version should verify for a day only, as after any rotation"
    );
}

#[tokio::test]
async fn a_read_that_fails_once_is_retried() {
    let fixture = Fixture::start(Some(&next_secret())).await;
    fixture.store.set_secret("AWSCURRENT", Some((SECRET, Some(NOW))));
    fixture.store.once("GetSecretValue", Behaviour::Reset);
    assert_eq!(fixture.deliver(SECRET, NOW + 10).await, ok());
}

#[tokio::test]
async fn small_clock_differences_do_not_cause_additional_reads() {
    let fixture = Fixture::start(Some(SECRET)).await;
    fixture.assert_reads(2);
    for earlier in 0..10 {
        assert_eq!(fixture.deliver(&next_secret(), NOW - earlier).await, forged());
    }
    fixture.assert_reads(2);
    assert_eq!(fixture.deliver(&next_secret(), NOW - 10).await, forged());
    fixture.assert_reads(4);
}

#[tokio::test]
async fn no_key_appears_in_debug_output_or_in_the_log() {
    let next = next_secret();
    let fixture = Fixture::start(Some(&format!("{SECRET} {next} whsec_AAAA"))).await;
    assert_eq!(fixture.deliver(SECRET, NOW).await, ok());
    let shown = format!("{:?} {}", fixture.app.function.keyring.keys(), fixture.app.log());
    for secret in [SECRET, &next, "whsec_AAAA"] {
        assert!(!shown.contains(&secret[6..]), "{shown}");
    }
}

#[tokio::test]
async fn a_binary_secret_is_read_like_a_text() {
    let fixture = Fixture::start(None).await;
    let binary = BASE64_STANDARD.encode(format!("\u{feff}{{\"client_id\":\"skc_1\",\"secret\":\"{SECRET}\"}}\r\n"));
    let version = json!({"VersionId": "v1", "SecretBinary": binary});
    fixture.store.always("GetSecretValue", Behaviour::Answer(200, version));
    assert_eq!(fixture.deliver(SECRET, NOW + 10).await, ok());
}

#[tokio::test]
async fn a_warning_about_a_version_is_logged_once() {
    let fixture = Fixture::start(None).await;
    let version = |id| {
        let version = json!({"VersionId": id, "SecretString": format!("{SECRET} whsec_short"), "CreatedDate": 1});
        Behaviour::Answer(200, version)
    };
    let warnings = |fixture: &Fixture| {
        let lines = fixture.app.lines();
        lines.iter().filter(|line| line["message"].to_string().contains("a key in the signing secret")).count()
    };
    fixture.store.always("GetSecretValue", version("1"));
    for time in [NOW + 10, NOW + 310, NOW + 610] {
        assert_eq!(fixture.deliver(SECRET, time).await, ok());
        assert_eq!(warnings(&fixture), 1, "of the first version");
    }
    fixture.store.always("GetSecretValue", version("2"));
    for time in [NOW + 910, NOW + 1210] {
        assert_eq!(fixture.deliver(SECRET, time).await, ok());
        assert_eq!(warnings(&fixture), 2, "of the second version");
    }
}
