//! Which keys may sign? Those of `WEBHOOK_SECRET`, for the life of the process, or those of a secret in AWS Secrets
//! Manager, read again often enough that a rotation needs no redeploy.
//!
//! Keys in memory stay in use while Secrets Manager is out of reach. Without any usable key nothing can be verified, and
//! every delivery is told to come again: a secret may be pasted after the deployment.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_sdk_secretsmanager::{
    Client,
    operation::get_secret_value::{GetSecretValueError as Error, GetSecretValueOutput},
};
use tokio::{sync::MutexGuard, time::Instant};
use zeroize::Zeroizing;

use crate::{
    signature::{Key, KeyError},
    trouble::{Attempts, Fault, Trouble},
};

/// The signing secret that the samples in `events/` are signed with. Anyone can read it, so real Lambda refuses it.
pub const DEVELOPMENT_SECRET: &str = "whsec_c2NhbGVraXQtZXZlbnRicmlkZ2UtZGV2ZWxvcG1lbnQ=";

/// What `template.yaml` puts into the secret that it makes, until the signing secret is pasted.
pub const PLACEHOLDER: &str = "paste-the-signing-secret-here";

/// How long reading the secret may take, both of its versions.
const READ_TIME: Duration = Duration::from_secs(2);

/// How old the last read may be before a delivery reads again, beside its forward.
const READ_AGAIN_AFTER: Duration = Duration::from_mins(5);

/// How old the last read must be before a delivery that matches no key reads again: forged ones can't hammer the service.
const READ_FOR_MISMATCH_AFTER: Duration = Duration::from_secs(10);

/// How long the version before the current one verifies, counted from when the current one was created.
const ROTATION_TIME: Duration = Duration::from_hours(24);

/// Why a text holds no signing secret, or one of several is none. It never holds a part of that text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretError {
    /// There is nothing in it.
    Empty,
    /// It still is the template's [`PLACEHOLDER`].
    Placeholder,
    /// It starts like a JSON object, but isn't one of strings.
    Json,
    /// This one, counted from 1, of so many is the [`DEVELOPMENT_SECRET`], on real Lambda.
    Development(usize, usize),
    /// This one, counted from 1, of so many is none.
    Key(usize, usize, KeyError),
}

/// Reads one or more signing secrets, separated by white space or commas.
#[must_use]
pub fn parse(text: &str, real_lambda: bool) -> Vec<Result<Key, SecretError>> {
    if text.trim() == PLACEHOLDER {
        return vec![Err(SecretError::Placeholder)];
    }
    let secrets = text.split(|c: char| c.is_whitespace() || c == ',').filter(|secret| !secret.is_empty());
    let secrets: Vec<_> = secrets.collect();
    if secrets.is_empty() {
        return vec![Err(SecretError::Empty)];
    }
    let key = |(index, secret): (usize, &&str)| match Key::parse(secret) {
        Ok(_) if real_lambda && *secret == DEVELOPMENT_SECRET => {
            Err(SecretError::Development(index + 1, secrets.len()))
        }
        key => key.map_err(|error| SecretError::Key(index + 1, secrets.len(), error)),
    };
    secrets.iter().enumerate().map(key).collect()
}

/// Reads a secret's value: signing secrets as text, or the JSON object of strings that the AWS console writes.
fn parse_value(value: &str, real_lambda: bool) -> Vec<Result<Key, SecretError>> {
    if !value.trim_start().starts_with('{') {
        return parse(value, real_lambda);
    }
    match serde_json::from_str::<BTreeMap<String, Zeroizing<String>>>(value) {
        Ok(members) => members.values().flat_map(|value| parse(value, real_lambda)).collect(),
        Err(_) => vec![Err(SecretError::Json)],
    }
}

/// The keys that may sign at some time.
#[derive(Debug, Default)]
pub struct Keys {
    current: Version,
    previous: Version,
    /// Until when the previous keys verify.
    previous_until: Option<SystemTime>,
}

