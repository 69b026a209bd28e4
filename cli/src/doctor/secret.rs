//! Is the signing secret set and usable, how old is it, and is its previous version still accepted?

mod value;

use std::time::{Duration, SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use self::value::{SET, Unusable, contains_key_prefix, signing_secret};
use super::{deployment::Deployment, finding::Finding};
use crate::{
    aws::{CallError, Reader, Service},
    terminal,
};

/// How long the function accepts the previous version after the current one was created.
const ROTATION_TIME: Duration = Duration::from_hours(24);

/// The runbook.
const PAGE: &str = "docs/operations.md#secrettrouble";

/// What to do about a variable that isn't an ARN.
const CORRECT_ARN: &str = "Correct the stack's parameter ExistingSecretArn, and deploy the stack again";

/// What is known about the secret.
pub(super) struct Secret {
    pub(super) finding: Finding,
    /// A secret that the function accepts, to sign a sample with.
    pub(super) value: Option<String>,
}

pub(super) async fn check(deployment: &Deployment<'_>, function: &Result<Value, CallError>) -> Secret {
    let name = name(deployment, function);
    // Behind the ARN, there can be the name of a member of the JSON object.
    let parts: Vec<_> = name.split(':').collect();
    let (arn, suffix) = parts.split_at(parts.len().min(7));
    let (region, member) = match (arn, suffix) {
        // A signing secret can have been pasted here, so nothing of it is sent or printed.
        _ if contains_key_prefix(name) => return not_an_arn(),
        (["arn", _, "secretsmanager", region, _, "secret", _], []) => (region, None),
        (["arn", _, "secretsmanager", region, _, "secret", _], [member, "", ""]) if !member.is_empty() => {
            (region, Some(*member))
        }
        _ => return not_an_arn(),
    };
    let reader = deployment.reader.in_region(region);
    let arn = arn.join(":");
    match describe(&reader, &arn).await {
        Err(finding) => Secret { finding: *finding, value: None },
        Ok(versions) => read(&reader, &arn, member, versions).await,
    }
}

/// The function refuses to start with this variable.
fn not_an_arn() -> Secret {
    let why =
        "WEBHOOK_SECRET_ARN should be the ARN of a secret in Secrets Manager, with or without `:MEMBER::` after it";
    Secret { finding: Finding::broken("secret", why).advise(CORRECT_ARN, PAGE), value: None }
}

/// The name of the secret in the function's variable. If that can't be read, it is the one that the template sets.
fn name<'a>(deployment: &'a Deployment<'_>, function: &'a Result<Value, CallError>) -> &'a str {
    let variable = function.as_ref().ok().and_then(|it| it["Environment"]["Variables"]["WEBHOOK_SECRET_ARN"].as_str());
    let names = [variable.unwrap_or_default(), deployment.parameter("ExistingSecretArn")];
    names.into_iter().find(|name| !name.is_empty()).unwrap_or_else(|| deployment.output("SecretArn"))
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
            return Secret { finding: finding.advise(SET, "docs/operations.md#setting-the-secret"), value: None };
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
    let finding = match &value {
        Ok(_) => describe_age(age, has_previous),
        Err(Unusable { why, advice }) => {
            Finding::broken("secret", format!("it can't be used: {why}")).advise(*advice, PAGE)
        }
    };
    Secret { finding, value: value.ok() }
}

fn describe_age(age: Option<Duration>, has_previous: bool) -> Finding {
    let since = age.map_or_else(String::new, |age| format!(", for {}", terminal::duration(age)));
    let left = age.and_then(|age| ROTATION_TIME.checked_sub(age)).filter(|left| !left.is_zero());
    let previous = match (has_previous, left) {
        (true, Some(left)) => format!("the previous version is accepted for another {}", terminal::duration(left)),
        (true, None) => "the previous version is no longer accepted".to_owned(),
        (false, _) => "there is no previous version".to_owned(),
    };
    Finding::ok("secret", format!("it is set{since}; {previous}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_finding_has_the_age_and_the_previous_version() {
        let hours = |hours| Some(Duration::from_hours(hours));
        for (age, has_previous, expected) in [
            (hours(1), true, "it is set, for 1 h; the previous version is accepted for another 23 h"),
            (hours(24), true, "it is set, for 1 d; the previous version is no longer accepted"),
            (hours(1), false, "it is set, for 1 h; there is no previous version"),
            (None, true, "it is set; the previous version is no longer accepted"),
        ] {
            assert_eq!(describe_age(age, has_previous), Finding::ok("secret", expected));
        }
    }
}
