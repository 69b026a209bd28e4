//! Do the account's quotas fit the parameters?

use serde_json::{Value, json};

use super::{deployment::Deployment, finding::Finding};
use crate::aws::{CallError, Service};

/// The pages that explain the quotas.
const PAGE: &str = "docs/operations.md#scaling";
const CONCURRENCY_PAGE: &str = "docs/operations.md#concurrency";

/// The name of the quota of `PutEvents` in Service Quotas.
const PUT_EVENTS: &str = "PutEvents throttle limit in transactions per second";

/// The concurrency of an account that Lambda doesn't let functions reserve. New accounts have less.
const UNRESERVED: u64 = 100;

pub(super) async fn check(deployment: &Deployment<'_>) -> Vec<Finding> {
    let name = deployment.output("FunctionName");
    let (account, reserved, put_events) = tokio::join!(
        deployment.reader.get(Service::Lambda, "/2016-08-19/account-settings/"),
        deployment.reader.get(Service::Lambda, format!("/2019-09-30/functions/{name}/concurrency")),
        put_events(deployment),
    );
    let concurrency = match (account, reserved) {
        (Ok(account), Ok(reserved)) => judge_concurrency(
            &account["AccountLimit"],
            reserved["ReservedConcurrentExecutions"].as_u64(),
            deployment.number("DrainConcurrency"),
        ),
        (Err(error), _) => Finding::unknown("concurrency", "GetAccountSettings", error),
        (_, Err(error)) => Finding::unknown("concurrency", "GetFunctionConcurrency", error),
    };
    let throttle =
        (deployment.parameter("Ingress") != "FunctionUrl").then(|| deployment.number("ApiRequestsPerSecond"));
    vec![concurrency, judge_put_events(put_events, throttle)]
}

fn judge_concurrency(account: &Value, reserved: Option<u64>, drain: u64) -> Finding {
    let limit = |name: &str| account[name].as_u64().unwrap_or_default();
    let (all, unreserved) = (limit("ConcurrentExecutions"), limit("UnreservedConcurrentExecutions"));
    if reserved == Some(0) {
        return Finding::broken(
            "concurrency",
            "the function's reserved concurrency is 0, so every delivery is refused",
        )
        .advise(
            "If that is not on purpose, reserve the number in ReservedConcurrency again",
            "docs/operations.md#stopping-all-deliveries",
        );
    }
    let available = reserved.unwrap_or(unreserved);
    let kind = if reserved.is_some() { "reserved" } else { "shared with other functions" };
    let text = format!("{available} concurrent executions, {kind}; the account has {all}");
    if available <= drain {
        let text = format!("{text}. Parked events may use {drain} of them, so that none is left for deliveries");
        let raise = if reserved.is_some() { "Raise ReservedConcurrency" } else { "Request a higher quota" };
        return Finding::warning("concurrency", text)
            .advise(format!("{raise}, or lower DrainConcurrency"), CONCURRENCY_PAGE);
    }
    if all <= UNRESERVED {
        let text = format!("{text}, as new accounts have. None can be reserved");
        return Finding::warning("concurrency", text)
            .advise("Request a higher quota of concurrent executions from AWS", CONCURRENCY_PAGE);
    }
    Finding::ok("concurrency", text)
}

/// The events that may be put on buses of the account and region in a second.
async fn put_events(deployment: &Deployment<'_>) -> Result<Option<f64>, CallError> {
    let mut input = json!({"ServiceCode": "events", "MaxResults": 100});
    loop {
        let answer = deployment.reader.call(Service::Quotas, "ListServiceQuotas", input.clone()).await?;
        let quotas = answer["Quotas"].as_array().into_iter().flatten();
        if let Some(quota) = quotas.into_iter().find(|quota| quota["QuotaName"] == PUT_EVENTS) {
            return Ok(quota["Value"].as_f64());
        }
        match answer["NextToken"].as_str() {
            Some(token) => input["NextToken"] = token.into(),
            None => return Ok(None),
        }
    }
}

fn judge_put_events(quota: Result<Option<f64>, CallError>, throttle: Option<u64>) -> Finding {
    match quota {
        Err(error) => Finding::unknown("put-events", "ListServiceQuotas", error),
        Ok(None) => Finding::skipped("put-events", "Service Quotas doesn't list the quota of PutEvents"),
        #[allow(clippy::cast_precision_loss, reason = "the throttle is at most 5000")]
        Ok(Some(quota)) => match throttle {
            Some(throttle) if quota < throttle as f64 => {
                let text = format!(
                    "the account may put {quota} events a second, and the API lets {throttle} requests through"
                );
                Finding::warning("put-events", text)
                    .advise("Request a higher quota of PutEvents; until then, events are parked", PAGE)
            }
            _ => Finding::ok("put-events", format!("the account may put {quota} events a second")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn the_concurrency_has_to_leave_room_for_deliveries() {
        for (all, unreserved, reserved, drain, state) in [
            (1000, 1000, None, 5, State::Ok),
            (1000, 900, Some(100), 5, State::Ok),
            (1000, 900, Some(5), 5, State::Warning),
            (1000, 4, None, 5, State::Warning),
            (10, 10, None, 5, State::Warning),
            (100, 100, None, 5, State::Warning),
            (101, 101, None, 5, State::Ok),
            (1000, 1000, Some(0), 5, State::Broken),
        ] {
            let account = json!({"ConcurrentExecutions": all, "UnreservedConcurrentExecutions": unreserved});
            let finding = judge_concurrency(&account, reserved, drain);
            assert_eq!(finding.state, state, "{}", finding.text);
        }
    }

    #[test]
    fn the_bus_has_to_accept_what_the_throttle_lets_through() {
        for (quota, throttle, state) in [
            (Some(400.0), None, State::Ok),
            (Some(400.0), Some(500), State::Warning),
            (Some(500.0), Some(500), State::Ok),
            (None, Some(500), State::Skipped),
        ] {
            assert_eq!(judge_put_events(Ok(quota), throttle).state, state, "{quota:?} {throttle:?}");
        }
    }
}
