//! An event to send, as it is named on the command line: an event type, or a file.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde_json::{Value, value::RawValue};

use crate::assignment::{Assignment, AssignmentError};

/// The name of each event type and the body of its sample, in alphabetical order.
const SAMPLES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/samples.rs"));

/// How similar the name of a type must be to be suggested, between 0 and 1.
const SIMILARITY: f64 = 0.85;

/// The events to send, and how to change them.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Event types, such as organization.sso_enabled, or files. A type is sent as a new event: its sample, with a new id and
    /// the present time. A file is sent byte for byte, unless an option changes it. Of an event as EventBridge delivers it,
    /// the detail is sent
    #[arg(id = "events", required = true, value_name = "EVENT")]
    arguments: Vec<String>,

    /// Set a member of the body, such as data.active=false. VALUE is JSON, or else a string
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<Assignment>,

    /// Send each event N times, each time as a new event
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

impl Events {
    /// The bodies to send. All arguments are read before the first body is returned, so that a wrong one is reported before
    /// anything has been sent.
    ///
    /// # Errors
    /// If an argument names no event, or a member can't be set.
    pub(crate) fn read(&self) -> Result<impl Iterator<Item = Result<Body, EventError>>, EventError> {
        let samples = self.arguments.iter().map(|argument| Sample::find(argument)).collect::<Result<Vec<_>, _>>()?;
        let count = self.count;
        let renew = count > 1;
        let repeated = samples.into_iter().flat_map(move |sample| (0..count).map(move |_| sample.clone()));
        Ok((0..).zip(repeated).map(move |(number, sample)| sample.body(number, renew, &self.set)))
    }
}

/// The names of all event types.
pub(crate) fn types() -> impl Iterator<Item = (&'static str, Value)> {
    SAMPLES.iter().map(|(name, body)| (*name, serde_json::from_str(body).unwrap_or_default()))
}

/// The body of an event to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// The argument that named the event.
    argument: String,
    pub(crate) bytes: Vec<u8>,
}

impl Body {
    /// A new event of a type. `set` changes its members.
    ///
    /// # Errors
    /// If there is no such type, or a member can't be set.
    pub(crate) fn sample(event_type: &str, set: &[Assignment]) -> Result<Self, EventError> {
        Sample::find(event_type)?.body(0, true, set)
    }

    /// A member of the body that is a string.
    pub(crate) fn member(&self, name: &str) -> Option<String> {
        let event: Value = serde_json::from_slice(&self.bytes).ok()?;
        event[name].as_str().map(str::to_owned)
    }

    /// What the event is called in the output: its type, or the argument if it has none.
    pub(crate) fn label(&self) -> String {
        self.member("type").unwrap_or_else(|| self.argument.clone())
    }
}

/// A body that hasn't been changed yet.
#[derive(Debug, Clone)]
struct Sample {
    argument: String,
    body: Vec<u8>,
    is_new: bool,
}

impl Sample {
    fn find(argument: &str) -> Result<Self, EventError> {
        let own = |body: Vec<u8>, is_new| Self { argument: argument.to_owned(), body, is_new };
        if let Some((_, body)) = SAMPLES.iter().find(|(name, _)| *name == argument) {
            return Ok(own(body.as_bytes().to_vec(), true));
        }
        match fs::read(argument) {
            Ok(content) => Ok(own(detail(&content).unwrap_or(content), false)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(EventError::Unknown(argument.to_owned())),
            Err(error) => Err(EventError::Unreadable(Path::new(argument).to_owned(), error)),
        }
    }

    /// The body to send.
    ///
    /// A sample becomes a new event: it gets another `id` and the present time as `occurred_at`, because consumers ignore
    /// an event that they have received before. With `renew`, so does the body of a file. The members in `set` are set
    /// last. A body that nothing changes is sent byte for byte.
    ///
    /// `number` has to be greater than in the last call, so that two events never have the same id.
    fn body(self, number: u64, renew: bool, set: &[Assignment]) -> Result<Body, EventError> {
        let new = if renew || self.is_new { renewal(SystemTime::now(), number) } else { Vec::new() };
        if new.is_empty() && set.is_empty() {
            return Ok(Body { argument: self.argument, bytes: self.body });
        }
        let explain = |error| EventError::Set(self.argument.clone(), error);
        let not_an_object = |_| explain(AssignmentError::NotAnObject(String::new()));
        let mut body = String::from_utf8(self.body).map_err(not_an_object)?;
        for assignment in new.iter().chain(set) {
            body = assignment.apply(&body).map_err(explain)?;
        }
        Ok(Body { argument: self.argument, bytes: body.into_bytes() })
    }
}

/// The detail of an event as EventBridge delivers it, byte for byte. `None` if the content is something else.
fn detail(content: &[u8]) -> Option<Vec<u8>> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(content).ok()?;
    let is_delivered = ["detail-type", "source", "detail"].iter().all(|name| members.contains_key(*name));
    is_delivered.then(|| members["detail"].get().as_bytes().to_vec())
}

