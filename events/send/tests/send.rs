//! Runs the program with a server that records its requests.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Output},
    sync::mpsc::{self, Sender},
    thread,
};

use serde_json::Value;

const BODY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bodies/role.created.json");

struct Request {
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// The program, which `cargo test` has built beside this test.
fn program() -> Command {
    let tests = env::current_exe().unwrap();
    let mut program = Command::new(tests.ancestors().nth(2).unwrap().join("examples/send"));
    program.env_remove("WEBHOOK_SECRET");
    program
}

fn send(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

/// Runs the program against a server that answers every request with this status. Returns the program's output and the
/// requests that the server received.
fn send_to_server(arguments: &[&str], status: &'static str) -> (Output, Vec<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap(), status, &sender)));
    let output = send(&[arguments, &["--post", &url]].concat());
    (output, requests.try_iter().collect())
}

fn serve(stream: TcpStream, status: &str, requests: &Sender<Request>) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: BTreeMap<_, _> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    requests.send(Request { headers, body }).unwrap();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 6\r\nconnection: close\r\n\r\nanswer");
    stream.get_mut().write_all(answer.as_bytes()).unwrap();
}

fn text(output: &[u8]) -> &str {
    str::from_utf8(output).unwrap()
}

#[test]
fn count_posts_several_new_events_of_a_type() {
    let (output, requests) = send_to_server(&["role.created", "--count", "3", "--set", "data.name=x"], "200 OK");

    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut seen: Vec<_> = requests.iter().map(|it| it.event()["id"].to_string()).collect();
    seen.extend(requests.iter().map(|it| it.headers["webhook-id"].clone()));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6, "{seen:?}");
    for (line, request) in text(&output.stdout).lines().zip(&requests) {
        let event = request.event();
        assert_eq!(line, format!("200 role.created {}", event["id"].as_str().unwrap()));
        assert_eq!((event["type"].as_str(), event["data"]["name"].as_str()), (Some("role.created"), Some("x")));
        assert_eq!(request.headers["content-type"], "application/json");
        assert!(request.headers["webhook-signature"].starts_with("v1,"));
        assert!(request.headers["webhook-timestamp"].parse::<u64>().is_ok());
    }
}

#[test]
fn a_file_is_posted_byte_for_byte() {
    let (output, requests) = send_to_server(&[BODY], "202 Accepted");

    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(requests[0].body, std::fs::read(BODY).unwrap());
}

#[test]
fn a_refusal_is_printed_and_the_other_events_are_posted() {
    for status in ["401 Unauthorized", "302 Found\r\nlocation: /"] {
        let (output, requests) = send_to_server(&["user.login", "user.logout"], status);

        assert!(!output.status.success());
        assert_eq!(requests.len(), 2);
        assert!(text(&output.stdout).contains(&format!("{} user.logout evt_", &status[..3])));
        assert_eq!(text(&output.stdout).matches("\nanswer\n").count(), 2);
    }
}

#[test]
fn an_error_is_a_sentence() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{free}");
    for (arguments, expected) in [
        (&[][..], "send: name an event type, such as organization.sso_enabled, or a file"),
        (&["role"], "send: `role` is neither an event type nor a file. Event types: role.created, role.deleted,"),
        (&["user.login", "--count", "0"], "send: --count 0: this should be a whole number above 0"),
        (&["user.login", "--set", "data"], "send: --set data: this should be PATH=VALUE"),
        (&["user.login", "--set", "id.x=1"], "send: user.login: --set: id is not a JSON object"),
        (&["user.login", "--post", "localhost:9000"], "send: --post localhost:9000: this should be a URL"),
        (&["user.login", "--to"], "send: invalid option '--to'; --help lists the options"),
        (&["user.login", "--post", &closed], &format!("send: the delivery could not be posted to {closed}: ")),
    ] {
        let output = send(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text(&output.stderr).starts_with(expected), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn help_is_printed() {
    let output = send(&["--help"]);

    assert!(output.status.success());
    assert!(text(&output.stdout).contains("Usage: cargo send [OPTIONS] EVENT..."));
}

#[test]
fn an_invalid_secret_is_an_error() {
    let output = program().arg("user.login").env("WEBHOOK_SECRET", "x").output().unwrap();

    assert!(text(&output.stderr).starts_with("send: WEBHOOK_SECRET is not a signing secret"));
}
