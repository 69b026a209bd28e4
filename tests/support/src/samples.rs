//! The envelopes in `events/` and the events in `events/delivered/`, made from the bodies in `events/bodies/`.

use std::{collections::BTreeMap, fs, path::Path};

use scalekit_eventbridge::{secret::DEVELOPMENT_SECRET, signature::Key};
use serde_json::Value;

use crate::SignedDelivery;

/// The time of the samples' signatures: 2025-10-14T09:29:27Z, the time of the vendor's own example.
const SIGNED_AT: u64 = 1_760_434_167;

/// The time of the stale sample's signature: 2001-09-09T01:46:40Z.
const STALE_AT: u64 = 1_000_000_000;

/// Every envelope and every delivered event, by its path in `events/`, which is the given folder.
///
/// The envelopes are signed with the development secret at a fixed time, so that they are the same each time.
///
/// # Errors
/// If a body can't be read, or isn't JSON.
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
