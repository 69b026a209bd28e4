//! Does a resource's policy let EventBridge deliver a rule's events? This reads the statements about EventBridge; only IAM
//! itself could decide about conditions on anything but the rule and its account.

use serde_json::Value;

/// What EventBridge does, for which rule, and with what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) action: &'a str,
    pub(super) resource: &'a str,
    pub(super) rule: &'a str,
    pub(super) account: &'a str,
}

/// Whether the request is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    Denied,
    /// It depends on a condition that this can't decide.
    Unclear,
}

/// The verdict of a policy, which is JSON.
pub(super) fn decide(policy: &str, request: Request<'_>) -> Verdict {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let mut allowed = Verdict::Denied;
    for statement in list(&policy["Statement"]) {
        match (statement["Effect"].as_str(), applies(statement, request)) {
            (Some("Deny"), Some(true)) => return Verdict::Denied,
            (Some("Deny"), None) => return Verdict::Unclear,
            (Some("Allow"), Some(true)) => allowed = Verdict::Allowed,
            (Some("Allow"), None) if allowed == Verdict::Denied => allowed = Verdict::Unclear,
            _ => {}
        }
    }
    allowed
}

/// Whether a statement is about the request. `None` if this can't be decided.
fn applies(statement: &Value, request: Request<'_>) -> Option<bool> {
    let names_eventbridge = |principal: &Value| {
        let services = list(&principal["Service"]).chain(list(&principal["AWS"]));
        principal == "*" || services.into_iter().any(|it| it == "*" || it == "events.amazonaws.com")
    };
    let any =
        |member: &str, text: &str| list(&statement[member]).any(|it| it.as_str().is_some_and(|it| matches(it, text)));
    if ["NotPrincipal", "NotAction", "NotResource"].iter().any(|member| !statement[member].is_null()) {
        return None;
    }
    if !names_eventbridge(&statement["Principal"])
        || !any("Action", request.action)
        || !any("Resource", request.resource)
    {
        return Some(false);
    }
    let conditions = statement["Condition"].as_object().into_iter().flatten();
    let conditions = conditions.flat_map(|(operator, keys)| {
        keys.as_object().into_iter().flatten().map(move |(key, values)| holds(operator, key, values, request))
    });
    // One condition that doesn't hold is enough, even if others can't be decided.
    let results: Vec<_> = conditions.collect();
    if results.contains(&Some(false)) {
        Some(false)
    } else {
        results.into_iter().collect::<Option<Vec<_>>>().map(|_| true)
    }
}

/// Whether a condition holds. `None` if this can't be decided.
fn holds(operator: &str, key: &str, values: &Value, request: Request<'_>) -> Option<bool> {
    let actual = match key.to_ascii_lowercase().as_str() {
        "aws:sourcearn" => request.rule,
        "aws:sourceaccount" => request.account,
        "aws:securetransport" => "true",
        _ => return None,
    };
    let any = |same: fn(&str, &str) -> bool| {
        list(values).any(|it| it.as_str().map_or_else(|| same(&it.to_string(), actual), |it| same(it, actual)))
    };
    match operator {
        "StringEquals" | "Bool" => Some(any(|a, b| a == b)),
        "StringLike" | "ArnEquals" | "ArnLike" => Some(any(matches)),
        _ => None,
    }
}

/// A value that can be alone or in a list.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    let items = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    items.iter().filter(|item| !item.is_null())
}

/// Whether a text matches a pattern with `*` and `?`. Upper and lower case are the same, as in actions.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` is, and up to where it has matched.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), star) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(&c), _) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            (_, Some((at, matched))) => {
                star = Some((at, matched + 1));
                p = at + 1;
                t = matched + 1;
            }
            (_, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const QUEUE: &str = "arn:aws:sqs:eu-central-1:123456789012:mine";
    const RULE: &str = "arn:aws:events:eu-central-1:123456789012:rule/scalekit/mine";

    fn decide_for(statements: &Value) -> Verdict {
        let request = Request { action: "sqs:SendMessage", resource: QUEUE, rule: RULE, account: "123456789012" };
        decide(&json!({"Version": "2012-10-17", "Statement": statements}).to_string(), request)
    }

    fn statement(effect: &str, change: &Value) -> Value {
        let mut statement = json!({
            "Effect": effect,
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": QUEUE,
        });
        for (name, value) in change.as_object().unwrap() {
            statement[name] = value.clone();
        }
        statement
    }

    #[test]
    fn a_statement_allows_what_it_names() {
        use Verdict::{Allowed, Denied, Unclear};
        for (what, change, expected) in [
            ("the plain statement", json!({}), Allowed),
            ("lists", json!({"Action": ["sqs:GetQueueUrl", "SQS:Send*"], "Resource": ["*"]}), Allowed),
            ("everybody", json!({"Principal": "*"}), Allowed),
            ("everybody, in the long form", json!({"Principal": {"AWS": "*"}}), Allowed),
            ("the rule", json!({"Condition": {"ArnEquals": {"aws:SourceArn": RULE}}}), Allowed),
            (
                "the rules of the bus",
                json!({"Condition": {"ArnLike": {"AWS:SourceArn": [RULE.replace("mine", "*")]}}}),
                Allowed,
            ),
            ("the account", json!({"Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}}}), Allowed),
            ("another service", json!({"Principal": {"Service": "sns.amazonaws.com"}}), Denied),
            ("another account", json!({"Principal": {"AWS": "arn:aws:iam::210987654321:root"}}), Denied),
            ("another action", json!({"Action": "sqs:ReceiveMessage"}), Denied),
            ("another queue", json!({"Resource": format!("{QUEUE}2")}), Denied),
            ("another rule", json!({"Condition": {"ArnEquals": {"aws:SourceArn": format!("{RULE}2")}}}), Denied),
            (
                "another rule, and something else",
                json!({"Condition": {"ArnEquals": {"aws:SourceArn": "x"}, "Bool": {"x:y": "true"}}}),
                Denied,
            ),
            ("an organization", json!({"Condition": {"StringEquals": {"aws:SourceOrgID": "o-1"}}}), Unclear),
            ("an unknown operator", json!({"Condition": {"StringNotEquals": {"aws:SourceAccount": "x"}}}), Unclear),
            ("everything but an action", json!({"NotAction": "sqs:ReceiveMessage"}), Unclear),
        ] {
            assert_eq!(decide_for(&json!([statement("Allow", &change)])), expected, "{what}");
        }
    }

    #[test]
    fn a_denial_is_stronger() {
        let https =
            json!({"Principal": "*", "Action": "sqs:*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}});
        for (what, change, expected) in [
            ("requests without TLS", https, Verdict::Allowed),
            ("everything", json!({"Principal": "*", "Action": "*"}), Verdict::Denied),
            ("it depends", json!({"Condition": {"StringNotEquals": {"aws:SourceVpce": "x"}}}), Verdict::Unclear),
        ] {
            let statements = json!([statement("Deny", &change), statement("Allow", &json!({}))]);
            assert_eq!(decide_for(&statements), expected, "{what}");
        }
        assert_eq!(decide("", Request { action: "a:b", resource: "", rule: "", account: "" }), Verdict::Denied);
    }

    #[test]
    fn a_pattern_can_have_wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcd", false),
            ("*b*d", "abcbd", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
