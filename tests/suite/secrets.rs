//! Which keys verify, and when: the secret in Secrets Manager is pasted late, rotated, broken, and out of reach.

use base64::{Engine, prelude::BASE64_STANDARD};
use scalekit_eventbridge::{
    aws,
    secret::{DEVELOPMENT_SECRET, Keyring, PLACEHOLDER},
    signature::Key,
};
use tracing::instrument::WithSubscriber;

use crate::{
    app::{App, BODY, NOW, SECRET, at, context, http_client, read},
    endpoint::{Behaviour, Endpoint, failed_call},
    envelope::SignedDelivery,
};

const ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:scalekit-AbCdEf";
const DAY: u64 = 24 * 60 * 60;

/// The secret that the next rotation brings.
fn next_secret() -> String {
    format!("whsec_{}", BASE64_STANDARD.encode([9; 32]))
}

/// Yet another one.
fn other_secret() -> String {
    format!("whsec_{}", BASE64_STANDARD.encode([5; 32]))
}

struct Fixture {
    app: App,
    store: Endpoint,
}

impl Fixture {
    /// A function that has started with this secret, created just now.
    async fn start(value: Option<&str>) -> Self {
        Self::on_lambda(value, false).await
    }

    async fn on_lambda(value: Option<&str>, real_lambda: bool) -> Self {
        let store = Endpoint::start().await;
        store.set_secret("AWSCURRENT", value.map(|value| (value, Some(NOW))));
        let mut app = App::start().await;
        app.function.keyring = Keyring::stored(client(&store), ARN, real_lambda);
        app.function.keyring.refresh(at(NOW)).with_subscriber(app.subscriber.clone()).await;
        Self { app, store }
    }