/// The keys of one version of the secret.
#[derive(Debug, Default, Clone)]
struct Version {
    id: Option<String>,
    keys: Vec<Key>,
}

impl Keys {
    /// The keys that may sign at this time.
    pub fn at(&self, now: SystemTime) -> impl Iterator<Item = &Key> {
        let previous = self.previous_until.is_none_or(|until| now < until);
        self.current.keys.iter().chain(self.previous.keys.iter().filter(move |_| previous))
    }
}

/// The keys, and where they come from.
#[derive(Debug)]
pub struct Keyring {
    keys: Mutex<Arc<Keys>>,
    store: Option<Store>,
}

/// A secret in AWS Secrets Manager.
#[derive(Debug)]
struct Store {
    client: Client,
    arn: String,
    real_lambda: bool,
    /// When it was last read. Held while it is read, so that deliveries that come together read once.
    read_at: tokio::sync::Mutex<SystemTime>,
}

impl Keyring {
    /// Keys that never change.
    #[must_use]
    pub fn fixed(keys: Vec<Key>) -> Self {
        let keys = Keys { current: Version { id: None, keys }, ..Keys::default() };
        Self { keys: Mutex::new(Arc::new(keys)), store: None }
    }

    /// The keys of a secret in AWS Secrets Manager, by its ARN; none of them read yet.
    #[must_use]
    pub fn stored(client: Client, arn: &str, real_lambda: bool) -> Self {
        let read_at = tokio::sync::Mutex::new(SystemTime::UNIX_EPOCH);
        let store = Store { client, arn: arn.to_owned(), real_lambda, read_at };
        Self { keys: Mutex::default(), store: Some(store) }
    }

    /// The keys as they are now.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the secret if the last read is over five minutes old. For init, and beside each delivery.
    pub async fn refresh(&self, now: SystemTime) {
        // Where another delivery is reading it already, there is nothing to wait for.
        if let Some(store) = &self.store
            && let Ok(read_at) = store.read_at.try_lock()
        {
            self.read_if_older(store, read_at, READ_AGAIN_AFTER, now).await;
        }
    }

    /// Reads the secret because a delivery matches no key, if the last read is over ten seconds old.
    pub async fn refresh_for_mismatch(&self, now: SystemTime) {
        if let Some(store) = &self.store {
            self.read_if_older(store, store.read_at.lock().await, READ_FOR_MISMATCH_AFTER, now).await;
        }
    }

    async fn read_if_older(
        &self,
        store: &Store,
        mut read_at: MutexGuard<'_, SystemTime>,
        age: Duration,
        now: SystemTime,
    ) {
        let is_recent = match now.duration_since(*read_at) {
            Ok(since) => since < age,
            // A delivery that began a little earlier; or a clock that was set back, which reads again.
            Err(earlier) => earlier.duration() < READ_FOR_MISMATCH_AFTER,
        };
        if is_recent {
            return;
        }
        *read_at = now;
        let held = self.keys();
        match store.read(&held, now).await {
            Ok(keys) => *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys),
            Err(error) if held.at(now).next().is_some() => {
                tracing::warn!(error = %error, "could not read the signing secret; the keys in memory stay in use");
            }
            Err(error) => {
                let hint = format!(
                    "no delivery can be verified until the signing secret is there: \
                     aws secretsmanager put-secret-value --secret-id {} --secret-string whsec_…",
                    store.arn
                );
                tracing::error!(error = %error, hint, "no signing secret");
            }
        }
    }
}

/// Why a secret gives no key.
#[derive(Debug)]
enum ReadError {
    Call(Trouble),
    Value(SecretError),
}

impl From<Trouble> for ReadError {
    fn from(trouble: Trouble) -> Self {
        Self::Call(trouble)
    }
}

