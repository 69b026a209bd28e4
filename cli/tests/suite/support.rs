//! The program, and a server that records its requests and answers them as the test says.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

/// The program, with no settings of the developer's own.
pub fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_scalekit-events"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("AWS_") || name.to_ascii_uppercase().ends_with("_PROXY")) {
            program.env_remove(name);
        }
    }
    program.env_remove("WEBHOOK_SECRET");
    program
}

/// The program with credentials, and with this server in the place of AWS.
pub fn program_on(stub: &Stub) -> Command {
    let mut program = program();
    program.envs([
        ("AWS_ENDPOINT_URL", stub.url().as_str()),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "example-secret-access-key"),
    ]);
    program
}

pub fn text(output: &[u8]) -> &str {
    str::from_utf8(output).unwrap()
}

/// A request that the server received.
#[derive(Debug, Clone)]
pub struct Request {
    /// The operation of an AWS service, or the method and the path.
    pub operation: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    /// The body, or `null` if it isn't JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// The server, which runs until the test ends.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Stub {
    /// Answers each request with a status and a body.
    pub fn start(answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stub = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = Arc::clone(&stub.requests);
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (requests, answer) = (Arc::clone(&requests), Arc::clone(&answer));
                thread::spawn(move || serve(stream, &requests, &*answer));
            }
        });
        stub
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

/// Serves the requests of a connection. A connection that ends early is the client's affair.
fn serve(stream: TcpStream, requests: &Mutex<Vec<Request>>, answer: &dyn Fn(&Request) -> (u16, String)) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
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
        let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).ok()?;
        let target = headers.get("x-amz-target").and_then(|target| target.split_once('.'));
        let form = text(&body).strip_prefix("Action=").and_then(|form| form.split('&').next());
        let operation = match (target, form) {
            (Some((_, operation)), _) | (None, Some(operation)) => operation.to_owned(),
            (None, None) => lines[0].rsplit_once(' ').unwrap().0.to_owned(),
        };
        let request = Request { operation, headers, body };
        let (status, body) = answer(&request);
        requests.lock().unwrap().push(request);
        let head = format!("HTTP/1.1 {status} X\r\nlocation: /\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.get_mut().write_all((head + &body).as_bytes()).ok()?;
    }
}
