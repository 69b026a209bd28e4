//! What was the function told to do? Its environment variables, all of them judged before anything starts.

use std::{fmt, time::Duration};

use crate::{event::UnknownEvents, secret, signature::Key};

/// Lambda sets this reserved variable in every function; `cargo lambda watch` and emulators don't.
const REAL_LAMBDA: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";

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

/// What a variable holds, for an error, unless a signing secret was pasted into the wrong one.
fn holds(value: &str) -> String {
    if value.contains("whsec_") { "holds what looks like a signing secret".into() } else { format!("holds `{value}`") }
}

fn bus(value: Option<String>) -> Result<String, ConfigError> {
    let error = |reason| ConfigError::new("EVENT_BUS_NAME", reason);
    let should = "should hold the name or the ARN of an event bus";
    let value = value.ok_or_else(|| error(format!("is not set; it {should}")))?;
    // What PutEvents takes: a name, or the ARN of one.
    let name = match value.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "events", region, account, bus] if is_place(partition, region, account) => {
            bus.strip_prefix("event-bus/").unwrap_or_default()
        }
        _ => &value,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    if !(1..=256).contains(&name.len()) || !name.bytes().all(is_name) {
        return Err(error(format!("{}, which is no such name; it {should}", holds(&value))));
    }
    Ok(value)
}

/// Whether these can be the parts of an ARN that tell where a resource is.
fn is_place(partition: &str, region: &str, account: &str) -> bool {
    let is_word =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    partition.starts_with("aws")
        && is_word(partition)
        && is_word(region)
        && account.len() == 12
        && account.bytes().all(|byte| byte.is_ascii_digit())
}

fn source(value: Option<String>) -> Result<String, ConfigError> {
    let value = value.unwrap_or_else(|| "scalekit".to_owned());
    let error = |why| {
        let reason = format!("{}, {why}; it should hold 1 to 256 characters, such as `scalekit`", holds(&value));
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
            let should = "it should hold the ARN of a secret in AWS Secrets Manager, \
                          `arn:aws:secretsmanager:{region}:{account}:secret:{name}`";
            Err(ConfigError::new("WEBHOOK_SECRET_ARN", format!("{}; {should}", holds(&arn))))
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
            format!(
                "{}; it should hold a whole number of seconds from 0 to {}, such as `300`",
                holds(&value),
                u32::MAX
            ),
        )),
    }
}

