//! Does the bus exist, and can the targets of its rules receive events?

use std::time::Duration;

use aws_sdk_eventbridge::types::{Rule, RuleState, Target};
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;

use super::{
    deployment::Deployment,
    finding::{Finding, State},
    metric::Metric,
    policy::{Request, Verdict, decide},
};
use crate::{
    aws::{Explain, Service, is_missing},
    subscription,
};

/// How far back failed invocations count.
const WINDOW: Duration = Duration::from_hours(24);

/// The page about rules.
const RULES: &str = "events/rules.md";

/// What is known about the bus.
pub(super) struct Bus {
    pub(super) findings: Vec<Finding>,
    /// The patterns of the consumers' rules, if all of them could be read.
    pub(super) patterns: Option<Vec<String>>,
}

pub(super) async fn check(deployment: &Deployment<'_>) -> Bus {
    let name = deployment.output("EventBusName");
    if deployment.output("EventBusArn").split(':').nth(4) != Some(deployment.account.as_str()) {
        let finding =
            Finding::skipped("bus", format!("{name} is in another account, whose rules only that account can read"));
        return Bus { findings: vec![finding], patterns: None };
    }
    let bus = match deployment.aws.events.describe_event_bus().name(name).send().await {
        Ok(_) => Finding::ok("bus", format!("{name} exists")),
        Err(error) if is_missing(&error) => {
            let finding = Finding::broken("bus", format!("the bus {name} doesn't exist, so events are parked or lost"));
            let advice = "Create it again; the function notices that within 5 minutes";
            let finding = finding.advise(advice, "docs/operations.md#if-the-event-bus-is-deleted");
            return Bus { findings: vec![finding], patterns: None };
        }
        Err(error) => {
            let error = Err::<(), _>(error).explain("find the bus").err().unwrap_or_default();
            return Bus { findings: vec![Finding::unknown("bus", "DescribeEventBus", error)], patterns: None };
        }
    };
    let mut findings = vec![bus];
    let patterns = match rules(deployment, name).await {
        Ok(rules) => {
            if rules.is_empty() {
                let finding = Finding::warning("rules", "no rule of a consumer is on the bus");
                findings.push(finding.advise("Add a rule, or test with `scalekit-events tail`", RULES));
            }
            for rule in &rules {
                findings.push(check_rule(deployment, name, rule).await);
            }
            Some(rules.iter().filter_map(|rule| rule.event_pattern.clone()).collect())
        }
        Err(error) => {
            findings.push(Finding::unknown("rules", "ListRules", error));
            None
        }
    };
    Bus { findings, patterns }
}

/// The rules of consumers: neither the archive's, nor those of this program.
async fn rules(deployment: &Deployment<'_>, bus: &str) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    let mut next = None;
    loop {
        let page = deployment.aws.events.list_rules().event_bus_name(bus).set_next_token(next).send().await;
        let page = page.explain("list the rules")?;
        rules.extend(page.rules.unwrap_or_default());
        next = page.next_token;
        if next.is_none() {
            break;
        }
    }
    let is_consumers = |rule: &Rule| {
        rule.managed_by.is_none() && !rule.name().is_some_and(|name| name.starts_with(subscription::PREFIX))
    };
    rules.retain(is_consumers);
    Ok(rules)
}