/// The members that make a body a new event.
fn renewal(now: SystemTime, number: u64) -> Vec<Assignment> {
    let nanoseconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() + u128::from(number);
    let time = DateTime::<Utc>::from(now).to_rfc3339_opts(SecondsFormat::Millis, true);
    [format!("id=evt_{nanoseconds}"), format!("occurred_at={time}")].iter().filter_map(|it| it.parse().ok()).collect()
}

/// Why an event can't be sent.
#[derive(Debug)]
pub(crate) enum EventError {
    /// The argument is neither the name of an event type nor a file.
    Unknown(String),
    /// The file can't be read.
    Unreadable(PathBuf, io::Error),
    /// A member of the event that this argument names can't be set.
    Set(String, AssignmentError),
}

/// The event type whose name is most similar, if one is similar at all.
fn similar(argument: &str) -> Option<&'static str> {
    let names = SAMPLES.iter().map(|(name, _)| (strsim::jaro_winkler(argument, name), *name));
    let similar = names.filter(|(similarity, _)| *similarity >= SIMILARITY);
    similar.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, name)| name)
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(argument) => {
                write!(f, "`{argument}` is neither an event type nor a file")?;
                match similar(argument) {
                    Some(similar) => write!(f, ". Did you mean {similar}?"),
                    None => f.write_str("; `scalekit-events send --list` lists the event types"),
                }
            }
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Set(argument, error) => write!(f, "{argument}: {error}"),
        }
    }
}

impl std::error::Error for EventError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    fn file(name: &str) -> String {
        format!("{}/../events/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    fn body(argument: &str, number: u64, renew: bool, set: &[&str]) -> Body {
        let set: Vec<_> = set.iter().map(|it| it.parse().unwrap()).collect();
        Sample::find(argument).unwrap().body(number, renew, &set).unwrap()
    }

    #[test]
    fn each_sample_is_a_new_event() {
        let original = json(&Sample::find("role.created").unwrap().body);
        let [first, second] = [0, 1].map(|number| json(&body("role.created", number, false, &[]).bytes));
        for new in [&first, &second] {
            let mut expected = original.clone();
            for member in ["id", "occurred_at"] {
                assert_ne!(new[member], original[member]);
                expected[member] = new[member].clone();
            }
            assert_eq!(*new, expected);
            let id = new["id"].as_str().unwrap();
            assert!(id.starts_with("evt_") && id.len() <= 32, "{id}");
            assert!(DateTime::parse_from_rfc3339(new["occurred_at"].as_str().unwrap()).is_ok());
        }
        assert_ne!(first["id"], second["id"]);
    }

    #[test]
    fn a_set_id_stays() {
        assert_eq!(body("role.created", 0, true, &["id=evt_1"]).member("id").as_deref(), Some("evt_1"));
    }

    #[test]
    fn a_file_is_sent_byte_for_byte_unless_something_changes_it() {
        let path = file("bodies/role.created.json");
        let content = fs::read(&path).unwrap();
        assert_eq!(body(&path, 0, false, &[]).bytes, content);
        let changed = json(&body(&path, 0, false, &["data.name=x"]).bytes);
        assert_eq!((&changed["id"], changed["data"]["name"].as_str()), (&json(&content)["id"], Some("x")));
        assert_ne!(json(&body(&path, 0, true, &[]).bytes)["id"], changed["id"]);
    }

    #[test]
    fn of_a_delivered_event_the_detail_is_sent_byte_for_byte() {
        let path = file("delivered/role.created.json");
        let content = fs::read_to_string(&path).unwrap();
        let sent = String::from_utf8(body(&path, 0, false, &[]).bytes).unwrap();
        assert!(content.contains(&format!("\"detail\": {sent}\n")), "{sent}");
        assert_eq!(json(sent.as_bytes()), json(&fs::read(file("bodies/role.created.json")).unwrap()));
    }

    #[test]
    fn the_label_is_the_type_of_the_body() {
        for (argument, set, expected) in [
            ("role.created", &[][..], "role.created"),
            ("role.created", &["type=role.renamed"], "role.renamed"),
            ("role.created", &["type=null"], "role.created"),
            (&file("bodies/user.login.json"), &[], "user.login"),
        ] {
            assert_eq!(body(argument, 0, false, set).label(), expected, "{argument} {set:?}");
        }
    }

    #[test]
    fn an_unknown_type_is_an_error_with_the_most_similar_type() {
        let error = |argument: &str| Sample::find(argument).unwrap_err().to_string();
        let list = "; `scalekit-events send --list` lists the event types";
        for (argument, expected) in [
            ("role.create", ". Did you mean role.created?"),
            ("organization.sso_enable", ". Did you mean organization.sso_enabled?"),
            ("usr.login", ". Did you mean user.login?"),
            ("nothing", list),
            ("no/such/file.json", list),
        ] {
            assert_eq!(error(argument), format!("`{argument}` is neither an event type nor a file{expected}"));
        }
        assert!(error("/").starts_with("/: "), "a folder can't be read");
    }
}
