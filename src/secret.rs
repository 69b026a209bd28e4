//! The signing keys. Keys from `WEBHOOK_SECRET` stay the same for the life of the process. Keys from a secret in AWS Secrets
//! Manager are read again regularly, so that a rotation needs no deployment.
//!
//! While Secrets Manager can't be reached, the keys in memory stay in use. Without a usable key, for example before the
//! secret is first set, no delivery can be verified: the function responds with 503 and the sender retries.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_config::{Region, SdkConfig};
use aws_sdk_secretsmanager::{
    Client,
    operation::get_secret_value::{GetSecretValueError, GetSecretValueOutput},
};
use futures_util::FutureExt;
use serde_json::value::RawValue;
use tokio::{sync::MutexGuard, time::Instant};
use zeroize::Zeroizing;

use crate::{
    aws::AwsError,
    aws::retry::retry,
    signature::{Key, KeyError},
};

/// The signing secret of the samples in `events/`. It is published, so the function refuses it on Lambda.
pub const DEVELOPMENT_SECRET: &str = "whsec_c2NhbGVraXQtZXZlbnRicmlkZ2UtZGV2ZWxvcG1lbnQ=";

/// The value that `template.yaml` gives to a new secret, until the signing secret is pasted.
pub const PLACEHOLDER: &str = "paste-the-signing-secret-here";

/// The longest time for reading the secret's current and previous versions.
const READ_TIME: Duration = Duration::from_secs(2);

/// How old the last read must be before the secret is read again while an event is forwarded.
const REFRESH_AGE: Duration = Duration::from_mins(5);

/// How old the last read must be before a delivery that matches no key reads the secret again. This also limits how often
/// forged deliveries can cause a read.
const MISMATCH_REFRESH_AGE: Duration = Duration::from_secs(10);

/// How long the previous version's keys stay valid after the current version was created.
const ROTATION_TIME: Duration = Duration::from_hours(24);

/// Why a text contains no signing secret, or why one of its secrets is invalid. The error contains no part of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretError {
    /// The text has only white space, commas, quotes or invisible characters.
    Empty,
    /// The text is the template's [`PLACEHOLDER`].
    Placeholder,
    /// The text starts like a JSON object, but isn't valid JSON.
    InvalidJson,
    /// The text is a JSON object without a member that contains a signing secret.
    NoMember,
    /// This secret is the [`DEVELOPMENT_SECRET`], which isn't allowed on Lambda.
    Development(Position),
    /// This secret is invalid.
    Invalid(Position, KeyError),
}

/// The place of a secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The member of the JSON object, if the text is one.
    pub member: Option<String>,
    /// The secret's number, from 1.
    pub number: usize,
    /// The number of secrets in the text or the member.
    pub count: usize,
}

/// Parses one or more signing secrets, separated by white space or commas.
fn parse_list(text: &str, member: Option<&str>, on_lambda: bool) -> Vec<Result<Key, SecretError>> {
    let text = trim(text);
    if text == PLACEHOLDER {
        return vec![Err(SecretError::Placeholder)];
    }
    let secrets: Vec<_> =
        text.split(|c: char| c.is_whitespace() || c == ',').map(trim).filter(|secret| !secret.is_empty()).collect();
    if secrets.is_empty() {
        return vec![Err(SecretError::Empty)];
    }
    let parse = |(index, secret): (usize, &&str)| {
        let position = || Position { member: member.map(str::to_owned), number: index + 1, count: secrets.len() };
        match Key::parse(secret) {
            Ok(_) if on_lambda && *secret == DEVELOPMENT_SECRET => Err(SecretError::Development(position())),
            key => key.map_err(|error| SecretError::Invalid(position(), error)),
        }
    };
    secrets.iter().enumerate().map(parse).collect()
}