async fn check_rule(deployment: &Deployment<'_>, bus: &str, rule: &Rule) -> Finding {
    let name = rule.name().unwrap_or_default();
    let link = format!("rule {name}");
    if rule.state() == Some(&RuleState::Disabled) {
        let command = format!("Run `aws events enable-rule --event-bus-name {bus} --name {name}`, or delete the rule");
        return Finding::warning(link, "it is disabled").advise(command, RULES);
    }
    let targets = deployment.aws.events.list_targets_by_rule().event_bus_name(bus).rule(name).send().await;
    let targets = match targets.explain("list the targets") {
        Ok(output) => output.targets.unwrap_or_default(),
        Err(error) => return Finding::unknown(link, "ListTargetsByRule", error),
    };
    if targets.is_empty() {
        return Finding::broken(link, "it has no target").advise("Add a target, or delete the rule", RULES);
    }
    let mut problems = Vec::new();
    let mut unchecked = Vec::new();
    for target in &targets {
        match check_target(deployment, rule.arn().unwrap_or_default(), target).await {
            Reachable::Yes => {}
            Reachable::No(why) => problems.push(format!("{} can't receive: {why}", target.arn())),
            Reachable::Unchecked(why) => unchecked.push(format!("{}: {why}", target.arn())),
        }
    }
    let failed = failed_invocations(deployment, bus, name).await;
    if failed > 0.0 {
        problems.push(format!("{failed} deliveries to its targets failed in the last 24 hours"));
    }
    match (&problems[..], &unchecked[..]) {
        ([], []) => Finding::ok(link, format!("{} can receive", number(targets.len()))),
        ([], unchecked) => Finding::new(
            link,
            State::Skipped,
            format!("nothing failed in the last 24 hours, but {}", unchecked.join("; ")),
        ),
        (problems, _) => Finding::broken(link, problems.join("; "))
            .advise("Correct the target's policy or key. A rule without a dead-letter queue loses these events", RULES),
    }
}

fn number(targets: usize) -> String {
    if targets == 1 { "its target".to_owned() } else { format!("its {targets} targets") }
}

/// Whether a target can receive events.
enum Reachable {
    Yes,
    No(String),
    Unchecked(String),
}

impl From<Verdict> for Reachable {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allowed => Self::Yes,
            Verdict::Denied => Self::No("its policy doesn't let EventBridge send to it".to_owned()),
            Verdict::Unclear => Self::Unchecked("its policy has conditions that can't be checked here".to_owned()),
        }
    }
}

async fn check_target(deployment: &Deployment<'_>, rule: &str, target: &Target) -> Reachable {
    let arn = target.arn();
    if target.role_arn().is_some() {
        return Reachable::Unchecked("the rule uses a role, whose permissions aren't checked here".to_owned());
    }
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let &[_, _, service, region, account, name] = &parts[..] else {
        return Reachable::Unchecked("its ARN can't be read".to_owned());
    };
    let own = deployment.output("EventBusArn").split(':').nth(3);
    if account != deployment.account || Some(region) != own {
        return Reachable::Unchecked("it is in another account or region".to_owned());
    }
    let request = |action| Request { action, resource: arn, rule, account: &deployment.account };
    match service {
        "sqs" => check_queue(deployment, name, request("sqs:SendMessage")).await,
        "sns" => check_topic(deployment, arn, request("sns:Publish")).await,
        "lambda" => check_function(deployment, name, request("lambda:InvokeFunction")).await,
        _ => Reachable::Unchecked("targets of this kind aren't checked here".to_owned()),
    }
}

async fn check_queue(deployment: &Deployment<'_>, name: &str, request: Request<'_>) -> Reachable {
    let queues = &deployment.aws.queues;
    let url = match queues.get_queue_url().queue_name(name).send().await {
        Ok(output) => output.queue_url.unwrap_or_default(),
        Err(error) if is_missing(&error) => {
            return Reachable::No("the queue doesn't exist".to_owned());
        }
        Err(error) => return unchecked(Err::<(), _>(error).explain("find the queue")),
    };
    let names = vec![QueueAttributeName::Policy, QueueAttributeName::KmsMasterKeyId];
    let attributes = queues.get_queue_attributes().queue_url(url).set_attribute_names(Some(names)).send().await;
    let attributes = match attributes.explain("read the queue") {
        Ok(output) => output.attributes.unwrap_or_default(),
        Err(error) => return unchecked(Err::<(), _>(error)),
    };
    let text = |name| attributes.get(&name).map(String::as_str).unwrap_or_default();
    match decide(text(QueueAttributeName::Policy), request).into() {
        Reachable::Yes => check_key(deployment, text(QueueAttributeName::KmsMasterKeyId), request).await,
        not => not,
    }
}