fn unknown_events(value: Option<&str>) -> Result<UnknownEvents, ConfigError> {
    match value {
        None | Some("forward") => Ok(UnknownEvents::Forward),
        Some("reject") => Ok(UnknownEvents::Reject),
        Some(other) => Err(ConfigError::new(
            "UNKNOWN_EVENTS",
            format!("{}; it should hold `forward` (the default) or `reject`", holds(other)),
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
        return Err(ConfigError::new(variable, format!("{}; {should}", holds(&url))));
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0";
    const OTHER_SECRET: &str = "whsec_c29tZS1vdGhlci1zZWNyZXQtb2Ytb3Vycw==";
    const ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:scalekit-AbCdEf";

    /// What is read with these variables, beside the least that must be set.
    fn read(changes: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
        let least = [("EVENT_BUS_NAME", "scalekit-events"), ("WEBHOOK_SECRET", SECRET)];
        Config::read(|name| {
            let set = changes.iter().chain(&least).find(|(variable, _)| *variable == name);
            set.map(|(_, value)| (*value).to_owned())
        })
    }

    /// The one error that a value of a variable is refused with.
    #[track_caller]
    fn refused(variable: &'static str, value: &str, reason: &str) {
        assert_eq!(read(&[(variable, value)]).unwrap_err(), [ConfigError::new(variable, reason)], "{value:?}");
    }

    fn keys(config: &Config) -> usize {
        match &config.secret {
            Secret::Keys(keys) => keys.len(),
            Secret::Arn(arn) => panic!("read from {arn}"),
        }
    }

    #[test]
    fn the_defaults() {
        let config = read(&[]).unwrap();
        assert_eq!(config.bus, "scalekit-events");
        assert_eq!(config.source, "scalekit");
        assert_eq!(keys(&config), 1);
        assert!(!config.real_lambda);
        assert_eq!(config.tolerance, Duration::from_mins(5));
        assert_eq!(config.unknown_events, UnknownEvents::Forward);
        assert_eq!((&config.parking_queue_url, &config.refused_queue_url), (&None, &None));
        assert_eq!(config.warnings(), Vec::<String>::new());
    }

    #[test]
    fn everything_set() {
        let parking = "https://sqs.eu-central-1.amazonaws.com/123456789012/parking";
        let refused = "http://127.0.0.1:4566/123456789012/refused";
        let config = read(&[
            ("EVENT_BUS_NAME", "arn:aws:events:eu-central-1:123456789012:event-bus/scalekit/events"),
            ("EVENT_SOURCE", "auth.example"),
            ("WEBHOOK_TOLERANCE_SECONDS", "0"),
            ("UNKNOWN_EVENTS", "reject"),
            ("PARKING_QUEUE_URL", parking),
            ("REFUSED_QUEUE_URL", refused),
            (REAL_LAMBDA, "on-demand"),
        ])
        .unwrap();
        assert_eq!(config.bus, "arn:aws:events:eu-central-1:123456789012:event-bus/scalekit/events");
        assert_eq!(config.source, "auth.example");
        assert!(config.real_lambda);
        assert_eq!(config.tolerance, Duration::ZERO);
        assert_eq!(config.unknown_events, UnknownEvents::Reject);
        assert_eq!(config.parking_queue_url.as_deref(), Some(parking));
        assert_eq!(config.refused_queue_url.as_deref(), Some(refused));
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let optional = [
            "EVENT_SOURCE",
            "WEBHOOK_SECRET_ARN",
            "WEBHOOK_TOLERANCE_SECONDS",
            "UNKNOWN_EVENTS",
            "PARKING_QUEUE_URL",
            "REFUSED_QUEUE_URL",
            REAL_LAMBDA,
        ];
        let config = read(&optional.map(|variable| (variable, ""))).unwrap();
        assert_eq!((&*config.source, config.tolerance), ("scalekit", Duration::from_mins(5)));
        assert_eq!((&config.parking_queue_url, config.real_lambda), (&None, false));
        refused("EVENT_BUS_NAME", "", "is not set; it should hold the name or the ARN of an event bus");
    }

    #[test]
    fn everything_wrong_is_told() {
        let errors = Config::read(|name| match name {
            "EVENT_SOURCE" => Some("aws.x".into()),
            "WEBHOOK_TOLERANCE_SECONDS" | "UNKNOWN_EVENTS" | "PARKING_QUEUE_URL" | "REFUSED_QUEUE_URL" => {
                Some("?".into())
            }
            _ => None,
        });
        let variables: Vec<_> = errors.unwrap_err().into_iter().map(|error| error.variable).collect();
        assert_eq!(
            variables,
            [
                "EVENT_BUS_NAME",
                "EVENT_SOURCE",
                "WEBHOOK_SECRET",
                "WEBHOOK_TOLERANCE_SECONDS",
                "UNKNOWN_EVENTS",
                "PARKING_QUEUE_URL",
                "REFUSED_QUEUE_URL"
            ]
        );
    }

    #[test]
    fn an_error_names_its_variable() {
        let error = ConfigError::new("UNKNOWN_EVENTS", "holds `?`");
        assert_eq!(error.to_string(), "UNKNOWN_EVENTS: holds `?`");
    }

    #[test]
    fn bus_names() {
        let longest = "a".repeat(256);
        for bus in ["a", "A-b_c.d/e", "default", "aws.partner/example.com/1", &longest] {
            assert_eq!(read(&[("EVENT_BUS_NAME", bus)]).unwrap().bus, bus);
        }
        let longer = "a".repeat(257);
        for bus in [
            " ",
            "a b",
            "bus\n",
            "büs",
            "a:b",
            "arn:aws:events:eu-central-1:123456789012:event-bus/",
            "arn:aws:events:eu-central-1:123456789012:rule/a",
            "arn:aws:sqs:eu-central-1:123456789012:event-bus/a",
            "arn:aws:events:eu-central-1::event-bus/a",
            "arn:aws:events::123456789012:event-bus/a",
            "arn:aws:events:eu-central-1:12345678901:event-bus/a",
            "arn:aws:events:eu-central-1:12345678901x:event-bus/a",
            "arn::events:eu-central-1:123456789012:event-bus/a",
            "arn:aws:events:eu central-1:123456789012:event-bus/a",
            "https://events.eu-central-1.amazonaws.com/event-bus/a",
            &longer,
        ] {
            let reason =
                format!("holds `{bus}`, which is no such name; it should hold the name or the ARN of an event bus");
            refused("EVENT_BUS_NAME", bus, &reason);
        }
    }

    #[test]
    fn sources() {
        let longest = "é".repeat(256);
        for source in ["s", "AWS.events", "aws", "my aws.events", &longest] {
            assert_eq!(read(&[("EVENT_SOURCE", source)]).unwrap().source, source);
        }
        let longer = "é".repeat(257);
        for (source, why) in [
            ("aws.", "but sources that start with `aws.` are AWS's own"),
            ("aws.events", "but sources that start with `aws.` are AWS's own"),
            ("a\nb", "with a control character in it"),
            (&longer, "which is 257 characters long"),
        ] {
            let reason = format!("holds `{source}`, {why}; it should hold 1 to 256 characters, such as `scalekit`");
            refused("EVENT_SOURCE", source, &reason);
        }
    }

    #[test]
    fn secrets_are_separated_by_white_space_or_commas() {
        for separator in [" ", ",", ", ", "\n", "\r\n\t", " ,, "] {
            let secrets = format!("{separator}{SECRET}{separator}{OTHER_SECRET}{separator}");
            assert_eq!(keys(&read(&[("WEBHOOK_SECRET", &secrets)]).unwrap()), 2, "{separator:?}");
        }
    }

    #[test]
    fn a_wrong_secret_is_counted_but_not_shown() {
        let should = "it should hold Scalekit's signing secret, `whsec_…`, or several of them separated by white space or commas";
        let development = secret::DEVELOPMENT_SECRET;
        let reason = |why| format!("{why}; {should}");
        for (secrets, why) in [
            ("", "is not set, nor is WEBHOOK_SECRET_ARN; one of them must be"),
            (" ,\n", "holds no secret"),
            ("hunter2", "holds, as secret 1 of 1, one that does not start with `whsec_`"),
            (
                &format!("{SECRET},whsec_?"),
                "holds, as secret 2 of 2, one that is not standard, padded base64 after `whsec_`",
            ),
            (
                &format!("whsec_c2VjcmV0 {SECRET}"),
                "holds, as secret 1 of 2, one that holds a key of 6 bytes, not 24 to 64",
            ),
        ] {
            refused("WEBHOOK_SECRET", secrets, &reason(why));
        }
        // Lambda itself is told by a variable of its own.
        assert_eq!(keys(&read(&[("WEBHOOK_SECRET", development)]).unwrap()), 1);
        let secrets = format!("{SECRET} {development}");
        assert_eq!(
            read(&[("WEBHOOK_SECRET", &secrets), (REAL_LAMBDA, "on-demand")]).unwrap_err(),
            [ConfigError::new(
                "WEBHOOK_SECRET",
                reason("holds, as secret 2 of 2, the published development secret, which anyone can sign with")
            )]
        );
    }

    #[test]
    fn a_secret_in_the_wrong_variable_is_not_shown() {
        for variable in
            ["EVENT_BUS_NAME", "EVENT_SOURCE", "WEBHOOK_TOLERANCE_SECONDS", "UNKNOWN_EVENTS", "PARKING_QUEUE_URL"]
        {
            let value = format!("aws.{OTHER_SECRET}");
            let errors = read(&[(variable, &value)]).unwrap_err();
            assert_eq!((errors.len(), errors[0].variable), (1, variable));
            assert!(errors[0].reason.starts_with("holds what looks like a signing secret"), "{errors:?}");
            assert!(!errors[0].reason.contains(OTHER_SECRET), "{errors:?}");
        }
    }

    #[test]
    fn a_secret_in_secrets_manager() {
        let read = |arn| read(&[("WEBHOOK_SECRET", ""), ("WEBHOOK_SECRET_ARN", arn)]);
        match read(ARN).unwrap().secret {
            Secret::Arn(arn) => assert_eq!(arn, ARN),
            Secret::Keys(keys) => panic!("read {keys:?}"),
        }
        let should = "it should hold the ARN of a secret in AWS Secrets Manager, \
                      `arn:aws:secretsmanager:{region}:{account}:secret:{name}`";
        for (arn, holds) in [
            ("scalekit", "holds `scalekit`"),
            (
                "arn:aws:ssm:eu-central-1:123456789012:parameter/a",
                "holds `arn:aws:ssm:eu-central-1:123456789012:parameter/a`",
            ),
            (
                "arn:aws:secretsmanager:eu-central-1:123456789012:scalekit-AbCdEf",
                "holds `arn:aws:secretsmanager:eu-central-1:123456789012:scalekit-AbCdEf`",
            ),
            (SECRET, "holds what looks like a signing secret"),
        ] {
            assert_eq!(read(arn).unwrap_err(), [ConfigError::new("WEBHOOK_SECRET_ARN", format!("{holds}; {should}"))]);
        }
        let both = super::Config::read(|name| match name {
            "EVENT_BUS_NAME" => Some("a".into()),
            "WEBHOOK_SECRET" => Some(SECRET.into()),
            "WEBHOOK_SECRET_ARN" => Some(ARN.into()),
            _ => None,
        });
        let reason = "is set, and WEBHOOK_SECRET_ARN too; set one of them alone";
        assert_eq!(both.unwrap_err(), [ConfigError::new("WEBHOOK_SECRET", reason)]);
    }

    #[test]
    fn tolerances() {
        for (value, seconds) in [("0", 0), ("00300", 300), ("4294967295", 4_294_967_295)] {
            let config = read(&[("WEBHOOK_TOLERANCE_SECONDS", value)]).unwrap();
            assert_eq!(config.tolerance, Duration::from_secs(seconds), "{value}");
        }
        for value in ["-1", "+1", "1.5", "5m", " 300", "1e3", "٣", "4294967296"] {
            let reason = format!(
                "holds `{value}`; it should hold a whole number of seconds from 0 to 4294967295, such as `300`"
            );
            refused("WEBHOOK_TOLERANCE_SECONDS", value, &reason);
        }
    }

    #[test]
    fn a_wide_tolerance_is_warned_about() {
        let warnings = |seconds| read(&[("WEBHOOK_TOLERANCE_SECONDS", seconds)]).unwrap().warnings();
        assert_eq!(warnings("3600"), Vec::<String>::new());
        assert_eq!(
            warnings("3601"),
            ["WEBHOOK_TOLERANCE_SECONDS: 3601 s let a recorded delivery be sent again for as long; \
              at most 3600 is advised, 300 is the default"]
        );
    }

    #[test]
    fn what_happens_to_unknown_events() {
        for (value, policy) in [("forward", UnknownEvents::Forward), ("reject", UnknownEvents::Reject)] {
            assert_eq!(read(&[("UNKNOWN_EVENTS", value)]).unwrap().unknown_events, policy);
        }
        for value in ["Reject", " reject", "true"] {
            let reason = format!("holds `{value}`; it should hold `forward` (the default) or `reject`");
            refused("UNKNOWN_EVENTS", value, &reason);
        }
    }

    #[test]
    fn queue_urls() {
        for variable in ["PARKING_QUEUE_URL", "REFUSED_QUEUE_URL"] {
            for url in [
                "parking",
                "arn:aws:sqs:eu-central-1:123456789012:parking",
                "sqs.eu-central-1.amazonaws.com/123456789012/parking",
                "ftp://sqs.eu-central-1.amazonaws.com/123456789012/parking",
                "https://",
                "https:///123456789012/parking",
                "https://sqs.eu-central-1.amazonaws.com",
                "https://sqs.eu-central-1.amazonaws.com/",
                "https://sqs.eu-central-1.amazonaws.com/123456789012/park ing",
                "https://sqs.eu-central-1.amazonaws.com/123456789012/pärking",
            ] {
                let reason = format!(
                    "holds `{url}`; it should hold the URL of an SQS queue, \
                     `https://sqs.{{region}}.amazonaws.com/{{account}}/{{name}}`"
                );
                refused(variable, url, &reason);
            }
        }
    }
}