/// Parses signing secrets as people store them: one or more, separated by white space or commas, or a JSON object with
/// members that start with one. A member that is still the [`PLACEHOLDER`] is an error. All other members are ignored.
///
/// Invisible characters around a secret, such as a byte order mark, are ignored, and so is one pair of quotes.
#[must_use]
pub fn parse(value: &str, on_lambda: bool) -> Vec<Result<Key, SecretError>> {
    let value = trim(value);
    if !value.starts_with('{') {
        return parse_list(value, None, on_lambda);
    }
    let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(value) else {
        return vec![Err(SecretError::InvalidJson)];
    };
    let mut parsed = Vec::new();
    for (name, value) in members {
        let Ok(text) = serde_json::from_str::<Zeroizing<String>>(value.get()) else { continue };
        let begins_with_secret =
            ["v1,", "whsec_", "whsk_", "whpk_"].iter().any(|prefix| trim(&text).starts_with(prefix));
        if trim(&text) == PLACEHOLDER || begins_with_secret {
            parsed.extend(parse_list(&text, Some(&name), on_lambda));
        }
    }
    if parsed.is_empty() { vec![Err(SecretError::NoMember)] } else { parsed }
}

/// Whether a text may contain a signing secret, so that it must not be logged.
#[must_use]
pub fn looks_like_signing_secrets(text: &str) -> bool {
    ["whsec_", "whsk_", "whpk_"].iter().any(|prefix| text.contains(prefix))
}

/// Removes invisible characters around a text, and one pair of quotes.
fn trim(text: &str) -> &str {
    fn is_invisible(c: char) -> bool {
        // Soft hyphen, zero-width characters, direction marks, word joiner and other format characters, byte order mark.
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    }
    let text = text.trim_matches(is_invisible);
    let pairs = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’')];
    let unquoted = pairs.iter().find_map(|(open, close)| {
        let inner = text.strip_prefix(*open)?.strip_suffix(*close)?;
        (!inner.contains([*open, *close])).then_some(inner)
    });
    unquoted.map_or(text, |inner| inner.trim_matches(is_invisible))
}

/// The keys of the secret's current and previous version.
#[derive(Debug, Default)]
pub struct Keys {
    current: Version,
    previous: Version,
    /// When the previous version's keys expire. `None` if the current version's creation date is unknown: they don't expire.
    previous_until: Option<SystemTime>,
}

/// The keys of one version of the secret.
#[derive(Debug, Default, Clone)]
struct Version {
    id: Option<String>,
    keys: Vec<Key>,
}

impl Keys {
    /// The keys that are valid at this time.
    pub fn valid_at(&self, now: SystemTime) -> impl Iterator<Item = &Key> {
        let use_previous = self.previous_until.is_none_or(|until| now < until);
        self.current.keys.iter().chain(self.previous.keys.iter().filter(move |_| use_previous))
    }

    /// Whether this version has been read before.
    fn has_version(&self, id: Option<&str>) -> bool {
        id.is_some() && [&self.current, &self.previous].iter().any(|version| version.id.as_deref() == id)
    }
}

/// The keys, and the secret that they are read from.
#[derive(Debug)]
pub struct Keyring {
    keys: Mutex<Arc<Keys>>,
    stored: Option<StoredSecret>,
}

/// A secret in AWS Secrets Manager.
#[derive(Debug)]
struct StoredSecret {
    client: Client,
    arn: String,
    on_lambda: bool,
    /// When the last read began, whether or not it succeeded. Locked during a read, so that concurrent deliveries share it.
    read_at: tokio::sync::Mutex<SystemTime>,
}

impl Keyring {
    /// Keys that never change.
    #[must_use]
    pub fn fixed(keys: Vec<Key>) -> Self {
        let keys = Keys { current: Version { id: None, keys }, ..Keys::default() };
        Self { keys: Mutex::new(Arc::new(keys)), stored: None }
    }

    /// The keys of the secret with this ARN. They are not read yet.
    #[must_use]
    pub fn stored(client: Client, arn: &str, on_lambda: bool) -> Self {
        let read_at = tokio::sync::Mutex::new(SystemTime::UNIX_EPOCH);
        let stored = StoredSecret { client, arn: arn.to_owned(), on_lambda, read_at };
        Self { keys: Mutex::default(), stored: Some(stored) }
    }

    /// The present keys.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the secret unless the last read is less than five minutes old. Called at start, and while an event is forwarded.
    pub async fn refresh(&self, now: SystemTime) {
        // If another delivery is reading it, there is no need to wait.
        if let Some(stored) = &self.stored
            && let Ok(read_at) = stored.read_at.try_lock()
        {
            self.read_if_older(stored, read_at, REFRESH_AGE, now).await;
        }
    }

