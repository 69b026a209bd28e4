//! What was the function told to do? Its environment variables, all of them judged before anything starts.

use std::{fmt, time::Duration};

use crate::{event::UnknownEvents, secret, signature::Key};

/// Lambda sets this reserved variable in every function; `cargo lambda watch` and emulators don't.
pub(crate) const REAL_LAMBDA: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";

/// Beyond this, a tolerance is warned about: whoever records a delivery can send it again for that long.
const WIDE_TOLERANCE_SECONDS: u64 = 3600;

/// What the function was told.
#[derive(Debug)]
pub struct Config {
    /// `EVENT_BUS_NAME`: a name or an ARN.
    pub bus: String,
    /// `EVENT_SOURCE`
    pub source: String,
    /// `WEBHOOK_SECRET` or `WEBHOOK_SECRET_ARN`
    pub secret: Secret,
    /// Whether this is Lambda itself, where the development secret is no secret.
    pub real_lambda: bool,
    /// `WEBHOOK_TOLERANCE_SECONDS`
    pub tolerance: Duration,
    /// `UNKNOWN_EVENTS`
    pub unknown_events: UnknownEvents,
    /// `PARKING_QUEUE_URL`
    pub parking_queue_url: Option<String>,
    /// `REFUSED_QUEUE_URL`
    pub refused_queue_url: Option<String>,
}

/// Where the signing keys come from: exactly one of the two.
#[derive(Debug)]
pub enum Secret {
    /// `WEBHOOK_SECRET`: the keys themselves.
    Keys(Vec<Key>),
    /// `WEBHOOK_SECRET_ARN`: a secret in AWS Secrets Manager.
    Arn(String),
}

/// A variable that is wrong: which, what is wrong with it, what to write instead. Never a secret's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The variable.
    pub variable: &'static str,
    /// What is wrong, and what it should hold.
    pub reason: String,
}

impl ConfigError {
    /// This variable is wrong.
    pub fn new(variable: &'static str, reason: impl Into<String>) -> Self {
        Self { variable, reason: reason.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the configuration from variables; an empty one counts as not set.
    ///
    /// # Errors
    /// Everything that is wrong with it, not just the first.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<ConfigError>> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut errors = Vec::new();
        let bus = note(&mut errors, bus(variable("EVENT_BUS_NAME")));
        let source = note(&mut errors, source(variable("EVENT_SOURCE")));
        let real_lambda = variable(REAL_LAMBDA).is_some();
        let secret = secret(variable("WEBHOOK_SECRET"), variable("WEBHOOK_SECRET_ARN"), real_lambda);
        let secret = note(&mut errors, secret);
        let tolerance = note(&mut errors, tolerance(variable("WEBHOOK_TOLERANCE_SECONDS")));
        let unknown_events = note(&mut errors, unknown_events(variable("UNKNOWN_EVENTS").as_deref()));
        let parking_queue_url = note(&mut errors, queue_url("PARKING_QUEUE_URL", variable("PARKING_QUEUE_URL")));
        let refused_queue_url = note(&mut errors, queue_url("REFUSED_QUEUE_URL", variable("REFUSED_QUEUE_URL")));
        let config = move || {
            Some(Self {
                bus: bus?,
                source: source?,
                secret: secret?,
                real_lambda,
                tolerance: tolerance?,
                unknown_events: unknown_events?,
                parking_queue_url: parking_queue_url?,
                refused_queue_url: refused_queue_url?,
            })
        };
        config().ok_or(errors)
    }

    /// What is allowed, but worth a second look.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let seconds = self.tolerance.as_secs();
        let mut warnings = Vec::new();
        if seconds > WIDE_TOLERANCE_SECONDS {
            warnings.push(format!(
                "WEBHOOK_TOLERANCE_SECONDS: {seconds} s let a recorded delivery be sent again for as long; \
                 at most {WIDE_TOLERANCE_SECONDS} is advised, 300 is the default"
            ));
        }
        warnings
    }
}

fn note<T>(errors: &mut Vec<ConfigError>, value: Result<T, ConfigError>) -> Option<T> {
    value.map_err(|error| errors.push(error)).ok()
}

