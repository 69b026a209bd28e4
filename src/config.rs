//! The configuration, read from environment variables. All of them are checked before the function accepts an invocation.

use std::{fmt, time::Duration};

use crate::{
    event::{self, Validation},
    secret,
    signature::Key,
};

/// A reserved variable that Lambda sets in every function. `cargo lambda watch` and emulators don't set it.
const INITIALIZATION_TYPE: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";

/// The tolerance above which there is a warning: a recorded delivery can be replayed for that long.
const WIDE_TOLERANCE_SECONDS: u64 = 3600;

/// The configuration.
#[derive(Debug)]
pub struct Config {
    /// `EVENT_BUS_NAME`: a name or an ARN.
    pub bus: String,
    /// `EVENT_SOURCE`
    pub source: String,
    /// `WEBHOOK_SECRET` or `WEBHOOK_SECRET_ARN`
    pub secret: SecretSource,
    /// Whether the function runs on Lambda, where the development secret is refused.
    pub on_lambda: bool,
    /// `WEBHOOK_TOLERANCE_SECONDS`
    pub tolerance: Duration,
    /// `VALIDATION`
    pub validation: Validation,
    /// `ENVIRONMENT_ID`
    pub environment_id: Option<String>,
    /// `PARKING_QUEUE_URL`
    pub parking_queue_url: Option<String>,
    /// `DEAD_LETTER_QUEUE_URL`
    pub dead_letter_queue_url: Option<String>,
}

/// Where the signing keys come from. Exactly one of the two variables must be set.
#[derive(Debug)]
pub enum SecretSource {
    /// `WEBHOOK_SECRET`: the keys themselves.
    Keys(Vec<Key>),
    /// `WEBHOOK_SECRET_ARN`: a secret in AWS Secrets Manager.
    Arn(String),
}

/// A variable that is missing or has an invalid value. The error doesn't contain anything that looks like a signing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The variable.
    pub variable: &'static str,
    /// What it holds, and what it should hold.
    pub reason: String,
}

impl ConfigError {
    /// An error about this variable.
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
    /// Reads the configuration. An empty variable counts as not set.
    ///
    /// # Errors
    /// One error for each invalid variable.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<ConfigError>> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut errors = Vec::new();
        let bus = ok_or_push(&mut errors, bus(variable("EVENT_BUS_NAME")));
        let source = ok_or_push(&mut errors, source(variable("EVENT_SOURCE")));
        let on_lambda = variable(INITIALIZATION_TYPE).is_some();
        let secret = secret(variable("WEBHOOK_SECRET"), variable("WEBHOOK_SECRET_ARN"), on_lambda);
        let secret = ok_or_push(&mut errors, secret);
        let tolerance = ok_or_push(&mut errors, tolerance(variable("WEBHOOK_TOLERANCE_SECONDS")));
        let validation = ok_or_push(&mut errors, validation(variable("VALIDATION").as_deref()));
        let replaced = ok_or_push(&mut errors, replaced_variable(variable("UNKNOWN_EVENTS").as_deref()));
        let environment_id = ok_or_push(&mut errors, environment_id(variable("ENVIRONMENT_ID")));
        let mut queue_url = |name| ok_or_push(&mut errors, queue_url(name, variable(name)));
        let parking_queue_url = queue_url("PARKING_QUEUE_URL");
        let dead_letter_queue_url = queue_url("DEAD_LETTER_QUEUE_URL");
        let config = move || {
            replaced?;
            Some(Self {
                bus: bus?,
                source: source?,
                secret: secret?,
                on_lambda,
                tolerance: tolerance?,
                validation: validation?,
                environment_id: environment_id?,
                parking_queue_url: parking_queue_url?,
                dead_letter_queue_url: dead_letter_queue_url?,
            })
        };
        config().ok_or(errors)
    }

    /// Checks that a bus that is given by its ARN is in the function's region, because `PutEvents` refuses a bus in
    /// another region. This is a separate step because only the SDK's configuration contains the region.
    ///
    /// # Errors
    /// [`ConfigError`] if the bus is in another region.
    pub fn check_region(&self, region: &str) -> Result<(), ConfigError> {
        match bus_region(&self.bus) {
            Some(bus_region) if bus_region != region => {
                let reason = format!(
                    "holds `{}`, a bus in another region; it should hold the name or the ARN of a bus in the function's region, {region}",
                    self.bus
                );
                Err(ConfigError::new("EVENT_BUS_NAME", reason))
            }
            _ => Ok(()),
        }
    }

    /// Warnings about values that are valid, but probably a mistake.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let seconds = self.tolerance.as_secs();
        let mut warnings = Vec::new();
        if seconds > WIDE_TOLERANCE_SECONDS {
            warnings.push(format!(
                "WEBHOOK_TOLERANCE_SECONDS: a recorded delivery can be replayed for {seconds} s; \
                 use at most {WIDE_TOLERANCE_SECONDS} s; the default is 300"
            ));
        }
        warnings
    }
}

