//! The configuration, read from environment variables. All of them are checked before the function accepts an invocation.

use std::{fmt, time::Duration};

use crate::{
    event::{self, Validation},
    partition::{self, SqsHost},
    secret::{self, SecretError, SecretId},
    signature::Key,
};

/// A reserved variable that Lambda sets in every function. `cargo lambda watch` and emulators don't set it.
const INITIALIZATION_TYPE: &str = "AWS_LAMBDA_INITIALIZATION_TYPE";

/// The tolerance above which there is a warning: a recorded delivery can be replayed for that long.
const WIDE_TOLERANCE_SECONDS: u64 = 3600;

/// The SDK's variables with the endpoints of the services that the function calls.
const ENDPOINTS: [&str; 4] =
    ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EVENTBRIDGE", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_SECRETS_MANAGER"];

/// The SDK's variables with a boolean.
const BOOLEANS: [&str; 3] =
    ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"];

/// Variables with a path that is logged if there is no such file.
const PATHS: [&str; 3] = ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "SSL_CERT_DIR"];

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
    /// Warnings about values that are valid, but probably a mistake.
    pub warnings: Vec<String>,
}

/// The part of the SDK's configuration that the values of variables depend on.
#[derive(Debug, Clone, Copy)]
pub struct AwsSettings<'a> {
    /// The function's region.
    pub region: &'a str,
    /// Whether calls to SQS go to an endpoint of the operator's choice.
    pub has_sqs_endpoint: bool,
}

/// Where the signing keys come from. Exactly one of the two variables must be set.
#[derive(Debug)]
pub enum SecretSource {
    /// `WEBHOOK_SECRET`: the keys themselves.
    Keys(Vec<Key>),
    /// `WEBHOOK_SECRET_ARN`: a secret in AWS Secrets Manager.
    Stored(SecretId),
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
    /// Without `aws`, or without a valid region in it, what depends on these settings isn't checked.
    ///
    /// # Errors
    /// One error for each invalid variable.
    pub fn read(
        variable: impl Fn(&str) -> Option<String>,
        aws: Option<AwsSettings<'_>>,
    ) -> Result<Self, Vec<ConfigError>> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let invalid_region = aws.and_then(|aws| check_region(aws.region).err());
        let aws = aws.filter(|_| invalid_region.is_none());
        let region = aws.map(|aws| aws.region);
        let mut errors = Vec::new();
        let bus = ok_or_push(&mut errors, bus(variable("EVENT_BUS_NAME"), region));
        let source = ok_or_push(&mut errors, source(variable("EVENT_SOURCE")));
        let on_lambda = variable(INITIALIZATION_TYPE).is_some();
        let secret = secret(variable("WEBHOOK_SECRET"), variable("WEBHOOK_SECRET_ARN"), on_lambda, region);
        let secret = ok_or_push(&mut errors, secret);
        let tolerance = ok_or_push(&mut errors, tolerance(variable("WEBHOOK_TOLERANCE_SECONDS")));
        let validation = ok_or_push(&mut errors, validation(variable("VALIDATION").as_deref()));
        let replaced = ok_or_push(&mut errors, replaced_variable(variable("UNKNOWN_EVENTS").as_deref()));
        let environment_id = ok_or_push(&mut errors, environment_id(variable("ENVIRONMENT_ID")));
        let mut queue_url = |name| ok_or_push(&mut errors, QueueUrl::read(name, variable(name), aws));
        let parking_queue = queue_url("PARKING_QUEUE_URL");
        let dead_letter_queue = queue_url("DEAD_LETTER_QUEUE_URL");
        if let (Some(Some(parking_queue)), Some(Some(dead_letter_queue))) = (&parking_queue, &dead_letter_queue)
            && parking_queue.is_same_queue(dead_letter_queue)
        {
            let reason = format!(
                "{}, the same queue as PARKING_QUEUE_URL; it should hold another one, because the function would forward \
                 the copies of refused deliveries",
                holds(&dead_letter_queue.url)
            );
            errors.push(ConfigError::new("DEAD_LETTER_QUEUE_URL", reason));
        }
        errors.extend(invalid_region);

        let config = || {
            replaced?;
            let (tolerance, parking_queue, dead_letter_queue) = (tolerance?, parking_queue?, dead_letter_queue?);
            let queues = [&parking_queue, &dead_letter_queue].into_iter().flatten();
            let queue_warnings = queues.filter_map(|queue| queue.warning.clone());
            Some(Self {
                bus: bus?,
                source: source?,
                secret: secret?,
                on_lambda,
                tolerance,
                validation: validation?,
                environment_id: environment_id?,
                warnings: wide_tolerance_warning(tolerance).into_iter().chain(queue_warnings).collect(),
                parking_queue_url: parking_queue.map(|queue| queue.url),
                dead_letter_queue_url: dead_letter_queue.map(|queue| queue.url),
            })
        };
        match config() {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(errors),
        }
    }
}