    /// The status of a delivery signed with this secret at this time, and the problem's code.
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
    fn reads(&self, expected: usize) {
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
async fn the_forms_of_a_value() {
    let next = next_secret();
    for (why, value) in [
        ("text", SECRET.to_owned()),
        ("text with white space around", format!("  {SECRET}\n")),
        ("several", format!("{next},{SECRET}")),
        ("the console's JSON", format!(r#"{{"signing_secret":"{SECRET}"}}"#)),
        ("JSON with several, one of them a list", format!(r#" {{"a":"{next}","b":"{next} {SECRET}"}}"#)),
        ("one that is usable beside one that isn't", format!("whsec_short {SECRET}")),
        ("JSON with something else in it", format!(r#"{{"owner":"platform team","secret":"{SECRET}"}}"#)),
    ] {
        let fixture = Fixture::start(Some(&value)).await;
        assert_eq!(fixture.deliver(SECRET, NOW).await, ok(), "{why}");
    }
}

#[tokio::test]
async fn without_a_usable_key_every_delivery_is_told_to_come_again() {
    for (why, value, told) in [
        ("no secret at all", None, "there is no current version of the secret"),
        ("empty", Some(""), "the value holds no secret"),
        ("the placeholder", Some(PLACEHOLDER), "the value still is the template's placeholder"),
        ("something else", Some("hunter2"), "the value holds, as secret 1 of 1, one that does not start with `whsec_`"),
        (
            "a JSON array",
            Some("[\"whsec_a\"]"),
            "the value holds, as secret 1 of 1, one that does not start with `whsec_`",
        ),
        ("JSON of numbers", Some(r#"{"a":1}"#), "the value is not a JSON object of strings"),
        ("an empty JSON object", Some("{}"), "the value holds no secret"),
        (
            "the development secret",
            Some(DEVELOPMENT_SECRET),
            "the value holds, as secret 1 of 1, the published development secret",
        ),
    ] {
        let fixture = Fixture::on_lambda(value, true).await;
        assert_eq!(fixture.deliver(SECRET, NOW).await, unavailable(), "{why}");
        assert_eq!(fixture.deliver(DEVELOPMENT_SECRET, NOW).await, unavailable(), "{why}");
        let log = fixture.app.log();
        assert!(log.contains(told), "{why}: {log}");
        assert!(log.contains(&format!("aws secretsmanager put-secret-value --secret-id {ARN}")), "{why}: {log}");
        assert!(!log.contains("hunter2") && !log.contains("whsec_a\""), "{why}: {log}");
    }
}

#[tokio::test]
async fn deploy_first_and_paste_later() {
    let fixture = Fixture::start(Some(PLACEHOLDER)).await;
    assert_eq!(fixture.deliver(SECRET, NOW + 9).await, unavailable());
    fixture.store.set_secret("AWSCURRENT", Some((SECRET, Some(NOW + 9))));
    assert_eq!(fixture.deliver(SECRET, NOW + 9).await, unavailable(), "read less than ten seconds ago");
    assert_eq!(fixture.deliver(SECRET, NOW + 10).await, ok());
}

#[tokio::test]
async fn a_rotation_loses_no_delivery() {
    let next = next_secret();
    let fixture = Fixture::start(Some(SECRET)).await;
    assert_eq!(fixture.deliver(SECRET, NOW).await, ok());

    // Scalekit may sign with either while the new secret spreads.
    let rotated = NOW + 60;
    fixture.store.set_secret("AWSPREVIOUS", Some((SECRET, Some(NOW))));
    fixture.store.set_secret("AWSCURRENT", Some((&next, Some(rotated))));
    assert_eq!(fixture.deliver(&next, rotated + 1).await, ok(), "the mismatch reads the new one");
    assert_eq!(fixture.deliver(SECRET, rotated + 2).await, ok(), "the old one verifies for a day");
    assert_eq!(fixture.deliver(SECRET, rotated + DAY - 1).await, ok());
    assert_eq!(fixture.deliver(SECRET, rotated + DAY).await, forged());
    assert_eq!(fixture.deliver(&next, rotated + DAY).await, ok());
}

#[tokio::test]
async fn the_previous_version_verifies_for_a_day_from_the_current_ones_creation() {
    let next = next_secret();
    for (why, created, expected) in [
        ("just now", Some(NOW), ok()),
        ("a second less than a day ago", Some(NOW - DAY + 1), ok()),
        ("a day ago", Some(NOW - DAY), forged()),
        ("nobody knows when", None, ok()),
    ] {
        let fixture = Fixture::start(None).await;
        fixture.store.set_secret("AWSCURRENT", Some((&next, created)));
        fixture.store.set_secret("AWSPREVIOUS", Some((SECRET, Some(0))));
        fixture.app.function.keyring.refresh(at(NOW + 300)).await;
        // The look at the clock is the delivery's own.
        assert_eq!(fixture.deliver(SECRET, NOW).await, expected, "{why}");
        assert_eq!(fixture.deliver(&next, NOW).await, ok(), "{why}");
    }
}

#[tokio::test]
async fn emergency_revocation() {
    let next = next_secret();
    let fixture = Fixture::start(Some(SECRET)).await;
    // The old version's stage is taken away: nothing is left that verifies it.
    fixture.store.set_secret("AWSCURRENT", Some((&next, Some(NOW + 1))));
    assert_eq!(fixture.deliver(SECRET, NOW + 299).await, ok(), "within five minutes the key in memory is in use");
    assert_eq!(fixture.deliver(SECRET, NOW + 300).await, ok(), "the read is beside this one");
    assert_eq!(fixture.deliver(SECRET, NOW + 301).await, forged());
}

#[tokio::test]
async fn how_often_the_secret_is_read() {
    let fixture = Fixture::start(Some(SECRET)).await;
    fixture.reads(2);
    assert_eq!(fixture.deliver(SECRET, NOW + 299).await, ok());
    fixture.reads(2);
    assert_eq!(fixture.deliver(SECRET, NOW + 300).await, ok());
    fixture.reads(4);
    // Forged deliveries can't hammer the service.
    for _ in 0..20 {
        assert_eq!(fixture.deliver(&next_secret(), NOW + 309).await, forged());
    }
    fixture.reads(4);
    assert_eq!(fixture.deliver(&next_secret(), NOW + 310).await, forged());
    fixture.reads(6);
    assert_eq!(fixture.deliver(&next_secret(), NOW + 310).await, forged());
    fixture.reads(6);
    // A day after the current version was made, the previous one is of no interest.
    assert_eq!(fixture.deliver(SECRET, NOW + DAY).await, ok());
    fixture.reads(7);
}

#[tokio::test]
async fn deliveries_that_come_together_read_once() {
    let fixture = Fixture::start(Some(&next_secret())).await;
    fixture.store.set_secret("AWSCURRENT", Some((SECRET, Some(NOW))));
    let (one, two) = tokio::join!(fixture.deliver(SECRET, NOW + 10), fixture.deliver(SECRET, NOW + 10));
    assert_eq!((one, two), (ok(), ok()));
    fixture.reads(4);
}

#[tokio::test]
async fn keys_in_memory_stay_in_use_while_the_store_is_out_of_reach() {
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
async fn a_store_that_hangs_holds_a_delivery_up_for_two_seconds_at_most() {
    let fixture = Fixture::start(Some(SECRET)).await;
    fixture.store.always("GetSecretValue", Behaviour::Hang);
    let started = std::time::Instant::now();
    assert_eq!(fixture.deliver(SECRET, NOW + 300).await, ok());
    assert!(started.elapsed().as_secs() < 4, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_store_that_hangs_takes_no_answer_away() {
    let Fixture { app, store } = Fixture::start(Some(SECRET)).await;
    store.always("GetSecretValue", Behaviour::Hang);
    let now = at(NOW + 5 * 60);
    let delivery = SignedDelivery::new(&Key::parse(SECRET).unwrap(), "msg_1", NOW + 5 * 60, BODY.as_bytes());
    let second = context(now, std::time::Duration::from_secs(1));
    let answer = read(&app.invoke_with(&delivery.function_url(), second, now).await.unwrap());
    assert_eq!(answer.status, 200, "the bus has it, and there is a second to say so: {answer:?}");
    assert_eq!(store.calls("GetSecretValue"), 3, "two versions at the start, and now one");
}

#[tokio::test]
async fn when_just_the_previous_version_is_out_of_reach() {
    let next = next_secret();
    let fixture = Fixture::start(Some(SECRET)).await;
    fixture.store.set_secret("AWSCURRENT", Some((&next, Some(NOW))));
    fixture.store.fail_stage("AWSPREVIOUS");
    for time in [NOW + 10, NOW + 20, NOW + 30] {
        assert_eq!(fixture.deliver(&next, time).await, ok());
        assert_eq!(fixture.deliver(SECRET, time).await, ok(), "what was current before is held as the previous one");
        assert_eq!(fixture.deliver(&other_secret(), time).await, forged(), "and the mismatch reads again");
        assert_eq!(fixture.app.function.keyring.keys().at(at(time)).count(), 2, "once, however often that happens");
    }
    let third = other_secret();
    fixture.store.set_secret("AWSCURRENT", Some((&third, Some(NOW))));
    assert_eq!(fixture.deliver(&third, NOW + 40).await, ok());
    assert_eq!(fixture.deliver(&next, NOW + 40).await, ok());
    assert_eq!(fixture.deliver(SECRET, NOW + 40).await, forged(), "what was replaced twice is gone");
}

#[tokio::test]
async fn a_current_version_without_a_key_leaves_the_previous_one_in_use() {
    let fixture = Fixture::start(None).await;
    fixture.store.set_secret("AWSCURRENT", Some(("whsec_pasted-in-haste", Some(NOW))));
    fixture.store.set_secret("AWSPREVIOUS", Some((SECRET, Some(0))));
    assert_eq!(fixture.deliver(SECRET, NOW + 10).await, ok());
    assert!(fixture.app.log().contains("the signing secret's current version gives no key"), "{}", fixture.app.log());
    assert_eq!(fixture.deliver(SECRET, NOW + DAY).await, unavailable(), "for a day, as after any rotation");
}

#[tokio::test]
async fn a_read_that_fails_for_a_moment_is_tried_again() {
    let fixture = Fixture::start(Some(&next_secret())).await;
    fixture.store.set_secret("AWSCURRENT", Some((SECRET, Some(NOW))));
    fixture.store.once("GetSecretValue", Behaviour::Reset);
    assert_eq!(fixture.deliver(SECRET, NOW + 10).await, ok());
}

#[tokio::test]
async fn clocks_that_disagree_a_little_do_not_read_more_often() {
    let fixture = Fixture::start(Some(SECRET)).await;
    fixture.reads(2);
    for earlier in 0..10 {
        assert_eq!(fixture.deliver(&next_secret(), NOW - earlier).await, forged());
    }
    fixture.reads(2);
    assert_eq!(fixture.deliver(&next_secret(), NOW - 10).await, forged());
    fixture.reads(4);
}

#[tokio::test]
async fn no_key_is_shown() {
    let next = next_secret();
    let fixture = Fixture::start(Some(&format!("{SECRET} {next} whsec_AAAA"))).await;
    assert_eq!(fixture.deliver(SECRET, NOW).await, ok());
    let shown = format!("{:?} {}", fixture.app.function.keyring.keys(), fixture.app.log());
    for secret in [SECRET, &next, "whsec_AAAA"] {
        assert!(!shown.contains(&secret[6..]), "{shown}");
    }
}
