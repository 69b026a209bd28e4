//! Which alarms are on, and does anybody hear them?

use serde_json::{Value, json};

use super::{deployment::Deployment, finding::Finding};
use crate::aws::{CallError, Service};

/// The runbook, which has a section for each alarm.
const RUNBOOK: &str = "docs/operations.md#alarms";

pub(super) async fn check(deployment: &Deployment<'_>) -> Vec<Finding> {
    let (mut findings, topic) = tokio::join!(check_alarms(deployment), check_topic(deployment));
    findings.push(topic);
    findings
}

async fn check_alarms(deployment: &Deployment<'_>) -> Vec<Finding> {
    let prefix = format!("{}-", deployment.name);
    let alarms = match alarms(deployment, &prefix).await {
        Ok(alarms) => alarms,
        Err(error) => return vec![Finding::unknown("alarms", "DescribeAlarms", error)],
    };
    if alarms.is_empty() {
        let finding = Finding::broken("alarms", "the stack has no alarms");
        return vec![finding.advise("Deploy the stack again", RUNBOOK)];
    }
    let mut findings = Vec::new();
    for alarm in &alarms {
        let text = |name: &str| alarm[name].as_str().unwrap_or_default();
        let heading = text("AlarmName").trim_start_matches(&prefix);
        let link = format!("alarm {heading}");
        if alarm["ActionsEnabled"] == false {
            let finding = Finding::warning(link.as_str(), "its actions are disabled, so it notifies nobody");
            let command = format!("Run `aws cloudwatch enable-alarm-actions --alarm-names {}`", text("AlarmName"));
            findings.push(finding.advise(command, RUNBOOK));
        }
        if text("StateValue") == "ALARM" {
            let finding = Finding::warning(link, format!("it is on: {}", text("StateReason")));
            let section = format!("docs/operations.md#{}", heading.to_ascii_lowercase());
            findings.push(finding.advise("Follow its section of the runbook", section));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("alarms", format!("none of the {} is on", alarms.len())));
    }
    findings
}

/// The stack's alarms. The names of another stack's alarms can have the same beginning, and then a hyphen.
async fn alarms(deployment: &Deployment<'_>, prefix: &str) -> Result<Vec<Value>, CallError> {
    let mut alarms = Vec::new();
    let mut input = json!({"AlarmNamePrefix": prefix});
    loop {
        let mut answer = deployment.reader.call(Service::CloudWatch, "DescribeAlarms", input.clone()).await?;
        if let Value::Array(page) = answer["MetricAlarms"].take() {
            alarms.extend(page);
        }
        match answer["NextToken"].take() {
            Value::String(token) if !token.is_empty() => input["NextToken"] = token.into(),
            _ => break,
        }
    }
    let is_ours = |alarm: &Value| {
        alarm["AlarmName"]
            .as_str()
            .and_then(|name| name.strip_prefix(prefix))
            .is_some_and(|heading| !heading.contains('-'))
    };
    alarms.retain(is_ours);
    Ok(alarms)
}

async fn check_topic(deployment: &Deployment<'_>) -> Finding {
    let topic = deployment.output("AlarmTopicArn");
    let region = topic.split(':').nth(3).unwrap_or_default();
    let reader = deployment.reader.in_region(region);
    let answer = match reader.call(Service::Sns, "ListSubscriptionsByTopic", json!({"TopicArn": topic})).await {
        Ok(answer) => answer,
        Err(error) if error.is_not_found() => {
            return Finding::broken("alarm-topic", format!("the topic {topic} doesn't exist, so alarms notify nobody"))
                .advise("Deploy the stack again, or set AlarmTopicArn to another topic", RUNBOOK);
        }
        Err(error) => return Finding::unknown("alarm-topic", "ListSubscriptionsByTopic", error),
    };
    let subscriptions = answer["Subscriptions"].as_array().cloned().unwrap_or_default();
    let confirmed = subscriptions
        .iter()
        .filter(|it| it["SubscriptionArn"].as_str().is_some_and(|arn| arn.starts_with("arn:")))
        .count();
    match (confirmed, subscriptions.len()) {
        (0, 0) => Finding::broken("alarm-topic", "nobody is subscribed, so alarms notify nobody")
            .advise(format!("Set AlarmEmail, or subscribe an endpoint to {topic}"), RUNBOOK),
        (0, pending) => Finding::broken(
            "alarm-topic",
            format!("none of the {pending} subscriptions is confirmed, so alarms notify nobody"),
        )
        .advise(
            "Open the link in the e-mail that SNS has sent. The link expires after two days; then subscribe again",
            RUNBOOK,
        ),
        (confirmed, all) => Finding::ok("alarm-topic", format!("{confirmed} of {all} subscriptions are confirmed")),
    }
}
