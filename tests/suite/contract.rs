//! Tests that the validation of events implements section 2 of the contract. The rules are implemented here a second
//! time, as JSON Schemas and as date arithmetic, and both implementations must refuse the same events and find the same
//! invalid members in every event.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    strategy::ValueTree,
    test_runner::{FileFailurePersistence, TestRunner},
};
use scalekit_eventbridge::{
    event::{Event, EventError, Malformed, Validation},
    problem::Problem,
    signature::Delivery,
};
use scalekit_events::timestamp;
use serde_json::{Value, json};

use crate::support::app::{App, BODY, NOW, at, key, signed};

pub mod calendar;
pub mod events;
#[allow(dead_code, reason = "the tests of the events use more of it")]
#[path = "../../events/tests/suite/support/published.rs"]
mod published;
mod schema;

const VALIDATIONS: [Validation; 2] = [Validation::Tolerant, Validation::Strict];

/// Parses a signed body, and calls `then` with the event.
fn with_event<T>(body: &[u8], validation: Validation, then: impl FnOnce(&Event<'_>) -> T) -> Result<T, EventError> {
    let key = key();
    let timestamp = NOW.to_string();
    let signature = key.sign("msg_1", &timestamp, body);
    let delivery = Delivery::new(Some("msg_1"), Some(&timestamp), Some(&signature), body).unwrap();
    let verified = delivery.verify(&[key], at(NOW), Duration::ZERO).unwrap();
    Event::parse(&verified, validation, None).map(|event| then(&event))
}

/// The pointers of the drift with which an event is forwarded, or of the violations because of which it is refused.
fn judge(body: &[u8], validation: Validation) -> Result<BTreeSet<String>, BTreeSet<String>> {
    let drift = |event: &Event<'_>| event.drift().pointers().into_iter().map(str::to_owned).collect();
    with_event(body, validation, drift).map_err(|error| match error {
        EventError::Malformed(malformed) => panic!("{malformed}"),
        EventError::Violations(violations) => {
            assert_ne!(violations, [], "an event was refused without a violation");
            violations.into_iter().map(|violation| violation.pointer.into_owned()).collect()
        }
    })
}

fn malformed(body: &[u8]) -> Option<Malformed> {
    match with_event(body, Validation::Tolerant, |_| ()) {
        Err(EventError::Malformed(malformed)) => Some(malformed),
        _ => None,
    }
}

/// The byte offset of the reported line and column, which may be the end of the body, or `None` if the body has no such
/// position.
fn place(body: &[u8], malformed: &Malformed) -> Option<usize> {
    let lines: Vec<_> = body.split(|byte| *byte == b'\n').collect();
    let (line, column) = (malformed.line.checked_sub(1)?, malformed.column.checked_sub(1)?);
    let before: usize = lines.get(..line)?.iter().map(|line| line.len() + 1).sum();
    (column <= lines.get(line)?.len()).then_some(before + column)
}

pub fn cases(cases: u32) -> ProptestConfig {
    // A failing case becomes a row of a table in this file, where it can be read, so proptest need not save it.
    let failure_persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    ProptestConfig { cases, failure_persistence, max_shrink_iters: 1000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(2500))]

    #[test]
    fn validation_agrees_with_the_json_schemas_on_every_member((text, repeated) in events::texts()) {
        let value: Value = serde_json::from_str(&text).unwrap();
        for validation in VALIDATIONS {
            let expected = schema::judge(&value, &repeated, validation);
            prop_assert_eq!(judge(text.as_bytes(), validation), expected, "{:?}: {}", validation, text);
        }
        // The members of a valid event must have the values that are in the text.
        let _ = with_event(text.as_bytes(), Validation::Tolerant, |event| {
            let member = |name: &str| value[name].as_str();
            let occurred_at = event.occurred_at();
            assert_eq!(event.body(), text);
            assert_eq!(Some(event.id()), member("id"));
            assert_eq!(Some(event.event_type().as_str()), member("type"));
            assert_eq!(Some(event.object().as_str()), member("object"));
            assert_eq!(Some(event.environment_id()), member("environment_id"));
            assert_eq!(event.organization_id(), member("organization_id"));
            assert_eq!(
                Some((occurred_at.timestamp(), occurred_at.timestamp_subsec_nanos())),
                member("occurred_at").and_then(calendar::instant)
            );
        });
    }
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn date_times_are_parsed_as_in_rfc_3339(text in events::date_times()) {
        let expected = calendar::instant(&text);
        let instant = timestamp::parse(&text);
        // Chrono represents a leap second as 10⁹ nanoseconds or more, which must not occur here.
        prop_assert_eq!(instant.map(|at| (at.timestamp(), at.timestamp_subsec_nanos())), expected, "{:?}", text);
        prop_assert_eq!(schema::is_date_time(&text), expected.is_some(), "the schema library disagrees: {:?}", text);
    }
}

