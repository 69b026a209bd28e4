//! `send`: what is posted, printed and refused.

use std::{fs, net::TcpListener, process::Output};

use serde_json::Value;

use crate::support::{Request, Stub, program, text};

const BODY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/bodies/role.created.json");

fn send(arguments: &[&str]) -> Output {
    program().arg("send").args(arguments).output().unwrap()
}

/// Runs the program against a server that answers every request with this status. Returns the program's output and the
/// requests that the server received.
fn send_to_server(arguments: &[&str], status: u16) -> (Output, Vec<Request>) {
    let stub = Stub::start(move |_| (status, "answer".to_owned()));
    let output = send(&[arguments, &["--post", &stub.url()]].concat());
    (output, stub.requests())
}

#[test]
fn count_posts_several_new_events_of_a_type() {
    let (output, requests) = send_to_server(&["role.created", "--count", "3", "--set", "data.name=x"], 200);

    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut seen: Vec<_> = requests.iter().map(|it| it.json()["id"].to_string()).collect();
    seen.extend(requests.iter().map(|it| it.headers["webhook-id"].clone()));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6, "{seen:?}");
    for (line, request) in text(&output.stdout).lines().zip(&requests) {
        let event = request.json();
        assert_eq!(line, format!("200  role.created  {}", event["id"].as_str().unwrap()));
        assert_eq!((event["type"].as_str(), event["data"]["name"].as_str()), (Some("role.created"), Some("x")));
        assert_eq!(request.headers["content-type"], "application/json");
        assert!(request.headers["webhook-signature"].starts_with("v1,"));
        assert!(request.headers["webhook-timestamp"].parse::<u64>().is_ok());
    }
}

#[test]
fn a_file_is_posted_byte_for_byte() {
    let (output, requests) = send_to_server(&[BODY], 202);

    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(requests[0].body, fs::read(BODY).unwrap());
}

#[test]
fn a_refusal_is_printed_and_the_other_events_are_posted() {
    for status in [401, 302] {
        let (output, requests) = send_to_server(&["user.login", "user.logout"], status);

        assert!(!output.status.success());
        assert_eq!(requests.len(), 2);
        assert!(text(&output.stdout).contains(&format!("{status}  user.logout  evt_")));
        assert_eq!(text(&output.stdout).matches("\nanswer\n").count(), 2);
    }
}

#[test]
fn the_type_that_was_sent_is_printed() {
    let delivered = BODY.replace("bodies", "delivered");
    for (arguments, expected) in [
        (&["role.created", "--set", "type=role.renamed", "--set", "id=evt_1"][..], "200  role.renamed  evt_1\n"),
        (&[BODY], "200  role.created  evt_92850395298180205\n"),
        (&[&delivered], "200  role.created  evt_92850395298180205\n"),
    ] {
        let (output, requests) = send_to_server(arguments, 200);
        assert_eq!(text(&output.stdout), expected, "{arguments:?}");
        assert!(requests[0].json()["detail"].is_null());
    }
}

#[test]
fn results_are_lines_of_json() {
    let (output, requests) = send_to_server(&["role.created", "user.login", "--json"], 401);

    let lines: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    for (line, request) in lines.iter().zip(requests) {
        assert_eq!((&line["id"], &line["type"]), (&request.json()["id"], &request.json()["type"]));
        assert_eq!(line["webhook_id"].as_str(), Some(request.headers["webhook-id"].as_str()));
        assert_eq!((line["status"].as_u64(), line["response"].as_str()), (Some(401), Some("answer")));
    }
}

#[test]
fn a_response_cannot_change_the_terminal() {
    let stub = Stub::start(|_| (400, "\x1b]0;title\x07\nforged".to_owned()));
    let output = send(&["user.login", "--post", &stub.url()]);
    assert!(text(&output.stdout).ends_with("\n\\u{1b}]0;title\\u{7}\\u{a}forged\n"), "{}", text(&output.stdout));
}

#[test]
fn every_type_is_listed() {
    let output = send(&["--list"]);
    let files = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../events/bodies")).unwrap().count();
    assert_eq!(text(&output.stdout).lines().count(), files);
    assert!(text(&output.stdout).contains("organization.sso_enabled  Connection\n"));

    let json = send(&["--list", "--json"]);
    let first: Value = serde_json::from_str(text(&json.stdout).lines().next().unwrap()).unwrap();
    assert_eq!(first, serde_json::json!({"type": "connected_account.created", "object": "ConnectedAccount"}));
}

#[test]
fn an_error_is_a_sentence() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{free}/");
    for (arguments, code, expected) in [
        (&[][..], 2, "error: the following required arguments were not provided:\n  <EVENT>..."),
        (&["role.create"], 1, "error: `role.create` is neither an event type nor a file. Did you mean role.created?\n"),
        (
            &["user.login", "nothing"],
            1,
            "error: `nothing` is neither an event type nor a file; `scalekit-events send --list` lists",
        ),
        (&["user.login", "--count", "0"], 2, "error: invalid value '0' for '--count <N>'"),
        (
            &["user.login", "--set", "data"],
            2,
            "error: invalid value 'data' for '--set <PATH=VALUE>': this should be PATH=VALUE",
        ),
        (&["user.login", "--set", "id.x=1"], 1, "error: user.login: --set: id is not a JSON object"),
        (
            &["user.login", "--post", "localhost:9000"],
            2,
            "error: invalid value 'localhost:9000' for '--post <URL>': this should be a URL",
        ),
        (&["user.login", "--to"], 2, "error: unexpected argument '--to' found"),
        (&["user.login", "--list"], 2, "error: the argument '<EVENT>...' cannot be used with '--list'"),
        (&["user.login", "--post", &closed], 1, &format!("error: the delivery could not be posted to {closed}: ")),
    ] {
        let output = send(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).starts_with(expected), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn an_invalid_secret_is_an_error() {
    let output = program().args(["send", "user.login"]).env("WEBHOOK_SECRET", "x").output().unwrap();
    assert!(text(&output.stderr).starts_with("error: the signing secret can't be used"));
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let mut list = program().args(["send", "--list"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(list.stdout.take());
    assert!(list.wait().unwrap().success());
}
