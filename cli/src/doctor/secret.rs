//! Is the signing secret set and usable, how old is it, and is its previous version still accepted?

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{deployment::Deployment, finding::Finding};
use crate::{
    aws::{Reader, Service},
    terminal,
};

/// The text that the template gives to a new secret.
const PLACEHOLDER: &str = "paste-the-signing-secret-here";

/// The secret of the samples, which is public. The function refuses it on Lambda.
const DEVELOPMENT_SECRET: &str = "whsec_c2NhbGVraXQtZXZlbnRicmlkZ2UtZGV2ZWxvcG1lbnQ=";

/// How long the function accepts the previous version after the current one was created.
const ROTATION_TIME: Duration = Duration::from_hours(24);

/// The runbook.
const PAGE: &str = "docs/operations.md#secrettrouble";

/// What is known about the secret.
pub(super) struct Secret {
    pub(super) finding: Finding,
    /// A secret that the function accepts, to sign a sample with.
    pub(super) value: Option<String>,
}

pub(super) async fn check(deployment: &Deployment<'_>) -> Secret {
    // Behind the ARN, there can be the name of a member of the JSON object.
    let parts: Vec<_> = deployment.output("SecretArn").split(':').collect();
    let arn = parts[..parts.len().min(7)].join(":");
    let member = parts.get(7).copied().filter(|member| !member.is_empty());
    let reader = deployment.reader.in_region(parts.get(3).copied().unwrap_or_default());
    match describe(&reader, &arn).await {
        Err(finding) => Secret { finding: *finding, value: None },
        Ok(versions) => read(&reader, &arn, member, versions).await,
    }
}

/// Whether the secret has a previous version.
async fn describe(reader: &Reader, arn: &str) -> Result<bool, Box<Finding>> {
    let secret = match reader.call(Service::SecretsManager, "DescribeSecret", json!({"SecretId": arn})).await {
        Ok(secret) => secret,
        Err(error) if error.is_not_found() => {
            let finding = Finding::broken("secret", format!("the secret {arn} doesn't exist"));
            return Err(Box::new(finding.advise("Deploy the stack with a secret that exists", PAGE)));
        }
        Err(error) => return Err(Box::new(Finding::unknown("secret", "DescribeSecret", error))),
    };
    if !secret["DeletedDate"].is_null() {
        let finding = Finding::broken("secret", "the secret is scheduled for deletion, so the function can't read it");
        return Err(Box::new(
            finding.advise(format!("Run `aws secretsmanager restore-secret --secret-id {arn}`"), PAGE),
        ));
    }
    let stages = secret["VersionIdsToStages"].as_object().into_iter().flatten();
    let has_stage = |stages: &Value, name: &str| stages.as_array().is_some_and(|all| all.contains(&json!(name)));
    Ok(stages.into_iter().any(|(_, stages)| has_stage(stages, "AWSPREVIOUS")))
}

async fn read(reader: &Reader, arn: &str, member: Option<&str>, has_previous: bool) -> Secret {
    let input = json!({"SecretId": arn, "VersionStage": "AWSCURRENT"});
    let answer = match reader.call(Service::SecretsManager, "GetSecretValue", input).await {
        Ok(answer) => answer,
        Err(error) if error.is_not_found() => {
            let finding = Finding::broken("secret", "the secret has no value");
            let advice = "Store the endpoint's signing secret with the command in the output SetSecretCommand";
            return Secret { finding: finding.advise(advice, "docs/operations.md#setting-the-secret"), value: None };
        }
        Err(error) => return Secret { finding: Finding::unknown("secret", "GetSecretValue", error), value: None },
    };
    let binary = || {
        let bytes = BASE64_STANDARD.decode(answer["SecretBinary"].as_str()?).ok()?;
        String::from_utf8(bytes).ok()
    };
    let text = answer["SecretString"].as_str().map(str::to_owned).or_else(binary).unwrap_or_default();
    let created = answer["CreatedDate"].as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let age = created.and_then(|created| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + created).ok());
    let value = signing_secret(&text, member);
    let finding = judge(value.as_deref(), age, has_previous);
    Secret { finding, value: value.ok() }
}

fn judge(value: Result<&str, &&'static str>, age: Option<Duration>, has_previous: bool) -> Finding {
    if let Err(why) = value {
        let advice = "Store the endpoint's signing secret with the command in the output SetSecretCommand";
        return Finding::broken("secret", format!("it can't be used: {why}")).advise(advice, PAGE);
    }
    let since = age.map_or_else(String::new, |age| format!(", for {}", terminal::duration(age)));
    let left = age.and_then(|age| ROTATION_TIME.checked_sub(age)).filter(|left| !left.is_zero());
    let previous = match (has_previous, left) {
        (true, Some(left)) => format!("the previous version is accepted for another {}", terminal::duration(left)),
        (true, None) => "the previous version is no longer accepted".to_owned(),
        (false, _) => "there is no previous version".to_owned(),
    };
    Finding::ok("secret", format!("it is set{since}; {previous}"))
}