fn bus(value: Option<String>) -> Result<String, ConfigError> {
    let error = |reason| ConfigError::new("EVENT_BUS_NAME", reason);
    let should = "should hold the name or the ARN of an event bus";
    let value = value.ok_or_else(|| error(format!("is not set; it {should}")))?;
    // What PutEvents takes: a name, or `arn:aws:events:{region}:{account}:event-bus/{name}`.
    let name = match value.split_once(":event-bus/") {
        Some((arn, name)) if arn.starts_with("arn:") && arn.contains(":events:") => name,
        _ => &value,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    if name.is_empty() || name.len() > 256 || !name.bytes().all(is_name) {
        return Err(error(format!("holds `{value}`, which is no such name; it {should}")));
    }
    Ok(value)
}

fn source(value: Option<String>) -> Result<String, ConfigError> {
    let value = value.unwrap_or_else(|| "scalekit".to_owned());
    let error = |why| {
        let reason = format!("holds `{value}`, {why}; it should hold 1 to 256 characters, such as `scalekit`");
        Err(ConfigError::new("EVENT_SOURCE", reason))
    };
    match value.chars().count() {
        _ if value.starts_with("aws.") => error("but sources that start with `aws.` are AWS's own"),
        _ if value.chars().any(char::is_control) => error("with a control character in it"),
        1..=256 => Ok(value),
        length => error(&format!("which is {length} characters long")),
    }
}

fn secret(secrets: Option<String>, arn: Option<String>, real_lambda: bool) -> Result<Secret, ConfigError> {
    let error = |reason: String| Err(ConfigError::new("WEBHOOK_SECRET", reason));
    let should =
        "should hold Scalekit's signing secret, `whsec_…`, or several of them separated by white space or commas";
    match (secrets, arn) {
        (None, None) => error(format!("is not set, nor is WEBHOOK_SECRET_ARN; one of them must be; it {should}")),
        (Some(_), Some(_)) => error("is set, and WEBHOOK_SECRET_ARN too; set one of them alone".into()),
        (Some(secrets), None) => match secret::parse(&secrets, real_lambda).into_iter().collect() {
            Ok(keys) => Ok(Secret::Keys(keys)),
            Err(why) => error(format!("{why}; it {should}")),
        },
        (None, Some(arn)) if is_secret_arn(&arn) => Ok(Secret::Arn(arn)),
        (None, Some(arn)) => {
            let holds = if arn.contains("whsec_") {
                "holds what looks like a signing secret".into()
            } else {
                format!("holds `{arn}`")
            };
            let should = "it should hold the ARN of a secret in AWS Secrets Manager, \
                          `arn:aws:secretsmanager:{region}:{account}:secret:{name}`";
            Err(ConfigError::new("WEBHOOK_SECRET_ARN", format!("{holds}; {should}")))
        }
    }
}

fn is_secret_arn(arn: &str) -> bool {
    arn.starts_with("arn:") && arn.contains(":secretsmanager:") && arn.contains(":secret:") && !arn.contains("whsec_")
}

fn tolerance(value: Option<String>) -> Result<Duration, ConfigError> {
    let Some(value) = value else {
        return Ok(Duration::from_mins(5));
    };
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse::<u32>() {
        Ok(seconds) if digits => Ok(Duration::from_secs(seconds.into())),
        _ => Err(ConfigError::new(
            "WEBHOOK_TOLERANCE_SECONDS",
            format!("holds `{value}`; it should hold a whole number of seconds from 0 to {}, such as `300`", u32::MAX),
        )),
    }
}

fn unknown_events(value: Option<&str>) -> Result<UnknownEvents, ConfigError> {
    match value {
        None | Some("forward") => Ok(UnknownEvents::Forward),
        Some("reject") => Ok(UnknownEvents::Reject),
        Some(other) => Err(ConfigError::new(
            "UNKNOWN_EVENTS",
            format!("holds `{other}`; it should hold `forward` (the default) or `reject`"),
        )),
    }
}

fn queue_url(variable: &'static str, value: Option<String>) -> Result<Option<String>, ConfigError> {
    let Some(url) = value else {
        return Ok(None);
    };
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let (host, path) = rest.and_then(|rest| rest.split_once('/')).unwrap_or_default();
    if host.is_empty() || path.is_empty() || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        let should = "it should hold the URL of an SQS queue, `https://sqs.{region}.amazonaws.com/{account}/{name}`";
        return Err(ConfigError::new(variable, format!("holds `{url}`; {should}")));
    }
    Ok(Some(url))
}
