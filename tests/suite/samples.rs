//! Tests of the samples in `events/`: the generator produces exactly these files, and the function forwards or refuses
//! each of them as its name indicates.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use scalekit_eventbridge::{
    secret::{DEVELOPMENT_SECRET, Keyring},
    signature::Key,
};
use scalekit_events::catalogue::EventType;
use serde_json::{Value, json};

use crate::support::app::App;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("events")
}

/// The JSON files of a folder by name, without those in its subfolders.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (name(&path), fs::read_to_string(path).unwrap()))
        .collect()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The function with the development secret, as it runs locally. Its clock shows the time at which the samples were
/// signed.
async fn local_app() -> App {
    let mut app = App::start().await;
    app.function.keyring = Keyring::fixed(vec![Key::parse(DEVELOPMENT_SECRET).unwrap()]);
    app
}

#[test]
fn the_samples_are_the_generators_output() {
    let generated = test_support::samples(&folder()).unwrap();
    let mut committed = files(&folder());
    for subfolder in ["transports", "refused"] {
        let files = files(&folder().join(subfolder)).into_iter();
        committed.extend(files.map(|(name, text)| (format!("{subfolder}/{name}"), text)));
    }
    assert_eq!(committed.keys().collect::<Vec<_>>(), generated.keys().collect::<Vec<_>>());
    for (name, text) in &generated {
        assert!(committed[name] == *text, "events/{name} has drifted: run `cargo run --example events`");
    }
}

#[test]
fn each_event_type_has_one_sample() {
    let expected: BTreeSet<_> = EventType::KNOWN.iter().map(|kind| format!("{kind}.json")).collect();
    assert_eq!(files(&folder()).into_keys().collect::<BTreeSet<_>>(), expected);
    assert_eq!(files(&folder().join("bodies")).into_keys().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn each_sample_is_forwarded_with_the_type_in_its_name() {
    let app = local_app().await;
    for (name, envelope) in files(&folder()) {
        let event_type = name.strip_suffix(".json").unwrap();
        assert_eq!(app.deliver(&parse(&envelope)).await.status, 200, "{name}");

        let entry = app.bus.entries().pop().unwrap();
        assert_eq!(entry["DetailType"], json!(event_type));
        let body = fs::read_to_string(folder().join("bodies").join(&name)).unwrap();
        assert_eq!(entry["Detail"], json!(body), "{name}");
        let object = EventType::parse(event_type).unwrap().usual_object().unwrap();
        assert_eq!(parse(&body)["object"], json!(object.as_str()), "{name}");
    }
    assert_eq!(app.bus.entries().len(), EventType::KNOWN.len());
    assert!(app.lines().iter().all(|line| line["catalogued"] == json!(true)), "{}", app.log());
}

#[test]
fn each_body_has_its_own_event_id() {
    let bodies = files(&folder().join("bodies"));
    let ids: BTreeSet<_> = bodies.values().map(|body| parse(body)["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), bodies.len());
}

#[tokio::test]
async fn each_transport_sample_carries_the_same_event() {
    let app = local_app().await;
    let transports = files(&folder().join("transports"));
    assert_eq!(transports.keys().collect::<Vec<_>>(), ["base64.json", "http-api.json", "rest-api.json"]);
    for (name, envelope) in transports {
        assert_eq!(app.deliver(&parse(&envelope)).await.status, 200, "{name}");
    }
    let body = fs::read_to_string(folder().join("bodies/organization.sso_enabled.json")).unwrap();
    let details: Vec<_> = app.bus.entries().iter().map(|entry| entry["Detail"].clone()).collect();
    assert_eq!(details, vec![json!(body); 3]);
}

#[tokio::test]
async fn each_refused_sample_is_refused_for_the_reason_in_its_name() {
    let app = local_app().await;
    let mut refused = files(&folder().join("refused"));
    for (name, status, code, pointers) in [
        ("unsigned.json", 401, "invalid-signature", &[][..]),
        ("tampered.json", 401, "invalid-signature", &[]),
        ("stale.json", 401, "stale-timestamp", &[]),
        ("violating.json", 400, "contract-violation", &["/spec_version", "/id", "/occurred_at"]),
    ] {
        let envelope = refused.remove(name).unwrap_or_else(|| panic!("there is no {name}"));
        let answer = app.deliver(&parse(&envelope)).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{name}");
        let errors = answer.problem["errors"].as_array().into_iter().flatten();
        assert_eq!(errors.map(|error| &error["pointer"]).collect::<Vec<_>>(), pointers, "{name}");
    }
    assert_eq!(refused.into_keys().collect::<Vec<_>>(), Vec::<String>::new());
    assert_eq!(app.bus.entries(), Vec::<Value>::new());
}

#[test]
fn no_body_contains_a_secret_or_a_real_address() {
    for (name, body) in files(&folder().join("bodies")) {
        for start in
            ["whsec_", "AKIA", "ASIA", "-----BEGIN", "eyJ", "xox", "ghp_", "gho_", "sk_", "AIza", "Bearer ", "Basic "]
        {
            assert!(!body.contains(start), "{name} contains a `{start}…`");
        }
        let is_in_word = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
        for word in body.split(|c| !is_in_word(c)) {
            let kinds = [
                word.contains(|c: char| c.is_ascii_uppercase()),
                word.contains(|c: char| c.is_ascii_lowercase()),
                word.contains(|c: char| c.is_ascii_digit()),
            ];
            assert!(word.len() < 20 || kinds.contains(&false), "{name} contains `{word}`, which looks like a secret");
        }
        // RFC 2606 reserves these domains for examples.
        for (at, separator) in body.match_indices("://").chain(body.match_indices('@')) {
            let rest = &body[at + separator.len()..];
            let host = rest.split(['/', '"', ':', '?']).next().unwrap();
            let is_example = ["com", "net", "org"].iter().any(|top| {
                host.strip_suffix(&format!("example.{top}")).is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
            });
            assert!(is_example, "{name} contains an address at `{host}`");
        }
    }
}