/// The first usable signing secret in a stored text: one or several secrets, or a JSON object with members that are.
fn signing_secret(text: &str, member: Option<&str>) -> Result<String, &'static str> {
    let text = trim(text);
    let members: Option<BTreeMap<String, Value>> = serde_json::from_str(text).ok();
    let texts = match (&members, member) {
        (Some(members), Some(name)) => {
            vec![members.get(name).and_then(Value::as_str).ok_or("the JSON object has no such member with a text")?]
        }
        (Some(members), None) => members.values().filter_map(Value::as_str).collect(),
        (None, _) if text.starts_with('{') => return Err("it starts with `{`, but is not a JSON object"),
        (None, _) => vec![text],
    };
    let secrets = texts.iter().flat_map(|text| text.split(|c: char| c.is_whitespace() || c == ',')).map(trim);
    let mut why = "it contains no signing secret";
    for secret in secrets.filter(|secret| !secret.is_empty()) {
        match check_one(secret) {
            Ok(()) => return Ok(secret.to_owned()),
            Err(reason) if members.is_none() || reason == PLACEHOLDER_LEFT || secret.starts_with("whsec_") => {
                why = reason;
            }
            // Another member of the JSON object is something else.
            Err(_) => {}
        }
    }
    Err(why)
}

const PLACEHOLDER_LEFT: &str = "it is still the template's placeholder";

fn check_one(secret: &str) -> Result<(), &'static str> {
    if secret == PLACEHOLDER {
        return Err(PLACEHOLDER_LEFT);
    }
    if secret == DEVELOPMENT_SECRET {
        return Err("it is the development secret, which is public");
    }
    if secret.starts_with("whsk_") || secret.starts_with("whpk_") {
        return Err("it is an Ed25519 key, and those are not supported");
    }
    let key = secret.strip_prefix("whsec_").ok_or("it does not start with `whsec_`")?;
    let key = BASE64_STANDARD.decode(key).map_err(|_| "it is not standard, padded base64 after `whsec_`")?;
    if (24..=64).contains(&key.len()) { Ok(()) } else { Err("its key doesn't have 24 to 64 bytes") }
}

/// Removes what people paste around a secret: white space, invisible characters and quotes.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '"' | '\'' | '`' | '“' | '”' | '‘' | '’' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    #[test]
    fn a_secret_is_read_as_people_store_it() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (text, member, expected) in [
            (SECRET.to_owned(), None, Ok(SECRET)),
            (format!("\u{feff}\"{SECRET}\"\r\n"), None, Ok(SECRET)),
            (format!("whsec_x, {SECRET}"), None, Ok(SECRET)),
            (format!(r#"{{"client_id": "x", "n": null, "secret": "{SECRET}"}}"#), None, Ok(SECRET)),
            (format!(r#"{{"a": "{other}", "b": "{SECRET}"}}"#), Some("b"), Ok(SECRET)),
            (format!(r#"{{"a": "{other}"}}"#), Some("b"), Err("the JSON object has no such member with a text")),
            (r#"{"client_id": "x"}"#.to_owned(), None, Err("it contains no signing secret")),
            ("{".to_owned(), None, Err("it starts with `{`, but is not a JSON object")),
            (PLACEHOLDER.to_owned(), None, Err(PLACEHOLDER_LEFT)),
            (format!(r#"{{"secret": "{PLACEHOLDER}"}}"#), None, Err(PLACEHOLDER_LEFT)),
            (DEVELOPMENT_SECRET.to_owned(), None, Err("it is the development secret, which is public")),
            ("whpk_AAAA".to_owned(), None, Err("it is an Ed25519 key, and those are not supported")),
            ("secret".to_owned(), None, Err("it does not start with `whsec_`")),
            ("whsec_AAAA".to_owned(), None, Err("its key doesn't have 24 to 64 bytes")),
            ("whsec_*".to_owned(), None, Err("it is not standard, padded base64 after `whsec_`")),
            (String::new(), None, Err("it contains no signing secret")),
        ] {
            assert_eq!(signing_secret(&text, member).as_deref(), expected.as_deref(), "{text}");
        }
    }

    #[test]
    fn the_finding_has_the_age_and_the_previous_version_but_never_the_secret() {
        let hours = |hours| Some(Duration::from_hours(hours));
        for (age, has_previous, expected) in [
            (hours(1), true, "it is set, for 1 h; the previous version is accepted for another 23 h"),
            (hours(24), true, "it is set, for 1 d; the previous version is no longer accepted"),
            (hours(1), false, "it is set, for 1 h; there is no previous version"),
            (None, true, "it is set; the previous version is no longer accepted"),
        ] {
            assert_eq!(judge(Ok(SECRET), age, has_previous), Finding::ok("secret", expected));
        }
        assert_eq!(judge(Err(&PLACEHOLDER_LEFT), hours(1), true).state, State::Broken);
    }
}
