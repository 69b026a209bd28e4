//! The signing keys. Keys from `WEBHOOK_SECRET` stay the same for the life of the process. Keys from a secret in AWS Secrets
//! Manager are read again regularly, so that a rotation needs no deployment.
//!
//! Other providers' signing secrets start with `whsec_`, too, and are often stored in the same JSON object. Their owners must
//! not be able to sign our events, so if several members contain a signing secret, none is used until one is named.
//!
//! While Secrets Manager can't be reached, the keys in memory stay in use. Without a usable key, for example before the
//! secret is first set, no delivery can be verified: the function responds with 503 and the sender retries.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
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
    aws::{AwsError, retry::retry},
    signature::{KEY_PREFIXES, Key, KeyError, SECRET_PREFIX, VERSION},
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

/// The fewest characters of base64 that can encode a key, which has at least 24 bytes.
const SHORTEST_ENCODED_KEY: usize = 32;

/// The most characters of a member's name that are shown. The name is chosen by whoever wrote the secret.
const LONGEST_SHOWN_NAME: usize = 64;

/// The most members that one error lists.
const MOST_LISTED_MEMBERS: usize = 10;

/// A secret in AWS Secrets Manager, as `WEBHOOK_SECRET_ARN` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretId {
    /// The ARN of the secret.
    pub arn: String,
    /// The member of the JSON object in the secret, if one is named.
    pub member: Option<String>,
}

/// Why a text contains no signing secret, or why one of its secrets is invalid. The error contains no part of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretError {
    /// The text has only white space, commas, quotes or invisible characters.
    Empty,
    /// The text is the template's [`PLACEHOLDER`].
    Placeholder,
    /// The text starts like a JSON object, but isn't valid JSON.
    InvalidJson,
    /// The text starts like a JSON array.
    Array,
    /// The text, or this member, is a JSON string that contains JSON.
    JsonInString(Option<MemberName>),
    /// The signing secret is in an object or an array in this member.
    Nested(MemberName),
    /// The text is a JSON object without a member that contains a signing secret.
    NoMember,
    /// The text is a JSON object in which these members contain a signing secret, and none of them is named.
    SeveralMembers(Vec<MemberName>),
    /// This member is named, but the text isn't a JSON object.
    NoObject(MemberName),
    /// This member is named, but the JSON object doesn't have it.
    NoSuchMember(MemberName),
    /// This member is named, but it contains no signing secret.
    NoSecretInMember(MemberName),
    /// This secret is the [`DEVELOPMENT_SECRET`], which isn't allowed on Lambda.
    Development(Position),
    /// This secret is invalid.
    Invalid(Position, KeyError),
}

/// The place of a secret in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The member of the JSON object, if the text is one.
    pub member: Option<MemberName>,
    /// The secret's number, from 1.
    pub number: usize,
    /// The number of secrets in the text or the member.
    pub count: usize,
}

/// The name of a JSON object's member, as it is shown: with escape sequences for invisible characters, shortened, and only
/// if it can't be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberName(String);

impl MemberName {
    fn new(name: &str) -> Self {
        if could_be_secret(name) {
            return Self("`…` (a name that could be a secret)".into());
        }
        let shown: String = name.chars().take(LONGEST_SHOWN_NAME).collect();
        let rest = if shown.len() < name.len() { "…" } else { "" };
        Self(format!("`{}{rest}`", visible(&shown)))
    }
}

/// What the value of a member contains.
enum Content {
    /// One or more signing secrets.
    Secrets(Zeroizing<String>),
    /// Something in the place of a signing secret that has an error of its own: the placeholder or a key of another kind.
    Mistake(Zeroizing<String>),
    /// An object or an array with a signing secret in it.
    Nested,
    /// JSON in a string, with a signing secret in it.
    JsonInString,
    /// Something else.
    Other,
}

