//! `PATH=VALUE`: a member of a JSON text, and its new value.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde_json::value::RawValue;

/// A member to set, such as `data.active=false`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// The names of the nested members.
    path: Vec<String>,
    /// JSON.
    value: String,
}

/// Why a text isn't an assignment, or why a member can't be set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AssignmentError {
    /// The text has no `=`, or an empty member name before it.
    Malformed,
    /// The member, or the body if the path is empty, isn't a JSON object, so it has no members to set.
    NotAnObject(String),
}

impl FromStr for Assignment {
    type Err = AssignmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, value) = text.split_once('=').ok_or(AssignmentError::Malformed)?;
        let path: Vec<_> = path.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(AssignmentError::Malformed);
        }
        let value = match serde_json::from_str::<&RawValue>(value) {
            Ok(json) => json.get().to_owned(),
            Err(_) => quoted(value),
        };
        Ok(Self { path, value })
    }
}

impl Assignment {
    /// Sets the member in a JSON object. The rest of the text stays as it is: white space, order and numbers.
    ///
    /// Objects on the path that are missing or `null` are created.
    ///
    /// # Errors
    /// [`AssignmentError::NotAnObject`] if the text or a member on the path is something else.
    pub(crate) fn apply(&self, object: &str) -> Result<String, AssignmentError> {
        self.apply_below(object, 0)
    }

    fn apply_below(&self, json: &str, depth: usize) -> Result<String, AssignmentError> {
        let Some(name) = self.path.get(depth) else { return Ok(self.value.clone()) };
        let json = if depth > 0 && json == "null" { "{}" } else { json };
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_str(json).map_err(|_| AssignmentError::NotAnObject(self.path[..depth].join(".")))?;
        let range = |member: &RawValue| {
            let start = member.get().as_ptr().addr() - json.as_ptr().addr();
            start..start + member.get().len()
        };
        if let Some(member) = members.get(name) {
            let range = range(member);
            let value = self.apply_below(member.get(), depth + 1)?;
            return Ok([&json[..range.start], &value, &json[range.end..]].concat());
        }
        let value = self.apply_below("null", depth + 1)?;
        let last = members.values().map(|member| range(member).end).max();
        let (separator, at) = last.map_or_else(|| ("", json.find('{').map_or(0, |at| at + 1)), |end| (", ", end));
        Ok([&json[..at], separator, &quoted(name), ": ", &value, &json[at..]].concat())
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl fmt::Display for AssignmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("this should be PATH=VALUE, such as data.active=false"),
            Self::NotAnObject(path) if path.is_empty() => f.write_str("--set: the body is not a JSON object"),
            Self::NotAnObject(path) => write!(f, "--set: {path} is not a JSON object, so it has no members to set"),
        }
    }
}

impl std::error::Error for AssignmentError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(json: &str, assignment: &str) -> Result<String, AssignmentError> {
        assignment.parse::<Assignment>()?.apply(json)
    }

    #[test]
    fn only_the_member_changes() {
        let json = "{ \"b\": 1.0e3,\n  \"a\": {\"x\" : [1],  \"y\": true} }\n";
        for (assignment, expected) in [
            ("b=2", "{ \"b\": 2,\n  \"a\": {\"x\" : [1],  \"y\": true} }\n"),
            ("a.y=false", "{ \"b\": 1.0e3,\n  \"a\": {\"x\" : [1],  \"y\": false} }\n"),
            ("a.x={\"z\": 1}", "{ \"b\": 1.0e3,\n  \"a\": {\"x\" : {\"z\": 1},  \"y\": true} }\n"),
            ("a=null", "{ \"b\": 1.0e3,\n  \"a\": null }\n"),
            ("a.n.m=1", "{ \"b\": 1.0e3,\n  \"a\": {\"x\" : [1],  \"y\": true, \"n\": {\"m\": 1}} }\n"),
            ("c=1", "{ \"b\": 1.0e3,\n  \"a\": {\"x\" : [1],  \"y\": true}, \"c\": 1 }\n"),
        ] {
            assert_eq!(set(json, assignment).as_deref(), Ok(expected), "{assignment}");
        }
    }

    #[test]
    fn a_value_that_is_not_json_is_a_string() {
        for (value, expected) in [
            ("OKTA", r#"{"a": "OKTA"}"#),
            ("", r#"{"a": ""}"#),
            ("a=b", r#"{"a": "a=b"}"#),
            ("\"", r#"{"a": "\""}"#),
            ("\"5\"", r#"{"a": "5"}"#),
            ("5", r#"{"a": 5}"#),
            ("[1", r#"{"a": "[1"}"#),
        ] {
            assert_eq!(set("{}", &format!("a={value}")).as_deref(), Ok(expected), "{value}");
        }
    }

    #[test]
    fn objects_that_are_missing_or_null_are_created() {
        assert_eq!(set(r#"{"a": null}"#, "a.b.c=1").as_deref(), Ok(r#"{"a": {"b": {"c": 1}}}"#));
        assert_eq!(set(r#"{"\u0061": 1}"#, "a=2").as_deref(), Ok(r#"{"\u0061": 2}"#));
    }

    #[test]
    fn what_cannot_be_set_is_an_error() {
        let not_an_object = |path: &str| AssignmentError::NotAnObject(path.to_owned());
        for (json, assignment, expected) in [
            ("{}", "a", AssignmentError::Malformed),
            ("{}", "=1", AssignmentError::Malformed),
            ("{}", "a..b=1", AssignmentError::Malformed),
            ("[]", "a=1", not_an_object("")),
            ("null", "a=1", not_an_object("")),
            ("no json", "a=1", not_an_object("")),
            (r#"{"a": {"b": "text"}}"#, "a.b.c=1", not_an_object("a.b")),
            (r#"{"a": [1]}"#, "a.0=1", not_an_object("a")),
        ] {
            assert_eq!(set(json, assignment), Err(expected), "{json} {assignment}");
        }
    }
}
