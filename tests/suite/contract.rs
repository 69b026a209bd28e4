//! Does our validation say what the contract says? Its section 2 stands here a second time, as a JSON Schema and as
//! arithmetic on dates, and must agree with ours on every event, to the very members at fault.

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
    catalogue::{EventType, ObjectType},
    event::{Event, EventError, UnknownEvents},
    json::Malformed,
    problem::Problem,
    signature::Delivery,
    timestamp,
};
use serde_json::{Value, json};

use crate::app::{App, BODY, NOW, at, key, signed};

pub mod calendar;
pub mod events;
mod schema;

const POLICIES: [UnknownEvents; 2] = [UnknownEvents::Forward, UnknownEvents::Reject];

/// Parses an authentic body, and hands the event on.
fn with_event<T>(body: &[u8], unknown: UnknownEvents, then: impl FnOnce(&Event<'_>) -> T) -> Result<T, EventError> {
    let key = key();
    let timestamp = NOW.to_string();
    let signature = key.sign("msg_1", &timestamp, body);
    let delivery = Delivery { id: Some("msg_1"), timestamp: Some(&timestamp), signature: Some(&signature), body };
    let verified = delivery.verify(&[key], at(NOW), Duration::ZERO).unwrap();
    Event::parse(&verified, unknown).map(|event| then(&event))
}

/// The pointers of all members at fault.
fn faults(body: &[u8], unknown: UnknownEvents) -> Result<BTreeSet<String>, Malformed> {
    match with_event(body, unknown, |_| ()) {
        Ok(()) => Ok(BTreeSet::new()),
        Err(EventError::Malformed(malformed)) => Err(malformed),
        Err(EventError::Violations(violations)) => {
            assert_ne!(violations, [], "refused for nothing");
            Ok(violations.into_iter().map(|violation| violation.pointer.to_owned()).collect())
        }
    }
}

fn malformed(body: &[u8]) -> Option<Malformed> {
    faults(body, UnknownEvents::Forward).err()
}

/// The offset of the place that is told, if there is such a place: a byte, or the end.
fn place(body: &[u8], malformed: &Malformed) -> Option<usize> {
    let lines: Vec<_> = body.split(|byte| *byte == b'\n').collect();
    let (line, column) = (malformed.line.checked_sub(1)?, malformed.column.checked_sub(1)?);
    let before: usize = lines.get(..line)?.iter().map(|line| line.len() + 1).sum();
    (column <= lines.get(line)?.len()).then_some(before + column)
}

pub fn cases(cases: u32) -> ProptestConfig {
    // What a run finds becomes a row of a table here, where it can be read.
    let failure_persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(2500))]

    #[test]
    fn agrees_with_the_schema_on_every_member((text, repeated) in events::texts()) {
        let value: Value = serde_json::from_str(&text).unwrap();
        for unknown in POLICIES {
            let mut expected = schema::faults(&value, unknown);
            // A schema sees the last of several members; that there are several is a fault by itself.
            expected.extend(repeated.iter().map(|name| format!("/{name}")));
            prop_assert_eq!(faults(text.as_bytes(), unknown), Ok(expected), "{:?}: {}", unknown, text);
        }
        // A text that is no event has been judged already; one that is holds what it says.
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
    fn date_times_are_those_of_rfc_3339(text in events::date_times()) {
        let expected = calendar::instant(&text);
        let instant = timestamp::parse(&text);
        // Never chrono's leap seconds, of 10⁹ and more nanoseconds.
        prop_assert_eq!(instant.map(|at| (at.timestamp(), at.timestamp_subsec_nanos())), expected, "{:?}", text);
        prop_assert_eq!(schema::is_date_time(&text), expected.is_some(), "a third opinion of {:?}", text);
    }
}

#[test]
fn the_generated_events_cover_the_contract() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<BTreeSet<String>, usize> = BTreeMap::new();
    for _ in 0..1000 {
        let (text, repeated) = events::texts().new_tree(&mut runner).unwrap().current();
        if repeated.is_empty() {
            let event = serde_json::from_str(&text).unwrap();
            *seen.entry(schema::faults(&event, UnknownEvents::Forward)).or_default() += 1;
        }
    }
    assert!(seen[&BTreeSet::new()] >= 100, "valid events are too few: {seen:?}");
    for name in schema::MEMBERS {
        let alone = BTreeSet::from([format!("/{name}")]);
        assert!(seen.get(&alone).is_some_and(|count| *count >= 3), "{name} is rarely wrong alone: {seen:?}");
    }
}