#[test]
fn generated_events_break_each_rule_often_enough() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<Result<BTreeSet<String>, BTreeSet<String>>, usize> = BTreeMap::new();
    let mut drift_in_data = 0;
    for _ in 0..2000 {
        let (text, repeated) = events::texts().new_tree(&mut runner).unwrap().current();
        if repeated.is_empty() {
            let event = serde_json::from_str(&text).unwrap();
            let judged = schema::judge(&event, &[], Validation::Tolerant);
            let is_in_data = |pointers: &BTreeSet<String>| pointers.iter().all(|it| it.starts_with("/data/"));
            drift_in_data += usize::from(judged.as_ref().is_ok_and(|drift| !drift.is_empty() && is_in_data(drift)));
            *seen.entry(judged).or_default() += 1;
        }
    }
    assert!(seen[&Ok(BTreeSet::new())] >= 100, "there are too few valid events: {seen:?}");
    assert!(drift_in_data >= 50, "there are too few events with drift in `data`: {seen:?}");
    let alone = |name: &&str| BTreeSet::from([format!("/{name}")]);
    let essential = schema::MEMBERS[..6].iter().map(|name| Err(alone(name)));
    let informational = ["id", "environment_id", "organization_id", "display_name", "data"];
    for one in essential.chain(informational.iter().map(|name| Ok(alone(name)))) {
        assert!(seen.get(&one).is_some_and(|count| *count >= 3), "{one:?} is too rare: {seen:?}");
    }
}

