//! The time of the function's own code, without the network.
//!
//! The benchmark `envelope` measures from the invocation's JSON to the HTTP request, and `path` from there to the entry for
//! `PutEvents`. For comparison, `sha256` measures one pass over the same body, which every verification needs.

use std::{
    hint::black_box,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sdk_eventbridge::{Client, Config, config::BehaviorVersion, types::PutEventsRequestEntry};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scalekit_eventbridge::{
    bus::{Bus, BusStatus},
    entry::Entry,
    event::Validation,
    function::{Function, Policy, read_delivery},
    invocation::{Invocation, RawEvent, Request},
    problem::Problem,
    secret::{DEVELOPMENT_SECRET, Keyring},
    signature::Key,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use test_support::SignedDelivery;

/// The vendor's example.
const EXAMPLE: &str = include_str!("../events/bodies/organization.sso_enabled.json");

/// When the deliveries are signed and received, in seconds since the Unix epoch.
const NOW: u64 = 1_760_434_167;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn function() -> Function {
    // The bus starts a task, which has nothing to do here.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _context = runtime.enter();
    let client = Client::from_conf(Config::builder().behavior_version(BehaviorVersion::latest()).build());
    Function {
        keyring: Keyring::fixed(vec![Key::parse(DEVELOPMENT_SECRET).unwrap()]),
        policy: Policy { tolerance: Duration::from_mins(5), validation: Validation::Tolerant, environment_id: None },
        source: "scalekit".into(),
        bus: Bus::new(client, "scalekit", now(), &BusStatus::Exists),
        parking_queue: None,
        dead_letter_queue: None,
    }
}

/// The example, extended to about this size with users of a directory.
fn body(bytes: usize) -> String {
    let mut event: Value = serde_json::from_str(EXAMPLE).unwrap();
    let user = json!({
        "id": "diruser_53891640779079756", "email": "jane.doe@example.com", "active": true, "groups": ["dirgroup_1", "dirgroup_2"],
        "raw_attributes": {"name": {"givenName": "Jane", "familyName": "D\u{f6}e \"JD\""}, "logins": 1729, "manager": null},
    });
    let users = bytes.saturating_sub(EXAMPLE.len()) / (user.to_string().len() + 1);
    event["data"]["users"] = json!(vec![user; users]);
    if users == 0 { EXAMPLE.to_owned() } else { event.to_string() }
}

fn signed(body: &str) -> SignedDelivery {
    SignedDelivery::new(&Key::parse(DEVELOPMENT_SECRET).unwrap(), "msg_2aXyZ", NOW, body.as_bytes())
}

fn raw_event(delivery: &SignedDelivery) -> RawEvent {
    serde_json::from_str(&delivery.function_url().to_string()).unwrap()
}

fn request(event: &RawEvent) -> Request<'_> {
    match event.read(None) {
        Invocation::Http(request) => request,
        other => panic!("{other:?}"),
    }
}

/// From the request to the entry, or to the first problem.
fn path(function: &Function, request: &Request<'_>) -> Result<PutEventsRequestEntry, Problem> {
    let delivery = read_delivery(request)?;
    let keys = function.keyring.keys();
    let verified =
        delivery.verify(keys.valid_at(now()), now(), function.policy.tolerance).map_err(Problem::Signature)?;
    let event = function.parse(&verified)?;
    let entry = Entry::new(&function.source, &event, None).map_err(Problem::ContentTooLarge)?;
    Ok(entry.to_request_entry("scalekit"))
}

fn accepted(c: &mut Criterion) {
    let function = function();
    for (name, bytes) in [("500 B", 500), ("10 KB", 10_000), ("100 KB", 100_000), ("900 KB", 900_000)] {
        let delivery = signed(&body(bytes));
        let event = raw_event(&delivery);
        let request = request(&event);
        assert!(path(&function, &request).is_ok());
        let bytes = delivery.body.len();
        let envelope = delivery.function_url().to_string();

        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes.try_into().unwrap()));
        group.bench_function("path", |b| b.iter(|| path(&function, black_box(&request))));
        group.bench_function("sha256", |b| b.iter(|| Sha256::digest(black_box(&delivery.body))));
        group.bench_function("envelope", |b| {
            b.iter(|| {
                let event: RawEvent = serde_json::from_slice(black_box(envelope.as_bytes())).unwrap();
                self::request(&event).body.len()
            });
        });
    }
}

fn refused(c: &mut Criterion) {
    let function = function();
    let mut forged = signed(EXAMPLE);
    forged.signature = signed("another body").signature;
    let violating = signed(&EXAMPLE.replace("\"evt_", "\"event_").replace("\"env_", "\"environment_"));
    for (name, delivery) in [("a refused signature", forged), ("a violating body", violating)] {
        let event = raw_event(&delivery);
        let request = request(&event);
        assert!(path(&function, &request).is_err());
        c.bench_with_input(BenchmarkId::new("500 B", name), &request, |b, request| {
            b.iter(|| path(&function, black_box(request)).map_err(|problem| problem.body()));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = accepted, refused
}
criterion_main!(benches);
