//! Is the function ready, does it run the release's code, and does the parking queue trigger it?

use serde_json::Value;

use super::{checksums::Checksums, deployment::Deployment, finding::Finding};
use crate::aws::{CallError, Service};

/// The function's configuration, with its variables.
pub(super) async fn configuration(deployment: &Deployment<'_>) -> Result<Value, CallError> {
    let name = deployment.output("FunctionName");
    deployment.reader.get(Service::Lambda, format!("/2015-03-31/functions/{name}/configuration")).await
}

pub(super) async fn check(
    deployment: &Deployment<'_>,
    configuration: &Result<Value, CallError>,
    checksums: Option<&Checksums>,
) -> Vec<Finding> {
    let name = deployment.output("FunctionName");
    let triggers =
        deployment.reader.get(Service::Lambda, format!("/2015-03-31/event-source-mappings/?FunctionName={name}")).await;
    let mut findings = match configuration {
        Ok(configuration) => vec![judge_state(configuration), judge_code(configuration, checksums)],
        Err(error) if error.is_not_found() => {
            let finding = Finding::broken("function", format!("the function {name} doesn't exist"));
            vec![finding.advise("Deploy the stack again", "docs/releases.md#deploying-a-release")]
        }
        Err(error) => vec![Finding::unknown("function", "GetFunctionConfiguration", error)],
    };
    findings.push(judge_trigger(deployment.output("ParkingQueueUrl"), triggers));
    findings
}

fn judge_state(configuration: &Value) -> Finding {
    let text = |name: &str| configuration[name].as_str().unwrap_or_default();
    let reason =
        |name: &str| Some(text(name)).filter(|it| !it.is_empty()).map(|it| format!(": {it}")).unwrap_or_default();
    match (text("State"), text("LastUpdateStatus")) {
        ("Failed", _) => Finding::broken("function", format!("it can't be invoked{}", reason("StateReason")))
            .advise("Correct the cause, and deploy the stack again", "docs/operations.md#errors"),
        (_, "Failed") => {
            Finding::broken("function", format!("its last update failed{}", reason("LastUpdateStatusReason")))
                .advise("Correct the cause, and deploy the stack again", "docs/releases.md#upgrading")
        }
        ("Pending", _) | (_, "InProgress") => {
            Finding::warning("function", "it is being updated").advise("Wait until it is", "docs/releases.md#upgrading")
        }
        _ => Finding::ok("function", format!("{} is active", text("FunctionName"))),
    }
}

fn judge_code(configuration: &Value, checksums: Option<&Checksums>) -> Finding {
    let code = configuration["CodeSha256"].as_str().unwrap_or_default();
    let Some(checksums) = checksums else {
        return Finding::skipped("code", "to compare it with a release, add --checksums and the release's SHA256SUMS");
    };
    match checksums.name(code) {
        Some(name) => Finding::ok("code", format!("it is that of {name}")),
        None => Finding::broken(
            "code",
            format!("it is not one of the release's files; its SHA-256 checksum in base64 is {code}"),
        )
        .advise(
            "Deploy the release, or compare with the checksums of the version that runs",
            "docs/releases.md#verifying-a-release",
        ),
    }
}

fn judge_trigger(queue: &str, triggers: Result<Value, CallError>) -> Finding {
    let triggers = match triggers {
        Ok(triggers) => triggers,
        Err(error) => return Finding::unknown("trigger", "ListEventSourceMappings", error),
    };
    let queue = queue.rsplit('/').next().unwrap_or_default();
    let is_ours = |it: &&Value| it["EventSourceArn"].as_str().is_some_and(|arn| arn.rsplit(':').next() == Some(queue));
    let trigger = triggers["EventSourceMappings"].as_array().into_iter().flatten().find(is_ours);
    let Some(trigger) = trigger else {
        return Finding::broken(
            "trigger",
            "the parking queue doesn't trigger the function, so no parked event is retried",
        )
        .advise("Deploy the stack again", "docs/operations.md#parkedlong");
    };
    let [id, state] = ["UUID", "State"].map(|name| trigger[name].as_str().unwrap_or_default());
    match state {
        "Enabled" => Finding::ok("trigger", "the parking queue triggers the function"),
        "Disabled" | "Disabling" => {
            let finding =
                Finding::broken("trigger", "the parking queue's trigger is disabled, so no parked event is retried");
            let command = format!("Run `aws lambda update-event-source-mapping --enabled --uuid {id}`");
            finding.advise(command, "docs/operations.md#parkedlong")
        }
        state => Finding::warning("trigger", format!("the parking queue's trigger is {state}"))
            .advise("Wait until it is enabled", "docs/operations.md#parkedlong"),
    }
}
