//! Does the URL reach the function? An unsigned POST has to be refused by the function itself.

use std::error::Error;

use http::uri::InvalidUri;
use serde_json::Value;

use super::finding::Finding;
use crate::delivery::{Endpoint, Response};

/// The `type` of the function's refusal.
const REFUSAL: &str = "urn:scalekit-eventbridge:problem:invalid-signature";

/// The runbook for requests that something else answers.
const IN_FRONT: &str = "docs/operations.md#if-requests-dont-reach-the-function";

pub(super) async fn check(endpoint: &Result<Endpoint, InvalidUri>) -> Finding {
    judge(match endpoint {
        Ok(endpoint) => endpoint.post(&[], b"{}").await,
        Err(error) => Err(error.to_string().into()),
    })
}

fn judge(response: Result<Response, Box<dyn Error>>) -> Finding {
    let Response { status, body } = match response {
        Ok(response) => response,
        Err(error) => {
            let advice = "Check that the endpoint exists and that this machine can reach it";
            return Finding::broken("url", error.to_string()).advise(advice, IN_FRONT);
        }
    };
    let problem: Value = serde_json::from_str(&body).unwrap_or_default();
    if status == 401 && problem["type"] == REFUSAL {
        return Finding::ok("url", "the function refused an unsigned POST with 401, as it should");
    }
    let broken = |text: &str| Finding::broken("url", format!("an unsigned POST got {status}: {text}"));
    match status {
        403 => broken("the request was refused in front of the function").advise(
            "Restore the permissions in the function's resource policy, or exempt the function from the organization's policy. \
             A REST API also refuses addresses that are not in AllowedSourceIps, and what its web ACL blocks",
            IN_FRONT,
        ),
        404 => broken("there is nothing at this URL")
            .advise("Deploy the stack again, and compare the URL with the one in Scalekit's dashboard", IN_FRONT),
        429 => broken("the request was throttled in front of the function")
            .advise("Raise the concurrency, or the API's throttle in ApiRequestsPerSecond", "docs/operations.md#throttles"),
        500.. => broken("the function can't run or respond")
            .advise("Read the function's log of this minute", "docs/operations.md#errors"),
        _ => broken("this is not the function's response")
            .advise("Find out what answers at this URL", IN_FRONT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::State;

    #[test]
    fn only_the_functions_own_refusal_is_right() {
        let ours = format!(r#"{{"type":"{REFUSAL}","status":401}}"#);
        for (status, body, state, runbook) in [
            (401, ours.as_str(), State::Ok, None),
            (401, r#"{"message":"Unauthorized"}"#, State::Broken, Some(IN_FRONT)),
            (403, r#"{"Message":"Forbidden"}"#, State::Broken, Some(IN_FRONT)),
            (
                403,
                r#"{"Message":"User: anonymous is not authorized to perform: execute-api:Invoke on resource: …"}"#,
                State::Broken,
                Some(IN_FRONT),
            ),
            (404, r#"{"message":"Not Found"}"#, State::Broken, Some(IN_FRONT)),
            (
                429,
                r#"{"Reason":"ConcurrentInvocationLimitExceeded"}"#,
                State::Broken,
                Some("docs/operations.md#throttles"),
            ),
            (502, "Internal Server Error", State::Broken, Some("docs/operations.md#errors")),
            (503, "", State::Broken, Some("docs/operations.md#errors")),
            (200, "", State::Broken, Some(IN_FRONT)),
            (200, ours.as_str(), State::Broken, Some(IN_FRONT)),
        ] {
            let finding = judge(Ok(Response { status, body: body.to_owned() }));
            assert_eq!(
                (finding.state, finding.advice.as_ref().map(|(_, page)| page.as_ref())),
                (state, runbook),
                "{status} {body}"
            );
        }
        assert_eq!(judge(Err("connection refused".into())).state, State::Broken);
    }
}
