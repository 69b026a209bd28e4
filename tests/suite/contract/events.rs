//! Generates events as JSON text for the tests of the contract. Most of them are invalid in one or two members. A
//! member may be missing, have the wrong type, be at the limit of its rule or beyond it, contain escapes or appear
//! twice. The members are in any order, and unknown members are mixed in. In most events, `data` has the members that are
//! published for the event's type, up to two of which are invalid.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use serde_json::{Map, Value, json};

use super::{
    published::{self, FAMILIES, Family},
    schema::{MEMBERS, objects},
};

/// A member as it is written in the text.
#[derive(Debug, Clone)]
pub struct Spelled {
    name: String,
    value: String,
}

/// The text of an event, and the members of the contract that appear in it more than once.
pub fn texts() -> impl Strategy<Value = (String, Vec<&'static str>)> {
    let known = (0..FAMILIES.len()).prop_flat_map(|family| {
        MEMBERS.map(|name| {
            let value = member(name, &FAMILIES[family]);
            value.prop_flat_map(move |value| spelled(name.to_owned(), value)).boxed()
        })
    });
    let unknown = (unknown_names(), values()).prop_flat_map(|(name, value)| spelled(name, Some(value)));
    // Any member can be repeated, known or unknown.
    let again = || (any::<Index>(), values());
    let again = prop_oneof![3 => Just(Vec::new()), 1 => vec(again(), 1..3)];
    (known, vec(unknown, 0..4), again).prop_flat_map(|(known, unknown, again)| {
        let mut members: Vec<Spelled> = known.into_iter().chain(unknown).flatten().collect();
        let mut repeated = Vec::new();
        for (index, value) in again {
            if !members.is_empty() {
                let name = members[index.index(members.len())].name.clone();
                let known = serde_json::from_str::<String>(&name).unwrap();
                repeated.extend(MEMBERS.into_iter().filter(|member| *member == known));
                members.push(Spelled { name, value: value.to_string() });
            }
        }
        (Just(members).prop_shuffle(), space(), Just(repeated))
            .prop_map(|(members, space, repeated)| (text(&members, space), repeated))
    })
}

fn text(members: &[Spelled], space: &str) -> String {
    let members: Vec<_> =
        members.iter().map(|Spelled { name, value }| format!("{space}{name}{space}:{space}{value}{space}")).collect();
    format!("{space}{{{}}}{space}", members.join(","))
}

fn space() -> impl Strategy<Value = &'static str> {
    select(&["", " ", "\n", "\t\r\n  "])
}

/// A member as JSON text, or `None` if its value is missing. Its name and its string value may contain escapes.
fn spelled(name: String, value: Option<Value>) -> impl Strategy<Value = Option<Spelled>> {
    let escapes = || prop_oneof![3 => Just(0), 1 => any::<u32>()];
    (escapes(), escapes()).prop_map(move |(in_name, in_value)| {
        let value = match value.as_ref()? {
            Value::String(text) => escaped(text, in_value),
            other => other.to_string(),
        };
        Some(Spelled { name: escaped(&name, in_name), value })
    })
}

