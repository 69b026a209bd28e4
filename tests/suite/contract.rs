//! Tests that the validation of events implements section 2 of the contract. The rules are implemented here a second
//! time, as a JSON Schema and as date arithmetic, and both implementations must find the same invalid members in every
//! event.

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
    event::{Event, EventError, Malformed, UnknownEvents},
    problem::Problem,
    signature::Delivery,
};
use scalekit_events::timestamp;
use serde_json::{Value, json};

use crate::support::app::{App, BODY, NOW, at, key, signed};

pub mod calendar;
pub mod events;
mod schema;

const POLICIES: [UnknownEvents; 2] = [UnknownEvents::Forward, UnknownEvents::Reject];

/// Parses a signed body, and calls `then` with the event.
fn with_event<T>(body: &[u8], unknown: UnknownEvents, then: impl FnOnce(&Event<'_>) -> T) -> Result<T, EventError> {
    let key = key();
    let timestamp = NOW.to_string();
    let signature = key.sign("msg_1", &timestamp, body);
    let delivery = Delivery::new(Some("msg_1"), Some(&timestamp), Some(&signature), body).unwrap();
    let verified = delivery.verify(&[key], at(NOW), Duration::ZERO).unwrap();
    Event::parse(&verified, unknown, None).map(|event| then(&event))
}

/// The pointers of all invalid members.
fn faults(body: &[u8], unknown: UnknownEvents) -> Result<BTreeSet<String>, Malformed> {
    match with_event(body, unknown, |_| ()) {
        Ok(()) => Ok(BTreeSet::new()),
        Err(EventError::Malformed(malformed)) => Err(malformed),
        Err(EventError::Violations(violations)) => {
            assert_ne!(violations, [], "an event was refused without a violation");
            Ok(violations.into_iter().map(|violation| violation.pointer.to_owned()).collect())
        }
    }
}

fn malformed(body: &[u8]) -> Option<Malformed> {
    faults(body, UnknownEvents::Forward).err()
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
    fn validation_agrees_with_the_json_schema_on_every_member((text, repeated) in events::texts()) {
        let value: Value = serde_json::from_str(&text).unwrap();
        for unknown in POLICIES {
            let mut expected = schema::faults(&value, unknown);
            // A schema only sees the last of several members with one name, so the repetition itself is added here.
            expected.extend(repeated.iter().map(|name| format!("/{name}")));
            prop_assert_eq!(faults(text.as_bytes(), unknown), Ok(expected), "{:?}: {}", unknown, text);
        }
        // The members of a valid event must have the values that are in the text.
        let _ = with_event(text.as_bytes(), UnknownEvents::Forward, |event| {
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
    let mut seen: BTreeMap<BTreeSet<String>, usize> = BTreeMap::new();
    for _ in 0..1000 {
        let (text, repeated) = events::texts().new_tree(&mut runner).unwrap().current();
        if repeated.is_empty() {
            let event = serde_json::from_str(&text).unwrap();
            *seen.entry(schema::faults(&event, UnknownEvents::Forward)).or_default() += 1;
        }
    }
    assert!(seen[&BTreeSet::new()] >= 100, "there are too few valid events: {seen:?}");
    for name in schema::MEMBERS {
        let alone = BTreeSet::from([format!("/{name}")]);
        assert!(
            seen.get(&alone).is_some_and(|count| *count >= 3),
            "{name} is too rarely the only invalid member: {seen:?}"
        );
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

#[tokio::test]
async fn each_rule_is_applied_exactly_at_its_limit() {
    const NONE: &[&str] = &[];
    let mut rows: Vec<(&str, String, &[&str])> = Vec::new();
    let mut row = |why, body, faults| rows.push((why, body, faults));

    row("a minimal event", text(MEMBERS), NONE);
    row("no members", "{}".into(), &["/environment_id", "/id", "/object", "/occurred_at", "/spec_version", "/type"]);
    for ((name, value), fault) in MEMBERS.into_iter().zip([
        &["/spec_version"],
        &["/id"],
        &["/type"],
        &["/object"],
        &["/environment_id"],
        &["/occurred_at"],
    ]) {
        row("a required member that is missing", valid_without(name), fault);
        row("a required member that is null", valid_but(name, "null"), fault);
        row("a required member that is a number", valid_but(name, "1"), fault);
        row("a required member that is a number too large for a float", valid_but(name, "1e999"), fault);
        row("a required member that is an array of its valid value", valid_but(name, &format!("[{value}]")), fault);
        row("a required member that is an object", valid_but(name, "{}"), fault);
        row("a required member that is true", valid_but(name, "true"), fault);
        row("a required member that is empty", valid_but(name, r#""""#), fault);
        row("a required member with half of a surrogate pair", valid_but(name, r#""evt_\ud83d""#), fault);
        row("a required member that appears twice with the same value", valid_and(name, value), fault);
    }
    for (name, fault) in [("organization_id", &["/organization_id"]), ("display_name", &["/display_name"])] {
        row("an optional member that is null", valid_but(name, "null"), fault);
        row("an optional member that is a number", valid_but(name, "1"), fault);
        row("an optional member that is empty", valid_but(name, r#""""#), fault);
    }
    row("a repeated display_name", valid_and("display_name", r#""a","display_name":"a""#), &["/display_name"]);

    row("data that is null", valid_but("data", "null"), &["/data"]);
    row("data that is an array", valid_but("data", "[{}]"), &["/data"]);
    row("data that is a string", valid_but("data", r#""{}""#), &["/data"]);
    row("data that appears twice", valid_and("data", r#"{},"data":{}"#), &["/data"]);
    row("data that is an empty object", valid_but("data", "{}"), NONE);
    row("data with a member that appears twice", valid_but("data", r#"{"id":1,"id":2}"#), NONE);
    row("data that many JSON parsers reject", valid_but("data", r#"{"a":1e999,"b":"\ud83d"}"#), NONE);

    for version in ["0", "007", "99999999999999999999999"] {
        row("a spec_version of digits", valid_but("spec_version", &quoted(version)), NONE);
    }
    for version in ["1\n", "\n1", " 1", "1 ", "+1", "-1", "1.0", "1a", "\u{661}", "\u{ff11}", "1\0"] {
        row("a spec_version with a non-digit", valid_but("spec_version", &quoted(version)), &["/spec_version"]);
    }

    for (name, prefix, fault) in [
        ("id", "evt_", &["/id"]),
        ("environment_id", "env_", &["/environment_id"]),
        ("organization_id", "org_", &["/organization_id"]),
    ] {
        row("an id that consists of its prefix", valid_but(name, &quoted(prefix)), NONE);
        row("an id of 32 characters", valid_but(name, &filled(prefix, 32, "x")), NONE);
        row("an id of 32 characters, most of them of 4 bytes", valid_but(name, &filled(prefix, 32, "😀")), NONE);
        row("an id of 33 characters", valid_but(name, &filled(prefix, 33, "x")), fault);
        row("an id of 33 characters in 19 graphemes", valid_but(name, &filled(prefix, 33, "e\u{301}")), fault);
        row("an id of one character", valid_but(name, &filled(prefix, 1, "")), fault);
        row("an id with its prefix in upper case", valid_but(name, &quoted(&prefix.to_uppercase())), fault);
        row("an id with a space before its prefix", valid_but(name, &quoted(&format!(" {prefix}1"))), fault);
        row("an id with the prefix of another kind of id", valid_but(name, &quoted("dom_1")), fault);
    }
    row("a display_name of 200 characters of 4 bytes", valid_but("display_name", &filled("", 200, "😀")), NONE);
    row("a display_name of 201 characters", valid_but("display_name", &filled("", 201, "x")), &["/display_name"]);
    row("a display_name with a line break", valid_but("display_name", r#""\n""#), NONE);

    row("an unusual pair of type and object", valid_but("object", r#""Permission""#), NONE);
    for event_type in
        ["user", "user.", ".login", "user..login", "User.login", "user.login\n", "user login", "user.lögin"]
    {
        row("a type that is not well-formed", valid_but("type", &quoted(event_type)), &["/type"]);
    }
    row("a type of 129 characters", valid_but("type", &filled("a.", 129, "x")), &["/type"]);
    for object in ["User ", "User\n", "Us.er", "Us-er", "Üser"] {
        row("an object that is not well-formed", valid_but("object", &quoted(object)), &["/object"]);
    }
    row("an object of 65 characters", valid_but("object", &filled("", 65, "x")), &["/object"]);

    row("a time with a space as separator", valid_but("occurred_at", r#""2025-10-14 09:29:27Z""#), &["/occurred_at"]);
    row("a time without an offset", valid_but("occurred_at", r#""2025-10-14T09:29:27""#), &["/occurred_at"]);
    row("a time in seconds since 1970", valid_but("occurred_at", "1760434167"), &["/occurred_at"]);
    row("a leap second", valid_but("occurred_at", r#""2016-12-31T23:59:60Z""#), NONE);
    row("a leap second at noon", valid_but("occurred_at", r#""2016-12-31T12:00:60Z""#), &["/occurred_at"]);

    row("a member name with an escape", valid_without("id").replace('{', r#"{"\u0069d":"evt_1","#), NONE);
    row("a value with escapes", valid_but("type", r#""\u0075ser\u002Elogin""#), NONE);
    row("an id repeated with an escaped name", valid_and(r"\u0069d", r#""evt_1""#), &["/id"]);
    row("data repeated with an escaped name", valid_and("data", r#"{},"dat\u0061":{}"#), &["/data"]);
    row("an id that appears three times", valid_and("id", r#""evt_1","id":"evt_1""#), &["/id"]);
    row("an invalid id before a valid one", valid_without("id").replace('{', r#"{"id":1,"id":"evt_1","#), &["/id"]);
    row("repeated unknown members", valid_and("Id", r#"1,"Id":2,"":3,"":4,"data ":5,"type\u0000":6"#), NONE);

    let app = App::start().await;
    for (why, body, faults) in rows {
        let answer = app.deliver(&signed(&body).function_url()).await;
        let reported = answer.problem["errors"].as_array().into_iter().flatten();
        let reported: BTreeSet<_> = reported.map(|violation| violation["pointer"].as_str().unwrap()).collect();
        assert_eq!(reported, faults.iter().copied().collect(), "{why}: {body}: {answer:?}");
        if faults.is_empty() {
            assert_eq!(answer.status, 200, "{why}: {body}: {answer:?}");
        } else {
            assert_eq!((answer.status, answer.code()), (400, "contract-violation"), "{why}: {body}");
        }
    }
}

#[tokio::test]
async fn unknown_types_and_objects_are_forwarded_or_refused_as_configured() {
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
        app.function.policy.unknown_events = UnknownEvents::Forward;
        assert_eq!(app.deliver(&envelope).await.status, 200, "{value}");
        app.function.policy.unknown_events = UnknownEvents::Reject;
        let answer = app.deliver(&envelope).await;
        assert_eq!((answer.status, answer.code()), (400, "contract-violation"), "{value}");
        let detail = format!("`{}` is not in the catalogue of {list}", value.trim_matches('"'));
        assert_eq!(answer.problem["errors"], json!([{"pointer": format!("/{name}"), "detail": detail}]));
    }
    // An event whose type and object are in the catalogue is forwarded even in reject mode.
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
    assert_eq!(faults(body, UnknownEvents::Reject), Ok(BTreeSet::new()));
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
        for unknown in POLICIES {
            let Err(error) = with_event(body.as_bytes(), unknown, |_| ()) else { continue };
            // Only reject mode shows a part of the body: a well-formed type or object that isn't in the catalogue.
            let named = ["MARK", "MARK.MARK", "evt_MARK"].map(|name| name.replace("MARK", &marker));
            let named = named.iter().filter(|_| unknown == UnknownEvents::Reject);
            let named: Vec<_> = named.map(|name| format!("`{name}` is not in the catalogue")).collect();

            let problem = Problem::Event(error);
            for text in [problem.body(), problem.to_string()] {
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