impl Content {
    fn of(value: &RawValue) -> Self {
        let Ok(text) = serde_json::from_str::<Zeroizing<String>>(value.get()) else {
            let is_nested = starts_like_json(value.get()) && contains_key_prefix(value.get());
            return if is_nested { Self::Nested } else { Self::Other };
        };
        let trimmed = trim(&text);
        let first = split_list(trimmed).find(|&item| item != VERSION).unwrap_or_default();
        match () {
            () if first.starts_with(SECRET_PREFIX) => Self::Secrets(text),
            () if trimmed == PLACEHOLDER => Self::Mistake(text),
            () if KEY_PREFIXES.iter().any(|prefix| first.starts_with(prefix)) => Self::Mistake(text),
            () if starts_like_json(trimmed) && contains_key_prefix(trimmed) => Self::JsonInString,
            () => Self::Other,
        }
    }
}

fn starts_like_json(text: &str) -> bool {
    text.starts_with(['{', '['])
}

/// The items of a list whose separators are white space and commas.
fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == ',').map(trim).filter(|item| !item.is_empty())
}

/// Parses one or more signing secrets, separated by white space or commas.
fn parse_list(text: &str, member: Option<&str>, on_lambda: bool) -> Vec<Result<Key, SecretError>> {
    let text = trim(text);
    if text == PLACEHOLDER {
        return vec![Err(SecretError::Placeholder)];
    }
    let secrets: Vec<_> = split_list(text).collect();
    if secrets.is_empty() {
        return vec![Err(SecretError::Empty)];
    }
    let parse = |(index, secret): (usize, &&str)| {
        let position = || Position { member: member.map(MemberName::new), number: index + 1, count: secrets.len() };
        match Key::parse(secret) {
            Ok(_) if on_lambda && *secret == DEVELOPMENT_SECRET => Err(SecretError::Development(position())),
            key => key.map_err(|error| SecretError::Invalid(position(), error)),
        }
    };
    secrets.iter().enumerate().map(parse).collect()
}

/// Parses signing secrets as people store them: one or more, separated by white space or commas, or a JSON object with one
/// member that starts with a signing secret. If several members do, `member` must name one of them. All other members are
/// ignored.
///
/// Invisible characters around a secret, such as a byte order mark, are ignored, and so is one pair of quotes.
#[must_use]
pub fn parse(value: &str, member: Option<&str>, on_lambda: bool) -> Vec<Result<Key, SecretError>> {
    let value = trim(value);
    let parsed = if value.starts_with('{') {
        parse_object(value, member, on_lambda)
    } else {
        match member {
            _ if value.starts_with('[') => Err(SecretError::Array),
            _ if is_json_in_string(value) => Err(SecretError::JsonInString(None)),
            Some(name) if !value.is_empty() && value != PLACEHOLDER => {
                Err(SecretError::NoObject(MemberName::new(name)))
            }
            _ => Ok(parse_list(value, None, on_lambda)),
        }
    };
    parsed.unwrap_or_else(|error| vec![Err(error)])
}

fn is_json_in_string(value: &str) -> bool {
    value.starts_with('"')
        && serde_json::from_str::<Zeroizing<String>>(value).is_ok_and(|text| starts_like_json(trim(&text)))
}