/// A JSON string in which the characters whose bit is set are escaped, even if they don't have to be.
fn escaped(text: &str, which: u32) -> String {
    let escape = |character: char| {
        let units = character.encode_utf16(&mut [0; 2]).to_vec();
        units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat()
    };
    let plain = |character: char| {
        let quoted = json!(character.to_string()).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let spelled =
        |(index, character)| if which >> (index % 32) & 1 == 1 { escape(character) } else { plain(character) };
    format!("\"{}\"", text.chars().enumerate().map(spelled).collect::<String>())
}

/// The value of a member of the contract, in most cases one that is valid for this family of event types. `None` means that
/// the member is missing.
fn member(name: &'static str, family: &'static Family) -> impl Strategy<Value = Option<Value>> {
    let strings = |valid: BoxedStrategy<String>, at_limits: BoxedStrategy<String>| {
        prop_oneof![20 => valid, 3 => at_limits].prop_map(Value::from).boxed()
    };
    let mostly_valid = match name {
        "spec_version" => strings(
            "[0-9]{1,3}".boxed(),
            prop_oneof![
                select(&["", "1\n", "\n1", " 1", "1 ", "+1", "-1", "1.0", "1e1", "0x1", "١", "１", "1\0", "1\u{2028}"])
                    .prop_map(str::to_owned),
                "[0-9\n .+-]{0,3}",
            ]
            .boxed(),
        ),
        "id" => strings(identifier("evt_"), wrong_identifier("evt_")),
        "environment_id" => strings(identifier("env_"), wrong_identifier("env_")),
        "organization_id" => strings(identifier("org_"), wrong_identifier("org_")),
        "type" => {
            let types: Vec<_> = family.event_types.split(' ').collect();
            strings(select(types).prop_map(str::to_owned).boxed(), other_types())
        }
        "object" => {
            let objects: Vec<_> = objects().into_iter().collect();
            strings(select(objects).prop_map(str::to_owned).boxed(), other_objects())
        }
        "occurred_at" => strings(valid_date_times(), date_times()),
        "display_name" => strings(
            "\\PC{1,20}".boxed(),
            (select(&[0_usize, 1, 2, 199, 200, 201, 400]), filler())
                .prop_map(|(length, filler)| filler.to_string().repeat(length))
                .boxed(),
        ),
        "data" => {
            prop_oneof![20 => data(family), 3 => select(vec![json!(null), json!([{}]), json!("{}"), json!(0)])].boxed()
        }
        other => panic!("{other} is not a member of the contract"),
    };
    prop_oneof![20 => mostly_valid.prop_map(Some), 1 => values().prop_map(Some), 1 => Just(None)]
}

/// The `data` of an event of this family, with up to two changes.
fn data(family: &'static Family) -> impl Strategy<Value = Value> {
    let valid: Vec<_> = family
        .members()
        .map(|member| {
            let present = published_values(&member).prop_map(Some);
            let absent = select(&[None, Some(Value::Null)]);
            let value = prop_oneof![3 => present, u32::from(!member.required) => absent];
            value.prop_map(move |value| Some((member.name.to_owned(), value?)))
        })
        .collect();
    let names: Vec<_> = family.members().map(|member| member.name.to_owned()).collect();
    let wrong = prop_oneof![
        2 => values().prop_map(Some),
        1 => date_times().prop_map(|text| Some(Value::from(text))),
        1 => Just(None),
    ];
    let change = (prop_oneof![9 => select(names), 1 => "[A-Z]{0,4}"], wrong);
    let changes = prop_oneof![3 => Just(Vec::new()), 1 => vec(change, 1..=2)];
    (valid, changes).prop_map(|(valid, changes)| {
        let mut data: Map<String, Value> = valid.into_iter().flatten().collect();
        for (name, value) in changes {
            match value {
                Some(value) => data.insert(name, value),
                None => data.remove(&name),
            };
        }
        Value::Object(data)
    })
}

/// Values of a member of `data` that Scalekit publishes.
fn published_values(member: &published::Member) -> BoxedStrategy<Value> {
    match member.kind {
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "array" => vec(values(), 0..3).prop_map(Value::from).boxed(),
        // The names begin with `x` because the crate knows the members of some of these objects.
        "object" => vec(("x[a-z]{0,4}", values()), 0..3).prop_map(|members| members.into_iter().collect()).boxed(),
        "date-time" => valid_date_times().prop_map(Value::from).boxed(),
        prefix if member.is_id() => ".{0,40}".prop_map(move |rest| Value::from(format!("{prefix}{rest}"))).boxed(),
        _ => any::<String>().prop_map(Value::from).boxed(),
    }
}

/// A JSON value of any type, with little nesting.
pub fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(&["evt_1", "env_1", "org_1", "1", "user.login", "User", "{}", "null"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any::<String>(), inner), 0..4).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// Names that are not in the contract, some of which resemble a name that is.
fn unknown_names() -> impl Strategy<Value = String> {
    let look_alikes = select(&[
        "Id",
        "ID",
        "id ",
        " id",
        "/id",
        "id\0",
        "ıd",
        "іd",
        "",
        "specVersion",
        "Type",
        "type_",
        "objects",
        "DATA",
        "data.id",
        "occurredAt",
        "occurred_at\n",
        "environment-id",
        "organization_id\u{301}",
        "displayName",
        "evt_1",
        "__proto__",
    ]);
    prop_oneof![look_alikes.prop_map(str::to_owned), any::<String>()]
        .prop_filter("a name in the contract", |name| !MEMBERS.contains(&name.as_str()))
}

/// A character to fill up a text with: of one to four bytes, some that must be escaped, and a combining one.
fn filler() -> impl Strategy<Value = char> {
    select(&['a', '0', '_', ' ', '"', '\\', '\n', '\0', '\u{7f}', 'é', '\u{301}', '\u{2028}', '\u{ffff}', '😀'])
}

/// A text of this many characters.
fn of_length(start: &str, length: usize, filler: char) -> String {
    start.chars().chain(std::iter::repeat(filler)).take(length).collect()
}

fn identifier(prefix: &'static str) -> BoxedStrategy<String> {
    let plain = "[0-9]{1,20}".prop_map(move |rest| format!("{prefix}{rest}"));
    let unusual = (4..=32_usize, filler()).prop_map(move |(length, filler)| of_length(prefix, length, filler));
    prop_oneof![plain, unusual].boxed()
}

fn wrong_identifier(prefix: &'static str) -> BoxedStrategy<String> {
    let lengths = (select(&[0_usize, 1, 2, 3, 4, 5, 31, 32, 33, 34, 64, 128, 1000]), filler())
        .prop_map(move |(length, filler)| of_length(prefix, length, filler));
    let starts = select(vec![
        String::new(),
        prefix.to_uppercase(),
        prefix.replace('_', ""),
        prefix.replace('_', "-"),
        format!(" {prefix}"),
        format!("\u{feff}{prefix}"),
        format!("x{prefix}"),
        prefix.replace('e', "е"),
        "evt_".into(),
        "env_".into(),
        "org_".into(),
        "msg_".into(),
    ]);
    let starts = (starts, 0..40_usize, filler()).prop_map(|(start, rest, filler)| {
        let length = start.chars().count() + rest;
        of_length(&start, length, filler)
    });
    prop_oneof![lengths, starts].boxed()
}

/// Event types that are not in the catalogue, well-formed or not.
fn other_types() -> BoxedStrategy<String> {
    let well_formed = "[a-z0-9_]{1,8}(\\.[a-z0-9_]{1,8}){1,4}";
    let ill_formed = select(&[
        "",
        ".",
        "..",
        "user",
        "user.",
        ".login",
        "user..login",
        "user.login.",
        "User.Login",
        "user.login\n",
        "\nuser.login",
        " user.login",
        "user.login ",
        "user-x.login",
        "user.lögin",
        "user/login",
        "user.login\0",
        "usér.login",
        "user․login",
    ]);
    let lengths = (126..=131_usize, select(&["a.", "user.login_", "a_b.c.d"]))
        .prop_map(|(length, start)| of_length(start, length, 'x'));
    let letters = "[a-zA-Z0-9_. -]{0,6}";
    prop_oneof![well_formed, ill_formed.prop_map(str::to_owned), lengths, letters].boxed()
}

/// Object types that are not in the catalogue, well-formed or not.
fn other_objects() -> BoxedStrategy<String> {
    let well_formed = "[A-Za-z0-9_]{1,12}";
    let ill_formed =
        select(&["", "User\n", "\nUser", " User", "User ", "Us er", "Us.er", "Us-er", "Üser", "User\0", "Ｕser"]);
    let lengths = (62..=67_usize, select(&['x', 'é'])).prop_map(|(length, filler)| of_length("User", length, filler));
    prop_oneof![well_formed, ill_formed.prop_map(str::to_owned), lengths].boxed()
}

/// Date-times in the format that Scalekit uses.
fn valid_date_times() -> BoxedStrategy<String> {
    (0..10_000, 1..=12, 1..=28, 0..24, 0..60, 0..60, "(\\.[0-9]{1,9})?")
        .prop_map(|(year, month, day, hour, minute, second, fraction)| {
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
        })
        .boxed()
}

/// Date-times on both sides of every limit, and texts that are almost a date-time.
pub fn date_times() -> BoxedStrategy<String> {
    let years =
        select(&["0000", "0001", "1582", "1900", "1969", "1970", "2000", "2016", "2023", "2024", "2100", "9999"]);
    let dates = (
        prop_oneof![9 => years, 1 => select(&["10000", "-001", "+2024", "24", "202a", ""])],
        prop_oneof![6 => select(&["01", "02", "04", "12", "06"]), 1 => select(&["00", "13", "1", "99"])],
        prop_oneof![6 => select(&["01", "28", "29", "30", "31"]), 1 => select(&["00", "32", "1", "99"])],
        prop_oneof![9 => Just("-"), 1 => select(&["/", "", "\u{2212}"])],
    )
        .prop_map(|(year, month, day, dash)| format!("{year}-{month}{dash}{day}"));
    let times = (
        prop_oneof![9 => select(&["00", "01", "12", "22", "23"]), 1 => select(&["24", "1", "99"])],
        prop_oneof![9 => select(&["00", "29", "30", "58", "59"]), 1 => select(&["60", "1", "99"])],
        prop_oneof![9 => select(&["00", "01", "58", "59", "60"]), 1 => select(&["61", "1", "99", ""])],
        prop_oneof![9 => Just(":"), 1 => select(&["", ".", ":0"])],
    )
        .prop_map(|(hour, minute, second, colon)| format!("{hour}:{minute}{colon}{second}"));
    let fractions = prop_oneof![
        3 => Just(String::new()),
        3 => "\\.[0-9]{1,12}",
        1 => select(&[".", ",5", ".0000000001", ".9999999999", ".999999999", ".5 ", ".٥", ":00", ".1.1"]).prop_map(str::to_owned),
    ];
    let offsets = prop_oneof![
        4 => select(&["Z", "z"]).prop_map(str::to_owned),
        // With these offsets, the leap second 23:59:60 UTC has another local time.
        5 => (
            select(&["+", "-"]),
            select(&["00", "01", "05", "12", "14", "22", "23"]),
            select(&["00", "01", "29", "30", "31", "45", "59"]),
        )
            .prop_map(|(sign, hour, minute)| format!("{sign}{hour}:{minute}")),
        1 => select(&[
            "", "+24:00", "-24:00", "+99:00", "+00:60", "+0000", "+00", "+0:00", "+00:0", "+00:000", "\u{2212}00:00", "UTC",
            "ZZ", "Z ", "Z\n", " Z", "+00:00Z", "+-1:00", "+ 1:00", "+00：00",
        ])
        .prop_map(str::to_owned),
    ];
    let separators = prop_oneof![12 => select(&["T", "t"]), 1 => select(&[" ", "", "_", "TT", "Т"])];
    let assembled = (dates, separators, times, fractions, offsets)
        .prop_map(|(date, separator, time, fraction, offset)| format!("{date}{separator}{time}{fraction}{offset}"));
    // The last seconds of the UTC day in every offset, including the leap second.
    let leap_seconds = (-1439..=1439_i32, 1430..=1441_i32, 59..=61_u32).prop_map(|(offset, minute, second)| {
        let local = (minute + offset).rem_euclid(1440);
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
        format!("2016-12-31T{:02}:{:02}:{second}{sign}{hours:02}:{minutes:02}", local / 60, local % 60)
    });
    let edited =
        (valid_date_times(), any::<Index>(), select(&["", "0", "9", " ", "-", ":", "T", "Z", ".", "+", "\0", "é"]))
            .prop_map(|(mut text, index, edit)| {
                let at = index.index(text.len());
                text.replace_range(at..=at, edit);
                text
            });
    prop_oneof![3 => assembled, 1 => leap_seconds, 1 => edited].boxed()
}