    /// Reads the secret because a delivery matches no key, unless the last read is less than ten seconds old.
    pub async fn refresh_for_mismatch(&self, now: SystemTime) {
        if let Some(stored) = &self.stored {
            self.read_if_older(stored, stored.read_at.lock().await, MISMATCH_REFRESH_AGE, now).await;
        }
    }

    async fn read_if_older(
        &self,
        stored: &StoredSecret,
        mut read_at: MutexGuard<'_, SystemTime>,
        age: Duration,
        now: SystemTime,
    ) {
        let is_recent = match now.duration_since(*read_at) {
            Ok(since) => since < age,
            // The last read began after this delivery did: a concurrent delivery read the secret. If the difference is ten
            // seconds or more, the clock was set back, so read again.
            Err(earlier) => earlier.duration() < MISMATCH_REFRESH_AGE,
        };
        if is_recent {
            return;
        }
        *read_at = now;
        let last = self.keys();
        // Boxed because a read is rare and its future is large: otherwise, the future of every delivery would contain it.
        match stored.read(&last, now).boxed().await {
            Ok(keys) => *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys),
            Err(error) if last.valid_at(now).next().is_some() => {
                tracing::warn!(%error, "could not get a usable key from the signing secret; the keys in memory stay in use");
            }
            Err(error) => {
                let hint = format!(
                    "no delivery can be verified until the function can read a usable signing secret; if it isn't set yet, set it with: aws secretsmanager put-secret-value \
                     --region {} --secret-id {} --secret-string file:///dev/stdin",
                    region_of(&stored.arn),
                    stored.arn
                );
                tracing::error!(%error, hint, "no signing secret");
            }
        }
    }
}

fn region_of(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap_or_default()
}

/// A client for the secret's region, which can differ from the function's.
#[must_use]
pub fn client(sdk: &SdkConfig, arn: &str) -> Client {
    let region = Region::new(region_of(arn).to_owned());
    Client::from_conf(aws_sdk_secretsmanager::config::Builder::from(sdk).region(region).build())
}

/// Why a stored secret has no usable key.
#[derive(Debug)]
enum ReadError {
    Call(AwsError),
    Value(SecretError),
}

/// The version of the secret with a given staging label, or the error of a secret without such a version.
enum StagedVersion {
    Found(GetSecretValueOutput),
    NotFound(AwsError),
}

impl StoredSecret {
    /// Reads the current keys and, for a day after the current version was created, the previous ones.
    async fn read(&self, last: &Keys, now: SystemTime) -> Result<Keys, ReadError> {
        let until = Instant::now() + READ_TIME;
        let current = match self.get("AWSCURRENT", until).await {
            Ok(StagedVersion::Found(current)) => current,
            Ok(StagedVersion::NotFound(error)) | Err(error) => return Err(ReadError::Call(error)),
        };
        let created = current.created_date.and_then(|created| SystemTime::try_from(created).ok());
        let previous_until = created.and_then(|created| created.checked_add(ROTATION_TIME));
        let mut keys = Keys { previous_until, ..Keys::default() };
        let is_new = !last.has_version(current.version_id());
        let (current, error) = match self.version(current, last) {
            Ok(version) => (version, None),
            Err((id, error)) => (Version { id, keys: Vec::new() }, Some(error)),
        };
        keys.current = current;

        if previous_until.is_none_or(|until| now < until) {
            keys.previous = match self.get("AWSPREVIOUS", until).await {
                Ok(StagedVersion::NotFound(_)) => Version::default(),
                Ok(StagedVersion::Found(previous)) => {
                    self.version(previous, last).unwrap_or_else(|(id, _)| Version { id, keys: Vec::new() })
                }
                Err(error) => {
                    tracing::warn!(%error, "could not read the previous version of the signing secret");
                    // Use the keys in memory. If the current version has changed, the one that was current is now the
                    // previous one.
                    if last.current.id == keys.current.id { last.previous.clone() } else { last.current.clone() }
                }
            };
        }
        match error {
            Some(error) if keys.previous.keys.is_empty() => return Err(ReadError::Value(error)),
            Some(error) if is_new => {
                let error = ReadError::Value(error);
                tracing::error!(%error, "the current version of the signing secret has no usable key; the previous version is in use until 24 hours after the current one was created");
            }
            _ => {}
        }
        Ok(keys)
    }

