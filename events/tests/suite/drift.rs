//! Which differences between `data` and the catalogue are reported, and where.

use scalekit_events::{
    data::{Data, Family},
    drift::{Deviation, Drift, MAX_DEVIATIONS},
};
use serde_json::{Value, json};

use crate::support::{
    published,
    samples::{changes, samples},
};

fn differences(family: Family, data: &str) -> Vec<String> {
    Data::drift(family, data).pointers().into_iter().map(str::to_owned).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn a_sample_has_no_differences() {
    for (event_type, sample) in samples() {
        let drift = Data::drift(event_type.family().unwrap(), &sample["data"].to_string());
        assert_eq!(drift.pointers(), NONE, "{event_type}");
        assert!(drift.is_empty(), "{event_type}");
    }
}

#[test]
fn a_changed_sample_has_a_difference_if_the_catalogue_does_not_allow_the_change() {
    for (event_type, sample) in samples() {
        for change in changes(&sample) {
            let drift = Data::drift(event_type.family().unwrap(), &change.event["data"].to_string());
            assert_eq!(drift.pointers(), change.difference.as_slice(), "{event_type}: {}", change.description);
            assert_eq!(drift.is_empty(), change.difference.is_none(), "{event_type}: {}", change.description);
        }
    }
}

#[test]
fn unusual_json_is_compared_with_the_type() {
    for (description, data, expected) in [
        ("an empty object", "{}", &["/data/id", "/data/organization_id"][..]),
        ("an array", "[]", &["/data"]),
        ("white space", " {\n \"id\" : \"conn_1\" ,\t\"organization_id\": \"org_1\" }", &[]),
        (
            "several differences: first in the order of the members, then the missing members",
            r#"{"enabled":1,"id":2}"#,
            &["/data/enabled", "/data/id", "/data/organization_id"],
        ),
        ("a duplicate member", r#"{"id":"conn_1","organization_id":"org_1","id":"conn_1"}"#, &["/data/id"]),
        (
            "a duplicate optional member",
            r#"{"id":"conn_1","organization_id":"org_1","status":"","status":""}"#,
            &["/data/status"],
        ),
        ("a duplicate unknown member", r#"{"id":"conn_1","organization_id":"org_1","new":1,"new":1}"#, &[]),
        ("a name with an escape sequence", r#"{"\u0069d":1,"organization_id":"org_1"}"#, &["/data/id"]),
        ("an ID with an escape sequence", r#"{"id":"\u0063onn_1","organization_id":"org_1"}"#, &[]),
        ("an unpaired surrogate in a name", r#"{"\ud800":1,"id":"conn_1","organization_id":"org_1"}"#, &[]),
        ("an unpaired surrogate in an ID", r#"{"id":"conn_1\ud800","organization_id":"org_1"}"#, &["/data/id"]),
        ("a number out of range", r#"{"id":"conn_1","organization_id":"org_1","enabled":1e999}"#, &["/data/enabled"]),
        ("a number out of range in an unknown member", r#"{"id":"conn_1","organization_id":"org_1","new":1e999}"#, &[]),
        ("an empty ID", r#"{"id":"","organization_id":"org_1"}"#, &["/data/id"]),
    ] {
        assert_eq!(differences(Family::Connection, data), expected, "{description}");
    }
}

#[test]
fn differences_are_found_in_nested_values() {
    let data = r#"{"organization": {}, "user": {"memberships": [{}, null, {"join_time": "soon"}]}}"#;
    let drift = Data::drift(Family::OrgMembership, data);
    assert_eq!(drift.to_string(), "/data/user/memberships/1 /data/user/memberships/2/join_time");
}

#[test]
fn each_difference_has_the_rule_that_the_member_breaks() {
    for (family, data, expected) in [
        (Family::Role, "[]", "/data must be an object"),
        (Family::Role, r#"{"name":""}"#, "/data/id is required"),
        (Family::Role, r#"{"id":null,"name":""}"#, "/data/id must be a string"),
        (Family::Role, r#"{"id":"","name":"\ud83d"}"#, "/data/name must be a string of Unicode characters"),
        (Family::Role, r#"{"id":"","name":"","name":""}"#, "/data/name appears more than once"),
        (Family::Connection, r#"{"id":"","organization_id":"org_1"}"#, "/data/id must start with `conn_`"),
        (Family::Connection, r#"{"id":1,"organization_id":"org_1"}"#, "/data/id must be a string"),
        (
            Family::Connection,
            r#"{"id":"conn_1","organization_id":"org_1","enabled":"true"}"#,
            "/data/enabled must be true or false",
        ),
        (
            Family::Directory,
            r#"{"id":"dir_1","organization_id":"org_1","updated_at":"soon"}"#,
            "/data/updated_at must be an RFC 3339 date-time",
        ),
        (
            Family::Directory,
            r#"{"id":"dir_1","organization_id":"org_1","updated_at":0}"#,
            "/data/updated_at must be a string",
        ),
        (
            Family::DirectoryUser,
            r#"{"id":"diruser_1","organization_id":"org_1","groups":{}}"#,
            "/data/groups must be an array",
        ),
        (
            Family::OrgMembership,
            r#"{"organization":{},"user":{"memberships":0}}"#,
            "/data/user/memberships must be an array",
        ),
        (
            Family::OrgMembership,
            r#"{"organization":{},"user":{"metadata":0}}"#,
            "/data/user/metadata must be an object",
        ),
        (Family::OrgMembership, r#"{"organization":{},"user":"{}"}"#, "/data/user must be an object"),
    ] {
        let found: Vec<_> = Data::drift(family, data).into_iter().collect();
        let found: Vec<_> = found.iter().map(|Deviation { pointer, detail }| format!("{pointer} {detail}")).collect();
        assert_eq!(found, [expected], "{data}");
    }
}

#[test]
fn a_member_that_breaks_several_rules_is_written_once() {
    let deviation = |pointer: &'static str| Deviation { pointer: pointer.into(), detail: "is wrong".into() };
    let mut drift = Drift::default();
    drift.extend(["/organization_id", "/organization_id", "/data"].map(deviation));
    assert_eq!(drift.to_string(), "/organization_id /data");
    assert_eq!(["/organization_id", "/data", "/id"].map(|pointer| drift.contains(pointer)), [true, true, false]);
    assert_eq!(drift.into_iter().count(), 3);
}

#[test]
fn every_member_of_every_family_can_be_reported_at_once() {
    for (event_type, _) in samples() {
        let members = published::family(event_type.as_str()).members();
        let data: Value = members.map(|member| (member.name.to_owned(), json!(1.5))).collect();
        let expected = data.as_object().unwrap().len();
        assert_eq!(differences(event_type.family().unwrap(), &data.to_string()).len(), expected, "{event_type}");
    }
}

#[test]
fn the_number_of_reported_differences_is_limited() {
    let data = json!({"organization": {}, "user": {"memberships": vec![Value::Null; 100_000]}}).to_string();
    assert_eq!(differences(Family::OrgMembership, &data).len(), MAX_DEVIATIONS);
}

#[test]
fn deeply_nested_json_does_not_overflow_the_stack() {
    let deep = "[".repeat(400_000) + &"]".repeat(400_000);
    let data =
        format!(r#"{{"id":"org_1","display_name":"","metadata":{{"a":{deep}}},"new":{deep},"settings":{deep}}}"#);
    assert_eq!(differences(Family::Organization, &data), ["/data/settings"]);
    let data = format!(r#"{{"organization":{deep},"user":{{"memberships":[{{"roles":{deep}}}]}}}}"#);
    assert_eq!(differences(Family::OrgMembership, &data), ["/data/organization"]);
}
