//! Does a signed delivery reach the bus? With `--send`, a sample is posted and received again.

use std::{
    collections::HashSet,
    env,
    error::Error,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout_at};

use super::{bus::Bus, deployment::Deployment, finding::Finding, secret::Secret};
use crate::{
    assignment::Assignment,
    aws::Explain,
    delivery::Endpoint,
    event::{self, Body},
    stop::Stop,
    subscription::Subscription,
    terminal,
};

/// When samples are posted. A new rule takes effect after some seconds, so the first ones may not be received.
const POSTS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(8), Duration::from_secs(20), Duration::from_secs(40)];

pub(super) async fn check(
    deployment: &Deployment<'_>,
    endpoint: &Endpoint,
    secret: &Secret,
    bus: &Bus,
    wait: Duration,
) -> Finding {
    match send(deployment, endpoint, secret, bus, wait).await {
        Ok(finding) => finding,
        Err(error) => Finding::unknown("sample", "sending a sample", error),
    }
}

async fn send(
    deployment: &Deployment<'_>,
    endpoint: &Endpoint,
    secret: &Secret,
    bus: &Bus,
    wait: Duration,
) -> Result<Finding, Box<dyn Error>> {
    let Some(patterns) = &bus.patterns else {
        return Ok(Finding::skipped("sample", "nothing was sent, because the rules of the bus couldn't be read"));
    };
    let variable = env::var("WEBHOOK_SECRET").ok().filter(|secret| !secret.is_empty());
    let Some(secret) = variable.as_ref().or(secret.value.as_ref()) else {
        return Ok(Finding::skipped("sample", "nothing was sent, because no usable signing secret could be read"));
    };
    let Some(event_type) = unmatched_type(deployment, patterns).await? else {
        return Ok(Finding::skipped("sample", "nothing was sent, because rules of consumers match every event type"));
    };
    let mut stop = Stop::install()?;
    let pattern = json!({"source": [source(deployment)], "detail-type": [event_type]}).to_string();
    let mut subscription = Subscription::create(deployment.aws, deployment.output("EventBusName"), &pattern).await?;
    let finding = tokio::select! {
        () = stop.received() => Err("interrupted".into()),
        finding = post_and_wait(deployment, endpoint, secret, event_type, &mut subscription, wait) => finding,
    };
    subscription.remove().await?;
    finding
}

fn source<'a>(deployment: &'a Deployment<'_>) -> &'a str {
    Some(deployment.parameter("EventSource")).filter(|source| !source.is_empty()).unwrap_or("scalekit")
}

/// An event type whose sample no rule of consumers matches.
async fn unmatched_type(deployment: &Deployment<'_>, patterns: &[String]) -> Result<Option<&'static str>, String> {
    'types: for (name, detail) in event::types() {
        let envelope = json!({
            "version": "0",
            "id": "00000000-0000-4000-8000-000000000000",
            "detail-type": name,
            "source": source(deployment),
            "account": deployment.account,
            "time": "2025-01-01T00:00:00Z",
            "region": deployment.output("EventBusArn").split(':').nth(3),
            "resources": [],
            "detail": detail,
        })
        .to_string();
        for pattern in patterns {
            let test = deployment.aws.events.test_event_pattern().event_pattern(pattern).event(&envelope).send().await;
            if test.explain("test a rule's pattern")?.result() {
                continue 'types;
            }
        }
        return Ok(Some(name));
    }
    Ok(None)
}

async fn post_and_wait(
    deployment: &Deployment<'_>,
    endpoint: &Endpoint,
    secret: &str,
    event_type: &str,
    subscription: &mut Subscription<'_>,
    wait: Duration,
) -> Result<Finding, Box<dyn Error>> {
    let environment = Some(deployment.parameter("EnvironmentId")).filter(|id| !id.is_empty());
    let set: Vec<Assignment> =
        environment.map(|id| format!("environment_id={id}").parse()).transpose()?.into_iter().collect();
    let started = Instant::now();
    let mut posted = HashSet::new();
    let posts: Vec<_> = POSTS.into_iter().filter(|at| *at < wait).collect();
    for (index, at) in posts.iter().enumerate() {
        let body = Body::sample(event_type, &set)?;
        sleep(at.saturating_sub(started.elapsed())).await;
        let post = Instant::now();
        let (_, response) = endpoint.deliver(secret, index as u64, &body.bytes).await?;
        match response.status {
            200 => posted.extend(body.member("id")),
            // Scalekit would try again, too: the function may not have read the secret yet.
            500.. if index + 1 < posts.len() => continue,
            status => {
                let problem: Value = serde_json::from_str(&response.body).unwrap_or_default();
                let detail = problem["detail"].as_str().unwrap_or_default();
                let finding = Finding::broken("sample", format!("a signed {event_type} got {status}: {detail}"));
                return Ok(finding.advise("Look up the response", "docs/answers.md"));
            }
        }
        let until = started + *posts.get(index + 1).unwrap_or(&wait);
        while let Ok(events) = timeout_at(until.into(), subscription.receive()).await {
            let is_ours = |event: &String| {
                let event: Value = serde_json::from_str(event).unwrap_or_default();
                event["detail"]["id"].as_str().is_some_and(|id| posted.contains(id))
            };
            if events?.iter().any(is_ours) {
                let took = post.elapsed();
                return Ok(Finding::ok(
                    "sample",
                    format!("a signed {event_type} reached the bus within {:.1} s", took.as_secs_f64()),
                ));
            }
        }
    }
    let text = format!(
        "no sample of {event_type} arrived behind a rule within {}, although the function accepted {}",
        terminal::duration(wait),
        posted.len()
    );
    let advice =
        "Find these deliveries in the function's log: their outcome tells whether they were parked or forwarded";
    Ok(Finding::broken("sample", text).advise(advice, "docs/operations.md#when-things-fail"))
}