fn wide_tolerance_warning(tolerance: Duration) -> Option<String> {
    let seconds = tolerance.as_secs();
    (seconds > WIDE_TOLERANCE_SECONDS).then(|| {
        format!(
            "WEBHOOK_TOLERANCE_SECONDS: a recorded delivery can be replayed for {seconds} s; \
             use at most {WIDE_TOLERANCE_SECONDS} s; the default is 300"
        )
    })
}

fn ok_or_push<T>(errors: &mut Vec<ConfigError>, value: Result<T, ConfigError>) -> Option<T> {
    value.map_err(|error| errors.push(error)).ok()
}

/// What a variable holds, as part of an error's text. A value that could contain a secret isn't shown.
#[must_use]
pub fn holds(value: &str) -> String {
    if secret::could_be_secret(value) {
        "holds what could be a secret, and is not shown here".into()
    } else {
        format!("holds `{}`", secret::visible(value))
    }
}

/// The region comes from a variable, or from a profile.
fn check_region(region: &str) -> Result<(), ConfigError> {
    let is_label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !region.is_empty() && region.bytes().all(is_label) && !secret::could_be_secret(region) {
        return Ok(());
    }
    let reason = format!("{}; it should hold the bus's region, such as `eu-central-1`", holds(region));
    Err(ConfigError::new("AWS_REGION", reason))
}

/// Checks AWS's variables before the SDK reads them, because it ignores an invalid value and logs it.
pub fn check_sdk_variables(variable: impl Fn(&str) -> Option<String>) -> Vec<ConfigError> {
    let is_url = |value: &str| {
        let host = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
        host.is_some_and(|host| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic()))
    };
    let is_boolean = |value: &str| ["true", "false"].iter().any(|valid| value.eq_ignore_ascii_case(valid));
    let is_path = |value: &str| !secret::contains_key_prefix(value);
    let invalid = |names: &[&'static str], is_valid: &dyn Fn(&str) -> bool, should| -> Vec<ConfigError> {
        let set = names.iter().filter_map(|&name| Some((name, variable(name).filter(|value| !value.is_empty())?)));
        let invalid = set.filter(|(_, value)| !is_valid(value));
        invalid
            .map(|(name, value)| ConfigError::new(name, format!("{}; it should hold {should}", holds(&value))))
            .collect()
    };
    [
        invalid(&ENDPOINTS, &is_url, "a URL, such as `http://localhost:4566`"),
        invalid(&BOOLEANS, &is_boolean, "`true` or `false`"),
        invalid(&PATHS, &is_path, "a path"),
    ]
    .concat()
}

fn bus(value: Option<String>, region: Option<&str>) -> Result<String, ConfigError> {
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
    if !is_valid || secret::contains_key_prefix(name) {
        return Err(error(format!("{}; it {should}", holds(&value))));
    }
    // `PutEvents` refuses a bus in another region.
    let bus_region = value.strip_prefix("arn:").and_then(|rest| rest.split(':').nth(2));
    if let (Some(bus_region), Some(region)) = (bus_region, region)
        && bus_region != region
    {
        return Err(error(format!(
            "{}, a bus in another region; it should hold the name or the ARN of a bus in the function's region, {region}",
            holds(&value)
        )));
    }
    Ok(value)
}

/// Whether these can be the partition, region and account of an ARN.
fn are_arn_parts(partition: &str, region: &str, account: &str) -> bool {
    partition::is_region(region) && partition == partition::of(region) && is_account(account)
}

fn source(value: Option<String>) -> Result<String, ConfigError> {
    let value = value.unwrap_or_else(|| "scalekit".to_owned());
    let error = |why| {
        let reason = format!("{}{why}; it should hold 1 to 256 characters, such as `scalekit`", holds(&value));
        Err(ConfigError::new("EVENT_SOURCE", reason))
    };
    match value.chars().count() {
        // The source is a part of every event.
        _ if secret::contains_key_prefix(&value) => error(""),
        _ if value.starts_with("aws.") => error(", but sources that start with `aws.` are AWS's own"),
        // No rule would match what nobody can see.
        _ if let Some(c) = value.chars().find(|&c| secret::is_invisible(c)) => {
            error(&format!(", which contains the invisible character U+{:04X}", u32::from(c)))
        }
        _ if value.starts_with(' ') || value.ends_with(' ') => error(", which starts or ends with a space (U+0020)"),
        1..=256 => Ok(value),
        length => error(&format!(", which is {length} characters long")),
    }
}

