//! An event to send, as it is named on the command line: an event type, or a file with a body.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::{Assignment, AssignmentError};

/// The folder with a sample of each event type.
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bodies");

/// An event to send.
#[derive(Debug)]
pub struct Event {
    body: Vec<u8>,
    is_sample: bool,
}

/// Why there is no such event, or why it can't be changed.
#[derive(Debug)]
pub enum EventError {
    /// The argument is neither the name of an event type nor a file. These event types have similar names, or are all of them.
    Unknown {
        /// The argument.
        argument: String,
        /// The names of similar event types.
        similar: Vec<String>,
    },
    /// The file can't be read.
    Unreadable(PathBuf, io::Error),
    /// A member can't be set.
    Set(AssignmentError),
}

impl Event {
    /// Finds an event by the name of its type or by the path of a file with its body.
    ///
    /// # Errors
    /// [`EventError`] if there is no such type or file, or if it can't be read.
    pub fn find(argument: &str) -> Result<Self, EventError> {
        let sample = Path::new(SAMPLES).join(format!("{argument}.json"));
        let is_sample = !argument.contains(['/', '\\']) && sample.is_file();
        let path = if is_sample { sample } else { PathBuf::from(argument) };
        match fs::read(&path) {
            Ok(body) => Ok(Self { body, is_sample }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(EventError::Unknown { argument: argument.to_owned(), similar: similar(argument) })
            }
            Err(error) => Err(EventError::Unreadable(path, error)),
        }
    }

    /// The body to send.
    ///
    /// A sample becomes a new event: it gets another `id` and the present time as `occurred_at`, because consumers ignore
    /// an event that they have received before. With `renew`, so does the body of a file. The members in `set` are set
    /// last. A body that nothing changes is sent byte for byte.
    ///
    /// `number` has to be greater than in the last call, so that two events never have the same id.
    ///
    /// # Errors
    /// [`EventError::Set`] if a member can't be set.
    pub fn body(&self, number: u64, renew: bool, set: &[Assignment]) -> Result<Vec<u8>, EventError> {
        let now = SystemTime::now();
        let new = if renew || self.is_sample { renewal(now, number) } else { Vec::new() };
        if new.is_empty() && set.is_empty() {
            return Ok(self.body.clone());
        }
        let not_an_object = |_| EventError::Set(AssignmentError::NotAnObject(String::new()));
        let mut body = String::from_utf8(self.body.clone()).map_err(not_an_object)?;
        for assignment in new.iter().chain(set) {
            body = assignment.apply(&body).map_err(EventError::Set)?;
        }
        Ok(body.into_bytes())
    }
}

/// Parses the value of `--count`.
///
/// # Errors
/// If it isn't a whole number above 0.
pub fn parse_count(count: &str) -> Result<u64, String> {
    let number = count.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("--count {count}: this should be a whole number above 0"))
}

/// The members that make a body a new event.
fn renewal(now: SystemTime, number: u64) -> Vec<Assignment> {
    let nanoseconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() + u128::from(number);
    let time = DateTime::<Utc>::from(now).to_rfc3339_opts(SecondsFormat::AutoSi, true);
    [format!("id=evt_{nanoseconds}"), format!("occurred_at={time}")].iter().filter_map(|it| it.parse().ok()).collect()
}

/// The names of the event types that have the same first segment as the argument. If there are none, this returns
/// the names of all types.
fn similar(argument: &str) -> Vec<String> {
    let files = fs::read_dir(SAMPLES).into_iter().flatten().flatten();
    let mut types: Vec<_> = files.filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned())).collect();
    types.sort_unstable();
    let group = argument.split('.').next().unwrap_or(argument);
    let (similar, others): (Vec<_>, Vec<_>) = types.into_iter().partition(|it| it.split('.').next() == Some(group));
    if similar.is_empty() { others } else { similar }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { argument, similar } => {
                write!(f, "`{argument}` is neither an event type nor a file. Event types")?;
                similar
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, name)| write!(f, "{} {name}", if index == 0 { ":" } else { "," }))
            }
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Set(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for EventError {}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn json(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn each_sample_is_a_new_event() {
        let event = Event::find("role.created").unwrap();
        let original = json(&event.body);
        let [first, second] = [0, 1].map(|number| json(&event.body(number, false, &[]).unwrap()));
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
        let set: Assignment = "id=evt_1".parse().unwrap();
        let body = Event::find("role.created").unwrap().body(0, true, &[set]).unwrap();
        assert_eq!(json(&body)["id"], "evt_1");
    }

    #[test]
    fn a_file_is_sent_byte_for_byte_unless_something_changes_it() {
        let event = Event::find(&format!("{SAMPLES}/role.created.json")).unwrap();
        assert_eq!(event.body(0, false, &[]).unwrap(), event.body);
        let set = ["data.name=x".parse().unwrap()];
        let changed = json(&event.body(0, false, &set).unwrap());
        assert_eq!((&changed["id"], changed["data"]["name"].as_str()), (&json(&event.body)["id"], Some("x")));
        assert_ne!(json(&event.body(0, true, &[]).unwrap())["id"], changed["id"]);
    }

    #[test]
    fn an_unknown_type_is_an_error_with_the_similar_types() {
        let error = |argument: &str| Event::find(argument).unwrap_err().to_string();
        assert_eq!(
            error("role.create"),
            "`role.create` is neither an event type nor a file. Event types: role.created, role.deleted, role.updated"
        );
        assert!(error("nothing").ends_with("user.signup"));
        assert!(error("../bodies/role.created").starts_with("`../bodies/role.created` is neither"));
        assert!(error(SAMPLES).starts_with(SAMPLES), "a folder can't be read");
    }
}