async fn check_topic(deployment: &Deployment<'_>, arn: &str, request: Request<'_>) -> Reachable {
    let answer = match deployment.reader.call(Service::Sns, "GetTopicAttributes", json!({"TopicArn": arn})).await {
        Ok(answer) => answer,
        Err(error) if error.is_not_found() => return Reachable::No("the topic doesn't exist".to_owned()),
        Err(error) => return Reachable::Unchecked(error.to_string()),
    };
    let entries = answer["Attributes"].as_array().cloned().unwrap_or_default();
    let text = |name: &str| {
        let entry = entries.iter().find(|entry| entry["key"] == name);
        entry.and_then(|entry| entry["value"].as_str()).unwrap_or_default()
    };
    match decide(text("Policy"), request).into() {
        Reachable::Yes => check_key(deployment, text("KmsMasterKeyId"), request).await,
        not => not,
    }
}

async fn check_function(deployment: &Deployment<'_>, name: &str, request: Request<'_>) -> Reachable {
    // `function:NAME`, and possibly `:VERSION`.
    let mut parts = name.split(':').skip(1);
    let name = parts.next().unwrap_or_default();
    let qualifier = parts.next().map(|qualifier| format!("?Qualifier={qualifier}")).unwrap_or_default();
    match deployment.reader.get(Service::Lambda, format!("/2015-03-31/functions/{name}/policy{qualifier}")).await {
        Ok(answer) => decide(answer["Policy"].as_str().unwrap_or_default(), request).into(),
        Err(error) if error.is_not_found() => {
            Reachable::No("the function doesn't exist, or has no policy that lets EventBridge invoke it".to_owned())
        }
        Err(error) => Reachable::Unchecked(error.to_string()),
    }
}

/// Whether EventBridge may use the key that encrypts a target.
async fn check_key(deployment: &Deployment<'_>, key: &str, request: Request<'_>) -> Reachable {
    if key.is_empty() {
        return Reachable::Yes;
    }
    if key.contains("alias/aws/") {
        return Reachable::No(format!("EventBridge can't use its key {key}; use another key, or none"));
    }
    let described = match deployment.reader.call(Service::Kms, "DescribeKey", json!({"KeyId": key})).await {
        Ok(answer) => answer,
        Err(error) if error.is_not_found() => return Reachable::No(format!("its key {key} doesn't exist")),
        Err(error) => return Reachable::Unchecked(format!("its key {key}: {error}")),
    };
    let metadata = &described["KeyMetadata"];
    if metadata["KeyState"] != "Enabled" {
        return Reachable::No(format!("its key {key} is {}", metadata["KeyState"].as_str().unwrap_or("unusable")));
    }
    // GetKeyPolicy accepts no alias.
    let input = json!({"KeyId": metadata["KeyId"], "PolicyName": "default"});
    let policy = match deployment.reader.call(Service::Kms, "GetKeyPolicy", input).await {
        Ok(answer) => answer["Policy"].as_str().unwrap_or_default().to_owned(),
        Err(error) => return Reachable::Unchecked(format!("its key {key}: {error}")),
    };
    for action in ["kms:Decrypt", "kms:GenerateDataKey"] {
        match decide(&policy, Request { action, resource: metadata["Arn"].as_str().unwrap_or("*"), ..request }) {
            Verdict::Allowed => {}
            Verdict::Denied => {
                return Reachable::No(format!("the policy of its key {key} doesn't let EventBridge use the key"));
            }
            Verdict::Unclear => {
                return Reachable::Unchecked(format!("the policy of its key {key} can't be checked here"));
            }
        }
    }
    Reachable::Yes
}

fn unchecked<T>(error: Result<T, String>) -> Reachable {
    Reachable::Unchecked(error.err().unwrap_or_default())
}

/// The deliveries to the rule's targets that failed. 0 if the metric can't be read.
async fn failed_invocations(deployment: &Deployment<'_>, bus: &str, rule: &str) -> f64 {
    let metric = Metric {
        namespace: "AWS/Events",
        name: "FailedInvocations",
        dimensions: &[("EventBusName", bus), ("RuleName", rule)],
        statistic: "Sum",
        period: WINDOW,
    };
    metric.values(&deployment.reader, WINDOW).await.iter().sum()
}