/// Parses the signing secrets in the member with this name, or in the only member that has any.
fn parse_object(
    value: &str,
    member: Option<&str>,
    on_lambda: bool,
) -> Result<Vec<Result<Key, SecretError>>, SecretError> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(value).map_err(|_| SecretError::InvalidJson)?;
    let mut contents: Vec<_> = members.into_iter().map(|(name, value)| (name, Content::of(value))).collect();
    if let Some(named) = member {
        contents.retain(|(name, _)| name == named);
    }
    let (secrets, others): (Vec<_>, Vec<_>) =
        contents.into_iter().partition(|(_, content)| matches!(content, Content::Secrets(_)));
    match &secrets[..] {
        [] => {}
        [(name, Content::Secrets(text))] => return Ok(parse_list(text, Some(name), on_lambda)),
        several => {
            let names = several.iter().map(|(name, _)| MemberName::new(name)).collect();
            return Err(SecretError::SeveralMembers(names));
        }
    }
    // There is no signing secret. Something that looks like a mistake is more helpful than its absence.
    for (name, content) in &others {
        match content {
            Content::Mistake(text) => return Ok(parse_list(text, Some(name), on_lambda)),
            Content::Nested => return Err(SecretError::Nested(MemberName::new(name))),
            Content::JsonInString => return Err(SecretError::JsonInString(Some(MemberName::new(name)))),
            Content::Secrets(_) | Content::Other => {}
        }
    }
    Err(match member {
        Some(name) if others.is_empty() => SecretError::NoSuchMember(MemberName::new(name)),
        Some(name) => SecretError::NoSecretInMember(MemberName::new(name)),
        None => SecretError::NoMember,
    })
}

/// Whether a text contains the prefix of a key.
#[must_use]
pub fn contains_key_prefix(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    KEY_PREFIXES.iter().any(|prefix| text.contains(prefix))
}

/// Whether a text may contain a signing secret, with or without its prefix, so that it must not be logged.
///
/// A run of base64 that is long enough for a key could be one. In a URL or an ARN, a slash separates runs: base64 has slashes,
/// but no colons.
#[must_use]
pub fn could_be_secret(text: &str) -> bool {
    let has_colon = text.contains(':');
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '=') || (c == '/' && !has_colon);
    contains_key_prefix(text) || text.split(|c| !is_base64(c)).any(|run| run.len() >= SHORTEST_ENCODED_KEY)
}

/// Whether a character can't be seen, or looks like a space without being one. A plain space is not invisible.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    // The standard library escapes what Unicode classifies as a control, a format character, a separator, private or
    // unassigned, except if it extends the character before it. The others in this list are letters and marks without a shape.
    let is_escaped = || format!("a{c}").escape_debug().nth(2) == Some('u');
    c.is_control()
        || matches!(c, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{e0100}'..='\u{e01ef}')
        || (!c.is_ascii() && is_escaped())
}