    /// Gets the version of the secret with this staging label.
    async fn get(&self, stage: &str, until: Instant) -> Result<StagedVersion, AwsError> {
        retry("GetSecretValue", until, || async {
            match self.client.get_secret_value().secret_id(&self.arn).version_stage(stage).send().await {
                Ok(output) => Ok(StagedVersion::Found(output)),
                Err(error) => {
                    let is_not_found =
                        error.as_service_error().is_some_and(GetSecretValueError::is_resource_not_found_exception);
                    let error = AwsError::from_sdk("GetSecretValue", &error);
                    if is_not_found { Ok(StagedVersion::NotFound(error)) } else { Err(error) }
                }
            }
        })
        .await
    }

    /// Parses the keys of a version. Logs a warning for each invalid key, once per version.
    ///
    /// # Errors
    /// The version's id and the first [`SecretError`] if no key is valid.
    fn version(&self, output: GetSecretValueOutput, last: &Keys) -> Result<Version, (Option<String>, SecretError)> {
        let id = output.version_id;
        let text = Zeroizing::new(output.secret_string.unwrap_or_default());
        let bytes = Zeroizing::new(output.secret_binary.map(aws_sdk_secretsmanager::primitives::Blob::into_inner));
        let binary = bytes.as_deref().and_then(|bytes| str::from_utf8(bytes).ok());
        let parsed = parse(if text.is_empty() { binary.unwrap_or_default() } else { &text }, self.on_lambda);

        let (mut keys, mut errors) = (Vec::new(), Vec::new());
        for result in parsed {
            match result {
                Ok(key) => keys.push(key),
                Err(error) => errors.push(error),
            }
        }
        if keys.is_empty() {
            return Err((id, errors.into_iter().next().unwrap_or(SecretError::Empty)));
        }
        if !last.has_version(id.as_deref()) {
            for error in errors {
                tracing::warn!(%error, "a key in the signing secret can't be used; the others are in use");
            }
        }
        Ok(Version { id, keys })
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(error) => error.fmt(f),
            Self::Value(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret {} of {}", self.number, self.count)?;
        match &self.member {
            Some(member) if looks_like_signing_secrets(member) => f.write_str(" in a member"),
            Some(member) => write!(f, " in the member `{member}`"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the value contains no signing secret"),
            Self::Placeholder => f.write_str("the value is still the template's placeholder"),
            Self::InvalidJson => f.write_str("the value starts with `{`, but it is not a valid JSON object"),
            Self::NoMember => {
                f.write_str("the value is a JSON object, but no member contains a secret that starts with `whsec_`")
            }
            Self::Development(position) => {
                write!(f, "{position} is the published development secret, which anyone can sign with")
            }
            Self::Invalid(position, error) => write!(f, "{position} is invalid: {error}"),
        }
    }
}

impl std::error::Error for SecretError {}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0";
    const OTHER_SECRET: &str = "whsec_c29tZS1vdGhlci1zZWNyZXQtb2Ytb3Vycw==";

    /// The number of keys in a value, and the errors beside them.
    fn read(value: &str) -> (usize, Vec<String>) {
        let parsed = parse(value, true);
        let errors: Vec<_> = parsed.iter().filter_map(|key| key.as_ref().err().map(ToString::to_string)).collect();
        (parsed.len() - errors.len(), errors)
    }

    #[test]
    fn secrets_are_read_as_people_store_them() {
        for (description, value, keys) in [
            ("one secret", SECRET.to_owned(), 1),
            ("two secrets", format!("{SECRET} {OTHER_SECRET}"), 2),
            ("a comma", format!("{SECRET},{OTHER_SECRET}"), 2),
            ("lines", format!("{SECRET}\r\n{OTHER_SECRET}\r\n"), 2),
            ("a byte order mark", format!("\u{feff}{SECRET}\r\n"), 1),
            ("invisible characters", format!("\u{200b}\u{2060} {SECRET}\u{0}\u{ad}"), 1),
            ("quotes", format!("\"{SECRET}\"\n"), 1),
            ("single quotes", format!(" '{SECRET}' "), 1),
            ("typographic quotes", format!("“{SECRET}”"), 1),
            ("quotes around two", format!("\"{SECRET} {OTHER_SECRET}\""), 2),
            ("quotes around each", format!("\"{SECRET}\", \"{OTHER_SECRET}\""), 2),
            ("a byte order mark in quotes", format!("\"\u{feff}{SECRET}\""), 1),
            ("a member", format!(r#"{{"secret":"{SECRET}"}}"#), 1),
            (
                "a member beside a client id",
                format!(r#"{{"SCALEKIT_CLIENT_ID":"skc_1","SCALEKIT_WEBHOOK_SECRET":"{SECRET}"}}"#),
                1,
            ),
            ("a member beside a note about it", format!(r#"{{"a":"{SECRET}","note":"the whsec_ key of prod"}}"#), 1),
            ("a member beside a number", format!(r#"{{"a":"{SECRET}","port":1}}"#), 1),
            (
                "a member beside null, an object and a list",
                format!(r#"{{"a":"{SECRET}","b":null,"c":{{"d":"whsec_"}},"e":[1]}}"#),
                1,
            ),
            ("two members, one with two", format!(r#"{{"a":"{SECRET}","b":"{SECRET}, {OTHER_SECRET}"}}"#), 3),
            ("a byte order mark before an object", format!("\u{feff}{{\"a\":\"\u{feff}'{SECRET}'\"}}\r\n"), 1),
            ("an escape sequence", format!(r#"{{"a":"\u0077{}"}}"#, &SECRET[1..]), 1),
        ] {
            assert_eq!(read(&value), (keys, vec![]), "{description}");
        }
    }

    #[test]
    fn an_error_names_the_member_and_the_position_but_no_value() {
        for (value, keys, error) in [
            (String::new(), 0, "the value contains no signing secret"),
            ("\u{feff} \"\" ".into(), 0, "the value contains no signing secret"),
            (format!(" {PLACEHOLDER}\n"), 0, "the value is still the template's placeholder"),
            (format!(r#"{{"a":"{PLACEHOLDER}"}}"#), 0, "the value is still the template's placeholder"),
            (format!("{{\"a\":\"{SECRET}\""), 0, "the value starts with `{`, but it is not a valid JSON object"),
            ("{}".into(), 0, "the value is a JSON object, but no member contains a secret that starts with `whsec_`"),
            (
                r#"{"password":"hunter2","port":1}"#.into(),
                0,
                "the value is a JSON object, but no member contains a secret that starts with `whsec_`",
            ),
            ("hunter2".into(), 0, "secret 1 of 1 is invalid: it does not start with `whsec_`"),
            (
                format!("{SECRET} whsec_c2VjcmV0"),
                1,
                "secret 2 of 2 is invalid: its key has 6 bytes instead of 24 to 64",
            ),
            (
                format!(r#"{{"a":"{SECRET}","b":"{OTHER_SECRET} whsec_?"}}"#),
                2,
                "secret 2 of 2 in the member `b` is invalid: it is not standard, padded base64 after `whsec_`",
            ),
            (
                r#"{"whsec_a":"whsec_?"}"#.into(),
                0,
                "secret 1 of 1 in a member is invalid: it is not standard, padded base64 after `whsec_`",
            ),
            (format!("v1,{SECRET}"), 1, "secret 1 of 2 is invalid: it is `v1`; remove `v1,` before the secret"),
            (
                "whsk_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0".into(),
                0,
                "secret 1 of 1 is invalid: it is an Ed25519 key, and those are not supported; the endpoint must sign \
                 with a secret that starts with `whsec_`",
            ),
            (
                DEVELOPMENT_SECRET.into(),
                0,
                "secret 1 of 1 is the published development secret, which anyone can sign with",
            ),
        ] {
            assert_eq!(read(&value), (keys, vec![error.to_owned()]), "{value}");
        }
    }

    #[test]
    fn the_client_is_in_the_secrets_region() {
        let sdk = SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-central-1"))
            .build();
        let client = client(&sdk, "arn:aws:secretsmanager:eu-west-1:123456789012:secret:scalekit-AbCdEf");
        assert_eq!(client.config().region().map(Region::as_ref), Some("eu-west-1"));
    }

    #[test]
    fn the_development_secret_is_valid_outside_lambda() {
        assert!(parse(DEVELOPMENT_SECRET, false)[0].is_ok());
    }
}