/// The members of a minimal event: names, and values as JSON text.
const MEMBERS: [(&str, &str); 6] = [
    ("spec_version", r#""1""#),
    ("id", r#""evt_1""#),
    ("type", r#""user.login""#),
    ("object", r#""User""#),
    ("environment_id", r#""env_1""#),
    ("occurred_at", r#""2025-10-14T09:29:27Z""#),
];

fn text<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let members: Vec<_> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn valid_without(name: &str) -> String {
    text(MEMBERS.into_iter().filter(|(member, _)| *member != name))
}

/// A minimal event in which one member has this JSON value. The member is added if it is missing.
fn valid_but(name: &str, value: &str) -> String {
    text(MEMBERS.into_iter().filter(|(member, _)| *member != name).chain([(name, value)]))
}

/// A minimal event with one more member.
fn valid_and(name: &str, value: &str) -> String {
    text(MEMBERS.into_iter().chain([(name, value)]))
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// A JSON string that starts with the prefix and is filled up to this many characters.
fn filled(prefix: &str, length: usize, filler: &str) -> String {
    quoted(&prefix.chars().chain(filler.chars().cycle()).take(length).collect::<String>())
}

/// What becomes of an event. The pointers are those of the members that deviate.
#[derive(Debug, Clone)]
enum Expected {
    /// It has no drift, and is always forwarded.
    Valid,
    /// It is forwarded with drift, and refused with strict validation.
    Drift(&'static [&'static str]),
    /// It is always refused.
    Refused(&'static [&'static str]),
}

type Row = (&'static str, String, Expected);

/// Members that are missing, have another JSON type or appear twice.
fn presence_and_json_types() -> Vec<Row> {
    use Expected::{Drift, Refused, Valid};

    let mut rows = Vec::new();
    let mut row = |why, body, expected| rows.push((why, body, expected));

    row("a minimal event", text(MEMBERS), Valid);
    row(
        "no members",
        "{}".into(),
        Refused(&["/environment_id", "/id", "/object", "/occurred_at", "/spec_version", "/type"]),
    );
    for ((name, value), pointer) in MEMBERS.into_iter().zip([
        &["/spec_version"],
        &["/id"],
        &["/type"],
        &["/object"],
        &["/environment_id"],
        &["/occurred_at"],
    ]) {
        let invalid = |value: &str| valid_but(name, value);
        row("a required member that is missing", valid_without(name), Refused(pointer));
        row("a required member that is null", invalid("null"), Refused(pointer));
        row("a required member that is a number", invalid("1"), Refused(pointer));
        row("a required member that is a number too large for a float", invalid("1e999"), Refused(pointer));
        row("a required member that is an array of its valid value", invalid(&format!("[{value}]")), Refused(pointer));
        row("a required member that is an object", invalid("{}"), Refused(pointer));
        row("a required member that is true", invalid("true"), Refused(pointer));
        row("a required member that is empty", invalid(r#""""#), Refused(pointer));
        row("a required member with half of a surrogate pair", invalid(r#""evt_\ud83d""#), Refused(pointer));
        row("a required member that appears twice with the same value", valid_and(name, value), Refused(pointer));
    }
    for (name, pointer) in [("organization_id", &["/organization_id"]), ("display_name", &["/display_name"])] {
        let invalid = |value: &str| valid_but(name, value);
        row("an optional member that is null", invalid("null"), Drift(pointer));
        row("an optional member that is a number", invalid("1"), Drift(pointer));
        row("an optional member that is an object", invalid("{}"), Drift(pointer));
        row("an optional member that is empty", invalid(r#""""#), Drift(pointer));
        row("an optional member with half of a surrogate pair", invalid(r#""org_\ud83d""#), Drift(pointer));
        let twice = valid_and(name, &format!(r#""org_1","{name}":"org_1""#));
        row("an optional member that appears twice with the same value", twice, Refused(pointer));
    }

    row("data that is null", valid_but("data", "null"), Drift(&["/data"]));
    row("data that is an array", valid_but("data", "[{}]"), Drift(&["/data"]));
    row("data that is a string", valid_but("data", r#""{}""#), Drift(&["/data"]));
    row("data that appears twice", valid_and("data", r#"{},"data":{}"#), Refused(&["/data"]));
    row("data that appears twice, first as null", valid_and("data", r#"null,"data":{}"#), Refused(&["/data"]));
    let incomplete = &["/data/user", "/data/user_session"];
    row("data without its required members", valid_but("data", "{}"), Drift(incomplete));
    let complete = |user| valid_but("data", &format!(r#"{{"user_session":{{}},"user":{user}}}"#));
    row("data with its required members", complete("{}"), Valid);
    row("data with a member of the wrong type", complete("[]"), Drift(&["/data/user"]));
    row(
        "data with a nested member that is not a time",
        complete(r#"{"create_time":""}"#),
        Drift(&["/data/user/create_time"]),
    );
    row("data with a member that appears twice", complete(r#"{},"user":{}"#), Drift(&["/data/user"]));
    row("data with an unknown member that appears twice", complete(r#"{},"new":1,"new":2"#), Valid);
    row("data that many JSON parsers reject", complete(r#"{"a":1e999,"b":"\ud83d"}"#), Valid);

    row("a member name with an escape", valid_without("id").replace('{', r#"{"\u0069d":"evt_1","#), Valid);
    row("an id repeated with an escaped name", valid_and(r"\u0069d", r#""evt_1""#), Refused(&["/id"]));
    row("data repeated with an escaped name", valid_and("data", r#"{},"dat\u0061":{}"#), Refused(&["/data"]));
    row("an id that appears three times", valid_and("id", r#""evt_1","id":"evt_1""#), Refused(&["/id"]));
    let first_invalid = valid_without("id").replace('{', r#"{"id":1,"id":"evt_1","#);
    row("an invalid id before a valid one", first_invalid, Refused(&["/id"]));
    row("repeated unknown members", valid_and("Id", r#"1,"Id":2,"":3,"":4,"data ":5,"type\u0000":6"#), Valid);
    rows
}

/// Strings at the limits of the rules.
fn strings() -> Vec<Row> {
    use Expected::{Drift, Refused, Valid};

    let mut rows = Vec::new();
    let mut row = |why, body, expected| rows.push((why, body, expected));

    for version in ["0", "007", "99999999999999999999999"] {
        row("a spec_version of digits", valid_but("spec_version", &quoted(version)), Valid);
    }
    for version in ["1\n", "\n1", " 1", "1 ", "+1", "-1", "1.0", "1a", "\u{661}", "\u{ff11}", "1\0"] {
        row(
            "a spec_version with a non-digit",
            valid_but("spec_version", &quoted(version)),
            Refused(&["/spec_version"]),
        );
    }

    let organization: fn(_) -> _ = Drift;
    for (name, prefix, pointer, without_prefix) in [
        ("id", "evt_", &["/id"], Refused as fn(_) -> _),
        ("environment_id", "env_", &["/environment_id"], Refused),
        ("organization_id", "org_", &["/organization_id"], organization),
    ] {
        let with = |text: &str| valid_but(name, &quoted(text));
        row("an id that consists of its prefix", with(prefix), Valid);
        row("an id of 32 characters", valid_but(name, &filled(prefix, 32, "x")), Valid);
        row("an id of 32 characters, most of them of 4 bytes", valid_but(name, &filled(prefix, 32, "😀")), Valid);
        row("an id of 33 characters", valid_but(name, &filled(prefix, 33, "x")), Drift(pointer));
        row("an id of 33 characters in 19 graphemes", valid_but(name, &filled(prefix, 33, "e\u{301}")), Drift(pointer));
        row("an id of 100,000 characters", valid_but(name, &filled(prefix, 100_000, "x")), Drift(pointer));
        row("an id of one character", valid_but(name, &filled(prefix, 1, "")), without_prefix(pointer));
        row("an id with its prefix in upper case", with(&prefix.to_uppercase()), without_prefix(pointer));
        row("an id with a space before its prefix", with(&format!(" {prefix}1")), without_prefix(pointer));
        row("an id with the prefix of another kind of id", with("dom_1"), without_prefix(pointer));
        row("an id of 33 characters without its prefix", with(&"x".repeat(33)), without_prefix(pointer));
    }
    let display_name = &["/display_name"];
    row("a display_name of one character", valid_but("display_name", r#"" ""#), Valid);
    row("a display_name of 200 characters of 4 bytes", valid_but("display_name", &filled("", 200, "😀")), Valid);
    row("a display_name of 201 characters", valid_but("display_name", &filled("", 201, "x")), Drift(display_name));
    row("a display_name with a line break", valid_but("display_name", r#""\n""#), Valid);

    row("an unusual pair of type and object", valid_but("object", r#""Permission""#), Valid);
    for event_type in
        ["user", "user.", ".login", "user..login", "User.login", "user.login\n", "user login", "user.lögin"]
    {
        row("a type that is not well-formed", valid_but("type", &quoted(event_type)), Refused(&["/type"]));
    }
    row("a type of 129 characters", valid_but("type", &filled("a.", 129, "x")), Refused(&["/type"]));
    for object in ["User ", "User\n", "Us.er", "Us-er", "Üser"] {
        row("an object that is not well-formed", valid_but("object", &quoted(object)), Refused(&["/object"]));
    }
    row("an object of 65 characters", valid_but("object", &filled("", 65, "x")), Refused(&["/object"]));

    let occurred_at = |value: &str| valid_but("occurred_at", value);
    let not_a_time = &["/occurred_at"];
    row("a time with a space as separator", occurred_at(r#""2025-10-14 09:29:27Z""#), Refused(not_a_time));
    row("a time without an offset", occurred_at(r#""2025-10-14T09:29:27""#), Refused(not_a_time));
    row("a time in seconds since 1970", occurred_at("1760434167"), Refused(not_a_time));
    row("Go's zero time", occurred_at(r#""0001-01-01T00:00:00Z""#), Valid);
    row("a leap second", occurred_at(r#""2016-12-31T23:59:60Z""#), Valid);
    row("a leap second at noon", occurred_at(r#""2016-12-31T12:00:60Z""#), Refused(not_a_time));

    row("a value with escapes", valid_but("type", r#""\u0075ser\u002Elogin""#), Valid);
    rows
}

#[tokio::test]
async fn each_rule_is_applied_exactly_at_its_limit() {
    use Expected::{Drift, Refused, Valid};

    let mut app = App::start().await;
    for (why, body, expected) in [presence_and_json_types(), strings()].concat() {
        for validation in VALIDATIONS {
            app.forget();
            app.function.policy.validation = validation;
            let answer = app.deliver(&signed(&body).function_url()).await;
            let line = &app.records()[0];
            let why = format!("{why}, {validation:?}: {body:.500}: {answer:?}: {line}");
            let (drift, violations) = match (validation, &expected) {
                (_, Valid) => (None, None),
                (Validation::Tolerant, Drift(pointers)) => (Some(*pointers), None),
                (Validation::Strict, Drift(pointers)) | (_, Refused(pointers)) => (None, Some(*pointers)),
            };
            let logged = line["drift"].as_str().map(|drift| drift.split(' ').collect::<Vec<_>>());
            assert_eq!(logged.as_deref(), drift, "{why}");
            if let Some(violations) = violations {
                assert_eq!((answer.status, answer.code()), (400, "contract-violation"), "{why}");
                let reported = answer.problem["errors"].as_array().unwrap().iter();
                let reported: BTreeSet<_> = reported.map(|it| it["pointer"].as_str().unwrap()).collect();
                assert_eq!(reported, violations.iter().copied().collect(), "{why}");
                assert_eq!((line.get("event_id"), app.bus.calls("PutEvents")), (None, 0), "{why}");
            } else {
                assert_eq!(answer.status, 200, "{why}");
                assert_eq!(app.bus.entries()[0]["Detail"], json!(body), "{why}");
            }
        }
    }
}

#[tokio::test]
async fn an_event_before_1970_is_forwarded_without_time() {
    let mut app = App::start().await;
    for validation in VALIDATIONS {
        app.function.policy.validation = validation;
        for (occurred_at, time) in [
            ("0001-01-01T00:00:00Z", None),
            ("1969-12-31T23:59:59.999999999Z", None),
            ("1970-01-01T00:59:59+01:00", None),
            ("1970-01-01T00:00:00Z", Some(json!(0))),
            ("1969-12-31T23:00:00.5-01:00", Some(json!(0.5))),
        ] {
            app.forget();
            let body = valid_but("occurred_at", &quoted(occurred_at));
            assert_eq!(app.deliver(&signed(body).function_url()).await.status, 200, "{occurred_at}");
            assert_eq!(app.bus.entries()[0].get("Time"), time.as_ref(), "{occurred_at}");
            assert_eq!(app.records()[0].get("drift"), None, "{occurred_at}");
        }
    }
}

#[tokio::test]
async fn types_and_objects_outside_the_catalogue_are_only_refused_with_strict_validation() {
    let mut app = App::start().await;
    for (name, value, list) in [
        ("type", r#""user.teleported""#, "event types"),
        ("type", r#""a.b""#, "event types"),
        ("type", r#""1.2.3""#, "event types"),
        ("type", &filled("a.", 128, "x"), "event types"),
        ("object", r#""Starship""#, "objects"),
        ("object", r#""_""#, "objects"),
        ("object", &filled("", 64, "x"), "objects"),
    ] {
        let envelope = signed(valid_but(name, value)).function_url();
        app.function.policy.validation = Validation::Tolerant;
        assert_eq!(app.deliver(&envelope).await.status, 200, "{value}");
        app.function.policy.validation = Validation::Strict;
        let answer = app.deliver(&envelope).await;
        assert_eq!((answer.status, answer.code()), (400, "contract-violation"), "{value}");
        let detail = format!("`{}` is not in the catalogue of {list}", value.trim_matches('"'));
        assert_eq!(answer.problem["errors"], json!([{"pointer": format!("/{name}"), "detail": detail}]));
    }
    // An event whose type and object are in the catalogue is forwarded with strict validation, too.
    assert_eq!(app.deliver(&signed(text(MEMBERS)).function_url()).await.status, 200);
}

#[tokio::test]
async fn only_events_of_the_configured_environment_are_forwarded() {
    let mut app = App::start().await;
    let delivery = |id: &str| signed(valid_but("environment_id", &format!("\"{id}\""))).function_url();
    for id in ["env_1", "env_12", "env_2"] {
        assert_eq!(app.deliver(&delivery(id)).await.status, 200, "{id}, without a configured environment");
    }
    app.function.policy.environment_id = Some("env_1".to_owned());
    assert_eq!(app.deliver(&delivery("env_1")).await.status, 200);
    assert_eq!(app.bus.taken().len(), 4);
    let other =
        json!({"pointer": "/environment_id", "detail": "must be the id of the environment that this function accepts"});
    for id in ["env_12", "env_2", "ENV_1", "env_"] {
        let answer = app.deliver(&delivery(id)).await;
        assert_eq!((answer.status, answer.code()), (400, "contract-violation"), "{id}");
        assert_eq!(answer.problem["errors"][0], other, "{id}");
    }
    assert_eq!(app.bus.taken().len(), 4, "an event of another environment is not forwarded");

    // The violation is reported with all others.
    let answer = app.deliver(&signed(r#"{"environment_id":"env_2"}"#).function_url()).await;
    let errors = answer.problem["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 6, "five members are missing: {errors:?}");
    assert!(errors.contains(&other));
    // An id that is missing isn't another one.
    let answer = app.deliver(&signed("{}").function_url()).await;
    assert!(!answer.problem["errors"].as_array().unwrap().contains(&other));
}

#[test]
fn a_truncated_event_is_malformed_at_its_end() {
    let body = BODY.trim_end().as_bytes();
    assert_eq!(judge(body, Validation::Strict), Ok(BTreeSet::new()));
    for end in 0..body.len() {
        let malformed = malformed(&body[..end]).unwrap_or_else(|| panic!("the first {end} bytes were accepted"));
        assert_eq!(place(&body[..end], &malformed), Some(end), "{malformed}");
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn brackets_in_strings_do_not_count_as_nesting(
        levels in 990..1010_usize,
        noise in vec(noise(), 1..6),
        arrays in any::<u64>(),
    ) {
        let is_array = |level: usize| level > 0 && arrays >> (level % 64) & 1 == 1;
        let opened = (0..levels).map(|level| {
            let noise = noise[level % noise.len()];
            if is_array(level) { format!("[{noise},") } else { format!("{{\"b\":{noise},\"a\":") }
        });
        let closed = (0..levels).rev().map(|level| if is_array(level) { ']' } else { '}' });
        let body = opened.collect::<Vec<_>>().concat() + "0" + &closed.collect::<String>();

        // The noise of the innermost level is nested one level deeper if it is an object or an array.
        let innermost = noise[(levels - 1) % noise.len()];
        let deepest = levels + usize::from(innermost.starts_with(['{', '[']));
        match malformed(body.as_bytes()) {
            None => prop_assert!(deepest <= 1000, "{} levels were accepted", deepest),
            Some(malformed) => {
                prop_assert!(deepest > 1000, "{} levels were refused", deepest);
                prop_assert_eq!(&malformed.reason, "more than 1000 levels deep");
                let rest = place(body.as_bytes(), &malformed).map(|at| &body[at..]);
                prop_assert!(rest.is_some_and(|rest| rest.starts_with(['{', '['])), "no bracket at {}", malformed);
            }
        }
    }
}

/// Values with brackets, in strings and outside of them.
fn noise() -> impl Strategy<Value = &'static str> {
    select(&[
        r#""""#,
        r#""{[{[""#,
        r#""]}]}""#,
        r#""\"{[""#,
        r#""\\""#,
        r#""\\\"[{\\\\""#,
        r#""\u005b\u007b\u0022[""#,
        r#""é😀{""#,
        "0",
        "null",
        r#"{"{":"[","\"}":0}"#,
        r#"["]","\\","\"["]"#,
    ])
}

#[test]
fn many_brackets_on_one_level_are_accepted() {
    let wide = format!("{{\"a\":[{}[]]}}", "[],".repeat(5000));
    let text = format!("{{\"a\":\"{}\"}}", "[{".repeat(5000));
    assert_eq!((malformed(wide.as_bytes()), malformed(text.as_bytes())), (None, None));
}

proptest! {
    #![proptest_config(cases(2000))]

    /// The reference is serde_json's `Value`, which parses the parts of the body that our parser only skips.
    #[test]
    fn bodies_are_malformed_exactly_if_they_are_not_json_objects(
        edits in vec((any::<Index>(), 0..3_usize, edit()), 1..3),
    ) {
        let mut body = BODY.as_bytes().to_vec();
        for (index, removed, inserted) in edits {
            let at = index.index(body.len());
            let end = body.len().min(at + removed);
            body.splice(at..end, inserted);
        }
        let value = std::str::from_utf8(&body).ok().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let is_object = value.is_some_and(|value| value.is_object());
        let body_text = String::from_utf8_lossy(&body);
        match malformed(&body) {
            None => prop_assert!(is_object, "this body was accepted: {}", body_text),
            Some(malformed) => {
                prop_assert!(!is_object, "{}: {}", malformed, body_text);
                prop_assert!(place(&body, &malformed).is_some(), "{}: {}", malformed, body_text);
            }
        }
    }

    #[test]
    fn no_answer_or_log_text_reveals_the_body((marker, body) in marked_bodies()) {
        for validation in VALIDATIONS {
            let drift = |event: &Event<'_>| {
                event.drift().into_iter().map(|it| format!("{} {}", it.pointer, it.detail)).collect()
            };
            let texts = with_event(body.as_bytes(), validation, drift).unwrap_or_else(|error| {
                let problem = Problem::Event(error);
                vec![problem.body(), problem.to_string()]
            });
            // Only strict validation shows a part of the body: a well-formed type or object that isn't in the catalogue.
            let named = ["MARK", "MARK.MARK", "evt_MARK"].map(|name| name.replace("MARK", &marker));
            let named = named.iter().filter(|_| validation == Validation::Strict);
            let named: Vec<_> = named.map(|name| format!("`{name}` is not in the catalogue")).collect();

            for text in texts {
                let text = named.iter().fold(text, |text, named| text.replace(named, ""));
                let revealed = (0..=marker.len() - 8).map(|at| &marker[at..at + 8]).find(|part| text.contains(part));
                prop_assert_eq!(revealed, None, "{} of {}", text, body);
            }
        }
    }
}

/// Bytes to insert: brackets, quotes, parts of characters, and syntax that JSON doesn't have.
fn edit() -> impl Strategy<Value = Vec<u8>> {
    const SNIPPETS: &[&[u8]] = &[
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"\\",
        b",",
        b":",
        b" ",
        b"\n",
        b"\r",
        b"\x0b",
        b"\x0c",
        b"\0",
        b"\x1f",
        b"\x7f",
        b"\\\"",
        b"\\x",
        b"\\u00",
        b"\\u0041",
        b",,",
        b"\xef\xbb\xbf",
        b"\xc3",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"//",
        b"/**/",
        b"#",
        b"'",
        b"NaN",
        b"null",
        b"nul",
        b"true",
        b"True",
        b"0",
        b"00",
        b"01",
        b"-",
        b"-0",
        b"+1",
        b"1.",
        b".1",
        b"1e",
        b"1e5",
        b"0x1",
        b"{}",
        b"[]",
        b"[1,]",
    ];
    prop_oneof![1 => vec(any::<u8>(), 0..3), 3 => select(SNIPPETS).prop_map(<[u8]>::to_vec)]
}

/// A marker, and a body that contains it in one or more places: in values of every kind, in names, or in invalid JSON.
fn marked_bodies() -> impl Strategy<Value = (String, String)> {
    let places = vec((select(&schema::MEMBERS), select(MARKED)), 1..4);
    ("[a-z]{16,40}", any::<bool>(), any::<Option<Index>>(), places).prop_map(|(marker, replaced, end, places)| {
        let places: Vec<_> = places.iter().map(|(name, value)| (*name, value.replace("MARK", &marker))).collect();
        let kept = |(name, _): &(&str, &str)| !replaced || places.iter().all(|(other, _)| other != name);
        let marked = places.iter().map(|(name, value)| (*name, value.as_str()));
        let mut body = text(MEMBERS.into_iter().filter(kept).chain(marked));
        if let Some(end) = end {
            body.truncate(end.index(body.len()));
        }
        (marker, body)
    })
}

/// Valid and invalid JSON that contains the marker.
const MARKED: &[&str] = &[
    r#""MARK""#,
    r#""MARK.MARK""#,
    r#""evt_MARK""#,
    r#""MARK\n""#,
    r#""MARK\ud800""#,
    r#"["MARK"]"#,
    r#"{"MARK":"MARK"}"#,
    r#""evt_1","MARK":"MARK""#,
    r#""evt_1","id":"MARK""#,
    r#""evt_1","type":"MARK""#,
    r#""MARK" MARK"#,
    r#""MARK\MARK""#,
    "\"MARK\n\"",
    r#""MARK"#,
    "MARK",
];

#[test]
fn text_that_resembles_json_is_malformed() {
    for (why, body) in [
        ("an empty body", &b""[..]),
        ("only whitespace", b" \n"),
        ("a byte order mark", b"\xef\xbb\xbf{}"),
        ("UTF-16", b"{\0}\0"),
        ("Latin 1", b"{\"a\":\"\xe9\"}"),
        ("half of a surrogate pair in UTF-8", b"{\"a\":\"\xed\xa0\xbd\"}"),
        ("an overlong slash", b"{\"a\":\"\xc0\xaf\"}"),
        ("a trailing comma", b"{\"a\":1,}"),
        ("two commas in a row", b"{\"a\":1,,\"b\":2}"),
        ("a missing comma", b"{\"a\":1 \"b\":2}"),
        ("a missing colon", b"{\"a\" 1}"),
        ("a missing value", b"{\"a\":}"),
        ("single quotes", b"{'a':1}"),
        ("a name without quotes", b"{a:1}"),
        ("a number as a name", b"{1:1}"),
        ("a comment", b"{/**/}"),
        ("a leading zero", b"{\"a\":01}"),
        ("a plus sign", b"{\"a\":+1}"),
        ("a decimal point without digits before it", b"{\"a\":.1}"),
        ("a decimal point without digits after it", b"{\"a\":1.}"),
        ("an exponent without digits", b"{\"a\":1e}"),
        ("a hexadecimal number", b"{\"a\":0x1}"),
        ("NaN", b"{\"a\":NaN}"),
        ("infinity", b"{\"a\":-Infinity}"),
        ("a literal in the wrong case", b"{\"a\":True}"),
        ("an unknown escape", b"{\"a\":\"\\x41\"}"),
        ("an escape that is too short", b"{\"a\":\"\\u41\"}"),
        ("a line break in a string", b"{\"a\":\"\n\"}"),
        ("a tab in a string", b"{\"a\":\"\t\"}"),
        ("a NUL in a string", b"{\"a\":\"\0\"}"),
        ("a vertical tab as whitespace", b"{\x0b}"),
        ("a no-break space as whitespace", b"{\xc2\xa0}"),
        ("one closing bracket too many", b"{}}"),
        ("a closing bracket of the wrong kind", b"{\"a\":[}"),
        ("two values", b"{}{}"),
        ("a NUL after the value", b"{}\0"),
        ("an array instead of an object", b"[]"),
        ("a string instead of an object", b"\"{}\""),
        ("a number instead of an object", b"1"),
        ("null instead of an object", b"null"),
    ] {
        let malformed = malformed(body).unwrap_or_else(|| panic!("{why}: the body was accepted"));
        assert!(place(body, &malformed).is_some(), "{why}: {malformed}");
    }
}