/// A text with escape sequences in the place of its invisible characters.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_invisible(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Removes invisible characters around a text, and one pair of quotes.
fn trim(text: &str) -> &str {
    let is_blank = |c: char| c == ' ' || is_invisible(c);
    let text = text.trim_matches(is_blank);
    let pairs = [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’')];
    let unquoted = pairs.iter().find_map(|(open, close)| {
        let inner = text.strip_prefix(*open)?.strip_suffix(*close)?;
        (!inner.contains([*open, *close])).then_some(inner)
    });
    unquoted.map_or(text, |inner| inner.trim_matches(is_blank))
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
    id: SecretId,
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

    /// The keys of this secret. They are not read yet.
    #[must_use]
    pub fn stored(client: Client, id: SecretId, on_lambda: bool) -> Self {
        let read_at = tokio::sync::Mutex::new(SystemTime::UNIX_EPOCH);
        let stored = StoredSecret { client, id, on_lambda, read_at };
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
                let mut hint =
                    "no delivery can be verified until the function can read a usable signing secret".to_owned();
                // The command replaces the whole secret, which has other members if one is named.
                if let SecretId { arn, member: None } = &stored.id {
                    let region = region_of(arn);
                    let _ = write!(
                        hint,
                        "; if it isn't set yet, set it with: aws secretsmanager put-secret-value --region {region} \
                         --secret-id {arn} --secret-string file:///dev/stdin"
                    );
                }
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
            match self.client.get_secret_value().secret_id(&self.id.arn).version_stage(stage).send().await {
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
        let value = if text.is_empty() { binary.unwrap_or_default() } else { &text };
        let parsed = parse(value, self.id.member.as_deref(), self.on_lambda);

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

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret {} of {}", self.number, self.count)?;
        match &self.member {
            Some(member) => write!(f, " in the member {member}"),
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
            Self::Array => f.write_str(
                "the value is a JSON array; store one text with all signing secrets, separated by white space or commas, \
                 alone or as the value of a member of a JSON object",
            ),
            Self::JsonInString(None) => {
                f.write_str("the value is a JSON string that contains JSON; store the inner JSON itself")
            }
            Self::JsonInString(Some(member)) => write!(
                f,
                "the member {member} is a string that contains JSON; store the signing secret alone as the value of the member"
            ),
            Self::Nested(member) => write!(
                f,
                "the signing secret is in an object or an array in the member {member}; store it alone as the value of the member"
            ),
            Self::NoMember => {
                f.write_str("the value is a JSON object, but no member contains a secret that starts with `whsec_`")
            }
            Self::SeveralMembers(members) => write!(
                f,
                "several members of the JSON object contain a signing secret: {}; none of them is used until the \
                 end of WEBHOOK_SECRET_ARN names one, as in `arn:…:secret:NAME:MEMBER::`",
                listed(members)
            ),
            Self::NoObject(member) => {
                write!(f, "WEBHOOK_SECRET_ARN names the member {member}, but the value is not a JSON object")
            }
            Self::NoSuchMember(member) => {
                write!(f, "WEBHOOK_SECRET_ARN names the member {member}, but the JSON object has no such member")
            }
            Self::NoSecretInMember(member) => write!(
                f,
                "WEBHOOK_SECRET_ARN names the member {member}, but that contains no secret that starts with `whsec_`"
            ),
            Self::Development(position) => {
                write!(f, "{position} is the published development secret, which anyone can sign with")
            }
            Self::Invalid(position, error) => write!(f, "{position} is invalid: {error}"),
        }
    }
}

impl std::error::Error for SecretError {}

/// The names of members, with commas between them.
#[must_use]
pub fn listed(members: &[MemberName]) -> String {
    let shown: Vec<_> = members.iter().take(MOST_LISTED_MEMBERS).map(ToString::to_string).collect();
    let rest = members.len() - shown.len();
    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0";
    const OTHER_SECRET: &str = "whsec_c29tZS1vdGhlci1zZWNyZXQtb2Ytb3Vycw==";

    /// The number of keys in a value, and the errors beside them.
    fn read(value: &str) -> (usize, Vec<String>) {
        read_member(value, None)
    }

    /// The number of keys in this member of a value, and the errors beside them.
    fn read_member(value: &str, member: Option<&str>) -> (usize, Vec<String>) {
        let parsed = parse(value, member, true);
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
            ("other kinds of spaces", format!("\u{a0}\u{3000}{SECRET}\u{2028}\u{2800}"), 1),
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
            ("a member with quotes around each of two", format!(r#"{{"a":"\"{SECRET}\", '{OTHER_SECRET}'"}}"#), 2),
            ("a member with two", format!(r#"{{"a":"{SECRET}, {OTHER_SECRET}"}}"#), 2),
            ("a member beside the placeholder", format!(r#"{{"a":"{PLACEHOLDER}","b":"{SECRET}"}}"#), 1),
            ("a member beside an Ed25519 key", format!(r#"{{"a":"whsk_{}","b":"{SECRET}"}}"#, &SECRET[6..]), 1),
            ("a member beside JSON in a string", format!(r#"{{"a":"{{\"b\":\"{SECRET}\"}}","c":"{SECRET}"}}"#), 1),
            ("a member beside an empty string", format!(r#"{{"a":"","b":"{SECRET}"}}"#), 1),
            ("an object in single quotes", format!(r#"'{{"a":"{SECRET}"}}'"#), 1),
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
                format!(r#"{{"a":"{SECRET} whsec_?"}}"#),
                1,
                "secret 2 of 2 in the member `a` is invalid: it is not standard, padded base64 after `whsec_`",
            ),
            (
                r#"{"whsec_a":"whsec_?"}"#.into(),
                0,
                "secret 1 of 1 in the member `…` (a name that could be a secret) is invalid: it is not standard, padded \
                 base64 after `whsec_`",
            ),
            (
                format!(r#"{{"a":"v1,{SECRET}"}}"#),
                1,
                "secret 1 of 2 in the member `a` is invalid: it is `v1`; remove `v1,` before the secret",
            ),
            (
                format!(r#"{{"a":"whpk_{}"}}"#, &SECRET[6..]),
                0,
                "secret 1 of 1 in the member `a` is invalid: it is an Ed25519 key, and those are not supported; the \
                 endpoint must sign with a secret that starts with `whsec_`",
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
    fn none_of_several_members_is_used_until_one_is_named() {
        let value = format!(r#"{{"SCALEKIT":"{SECRET} {OTHER_SECRET}","PAYMENTS":"{OTHER_SECRET}","port":1}}"#);
        let names_one = "none of them is used until the end of WEBHOOK_SECRET_ARN names one, as in \
                         `arn:…:secret:NAME:MEMBER::`";
        let several =
            |names| format!("several members of the JSON object contain a signing secret: {names}; {names_one}");
        assert_eq!(read(&value), (0, vec![several("`PAYMENTS`, `SCALEKIT`")]));
        assert_eq!(read_member(&value, Some("SCALEKIT")), (2, vec![]));
        assert_eq!(read_member(&value, Some("PAYMENTS")), (1, vec![]));
        // A key that isn't valid as ours is still a key of others.
        let invalid = format!(r#"{{"a":"{SECRET}","b":"whsec_?"}}"#);
        assert_eq!(read(&invalid), (0, vec![several("`a`, `b`")]));
        assert_eq!(read(&format!(r#"{{"a":"{SECRET}","b":"v1,{SECRET}"}}"#)), (0, vec![several("`a`, `b`")]));
        let many: Vec<_> = (10..22).map(|number| format!("\"{number}\":\"{SECRET}\"")).collect();
        let listed = "`10`, `11`, `12`, `13`, `14`, `15`, `16`, `17`, `18`, `19` and 2 more";
        assert_eq!(read(&format!("{{{}}}", many.join(","))), (0, vec![several(listed)]));
    }

    #[test]
    fn only_the_named_member_is_used() {
        let names = |why: &str| (0, vec![format!("WEBHOOK_SECRET_ARN names the member `a`{why}")]);
        let no_secret = names(", but that contains no secret that starts with `whsec_`");
        for (value, expected) in [
            (format!(r#"{{"a":"{SECRET}"}}"#), (1, vec![])),
            (format!(r#"{{"b":"{SECRET}"}}"#), names(", but the JSON object has no such member")),
            (format!(r#"{{"A":"{SECRET}"}}"#), names(", but the JSON object has no such member")),
            (format!(r#"{{"a":null,"b":"{SECRET}"}}"#), no_secret.clone()),
            (format!(r#"{{"a":7,"b":"{SECRET}"}}"#), no_secret.clone()),
            (format!(r#"{{"a":"","b":"{SECRET}"}}"#), no_secret.clone()),
            (format!(r#"{{"a":"hunter2","b":"{SECRET}"}}"#), no_secret),
            (SECRET.into(), names(", but the value is not a JSON object")),
            (format!(r#"{{"a":"{PLACEHOLDER}","b":"{SECRET}"}}"#), read(PLACEHOLDER)),
            (PLACEHOLDER.into(), read(PLACEHOLDER)),
            (String::new(), read("")),
            ("{".into(), read("{")),
        ] {
            assert_eq!(read_member(&value, Some("a")), expected, "{value}");
        }
    }

    #[test]
    fn a_secret_that_is_stored_too_deep_is_an_error_of_its_own() {
        let array = "the value is a JSON array; store one text with all signing secrets, separated by white space or commas, \
                     alone or as the value of a member of a JSON object";
        let nested = "the signing secret is in an object or an array in the member `a`; store it alone as the value of the member";
        let in_string =
            "the member `a` is a string that contains JSON; store the signing secret alone as the value of the member";
        let value_in_string = "the value is a JSON string that contains JSON; store the inner JSON itself";
        let no_member = "the value is a JSON object, but no member contains a secret that starts with `whsec_`";
        for (value, error) in [
            (format!(r#"["{SECRET}"]"#), array),
            ("[]".into(), array),
            (format!(r#"{{"a":{{"b":"{SECRET}"}}}}"#), nested),
            (format!(r#"{{"a":["{SECRET}"]}}"#), nested),
            (r#"{"a":{"b":"hunter2"}}"#.into(), no_member),
            (format!(r#"{{"a":"{{\"b\":\"{SECRET}\"}}"}}"#), in_string),
            (format!(r#"{{"a":" [\"{SECRET}\"]"}}"#), in_string),
            (r#"{"a":"{\"b\":1}"}"#.into(), no_member),
            (format!(r#""{{\"a\":\"{SECRET}\"}}""#), value_in_string),
            (format!(r#""[\"{SECRET}\"]""#), value_in_string),
        ] {
            assert_eq!(read(&value), (0, vec![error.to_owned()]), "{value}");
            if value.starts_with('{') && error != no_member {
                assert_eq!(read_member(&value, Some("a")), (0, vec![error.to_owned()]), "{value}");
            }
        }
    }

    #[test]
    fn a_members_name_is_shown_escaped_and_shortened_unless_it_could_be_a_secret() {
        for (name, shown) in [
            ("signing secret", "`signing secret`".to_owned()),
            ("a\nb\u{200b}\u{a0}\u{1b}", "`a\\u{a}b\\u{200b}\\u{a0}\\u{1b}`".into()),
            (&"é-".repeat(32), format!("`{}`", "é-".repeat(32))),
            (&"é-".repeat(33), format!("`{}…`", "é-".repeat(32))),
            (SECRET, "`…` (a name that could be a secret)".into()),
            (&SECRET[6..], "`…` (a name that could be a secret)".into()),
        ] {
            assert_eq!(MemberName::new(name).to_string(), shown);
        }
    }

    #[test]
    fn a_text_could_be_a_secret_if_it_has_a_keys_prefix_or_enough_base64() {
        let base64 = "C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        for text in [
            "whsec_",
            "a WHSEC_ b",
            "whsk_a",
            "whpk_a",
            base64,
            &format!("https://example.com/{base64}"),
            "aaaaaaaaaaaaaaa/aaaaaaaaaaaaaaaa",
            "c29tZS1vdGhlci1zZWNyZXQtb2Ytb3Vycw==",
        ] {
            assert!(could_be_secret(text), "{text}");
        }
        for text in [
            "",
            "whsec",
            &base64[1..],
            "scalekit-webhooks-of-the-production-account",
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:identity/production/webhooks/scalekit-AbCdEf",
            "https://sqs.eu-central-1.amazonaws.com/123456789012/scalekit-parking-11111111",
        ] {
            assert!(!could_be_secret(text), "{text}");
        }
    }

    #[test]
    fn a_character_that_nobody_can_see_is_invisible() {
        let invisible = "\t\r\n\0\u{7f}\u{85}\u{a0}\u{ad}\u{34f}\u{61c}\u{115f}\u{1680}\u{180e}\u{2000}\u{200b}\u{200d}\u{200e}\
                         \u{2028}\u{2029}\u{202e}\u{202f}\u{2060}\u{2066}\u{2800}\u{3000}\u{3164}\u{e000}\u{fe0f}\u{feff}\u{ffa0}\
                         \u{fffe}\u{e0001}\u{e0100}";
        for c in invisible.chars() {
            assert!(is_invisible(c), "{c:?}");
        }
        for c in " aZ09._-/\"'\\`é漢\u{301}\u{fffd}😀".chars() {
            assert!(!is_invisible(c), "{c:?}");
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
        assert!(parse(DEVELOPMENT_SECRET, None, false)[0].is_ok());
    }
}