fn secret(
    secrets: Option<String>,
    arn: Option<String>,
    on_lambda: bool,
    region: Option<&str>,
) -> Result<SecretSource, ConfigError> {
    let error = |reason: String| Err(ConfigError::new("WEBHOOK_SECRET", reason));
    let should =
        "should hold Scalekit's signing secret, `whsec_…`, or several of them separated by white space or commas";
    match (secrets, arn) {
        (None, None) => {
            error(format!("is not set, and neither is WEBHOOK_SECRET_ARN; set one of them; this one {should}"))
        }
        (Some(_), Some(_)) => error("is set, and so is WEBHOOK_SECRET_ARN; set only one of them".into()),
        (Some(secrets), None) => match secret::parse(&secrets, None, on_lambda).into_iter().collect() {
            Ok(keys) => Ok(SecretSource::Keys(keys)),
            Err(SecretError::SeveralMembers(members)) => error(format!(
                "holds a JSON object in which several members contain a signing secret: {}; it {should}",
                secret::listed(&members)
            )),
            Err(reason) => error(format!("can't be used: {reason}; the variable {should}")),
        },
        (None, Some(arn)) => secret_id(&arn, region).map(SecretSource::Stored),
    }
}

fn secret_id(value: &str, region: Option<&str>) -> Result<SecretId, ConfigError> {
    let error = |reason| Err(ConfigError::new("WEBHOOK_SECRET_ARN", reason));
    let parts: Vec<_> = value.split(':').collect();
    let (arn, suffix) = parts.split_at(parts.len().min(7));
    let secret_region = match arn {
        ["arn", partition, "secretsmanager", region, account, "secret", name]
            if are_arn_parts(partition, region, account)
                && is_secret_name(name)
                && !secret::contains_key_prefix(value) =>
        {
            region
        }
        _ => {
            // A secret without its prefix may have been pasted here, so only an ARN is shown.
            let holds = if value.starts_with("arn:") { holds(value) } else { "does not hold an ARN".into() };
            return error(format!(
                "{holds}; it should hold the ARN of a secret in AWS Secrets Manager, \
                 `arn:aws:secretsmanager:{{region}}:{{account}}:secret:{{name}}`"
            ));
        }
    };
    if let Some(region) = region.filter(|region| partition::of(region) != partition::of(secret_region)) {
        return error(format!(
            "{}, a secret in another partition; it should hold the ARN of a secret in the partition `{}`, like the function",
            holds(value),
            partition::of(region)
        ));
    }
    let member = match suffix {
        [] => None,
        [member, "", ""] if is_member_name(member) => Some((*member).to_owned()),
        [member, stage, id] if !member.is_empty() && (!stage.is_empty() || !id.is_empty()) => {
            return error(format!(
                "{}; after the member, the version stage and the version id should be empty, `:MEMBER::`, because the \
                 function reads the current and the previous version",
                holds(value)
            ));
        }
        _ => {
            return error(format!(
                "{}; it should end with the secret's name, or with `:MEMBER::`, the name of a member of the JSON object in the secret",
                holds(value)
            ));
        }
    };
    Ok(SecretId { arn: arn.join(":"), member })
}

/// The characters and the length that Secrets Manager allows, with the seven that it adds to a name.
fn is_secret_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+=.@-".contains(&byte);
    (1..=519).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Whether a text can be the name of a member, without white space at its ends or anything that nobody can see.