fn ok_or_push<T>(errors: &mut Vec<ConfigError>, value: Result<T, ConfigError>) -> Option<T> {
    value.map_err(|error| errors.push(error)).ok()
}

/// What a variable holds, as part of an error's text. A value that looks like a signing secret isn't shown.
fn holds(value: &str) -> String {
    if secret::looks_like_signing_secrets(value) {
        "holds what looks like a signing secret".into()
    } else {
        format!("holds `{value}`")
    }
}

fn bus(value: Option<String>) -> Result<String, ConfigError> {
    let error = |reason| ConfigError::new("EVENT_BUS_NAME", reason);
    let should = "should hold the name or the ARN of an event bus";
    let value = value.ok_or_else(|| error(format!("is not set; it {should}")))?;
    let name = match value.split(':').collect::<Vec<_>>()[..] {
        ["arn", _, service, _, _, bus] if service == "eventsv2" || bus.starts_with("event-busv2/") => {
            return Err(error(format!(
                "{}, a bus of EventBridge's newer kind (Custom Event Bus), which has subscribers instead of rules; it should hold the name or the ARN of an event bus with rules",
                holds(&value)
            )));
        }
        ["arn", partition, "events", region, account, bus] if are_arn_parts(partition, region, account) => {
            bus.strip_prefix("event-bus/").unwrap_or_default()
        }
        _ => &value,
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    let is_valid = (1..=256).contains(&name.len()) && name.bytes().all(is_name);
    // A signing secret can be a valid name, and the name would be logged.
    if !is_valid || secret::looks_like_signing_secrets(name) {
        return Err(error(format!("{}; it {should}", holds(&value))));
    }
    Ok(value)
}

/// The region in a bus's ARN; nothing for a name.
fn bus_region(bus: &str) -> Option<&str> {
    bus.strip_prefix("arn:")?.split(':').nth(2)
}

/// Whether these can be the partition, region and account of an ARN.
fn are_arn_parts(partition: &str, region: &str, account: &str) -> bool {
    let is_word =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    partition.starts_with("aws") && is_word(partition) && is_word(region) && is_account(account)
}

fn source(value: Option<String>) -> Result<String, ConfigError> {
    let value = value.unwrap_or_else(|| "scalekit".to_owned());
    let error = |why| {
        let reason = format!("{}{why}; it should hold 1 to 256 characters, such as `scalekit`", holds(&value));
        Err(ConfigError::new("EVENT_SOURCE", reason))
    };
    match value.chars().count() {
        // The source is a part of every event.
        _ if secret::looks_like_signing_secrets(&value) => error(""),
        _ if value.starts_with("aws.") => error(", but sources that start with `aws.` are AWS's own"),
        _ if value.chars().any(char::is_control) => error(", which contains a control character"),
        1..=256 => Ok(value),
        length => error(&format!(", which is {length} characters long")),
    }
}

fn secret(secrets: Option<String>, arn: Option<String>, on_lambda: bool) -> Result<SecretSource, ConfigError> {
    let error = |reason: String| Err(ConfigError::new("WEBHOOK_SECRET", reason));
    let should =
        "should hold Scalekit's signing secret, `whsec_…`, or several of them separated by white space or commas";
    match (secrets, arn) {
        (None, None) => {
            error(format!("is not set, and neither is WEBHOOK_SECRET_ARN; set one of them; this one {should}"))
        }
        (Some(_), Some(_)) => error("is set, and so is WEBHOOK_SECRET_ARN; set only one of them".into()),
        (Some(secrets), None) => match secret::parse(&secrets, on_lambda).into_iter().collect() {
            Ok(keys) => Ok(SecretSource::Keys(keys)),
            Err(reason) => error(format!("can't be used: {reason}; the variable {should}")),
        },
        (None, Some(arn)) => secret_arn(arn).map(SecretSource::Arn),
    }
}

fn secret_arn(arn: String) -> Result<String, ConfigError> {
    let error = |reason| Err(ConfigError::new("WEBHOOK_SECRET_ARN", reason));
    match arn.split(':').collect::<Vec<_>>()[..] {
        ["arn", partition, "secretsmanager", region, account, "secret", name]
            if are_arn_parts(partition, region, account)
                && !name.is_empty()
                && !secret::looks_like_signing_secrets(name) =>
        {
            Ok(arn)
        }
        ["arn", _, "secretsmanager", _, _, "secret", _, _, ..] => error(format!(
            "{}, an ARN with a suffix as in Amazon ECS (`:key:stage:version`); it should hold the secret's ARN without \
             the suffix. If the secret is a JSON object, the function finds the signing secrets in it",
            holds(&arn)
        )),
        _ => {
            // A secret without its prefix may have been pasted here, so only an ARN is shown.
            let holds = if arn.starts_with("arn:") { holds(&arn) } else { "does not hold an ARN".into() };
            error(format!(
                "{holds}; it should hold the ARN of a secret in AWS Secrets Manager, \
                 `arn:aws:secretsmanager:{{region}}:{{account}}:secret:{{name}}`"
            ))
        }
    }
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

fn validation(value: Option<&str>) -> Result<Validation, ConfigError> {
    match value {
        None | Some("tolerant") => Ok(Validation::Tolerant),
        Some("strict") => Ok(Validation::Strict),
        Some(other) => Err(ConfigError::new(
            "VALIDATION",
            format!("{}; it should hold `tolerant` (the default) or `strict`", holds(other)),
        )),
    }
}

/// `VALIDATION` has replaced `UNKNOWN_EVENTS`. If the old variable were ignored, a function whose operator had set it to `reject`
/// would forward what it refused before.
fn replaced_variable(value: Option<&str>) -> Result<(), ConfigError> {
    let reason = "is set, but VALIDATION has replaced it; instead of `reject`, set VALIDATION to `strict`; instead of \
                  `forward`, leave VALIDATION out; then remove UNKNOWN_EVENTS";
    value.map_or(Ok(()), |_| Err(ConfigError::new("UNKNOWN_EVENTS", reason)))
}

fn environment_id(value: Option<String>) -> Result<Option<String>, ConfigError> {
    match value {
        Some(id) if !event::is_environment_id(&id) => Err(ConfigError::new(
            "ENVIRONMENT_ID",
            format!("{}; it should hold the id of a Scalekit environment, `env_…`", holds(&id)),
        )),
        value => Ok(value),
    }
}

#[expect(clippy::case_sensitive_file_extension_comparisons, reason = "it is the name of a queue, and case matters")]
fn queue_url(variable: &'static str, value: Option<String>) -> Result<Option<String>, ConfigError> {
    let Some(url) = value else {
        return Ok(None);
    };
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let parts: Vec<_> = rest.map(|rest| rest.split('/').collect()).unwrap_or_default();
    let error = |reason| Err(ConfigError::new(variable, reason));
    match parts[..] {
        [host, account, name] if !host.is_empty() && is_account(account) && is_queue_name(name) => Ok(Some(url)),
        [_, _, name] if name.ends_with(".fifo") => error(format!(
            "{}, a FIFO queue; it should hold the URL of a standard queue, because the function sends no message group id",
            holds(&url)
        )),
        _ => error(format!(
            "{}; it should hold the URL of an SQS queue, `https://sqs.{{region}}.amazonaws.com/{{account}}/{{name}}`",
            holds(&url)
        )),
    }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_queue_name(text: &str) -> bool {
    (1..=80).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0";
    const OTHER_SECRET: &str = "whsec_c29tZS1vdGhlci1zZWNyZXQtb2Ytb3Vycw==";
    const ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:scalekit-AbCdEf";

    /// Reads a configuration with these variables. Required variables that aren't among them get valid values.
    fn read(changes: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
        let required = [("EVENT_BUS_NAME", "scalekit-events"), ("WEBHOOK_SECRET", SECRET)];
        Config::read(|name| {
            let set = changes.iter().chain(&required).find(|(variable, _)| *variable == name);
            set.map(|(_, value)| (*value).to_owned())
        })
    }

    /// Expects that a variable's value is refused with this error alone.
    #[track_caller]
    fn assert_refused(variable: &'static str, value: &str, reason: &str) {
        assert_eq!(read(&[(variable, value)]).unwrap_err(), [ConfigError::new(variable, reason)], "{value:?}");
    }

    fn key_count(config: &Config) -> usize {
        match &config.secret {
            SecretSource::Keys(keys) => keys.len(),
            SecretSource::Arn(arn) => panic!("read from {arn}"),
        }
    }

    #[test]
    fn defaults() {
        let config = read(&[]).unwrap();
        assert_eq!(config.bus, "scalekit-events");
        assert_eq!(config.source, "scalekit");
        assert_eq!(key_count(&config), 1);
        assert!(!config.on_lambda);
        assert_eq!(config.tolerance, Duration::from_mins(5));
        assert_eq!(config.validation, Validation::Tolerant);
        assert_eq!(config.environment_id, None);
        assert_eq!((&config.parking_queue_url, &config.dead_letter_queue_url), (&None, &None));
        assert_eq!(config.warnings(), Vec::<String>::new());
    }

    #[test]
    fn every_variable_is_read() {
        let parking = "https://sqs.eu-central-1.amazonaws.com/123456789012/parking";
        let dead_letters = "http://127.0.0.1:4566/123456789012/dead-letters";
        let config = read(&[
            ("EVENT_BUS_NAME", "arn:aws:events:eu-central-1:123456789012:event-bus/scalekit/events"),
            ("EVENT_SOURCE", "auth.example"),
            ("WEBHOOK_TOLERANCE_SECONDS", "0"),
            ("VALIDATION", "strict"),
            ("ENVIRONMENT_ID", "env_74418471961625391"),
            ("PARKING_QUEUE_URL", parking),
            ("DEAD_LETTER_QUEUE_URL", dead_letters),
            (INITIALIZATION_TYPE, "on-demand"),
        ])
        .unwrap();
        assert_eq!(config.bus, "arn:aws:events:eu-central-1:123456789012:event-bus/scalekit/events");
        assert_eq!(config.source, "auth.example");
        assert!(config.on_lambda);
        assert_eq!(config.tolerance, Duration::ZERO);
        assert_eq!(config.validation, Validation::Strict);
        assert_eq!(config.environment_id.as_deref(), Some("env_74418471961625391"));
        assert_eq!(config.parking_queue_url.as_deref(), Some(parking));
        assert_eq!(config.dead_letter_queue_url.as_deref(), Some(dead_letters));
    }

    #[test]
    fn an_empty_variable_is_not_set() {
        let optional = [
            "EVENT_SOURCE",
            "WEBHOOK_SECRET_ARN",
            "WEBHOOK_TOLERANCE_SECONDS",
            "VALIDATION",
            "UNKNOWN_EVENTS",
            "ENVIRONMENT_ID",
            "PARKING_QUEUE_URL",
            "DEAD_LETTER_QUEUE_URL",
            INITIALIZATION_TYPE,
        ];
        let config = read(&optional.map(|variable| (variable, ""))).unwrap();
        assert_eq!((&*config.source, config.tolerance), ("scalekit", Duration::from_mins(5)));
        assert_eq!((&config.parking_queue_url, config.on_lambda), (&None, false));
        assert_refused("EVENT_BUS_NAME", "", "is not set; it should hold the name or the ARN of an event bus");
    }

    #[test]
    fn every_invalid_variable_is_reported() {
        let errors = Config::read(|name| match name {
            "EVENT_SOURCE" => Some("aws.x".into()),
            "WEBHOOK_TOLERANCE_SECONDS"
            | "VALIDATION"
            | "UNKNOWN_EVENTS"
            | "ENVIRONMENT_ID"
            | "PARKING_QUEUE_URL"
            | "DEAD_LETTER_QUEUE_URL" => Some("?".into()),
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
                "VALIDATION",
                "UNKNOWN_EVENTS",
                "ENVIRONMENT_ID",
                "PARKING_QUEUE_URL",
                "DEAD_LETTER_QUEUE_URL"
            ]
        );
    }

    #[test]
    fn an_error_names_its_variable() {
        let error = ConfigError::new("VALIDATION", "holds `?`");
        assert_eq!(error.to_string(), "VALIDATION: holds `?`");
    }

    #[test]
    fn a_bus_is_a_name_or_an_arn() {
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
            let reason = format!("holds `{bus}`; it should hold the name or the ARN of an event bus");
            assert_refused("EVENT_BUS_NAME", bus, &reason);
        }
    }

    #[test]
    fn a_source_has_1_to_256_characters() {
        let longest = "é".repeat(256);
        for source in ["s", "AWS.events", "aws", "my aws.events", &longest] {
            assert_eq!(read(&[("EVENT_SOURCE", source)]).unwrap().source, source);
        }
        let longer = "é".repeat(257);
        for (source, why) in [
            ("aws.", ", but sources that start with `aws.` are AWS's own"),
            ("aws.events", ", but sources that start with `aws.` are AWS's own"),
            ("a\nb", ", which contains a control character"),
            (&longer, ", which is 257 characters long"),
        ] {
            let reason = format!("holds `{source}`{why}; it should hold 1 to 256 characters, such as `scalekit`");
            assert_refused("EVENT_SOURCE", source, &reason);
        }
    }

    #[test]
    fn secrets_are_separated_by_white_space_or_commas() {
        for separator in [" ", ",", ", ", "\n", "\r\n\t", " ,, "] {
            let secrets = format!("{separator}{SECRET}{separator}{OTHER_SECRET}{separator}");
            assert_eq!(key_count(&read(&[("WEBHOOK_SECRET", &secrets)]).unwrap()), 2, "{separator:?}");
        }
    }

    #[test]
    fn an_invalid_secret_is_reported_by_its_position() {
        let should =
            "should hold Scalekit's signing secret, `whsec_…`, or several of them separated by white space or commas";
        let development = secret::DEVELOPMENT_SECRET;
        let reason = |why| format!("{why}; the variable {should}");
        for (secrets, why) in [
            (" ,\n", "can't be used: the value contains no signing secret"),
            ("hunter2", "can't be used: secret 1 of 1 is invalid: it does not start with `whsec_`"),
            (
                &format!("{SECRET},whsec_?"),
                "can't be used: secret 2 of 2 is invalid: it is not standard, padded base64 after `whsec_`",
            ),
            (
                &format!("whsec_c2VjcmV0 {SECRET}"),
                "can't be used: secret 1 of 2 is invalid: its key has 6 bytes instead of 24 to 64",
            ),
        ] {
            assert_refused("WEBHOOK_SECRET", secrets, &reason(why));
        }
        // Outside Lambda, the development secret is valid.
        assert_eq!(key_count(&read(&[("WEBHOOK_SECRET", development)]).unwrap()), 1);
        let secrets = format!("{SECRET} {development}");
        assert_eq!(
            read(&[("WEBHOOK_SECRET", &secrets), (INITIALIZATION_TYPE, "on-demand")]).unwrap_err(),
            [ConfigError::new(
                "WEBHOOK_SECRET",
                reason("can't be used: secret 2 of 2 is the published development secret, which anyone can sign with")
            )]
        );
    }

    #[test]
    fn a_secret_in_the_wrong_variable_is_refused_and_not_shown() {
        for variable in [
            "EVENT_BUS_NAME",
            "EVENT_SOURCE",
            "WEBHOOK_TOLERANCE_SECONDS",
            "VALIDATION",
            "ENVIRONMENT_ID",
            "PARKING_QUEUE_URL",
        ] {
            for secret in [SECRET, OTHER_SECRET] {
                let errors = read(&[(variable, secret)]).unwrap_err();
                assert_eq!((errors.len(), errors[0].variable), (1, variable));
                assert!(
                    errors[0].reason.starts_with("holds what looks like a signing secret; it should"),
                    "{errors:?}"
                );
                assert!(!errors[0].reason.contains(secret), "{errors:?}");
            }
        }
    }

    #[test]
    fn a_secret_in_secrets_manager() {
        let read = |arn| read(&[("WEBHOOK_SECRET", ""), ("WEBHOOK_SECRET_ARN", arn)]);
        match read(ARN).unwrap().secret {
            SecretSource::Arn(arn) => assert_eq!(arn, ARN),
            SecretSource::Keys(keys) => panic!("read {keys:?}"),
        }
        let should = "it should hold the ARN of a secret in AWS Secrets Manager, \
                      `arn:aws:secretsmanager:{region}:{account}:secret:{name}`";
        for (arn, holds) in [
            ("scalekit", "does not hold an ARN"),
            (
                "arn:aws:ssm:eu-central-1:123456789012:parameter/a",
                "holds `arn:aws:ssm:eu-central-1:123456789012:parameter/a`",
            ),
            (
                "arn:aws:secretsmanager:eu-central-1:123456789012:scalekit-AbCdEf",
                "holds `arn:aws:secretsmanager:eu-central-1:123456789012:scalekit-AbCdEf`",
            ),
            (SECRET, "does not hold an ARN"),
        ] {
            assert_eq!(read(arn).unwrap_err(), [ConfigError::new("WEBHOOK_SECRET_ARN", format!("{holds}; {should}"))]);
        }
        let both = super::Config::read(|name| match name {
            "EVENT_BUS_NAME" => Some("a".into()),
            "WEBHOOK_SECRET" => Some(SECRET.into()),
            "WEBHOOK_SECRET_ARN" => Some(ARN.into()),
            _ => None,
        });
        let reason = "is set, and so is WEBHOOK_SECRET_ARN; set only one of them";
        assert_eq!(both.unwrap_err(), [ConfigError::new("WEBHOOK_SECRET", reason)]);
    }

    #[test]
    fn a_tolerance_is_a_number_of_seconds() {
        for (value, seconds) in [("0", 0), ("00300", 300), ("4294967295", 4_294_967_295)] {
            let config = read(&[("WEBHOOK_TOLERANCE_SECONDS", value)]).unwrap();
            assert_eq!(config.tolerance, Duration::from_secs(seconds), "{value}");
        }
        for value in ["-1", "+1", "1.5", "5m", " 300", "1e3", "٣", "4294967296"] {
            let reason = format!(
                "holds `{value}`; it should hold a whole number of seconds from 0 to 4294967295, such as `300`"
            );
            assert_refused("WEBHOOK_TOLERANCE_SECONDS", value, &reason);
        }
    }

    #[test]
    fn a_wide_tolerance_is_warned_about() {
        let warnings = |seconds| read(&[("WEBHOOK_TOLERANCE_SECONDS", seconds)]).unwrap().warnings();
        assert_eq!(warnings("3600"), Vec::<String>::new());
        assert_eq!(
            warnings("3601"),
            ["WEBHOOK_TOLERANCE_SECONDS: a recorded delivery can be replayed for 3601 s; \
              use at most 3600 s; the default is 300"]
        );
    }

    #[test]
    fn validation_is_tolerant_or_strict() {
        for (value, validation) in [("tolerant", Validation::Tolerant), ("strict", Validation::Strict)] {
            assert_eq!(read(&[("VALIDATION", value)]).unwrap().validation, validation);
        }
        for value in ["Strict", " strict", "strict\n", "reject", "true"] {
            let reason = format!("holds `{value}`; it should hold `tolerant` (the default) or `strict`");
            assert_refused("VALIDATION", value, &reason);
        }
    }

    #[test]
    fn the_variable_that_validation_replaced_must_not_be_set() {
        for value in ["forward", "reject", " ", SECRET] {
            let reason = "is set, but VALIDATION has replaced it; instead of `reject`, set VALIDATION to `strict`; instead of \
                          `forward`, leave VALIDATION out; then remove UNKNOWN_EVENTS";
            let expected = [ConfigError::new("UNKNOWN_EVENTS", reason)];
            assert_eq!(read(&[("UNKNOWN_EVENTS", value)]).unwrap_err(), expected, "{value:?}");
            assert_eq!(
                read(&[("UNKNOWN_EVENTS", value), ("VALIDATION", "strict")]).unwrap_err(),
                expected,
                "{value:?}"
            );
        }
    }

    #[test]
    fn an_environment_is_named_by_its_id() {
        for id in ["env_1", "env_74418471961625391", "env_2345678901234567890123456789"] {
            assert_eq!(read(&[("ENVIRONMENT_ID", id)]).unwrap().environment_id.as_deref(), Some(id));
        }
        for id in
            ["production", "ENV_1", " env_1", "env_1\n", "env_1,env_2", "env_", "env_23456789012345678901234567890"]
        {
            let reason = format!("holds `{id}`; it should hold the id of a Scalekit environment, `env_…`");
            assert_refused("ENVIRONMENT_ID", id, &reason);
        }
    }

    #[test]
    fn a_value_that_is_not_the_url_of_a_queue_is_refused() {
        for variable in ["PARKING_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"] {
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
                "https://sqs.eu-central-1.amazonaws.com/123456789012/",
                "https://sqs.eu-central-1.amazonaws.com/12345678901/parking",
                "https://sqs.eu-central-1.amazonaws.com/queue/parking",
                "https://sqs.eu-central-1.amazonaws.com/123456789012/parking/",
                "https://sqs.eu-central-1.amazonaws.com/123456789012/a/parking",
                &format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{}", "a".repeat(81)),
            ] {
                let reason = format!(
                    "holds `{url}`; it should hold the URL of an SQS queue, \
                     `https://sqs.{{region}}.amazonaws.com/{{account}}/{{name}}`"
                );
                assert_refused(variable, url, &reason);
            }
        }
    }
    #[test]
    fn a_fifo_queue_is_refused() {
        let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/parking.fifo";
        let reason = format!(
            "holds `{url}`, a FIFO queue; it should hold the URL of a standard queue, because the function sends no message group id"
        );
        assert_refused("PARKING_QUEUE_URL", url, &reason);
        assert_refused("DEAD_LETTER_QUEUE_URL", url, &reason);
    }

    #[test]
    fn a_bus_with_subscribers_is_refused() {
        for bus in [
            "arn:aws:events:eu-central-1:123456789012:event-busv2/a",
            "arn:aws:eventsv2:eu-central-1:123456789012:event-bus/a",
        ] {
            let reason = format!(
                "holds `{bus}`, a bus of EventBridge's newer kind (Custom Event Bus), which has subscribers instead of rules; \
                 it should hold the name or the ARN of an event bus with rules"
            );
            assert_refused("EVENT_BUS_NAME", bus, &reason);
        }
    }

    #[test]
    fn a_bus_in_another_region_is_refused() {
        let check = |bus| read(&[("EVENT_BUS_NAME", bus)]).unwrap().check_region("eu-central-1");
        assert_eq!(check("scalekit"), Ok(()));
        assert_eq!(check("arn:aws:events:eu-central-1:210987654321:event-bus/a"), Ok(()));
        let reason = "holds `arn:aws:events:eu-west-1:123456789012:event-bus/a`, a bus in another region; \
                      it should hold the name or the ARN of a bus in the function's region, eu-central-1";
        let error = ConfigError::new("EVENT_BUS_NAME", reason);
        assert_eq!(check("arn:aws:events:eu-west-1:123456789012:event-bus/a"), Err(error));
    }

    #[test]
    fn a_secret_arn_with_a_suffix_is_refused() {
        for suffix in [":key::", ":key:AWSCURRENT:", "::AWSCURRENT:", ":key"] {
            let arn = format!("{ARN}{suffix}");
            let errors = read(&[("WEBHOOK_SECRET", ""), ("WEBHOOK_SECRET_ARN", &arn)]).unwrap_err();
            let reason = format!(
                "holds `{arn}`, an ARN with a suffix as in Amazon ECS (`:key:stage:version`); it should hold the \
                 secret's ARN without the suffix. If the secret is a JSON object, the function finds the signing secrets in it"
            );
            assert_eq!(errors, [ConfigError::new("WEBHOOK_SECRET_ARN", reason)]);
        }
    }
}
