//! Do all alarms of the stack exist, which of them are on, and does anybody hear them?

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
    let (names, alarms) = tokio::join!(names(deployment), alarms(deployment, &prefix));
    let names = match names {
        Ok(names) => names,
        Err(error) => return vec![Finding::unknown("alarms", "ListStackResources", error)],
    };
    let alarms = match alarms {
        Ok(alarms) => alarms,
        Err(error) => return vec![Finding::unknown("alarms", "DescribeAlarms", error)],
    };
    let mut findings = Vec::new();
    for name in &names {
        let heading = name.strip_prefix(&prefix).unwrap_or(name);
        let link = format!("alarm {heading}");
        let Some(alarm) = alarms.iter().find(|alarm| alarm["AlarmName"] == name.as_str()) else {
            let advice =
                "Create it again as in the template, because CloudFormation doesn't notice that it was deleted";
            findings.push(Finding::broken(link, "it doesn't exist").advise(advice, RUNBOOK));
            continue;
        };
        if alarm["ActionsEnabled"] == false {
            let finding = Finding::warning(link.as_str(), "its actions are disabled, so it notifies nobody");
            let command = format!("Run `aws cloudwatch enable-alarm-actions --alarm-names {name}`");
            findings.push(finding.advise(command, RUNBOOK));
        }
        if alarm["StateValue"] == "ALARM" {
            let reason = alarm["StateReason"].as_str().unwrap_or_default();
            let finding = Finding::warning(link, format!("it is on: {reason}"));
            let section = format!("docs/operations.md#{}", heading.to_ascii_lowercase());
            findings.push(finding.advise("Follow its section of the runbook", section));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("alarms", format!("none of the {} is on", names.len())));
    }
    findings
}

/// The names of the alarms that the stack has created.
async fn names(deployment: &Deployment<'_>) -> Result<Vec<String>, CallError> {
    let input = json!({"StackName": deployment.name});
    let resources = pages(deployment, Service::CloudFormation, "ListStackResources", "StackResourceSummaries", input);
    let is_alarm = |resource: &&Value| resource["ResourceType"] == "AWS::CloudWatch::Alarm";
    let name = |resource: &Value| resource["PhysicalResourceId"].as_str().map(str::to_owned);
    Ok(resources.await?.iter().filter(is_alarm).filter_map(name).collect())
}

/// All alarms whose names begin with the prefix, among them those of the stack.
async fn alarms(deployment: &Deployment<'_>, prefix: &str) -> Result<Vec<Value>, CallError> {
    let input = json!({"AlarmNamePrefix": prefix});
    pages(deployment, Service::CloudWatch, "DescribeAlarms", "MetricAlarms", input).await
}

/// The members of a list from all pages of an operation.
async fn pages(
    deployment: &Deployment<'_>,
    service: Service,
    operation: &'static str,
    list: &str,
    mut input: Value,
) -> Result<Vec<Value>, CallError> {
    let mut members = Vec::new();
    loop {
        let mut answer = deployment.reader.call(service, operation, input.clone()).await?;
        if let Value::Array(page) = answer[list].take() {
            members.extend(page);
        }
        match answer["NextToken"].take() {
            Value::String(token) if !token.is_empty() => input["NextToken"] = token.into(),
            _ => return Ok(members),
        }
    }
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