#[test]
fn the_catalogue_is_the_contracts() {
    let table: BTreeSet<_> = schema::CATALOGUE
        .iter()
        .flat_map(|(family, object, types)| {
            types.split_whitespace().map(|name| (name.to_owned(), (*object).to_owned(), (*family).to_owned()))
        })
        .collect();
    let ours: BTreeSet<_> = EventType::CATALOGUED
        .iter()
        .map(|kind| {
            let (object, family) = (kind.usual_object().unwrap(), kind.family().unwrap());
            (kind.to_string(), object.to_string(), format!("{family:?}"))
        })
        .collect();
    assert_eq!((ours.len(), EventType::CATALOGUED.len()), (41, 41));
    assert_eq!(ours, table);
    let objects: BTreeSet<_> = ObjectType::CATALOGUED.iter().map(ObjectType::as_str).collect();
    assert_eq!((objects.len(), ObjectType::CATALOGUED.len()), (10, 10));
    assert_eq!(objects, schema::objects());
}

/// The least that is an event: names, and values in JSON.
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

/// A valid event with this value, in JSON, of one member, whether it had the member or not.
fn valid_but(name: &str, value: &str) -> String {
    text(MEMBERS.into_iter().filter(|(member, _)| *member != name).chain([(name, value)]))
}

