//! The envelopes in `events/`, and the events in `events/delivered/` and `events/unusual/`, made from the bodies in
//! `events/bodies/`.

use std::{collections::BTreeMap, fs, path::Path};

use scalekit_eventbridge::{secret::DEVELOPMENT_SECRET, signature::Key};
use serde_json::Value;

use crate::SignedDelivery;

/// The time of the samples' signatures: 2025-10-14T09:29:27Z, the time of the vendor's own example.
const SIGNED_AT: u64 = 1_760_434_167;

/// The time of the stale sample's signature: 2001-09-09T01:46:40Z.
const STALE_AT: u64 = 1_000_000_000;

/// What is replaced in a text, and by what.
type Replacement = (&'static str, &'static str);

/// The events in `events/unusual/`: the name, the type of the delivered event that it is made from, and what is replaced
/// in its text.
#[rustfmt::skip]
const UNUSUAL: &[(&str, &str, &[Replacement])] = &[
    ("replayed", "organization.sso_enabled", &[
        ("\"resources\": [],", "\"resources\": [],\n  \"replay-name\": \"my-replay\","),
    ]),
    ("duplicate", "organization.sso_enabled", &[("8000-078213382471", "8000-000000000001")]),
    // It occurred 0.1 seconds before `organization.sso_enabled`, about the same connection.
    ("older", "organization.sso_enabled", &[
        ("078213382471", "078213382470"),
        ("organization.sso_enabled", "organization.sso_disabled"),
        ("09:29:27.098914861Z", "09:29:27Z"),
        ("\"enabled\": true", "\"enabled\": false"),
        ("Connection Enabled", "Connection Disabled"),
    ]),
    ("unknown-type", "organization.sso_enabled", &[
        ("078213382471", "078213382472"),
        ("organization.sso_enabled", "organization.sso_paused"),
        ("Connection Enabled", "Connection Paused"),
    ]),
    ("null-members", "organization.sso_enabled", &[
        ("078213382471", "078213382473"),
        ("\"OIDC\"", "null"),
        ("\"OKTA\"", "null"),
        ("\"enabled\": true", "\"enabled\": null"),
        ("\"COMPLETED\"", "null"),
    ]),
    ("empty-display-name", "organization.sso_enabled", &[
        ("078213382471", "078213382474"),
        ("\"SSO Connection Enabled\"", "\"\""),
    ]),
    ("without-id", "organization.sso_enabled", &[
        ("078213382471", "078213382475"),
        ("\"conn_94567862424830277\"", "null"),
    ]),
    ("deactivated", "organization.directory.user_updated", &[
        ("581680692017", "581680692018"),
        ("\"active\": true", "\"active\": false"),
    ]),
    ("account-stopped", "connected_account.status_updated", &[
        ("597289807175", "597289807176"),
        ("\"ACTIVE\"", "\"EXPIRED\""),
        ("\"PENDING_VERIFICATION\"", "\"ACTIVE\""),
    ]),
];

/// Every envelope, every delivered event and every unusual event, by its path in `events/`, which is the given folder.
///
/// The envelopes are signed with the development secret at a fixed time, so that they are the same each time.
///
/// # Errors
/// If a body can't be read, isn't JSON, or doesn't contain what an unusual event replaces.
pub fn samples(folder: &Path) -> Result<BTreeMap<String, String>, Box<dyn std::error::Error>> {
    let key = Key::parse(DEVELOPMENT_SECRET)?;
    let mut samples = BTreeMap::new();
    let mut add = |name: String, text: String| samples.insert(name, text);
    for body in fs::read_dir(folder.join("bodies"))? {
        let path = body?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let body = fs::read(path)?;
        let event: Value = serde_json::from_slice(&body)?;
        let id = event["id"].as_str().unwrap_or_default().replace("evt_", "msg_");
        let signed = SignedDelivery::new(&key, &id, SIGNED_AT, &body);
        add(format!("{name}.json"), pretty(&signed.function_url())?);
        add(format!("delivered/{name}.json"), delivered(&event, str::from_utf8(&body)?));
        if name != "organization.sso_enabled" {
            continue;
        }

        add("transports/http-api.json".into(), pretty(&signed.http_api())?);
        add("transports/rest-api.json".into(), pretty(&signed.rest_api())?);
        add("transports/base64.json".into(), pretty(&signed.in_base64(signed.function_url()))?);

        let mut unsigned = signed.function_url();
        unsigned["headers"].as_object_mut().map(|headers| headers.remove("webhook-signature"));
        add("refused/unsigned.json".into(), pretty(&unsigned)?);

        let mut tampered = signed.function_url();
        tampered["body"] = String::from_utf8(body.clone())?.replace("\"enabled\": true", "\"enabled\": false").into();
        add("refused/tampered.json".into(), pretty(&tampered)?);

        let stale = SignedDelivery::new(&key, &id, STALE_AT, &body);
        add("refused/stale.json".into(), pretty(&stale.function_url())?);

        let mut violating = event.clone();
        violating["id"] = "94568078213382471".into();
        violating["occurred_at"] = "2025-10-14 09:29:27".into();
        violating.as_object_mut().map(|event| event.remove("spec_version"));
        let violating = serde_json::to_vec_pretty(&violating)?;
        let violating = SignedDelivery::new(&key, &id, SIGNED_AT, &violating);
        add("refused/violating.json".into(), pretty(&violating.function_url())?);
    }
    for (name, of, replacements) in UNUSUAL {
        let mut text = samples[&format!("delivered/{of}.json")].clone();
        for (from, to) in *replacements {
            if !text.contains(from) {
                return Err(format!("{of} doesn't contain {from}").into());
            }
            text = text.replace(from, to);
        }
        samples.insert(format!("unusual/{name}.json"), text);
    }
    Ok(samples)
}

fn pretty(envelope: &Value) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(envelope)? + "\n")
}

/// The event as EventBridge delivers it to the target of a rule. The members of `detail` keep the order that they have in
/// the body.
fn delivered(event: &Value, body: &str) -> String {
    let text = |member: &str| event[member].as_str().unwrap_or_default();
    let last_digits = text("id").len().checked_sub(12).map_or("", |start| &text("id")[start..]);
    let (event_type, time) = (text("type"), text("occurred_at").get(..19).unwrap_or_default());
    let detail = body.trim().replace('\n', "\n  ");
    format!(
        r#"{{
  "version": "0",
  "id": "00000000-0000-4000-8000-{last_digits}",
  "detail-type": "{event_type}",
  "source": "scalekit",
  "account": "123456789012",
  "time": "{time}Z",
  "region": "eu-central-1",
  "resources": [],
  "detail": {detail}
}}
"#
    )
}