impl Store {
    /// Reads the current keys and, for a day after they were made, those before them.
    async fn read(&self, held: &Keys, now: SystemTime) -> Result<Keys, ReadError> {
        let until = Instant::now() + READ_TIME;
        let current = self.call("AWSCURRENT", until).await.and_then(|version| version.ok_or_else(|| self.missing()))?;
        let created = current.created_date.and_then(|created| SystemTime::try_from(created).ok());
        let previous_until = created.and_then(|created| created.checked_add(ROTATION_TIME));
        let mut keys = Keys { previous_until, ..Keys::default() };
        keys.current.id = current.version_id;
        let wrong = match self.usable(current.secret_string) {
            Ok(usable) => {
                keys.current.keys = usable;
                None
            }
            Err(error) => Some(error),
        };

        if previous_until.is_none_or(|until| now < until) {
            keys.previous = match self.call("AWSPREVIOUS", until).await {
                Ok(None) => Version::default(),
                Ok(Some(previous)) => {
                    Version { id: previous.version_id, keys: self.usable(previous.secret_string).unwrap_or_default() }
                }
                // What was current before is the previous one now; unless it still is the current one.
                Err(trouble) => {
                    tracing::warn!(error = %trouble, "could not read the signing secret's previous version");
                    if held.current.id == keys.current.id { held.previous.clone() } else { held.current.clone() }
                }
            };
        }
        match wrong {
            Some(error) if keys.previous.keys.is_empty() => Err(ReadError::Value(error)),
            Some(error) => {
                tracing::error!(error = %ReadError::Value(error), "the signing secret's current version gives no key; the previous one is in use");
                Ok(keys)
            }
            None => Ok(keys),
        }
    }

    /// The version at this stage, if there is one.
    async fn call(&self, stage: &str, until: Instant) -> Result<Option<GetSecretValueOutput>, Trouble> {
        let mut attempts = Attempts::of("GetSecretValue", until);
        loop {
            let call = async {
                match self.client.get_secret_value().secret_id(&self.arn).version_stage(stage).send().await {
                    Ok(version) => Ok(Some(version)),
                    Err(error) if error.as_service_error().is_some_and(Error::is_resource_not_found_exception) => {
                        Ok(None)
                    }
                    Err(error) => Err(Trouble::of_call("GetSecretValue", &error)),
                }
            };
            match attempts.attempt(call).await {
                Ok(version) => return Ok(version),
                Err(trouble) => attempts.pause_after(trouble).await?,
            }
        }
    }

    fn missing(&self) -> Trouble {
        Trouble {
            fault: Fault::Deployment,
            reason: format!("there is no current version of the secret `{}`", self.arn),
        }
    }

    /// The keys of a version's value: those that are well-formed, at least one.
    fn usable(&self, value: Option<String>) -> Result<Vec<Key>, SecretError> {
        let value = Zeroizing::new(value.unwrap_or_default());
        let parsed = parse_value(&value, self.real_lambda);
        let errors: Vec<_> = parsed.iter().filter_map(|key| key.as_ref().err().copied()).collect();
        let keys: Vec<_> = parsed.into_iter().flatten().collect();
        if keys.is_empty() {
            return Err(errors.first().copied().unwrap_or(SecretError::Empty));
        }
        for error in errors {
            tracing::warn!(error = %error, "the signing secret is used without one of its keys");
        }
        Ok(keys)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(trouble) => trouble.fmt(f),
            Self::Value(error) => write!(f, "the value {error}"),
        }
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("holds no secret"),
            Self::Placeholder => f.write_str("still is the template's placeholder"),
            Self::Json => f.write_str("is not a JSON object of strings"),
            Self::Development(at, count) => {
                write!(
                    f,
                    "holds, as secret {at} of {count}, the published development secret, which anyone can sign with"
                )
            }
            Self::Key(at, count, error) => write!(f, "holds, as secret {at} of {count}, one that {error}"),
        }
    }
}

impl std::error::Error for SecretError {}