fn is_member_name(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.contains(secret::is_invisible)
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

/// The URL of a queue, and the parts of it that name the queue. The SDK ignores the host, and calls SQS in its own region.
struct QueueUrl {
    url: String,
    account_and_name: String,
    warning: Option<String>,
}

impl QueueUrl {
    #[expect(clippy::case_sensitive_file_extension_comparisons, reason = "it is the name of a queue, and case matters")]
    fn read(
        variable: &'static str,
        value: Option<String>,
        aws: Option<AwsSettings<'_>>,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(url) = value else {
            return Ok(None);
        };
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let parts: Vec<_> = rest.map(|rest| rest.split('/').collect()).unwrap_or_default();
        let error = |reason: &str| Err(ConfigError::new(variable, format!("{}{reason}", holds(&url))));
        let (host, account_and_name) = match parts[..] {
            [host, account, name] if !host.is_empty() && is_account(account) && is_queue_name(name) => {
                (host, format!("{account}/{name}"))
            }
            [_, _, name] if name.ends_with(".fifo") => {
                return error(
                    ", a FIFO queue; it should hold the URL of a standard queue, because the function sends no message group id",
                );
            }
            _ => {
                return error(
                    "; it should hold the URL of an SQS queue, `https://sqs.{region}.amazonaws.com/{account}/{name}`",
                );
            }
        };
        let Some(AwsSettings { region, has_sqs_endpoint }) = aws else {
            return Ok(Some(Self { url, account_and_name, warning: None }));
        };
        let warning = match partition::sqs_host(host, region) {
            SqsHost::Elsewhere => {
                return error(&format!(
                    ", whose host is not one of SQS in the function's region; it should hold the URL of a queue in that \
                     region, {region}"
                ));
            }
            SqsHost::NotAws if !has_sqs_endpoint => {
                return error(
                    ", whose host is not one of SQS; the function calls it only if AWS_ENDPOINT_URL or \
                     AWS_ENDPOINT_URL_SQS is set to its URL",
                );
            }
            SqsHost::VpcEndpoint if !has_sqs_endpoint => Some(format!(
                "{variable}: the function calls SQS by its usual name, which leads to a VPC endpoint only if that has \
                 private DNS; otherwise, set AWS_ENDPOINT_URL_SQS to the endpoint's URL"
            )),
            SqsHost::InRegion | SqsHost::VpcEndpoint | SqsHost::NotAws => None,
        };
        Ok(Some(Self { url, account_and_name, warning }))
    }

    fn is_same_queue(&self, other: &Self) -> bool {
        self.account_and_name == other.account_and_name
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
    use std::slice;

    use super::*;

    const SECRET: &str = "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0";
    const OTHER_SECRET: &str = "whsec_c29tZS1vdGhlci1zZWNyZXQtb2Ytb3Vycw==";
    const ARN: &str = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:scalekit-AbCdEf";

    /// Reads a configuration with these variables. Required variables that aren't among them get valid values.
    fn read(changes: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
        read_with(changes, "eu-central-1", false)
    }

    /// Reads a configuration in this region, with or without an endpoint for SQS.
    fn read_with(changes: &[(&str, &str)], region: &str, has_sqs_endpoint: bool) -> Result<Config, Vec<ConfigError>> {
        let required = [("EVENT_BUS_NAME", "scalekit-events"), ("WEBHOOK_SECRET", SECRET)];
        let variable = |name: &str| {
            let set = changes.iter().chain(&required).find(|(variable, _)| *variable == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        Config::read(variable, Some(AwsSettings { region, has_sqs_endpoint }))
    }

    /// Expects that a variable's value is refused with this error alone.
    #[track_caller]
    fn assert_refused(variable: &'static str, value: &str, reason: &str) {
        assert_eq!(read(&[(variable, value)]).unwrap_err(), [ConfigError::new(variable, reason)], "{value:?}");
    }

    fn key_count(config: &Config) -> usize {
        match &config.secret {
            SecretSource::Keys(keys) => keys.len(),
            SecretSource::Stored(id) => panic!("read from {id:?}"),
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
        assert_eq!(config.warnings, Vec::<String>::new());
    }

    #[test]
    fn every_variable_is_read() {
        let parking = "https://sqs.eu-central-1.amazonaws.com/123456789012/parking";
        let dead_letters = "https://sqs.eu-central-1.api.aws/123456789012/dead-letters";
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
        let variable = |name: &str| match name {
            "EVENT_SOURCE" => Some("aws.x".into()),
            "WEBHOOK_TOLERANCE_SECONDS"
            | "VALIDATION"
            | "UNKNOWN_EVENTS"
            | "ENVIRONMENT_ID"
            | "PARKING_QUEUE_URL"
            | "DEAD_LETTER_QUEUE_URL" => Some("?".into()),
            _ => None,
        };
        let errors = Config::read(variable, Some(AwsSettings { region: "?", has_sqs_endpoint: true }));
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
                "DEAD_LETTER_QUEUE_URL",
                "AWS_REGION"
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
        let longer = "a-".repeat(129);
        for bus in [
            " ",
            "a b",
            " scalekit",
            "scalekit ",
            "\"scalekit\"",
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
            "arn:aws:events:frankfurt:123456789012:event-bus/a",
            "arn:aws-cn:events:eu-central-1:123456789012:event-bus/a",
            "arn:aws:events:cn-north-1:123456789012:event-bus/a",
            "arn:awsome:events:eu-central-1:123456789012:event-bus/a",
            "arn:aws:events:eu-central-1:123456789012:event-bus/a b",
            "arn:aws:events:eu-central-1:123456789012:event-bus/*",
            "https://events.eu-central-1.amazonaws.com/event-bus/a",
            &longer,
        ] {
            let reason = format!("holds `{bus}`; it should hold the name or the ARN of an event bus");
            assert_refused("EVENT_BUS_NAME", bus, &reason);
        }
        let should = "it should hold the name or the ARN of an event bus";
        assert_refused("EVENT_BUS_NAME", "bus\n", &format!("holds `bus\\u{{a}}`; {should}"));
        assert_refused("EVENT_BUS_NAME", "bus\u{200b}", &format!("holds `bus\\u{{200b}}`; {should}"));
    }

    #[test]
    fn a_source_has_1_to_256_characters() {
        let longest = "é".repeat(256);
        for source in ["s", "AWS.events", "aws", "my aws.events", "e\u{301}", &longest] {
            assert_eq!(read(&[("EVENT_SOURCE", source)]).unwrap().source, source);
        }
        let longer = "é".repeat(257);
        for (source, shown, why) in [
            ("aws.", "aws.", ", but sources that start with `aws.` are AWS's own"),
            ("aws.events", "aws.events", ", but sources that start with `aws.` are AWS's own"),
            (" ", " ", ", which starts or ends with a space (U+0020)"),
            (" scalekit", " scalekit", ", which starts or ends with a space (U+0020)"),
            ("scalekit ", "scalekit ", ", which starts or ends with a space (U+0020)"),
            ("scalekit\n", "scalekit\\u{a}", ", which contains the invisible character U+000A"),
            ("a\tb", "a\\u{9}b", ", which contains the invisible character U+0009"),
            ("scale\u{200b}kit", "scale\\u{200b}kit", ", which contains the invisible character U+200B"),
            ("\u{feff}scalekit", "\\u{feff}scalekit", ", which contains the invisible character U+FEFF"),
            ("scale\u{a0}kit", "scale\\u{a0}kit", ", which contains the invisible character U+00A0"),
            ("scalekit\u{2028}", "scalekit\\u{2028}", ", which contains the invisible character U+2028"),
            ("scale\u{ad}kit", "scale\\u{ad}kit", ", which contains the invisible character U+00AD"),
            ("scalekit\u{3000}", "scalekit\\u{3000}", ", which contains the invisible character U+3000"),
            ("scalekit\u{e0020}", "scalekit\\u{e0020}", ", which contains the invisible character U+E0020"),
            (&longer, &longer, ", which is 257 characters long"),
        ] {
            let reason = format!("holds `{shown}`{why}; it should hold 1 to 256 characters, such as `scalekit`");
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
    fn a_json_object_may_have_one_member_with_signing_secrets() {
        let object = format!(r#"{{"SCALEKIT_CLIENT_ID":"skc_1","SCALEKIT":"{SECRET} {OTHER_SECRET}"}}"#);
        assert_eq!(key_count(&read(&[("WEBHOOK_SECRET", &object)]).unwrap()), 2);
        let several = format!(r#"{{"SCALEKIT":"{SECRET}","PAYMENTS":"{OTHER_SECRET}"}}"#);
        assert_refused(
            "WEBHOOK_SECRET",
            &several,
            "holds a JSON object in which several members contain a signing secret: `PAYMENTS`, `SCALEKIT`; it should \
             hold Scalekit's signing secret, `whsec_…`, or several of them separated by white space or commas",
        );
    }

    #[test]
    fn a_secret_in_the_wrong_variable_is_not_shown() {
        for variable in [
            "EVENT_BUS_NAME",
            "EVENT_SOURCE",
            "WEBHOOK_TOLERANCE_SECONDS",
            "VALIDATION",
            "ENVIRONMENT_ID",
            "PARKING_QUEUE_URL",
            "DEAD_LETTER_QUEUE_URL",
        ] {
            for secret in [SECRET, OTHER_SECRET] {
                let errors = read(&[(variable, secret)]).unwrap_err();
                assert_eq!((errors.len(), errors[0].variable), (1, variable));
                assert!(
                    errors[0].reason.starts_with("holds what could be a secret, and is not shown here; it should"),
                    "{errors:?}"
                );
            }
            // Without its prefix, a secret can be a valid name. It is marked as invalid here.
            let secret = &OTHER_SECRET[6..];
            let errors = read(&[(variable, &format!(" {secret}"))]).unwrap_err();
            assert_eq!((errors.len(), errors[0].variable), (1, variable));
            assert!(!errors[0].reason.contains(secret), "{errors:?}");
        }
    }

    #[test]
    fn a_region_has_lower_case_letters_digits_and_hyphens() {
        for region in ["eu-central-1", "us-gov-west-1", "local"] {
            read_with(&[], region, false).unwrap();
        }
        for (region, holds) in [
            ("", "holds ``"),
            ("eu-central-1 ", "holds `eu-central-1 `"),
            ("EU-CENTRAL-1", "holds `EU-CENTRAL-1`"),
            ("eu_central_1", "holds `eu_central_1`"),
            ("eu-central-1\u{200b}", "holds `eu-central-1\\u{200b}`"),
            (SECRET, "holds what could be a secret, and is not shown here"),
        ] {
            let reason = format!("{holds}; it should hold the bus's region, such as `eu-central-1`");
            let error = ConfigError::new("AWS_REGION", reason);
            // Without a valid region, the region of a queue isn't checked.
            let queue = ("PARKING_QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/parking");
            for changes in [&[][..], &[queue]] {
                assert_eq!(read_with(changes, region, false).unwrap_err(), slice::from_ref(&error));
            }
        }
    }

    #[test]
    fn the_sdks_variables_are_urls_booleans_and_paths() {
        const URL: &str = "it should hold a URL, such as `http://localhost:4566`";
        const BOOLEAN: &str = "it should hold `true` or `false`";
        const HIDDEN: &str = "what could be a secret, and is not shown here";
        let check = |name: &str, value: &str| check_sdk_variables(|other| (other == name).then(|| value.to_owned()));
        for name in ENDPOINTS {
            for url in ["", "http://localhost:4566", "https://vpce-1.sqs.eu-central-1.vpce.amazonaws.com/"] {
                assert_eq!(check(name, url), []);
            }
            for (url, shown) in [
                ("localhost:4566", "`localhost:4566`"),
                ("http://", "`http://`"),
                (" http://localhost:4566", "` http://localhost:4566`"),
                ("http://localhost:4566 ", "`http://localhost:4566 `"),
                ("http://localhost:4566\n", "`http://localhost:4566\\u{a}`"),
                ("http://local\u{200b}host", "`http://local\\u{200b}host`"),
                (SECRET, HIDDEN),
                (&SECRET[6..], HIDDEN),
            ] {
                assert_eq!(check(name, url), [ConfigError::new(name, format!("holds {shown}; {URL}"))]);
            }
        }
        for name in BOOLEANS {
            for value in ["", "true", "False"] {
                assert_eq!(check(name, value), []);
            }
            for (value, shown) in [("yes", "`yes`"), ("1", "`1`"), ("true ", "`true `"), (SECRET, HIDDEN)] {
                assert_eq!(check(name, value), [ConfigError::new(name, format!("holds {shown}; {BOOLEAN}"))]);
            }
        }
        for name in PATHS {
            for value in ["", "/etc/ssl/certs/ca-certificates.crt", "a b"] {
                assert_eq!(check(name, value), []);
            }
            let error = ConfigError::new(name, format!("holds {HIDDEN}; it should hold a path"));
            assert_eq!(check(name, SECRET), [error]);
        }
    }

    /// Reads a value of `WEBHOOK_SECRET_ARN` in this region.
    fn read_secret_id(value: &str, region: &str) -> Result<SecretId, String> {
        match read_with(&[("WEBHOOK_SECRET", ""), ("WEBHOOK_SECRET_ARN", value)], region, false) {
            Ok(Config { secret: SecretSource::Stored(id), .. }) => Ok(id),
            Ok(config) => panic!("{config:?}"),
            Err(errors) => match &errors[..] {
                [ConfigError { variable: "WEBHOOK_SECRET_ARN", reason }] => Err(reason.clone()),
                _ => panic!("{errors:?}"),
            },
        }
    }

    #[test]
    fn a_secret_in_secrets_manager() {
        for (arn, region) in [
            (ARN, "eu-central-1"),
            (ARN, "us-east-1"),
            ("arn:aws:secretsmanager:eu-central-1:123456789012:secret:a/b_c+d=e.f@g-AbCdEf", "eu-central-1"),
            ("arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:scalekit", "us-gov-east-1"),
            ("arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:scalekit", "cn-northwest-1"),
        ] {
            assert_eq!(read_secret_id(arn, region), Ok(SecretId { arn: arn.into(), member: None }));
            for member in ["SCALEKIT", "signing secret", "geheimnis-für-scalekit", "a.b/c"] {
                let id = SecretId { arn: arn.into(), member: Some(member.into()) };
                assert_eq!(read_secret_id(&format!("{arn}:{member}::"), region), Ok(id));
            }
        }
        let both = super::Config::read(
            |name| match name {
                "EVENT_BUS_NAME" => Some("a".into()),
                "WEBHOOK_SECRET" => Some(SECRET.into()),
                "WEBHOOK_SECRET_ARN" => Some(ARN.into()),
                _ => None,
            },
            None,
        );
        let reason = "is set, and so is WEBHOOK_SECRET_ARN; set only one of them";
        assert_eq!(both.unwrap_err(), [ConfigError::new("WEBHOOK_SECRET", reason)]);
    }

    #[test]
    fn a_value_that_cannot_be_the_arn_of_a_secret_is_refused() {
        const HIDDEN: &str = "what could be a secret, and is not shown here";
        let should = "it should hold the ARN of a secret in AWS Secrets Manager, \
                      `arn:aws:secretsmanager:{region}:{account}:secret:{name}`";
        for value in ["scalekit", " ", &format!(" {ARN}"), &format!("\"{ARN}\""), SECRET, &SECRET[6..]] {
            assert_eq!(read_secret_id(value, "eu-central-1"), Err(format!("does not hold an ARN; {should}")));
        }
        let name = |name: &str| format!("arn:aws:secretsmanager:eu-central-1:123456789012:secret:{name}");
        for (value, shown) in [
            ("arn:aws:ssm:eu-central-1:123456789012:parameter/a", None),
            ("arn:aws:secretsmanager:eu-central-1:123456789012:scalekit-AbCdEf", None),
            ("arn:aws:secretsmanager:eu-central-1:12345678901:secret:scalekit-AbCdEf", None),
            ("arn:aws:secretsmanager:frankfurt:123456789012:secret:scalekit-AbCdEf", None),
            ("arn:aws:secretsmanager:cn-north-1:123456789012:secret:scalekit-AbCdEf", None),
            ("arn:aws-us-gov:secretsmanager:eu-central-1:123456789012:secret:scalekit-AbCdEf", None),
            (&name(""), None),
            (&name("a b-AbCdEf"), None),
            (&name("scalekit-AbCdEf "), None),
            (&name("scalekit-AbCdEf\n"), Some(name("scalekit-AbCdEf\\u{a}"))),
            (&name("scalekit-AbCdEf\u{200b}"), Some(name("scalekit-AbCdEf\\u{200b}"))),
            (&name("scalekit-AbCdEf\""), None),
            (&name("scalekit-*"), None),
            (&name("scalekit-AbCdEf?versionStage=AWSCURRENT"), None),
            (&name("sécret-AbCdEf"), None),
            (&name(&"a-".repeat(260)), None),
            (&name(SECRET), Some(HIDDEN.into())),
            (&name(&format!("scalekit-AbCdEf:{SECRET}::")), Some(HIDDEN.into())),
        ] {
            let holds = match shown.as_deref() {
                Some(HIDDEN) => HIDDEN.to_owned(),
                shown => format!("`{}`", shown.unwrap_or(value)),
            };
            assert_eq!(read_secret_id(value, "eu-central-1"), Err(format!("holds {holds}; {should}")));
        }
    }

    #[test]
    fn a_secret_in_another_partition_is_refused() {
        assert_eq!(
            read_secret_id(ARN, "cn-north-1"),
            Err(format!(
                "holds `{ARN}`, a secret in another partition; it should hold the ARN of a secret in the partition \
                 `aws-cn`, like the function"
            ))
        );
    }

    #[test]
    fn only_a_members_name_may_follow_the_arn_of_a_secret() {
        let empty = "; after the member, the version stage and the version id should be empty, `:MEMBER::`, because the \
                     function reads the current and the previous version";
        let end = "; it should end with the secret's name, or with `:MEMBER::`, the name of a member of the JSON object in \
                   the secret";
        for (suffix, shown, why) in [
            (":key:AWSCURRENT:", None, empty),
            (":key::1a2b3c4d", None, empty),
            (":key:AWSPREVIOUS:1a2b3c4d", None, empty),
            (":key: :", None, empty),
            (":", None, end),
            ("::", None, end),
            (":::", None, end),
            ("::AWSCURRENT:", None, end),
            (":key", None, end),
            (":key:", None, end),
            (":key:::", None, end),
            (":a:b::", None, end),
            (": ::", None, end),
            (": key::", None, end),
            (":key ::", None, end),
            (":k\u{200b}ey::", Some(":k\\u{200b}ey::"), end),
        ] {
            let expected = format!("holds `{ARN}{}`{why}", shown.unwrap_or(suffix));
            assert_eq!(read_secret_id(&format!("{ARN}{suffix}"), "eu-central-1"), Err(expected), "{suffix}");
        }
    }

    #[test]
    fn a_tolerance_is_a_number_of_seconds() {
        for (value, seconds) in [("0", 0), ("00300", 300), ("4294967295", 4_294_967_295)] {
            let config = read(&[("WEBHOOK_TOLERANCE_SECONDS", value)]).unwrap();
            assert_eq!(config.tolerance, Duration::from_secs(seconds), "{value}");
        }
        for value in ["-1", "+1", "1.5", "5m", " 300", "300 ", "1e3", "٣", "4294967296"] {
            let reason = format!(
                "holds `{value}`; it should hold a whole number of seconds from 0 to 4294967295, such as `300`"
            );
            assert_refused("WEBHOOK_TOLERANCE_SECONDS", value, &reason);
        }
    }

    #[test]
    fn a_wide_tolerance_is_warned_about() {
        let warnings = |seconds| read(&[("WEBHOOK_TOLERANCE_SECONDS", seconds)]).unwrap().warnings;
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
        for (value, shown) in [
            ("Strict", "Strict"),
            (" strict", " strict"),
            ("strict\n", "strict\\u{a}"),
            ("reject", "reject"),
            ("true", "true"),
        ] {
            let reason = format!("holds `{shown}`; it should hold `tolerant` (the default) or `strict`");
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
            ["production", "ENV_1", " env_1", "env_1 ", "env_1,env_2", "env_", "env_23456789012345678901234567890"]
        {
            let reason = format!("holds `{id}`; it should hold the id of a Scalekit environment, `env_…`");
            assert_refused("ENVIRONMENT_ID", id, &reason);
        }
        let shown = "holds `env_1\\u{feff}`; it should hold the id of a Scalekit environment, `env_…`";
        assert_refused("ENVIRONMENT_ID", "env_1\u{feff}", shown);
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
                "https://sqs.eu-central-1.amazonaws.com/123456789012/parking?a=b",
                "https://sqs.eu-central-1.amazonaws.com/123456789012/parking ",
                " https://sqs.eu-central-1.amazonaws.com/123456789012/parking",
                "\"https://sqs.eu-central-1.amazonaws.com/123456789012/parking\"",
                &format!("https://sqs.eu-central-1.amazonaws.com/123456789012/{}", "a-".repeat(41)),
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
    fn a_queue_is_in_the_functions_region() {
        const ELSEWHERE: &str = "whose host is not one of SQS in the function's region; it should hold the URL of a queue in \
                                 that region, eu-central-1";
        const NOT_AWS: &str = "whose host is not one of SQS; the function calls it only if AWS_ENDPOINT_URL or \
                               AWS_ENDPOINT_URL_SQS is set to its URL";
        // The error without an endpoint for SQS, and that with one.
        for (host, without, with) in [
            ("sqs.eu-central-1.amazonaws.com", None, None),
            ("sqs-fips.eu-central-1.amazonaws.com", None, None),
            ("sqs.eu-central-1.api.aws", None, None),
            ("eu-central-1.queue.amazonaws.com", None, None),
            ("vpce-1-2.sqs.eu-central-1.vpce.amazonaws.com", None, None),
            ("sqs.eu-west-1.amazonaws.com", Some(ELSEWHERE), Some(ELSEWHERE)),
            ("sqs.eu-central-1.amazonaws.com.cn", Some(ELSEWHERE), Some(ELSEWHERE)),
            ("sqs.cn-north-1.amazonaws.com.cn", Some(ELSEWHERE), Some(ELSEWHERE)),
            ("vpce-1-2.sqs.eu-west-1.vpce.amazonaws.com", Some(ELSEWHERE), Some(ELSEWHERE)),
            ("localhost:4566", Some(NOT_AWS), None),
            ("127.0.0.1:4566", Some(NOT_AWS), None),
            ("user@sqs.internal", Some(NOT_AWS), None),
        ] {
            let url = format!("https://{host}/123456789012/parking");
            for variable in ["PARKING_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"] {
                for (has_sqs_endpoint, why) in [(false, without), (true, with)] {
                    let read = read_with(&[(variable, &url)], "eu-central-1", has_sqs_endpoint);
                    let expected = why.map(|why| vec![ConfigError::new(variable, format!("holds `{url}`, {why}"))]);
                    assert_eq!(read.err(), expected, "{host}, {has_sqs_endpoint}");
                }
            }
        }
    }

    #[test]
    fn a_vpc_endpoint_is_warned_about_unless_it_is_set_as_the_endpoint() {
        let url = "https://vpce-1-2.sqs.eu-central-1.vpce.amazonaws.com/123456789012/parking";
        let warnings = |endpoint| read_with(&[("PARKING_QUEUE_URL", url)], "eu-central-1", endpoint).unwrap().warnings;
        assert_eq!(warnings(true), Vec::<String>::new());
        assert_eq!(
            warnings(false),
            [
                "PARKING_QUEUE_URL: the function calls SQS by its usual name, which leads to a VPC endpoint only if that has \
              private DNS; otherwise, set AWS_ENDPOINT_URL_SQS to the endpoint's URL"
            ]
        );
    }

    #[test]
    fn the_queues_are_two() {
        let parking = "https://sqs.eu-central-1.amazonaws.com/123456789012/parking";
        for other in [
            "https://sqs.eu-central-1.amazonaws.com/123456789012/Parking",
            "https://sqs.eu-central-1.amazonaws.com/210987654321/parking",
        ] {
            read(&[("PARKING_QUEUE_URL", parking), ("DEAD_LETTER_QUEUE_URL", other)]).unwrap();
        }
        for same in [parking, "https://sqs.eu-central-1.api.aws/123456789012/parking"] {
            let reason = format!(
                "holds `{same}`, the same queue as PARKING_QUEUE_URL; it should hold another one, because the function would \
                 forward the copies of refused deliveries"
            );
            let read = read(&[("PARKING_QUEUE_URL", parking), ("DEAD_LETTER_QUEUE_URL", same)]);
            assert_eq!(read.unwrap_err(), [ConfigError::new("DEAD_LETTER_QUEUE_URL", reason)]);
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
        read(&[("EVENT_BUS_NAME", "arn:aws:events:eu-central-1:210987654321:event-bus/a")]).unwrap();
        let reason = "holds `arn:aws:events:eu-west-1:123456789012:event-bus/a`, a bus in another region; \
                      it should hold the name or the ARN of a bus in the function's region, eu-central-1";
        assert_refused("EVENT_BUS_NAME", "arn:aws:events:eu-west-1:123456789012:event-bus/a", reason);
    }
}