/// A valid event with one member more.
fn valid_and(name: &str, value: &str) -> String {
    text(MEMBERS.into_iter().chain([(name, value)]))
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

/// A prefix, filled up to so many characters, as a JSON string.
fn filled(prefix: &str, length: usize, filler: &str) -> String {
    quoted(&prefix.chars().chain(filler.chars().cycle()).take(length).collect::<String>())
}

#[tokio::test]
async fn each_rule_at_its_edge() {
    const NONE: &[&str] = &[];
    let mut rows: Vec<(&str, String, &[&str])> = Vec::new();
    let mut row = |why, body, faults| rows.push((why, body, faults));

    row("the least that is an event", text(MEMBERS), NONE);
    row("nothing", "{}".into(), &["/environment_id", "/id", "/object", "/occurred_at", "/spec_version", "/type"]);
    for ((name, value), fault) in MEMBERS.into_iter().zip([
        &["/spec_version"],
        &["/id"],
        &["/type"],
        &["/object"],
        &["/environment_id"],
        &["/occurred_at"],
    ]) {
        row("required, but missing", valid_without(name), fault);
        row("required, but null", valid_but(name, "null"), fault);
        row("required, but a number", valid_but(name, "1"), fault);
        row("required, but a number beyond every float", valid_but(name, "1e999"), fault);
        row("required, but an array of it", valid_but(name, &format!("[{value}]")), fault);
        row("required, but an object", valid_but(name, "{}"), fault);
        row("required, but true", valid_but(name, "true"), fault);
        row("required, but empty", valid_but(name, r#""""#), fault);
        row("required, but half of a surrogate pair", valid_but(name, r#""evt_\ud83d""#), fault);
        row("required, but there twice, alike", valid_and(name, value), fault);
    }
    for (name, fault) in [("organization_id", &["/organization_id"]), ("display_name", &["/display_name"])] {
        row("optional, but null", valid_but(name, "null"), fault);
        row("optional, but a number", valid_but(name, "1"), fault);
        row("optional, but empty", valid_but(name, r#""""#), fault);
    }
    row("display_name, but twice", valid_and("display_name", r#""a","display_name":"a""#), &["/display_name"]);

    row("data, but null", valid_but("data", "null"), &["/data"]);
    row("data, but an array", valid_but("data", "[{}]"), &["/data"]);
    row("data, but a string", valid_but("data", r#""{}""#), &["/data"]);
    row("data, but twice", valid_and("data", r#"{},"data":{}"#), &["/data"]);
    row("data, empty", valid_but("data", "{}"), NONE);
    row("data with members twice", valid_but("data", r#"{"id":1,"id":2}"#), NONE);
    row("data with what few programs can hold", valid_but("data", r#"{"a":1e999,"b":"\ud83d"}"#), NONE);

    for version in ["0", "007", "99999999999999999999999"] {
        row("a spec_version of digits", valid_but("spec_version", &quoted(version)), NONE);
    }
    for version in ["1\n", "\n1", " 1", "1 ", "+1", "-1", "1.0", "1a", "\u{661}", "\u{ff11}", "1\0"] {
        row("a spec_version of more than digits", valid_but("spec_version", &quoted(version)), &["/spec_version"]);
    }

    for (name, prefix, fault) in [
        ("id", "evt_", &["/id"]),
        ("environment_id", "env_", &["/environment_id"]),
        ("organization_id", "org_", &["/organization_id"]),
    ] {
        row("a prefix and no more", valid_but(name, &quoted(prefix)), NONE);
        row("32 characters", valid_but(name, &filled(prefix, 32, "x")), NONE);
        row("32 characters of 4 bytes", valid_but(name, &filled(prefix, 32, "😀")), NONE);
        row("33 characters", valid_but(name, &filled(prefix, 33, "x")), fault);
        row("33 characters, 19 graphemes", valid_but(name, &filled(prefix, 33, "e\u{301}")), fault);
        row("one character", valid_but(name, &filled(prefix, 1, "")), fault);
        row("a prefix of another case", valid_but(name, &quoted(&prefix.to_uppercase())), fault);
        row("space before the prefix", valid_but(name, &quoted(&format!(" {prefix}1"))), fault);
        row("another's prefix", valid_but(name, &quoted("dom_1")), fault);
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

    row("a date and a time", valid_but("occurred_at", r#""2025-10-14 09:29:27Z""#), &["/occurred_at"]);
    row("a local time", valid_but("occurred_at", r#""2025-10-14T09:29:27""#), &["/occurred_at"]);
    row("seconds since 1970", valid_but("occurred_at", "1760434167"), &["/occurred_at"]);
    row("a leap second", valid_but("occurred_at", r#""2016-12-31T23:59:60Z""#), NONE);
    row("a leap second at noon", valid_but("occurred_at", r#""2016-12-31T12:00:60Z""#), &["/occurred_at"]);

    row("a name with an escape", valid_without("id").replace('{', r#"{"\u0069d":"evt_1","#), NONE);
    row("a value with escapes", valid_but("type", r#""\u0075ser\u002Elogin""#), NONE);
    row("twice, once with an escape", valid_and(r"\u0069d", r#""evt_1""#), &["/id"]);
    row("twice, both with an escape", valid_and("data", r#"{},"dat\u0061":{}"#), &["/data"]);
    row("three times", valid_and("id", r#""evt_1","id":"evt_1""#), &["/id"]);
    row("twice, the first of them wrong", valid_without("id").replace('{', r#"{"id":1,"id":"evt_1","#), &["/id"]);
    row("unknown members, some twice", valid_and("Id", r#"1,"Id":2,"":3,"":4,"data ":5,"type\u0000":6"#), NONE);

    let app = App::start().await;
    for (why, body, faults) in rows {
        let answer = app.deliver(&signed(&body).function_url()).await;
        let told = answer.problem["errors"].as_array().into_iter().flatten();
        let told: BTreeSet<_> = told.map(|violation| violation["pointer"].as_str().unwrap()).collect();
        assert_eq!(told, faults.iter().copied().collect(), "{why}: {body}: {answer:?}");
        if faults.is_empty() {
            assert_eq!(answer.status, 200, "{why}: {body}: {answer:?}");
        } else {
            assert_eq!((answer.status, answer.code()), (400, "contract-violation"), "{why}: {body}");
        }
    }
}

#[tokio::test]
async fn what_the_catalogue_does_not_list_is_forwarded_or_named() {
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
        app.function.rules.unknown_events = UnknownEvents::Forward;
        assert_eq!(app.deliver(&envelope).await.status, 200, "{value}");
        app.function.rules.unknown_events = UnknownEvents::Reject;
        let answer = app.deliver(&envelope).await;
        assert_eq!((answer.status, answer.code()), (400, "contract-violation"), "{value}");
        let detail = format!("`{}` is not in the catalogue of {list}", value.trim_matches('"'));
        assert_eq!(answer.problem["errors"], json!([{"pointer": format!("/{name}"), "detail": detail}]));
    }
    // What is listed is forwarded in either mode.
    assert_eq!(app.deliver(&signed(text(MEMBERS)).function_url()).await.status, 200);
}

#[test]
fn no_beginning_of_an_event_is_one() {
    let body = BODY.trim_end().as_bytes();
    assert_eq!(faults(body, UnknownEvents::Reject), Ok(BTreeSet::new()));
    for end in 0..body.len() {
        let malformed = malformed(&body[..end]).unwrap_or_else(|| panic!("taken: {end} bytes"));
        assert_eq!(place(&body[..end], &malformed), Some(end), "{malformed}");
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn depth_is_counted_outside_of_strings(
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

        // The innermost level has a member beside the next; if that one is a level, it is the deepest.
        let innermost = noise[(levels - 1) % noise.len()];
        let deepest = levels + usize::from(innermost.starts_with(['{', '[']));
        match malformed(body.as_bytes()) {
            None => prop_assert!(deepest <= 1000, "{} levels taken", deepest),
            Some(malformed) => {
                prop_assert!(deepest > 1000, "{} levels refused", deepest);
                prop_assert_eq!(&malformed.reason, "more than 1000 levels deep");
                let rest = place(body.as_bytes(), &malformed).map(|at| &body[at..]);
                prop_assert!(rest.is_some_and(|rest| rest.starts_with(['{', '['])), "no bracket at {}", malformed);
            }
        }
    }
}

/// Values in which brackets are levels, and aren't.
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
fn many_brackets_are_no_depth() {
    let wide = format!("{{\"a\":[{}[]]}}", "[],".repeat(5000));
    let text = format!("{{\"a\":\"{}\"}}", "[{".repeat(5000));
    assert_eq!((malformed(wide.as_bytes()), malformed(text.as_bytes())), (None, None));
}

proptest! {
    #![proptest_config(cases(2000))]

    /// Valid or not, in the opinion of serde_json's `Value`, which reads what ours only skips.
    #[test]
    fn what_is_no_json_is_malformed(edits in vec((any::<Index>(), 0..3_usize, edit()), 1..3)) {
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
            None => prop_assert!(is_object, "taken: {}", body_text),
            Some(malformed) => {
                prop_assert!(!is_object, "{}: {}", malformed, body_text);
                prop_assert!(place(&body, &malformed).is_some(), "{}: {}", malformed, body_text);
            }
        }
    }

    #[test]
    fn an_answer_shows_nothing_of_the_body((marker, body) in marked_bodies()) {
        for unknown in POLICIES {
            let Err(error) = with_event(body.as_bytes(), unknown, |_| ()) else { continue };
            // In reject mode alone, a well-formed name that isn't listed is shown.
            let named = ["MARK", "MARK.MARK", "evt_MARK"].map(|name| name.replace("MARK", &marker));
            let named = named.iter().filter(|_| unknown == UnknownEvents::Reject);
            let named: Vec<_> = named.map(|name| format!("`{name}` is not in the catalogue")).collect();

            let problem = Problem::Event(error);
            for said in [problem.body(), problem.to_string()] {
                let said = named.iter().fold(said, |said, named| said.replace(named, ""));
                let shown = (0..=marker.len() - 8).map(|at| &marker[at..at + 8]).find(|part| said.contains(part));
                prop_assert_eq!(shown, None, "{} of {}", said, body);
            }
        }
    }
}

/// What is put somewhere: brackets, quotes, half characters, things that JSON has not.
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

/// Bodies with a marker in one place or several: in values of every kind, in names, and in what isn't JSON any more.
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

/// JSON, or nearly, that shows a marker.
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
fn what_looks_like_json_and_is_none() {
    for (why, body) in [
        ("nothing", &b""[..]),
        ("space alone", b" \n"),
        ("a byte order mark", b"\xef\xbb\xbf{}"),
        ("UTF-16", b"{\0}\0"),
        ("Latin 1", b"{\"a\":\"\xe9\"}"),
        ("half of a surrogate pair in UTF-8", b"{\"a\":\"\xed\xa0\xbd\"}"),
        ("an overlong slash", b"{\"a\":\"\xc0\xaf\"}"),
        ("a comma at the end", b"{\"a\":1,}"),
        ("a comma too many", b"{\"a\":1,,\"b\":2}"),
        ("no comma", b"{\"a\":1 \"b\":2}"),
        ("no colon", b"{\"a\" 1}"),
        ("no value", b"{\"a\":}"),
        ("single quotes", b"{'a':1}"),
        ("no quotes", b"{a:1}"),
        ("a number as a name", b"{1:1}"),
        ("a comment", b"{/**/}"),
        ("a leading zero", b"{\"a\":01}"),
        ("a plus", b"{\"a\":+1}"),
        ("a point without digits before", b"{\"a\":.1}"),
        ("a point without digits after", b"{\"a\":1.}"),
        ("an exponent without digits", b"{\"a\":1e}"),
        ("hexadecimal", b"{\"a\":0x1}"),
        ("not a number", b"{\"a\":NaN}"),
        ("infinity", b"{\"a\":-Infinity}"),
        ("another case", b"{\"a\":True}"),
        ("an unknown escape", b"{\"a\":\"\\x41\"}"),
        ("a short escape", b"{\"a\":\"\\u41\"}"),
        ("a line break in a string", b"{\"a\":\"\n\"}"),
        ("a tab in a string", b"{\"a\":\"\t\"}"),
        ("a NUL in a string", b"{\"a\":\"\0\"}"),
        ("a vertical tab between", b"{\x0b}"),
        ("a no-break space between", b"{\xc2\xa0}"),
        ("a bracket too many", b"{}}"),
        ("a bracket of another kind", b"{\"a\":[}"),
        ("two values", b"{}{}"),
        ("a NUL after", b"{}\0"),
        ("an array", b"[]"),
        ("a string", b"\"{}\""),
        ("a number", b"1"),
        ("null", b"null"),
    ] {
        let malformed = malformed(body).unwrap_or_else(|| panic!("{why} is taken"));
        assert!(place(body, &malformed).is_some(), "{why}: {malformed}");
    }
}
