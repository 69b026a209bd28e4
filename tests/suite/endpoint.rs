//! A local AWS endpoint that answers as it is told, or misbehaves: real HTTP over a real socket, so that tests read what
//! goes over the wire, and see what comes of it when the other side fails.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

/// What happens to one request.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Answers with this status and JSON.
    Answer(u16, Value),
    /// Answers with this status and these bytes.
    Raw(u16, Vec<u8>),
    /// Waits, then answers as if nothing had been.
    Slow(Duration),
    /// Takes the request and never answers.
    Hang,
    /// Sends half of a good answer, then nothing more.
    HalfThenHang,
    /// Sends half of a good answer, then ends the connection.
    HalfThenClose,
    /// Ends the connection without an answer.
    Close,
    /// Resets the connection.
    Reset,
}

/// One request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The operation, as in `PutEvents`.
    pub operation: String,
    /// The JSON of the body.
    pub body: Value,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Recorded>,
    script: VecDeque<(String, Behaviour)>,
    always: Option<(String, Behaviour)>,
    ids: u64,
    /// What `GetSecretValue` answers, by version stage.
    secret: BTreeMap<String, Value>,
}

/// The endpoint. It serves until it is dropped.
#[derive(Debug)]
pub struct Endpoint {
    url: String,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Endpoint {
    /// Serves on a free port of this machine's own.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { url, state, server }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next request of this operation is treated so, and then as before.
    pub fn once(&self, operation: &str, behaviour: Behaviour) {
        self.state.lock().unwrap().script.push_back((operation.to_owned(), behaviour));
    }

    /// Every request of this operation is treated so from now on.
    pub fn always(&self, operation: &str, behaviour: Behaviour) {
        self.state.lock().unwrap().always = Some((operation.to_owned(), behaviour));
    }

    /// Back to good behaviour.
    pub fn recover(&self) {
        let mut state = self.state.lock().unwrap();
        state.always = None;
        state.script.clear();
    }

    /// The secret's value at this stage from now on, and when it was created, in seconds; or that there is none.
    pub fn set_secret(&self, stage: &str, value: Option<(&str, Option<u64>)>) {
        let secret = &mut self.state.lock().unwrap().secret;
        match value {
            Some((value, created)) => {
                secret.insert(stage.into(), json!({"SecretString": value, "CreatedDate": created}))
            }
            None => secret.remove(stage),
        };
    }

    /// The bodies of the requests of this operation so far.
    pub fn requests(&self, operation: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        state
            .requests
            .iter()
            .filter(|request| request.operation == operation)
            .map(|request| request.body.clone())
            .collect()
    }

    /// All entries of all `PutEvents` calls so far, accepted or not.
    pub fn entries(&self) -> Vec<Value> {
        let bodies = self.requests("PutEvents");
        bodies.iter().flat_map(|body| body["Entries"].as_array().unwrap().clone()).collect()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A `PutEvents` answer in which one entry failed with this code.
pub fn failed_entry(code: &str) -> Behaviour {
    let entry = json!({"ErrorCode": code, "ErrorMessage": "it failed"});
    Behaviour::Answer(200, json!({"FailedEntryCount": 1, "Entries": [entry]}))
}

/// An answer in which the whole call failed with this code.
pub fn failed_call(status: u16, code: &str) -> Behaviour {
    Behaviour::Answer(status, json!({"__type": format!("com.amazonaws#{code}"), "message": "it failed"}))
}

/// What a service that works would answer.
fn good(request: &Recorded, state: &mut State) -> (u16, Value) {
    let mut id = || {
        state.ids += 1;
        format!("00000000-0000-4000-8000-{:012}", state.ids)
    };
    let answer = match request.operation.as_str() {
        "GetSecretValue" => {
            return match state.secret.get(request.body["VersionStage"].as_str().unwrap()) {
                Some(version) => (200, version.clone()),
                None => (400, json!({"__type": "ResourceNotFoundException", "message": "no such version"})),
            };
        }
        "PutEvents" => {
            let entries = request.body["Entries"].as_array().unwrap();
            json!({"FailedEntryCount": 0, "Entries": entries.iter().map(|_| json!({"EventId": id()})).collect::<Vec<_>>()})
        }
        "SendMessage" => json!({"MessageId": id(), "MD5OfMessageBody": "00000000000000000000000000000000"}),
        "DescribeEventBus" => {
            json!({"Name": request.body["Name"], "Arn": "arn:aws:events:eu-central-1:123456789012:event-bus/x"})
        }
        other => panic!("the function should not call {other}"),
    };
    (200, answer)
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    loop {
        let request = read_request(&mut stream).await?;
        let (behaviour, answer) = {
            let mut state = state.lock().unwrap();
            state.requests.push(request.clone());
            let scripted = state.script.iter().position(|(operation, _)| *operation == request.operation);
            let behaviour =
                scripted.and_then(|at| state.script.remove(at)).map(|(_, behaviour)| behaviour).or_else(|| {
                    state
                        .always
                        .clone()
                        .filter(|(operation, _)| *operation == request.operation)
                        .map(|(_, behaviour)| behaviour)
                });
            let (status, answer) = good(&request, &mut state);
            (behaviour, response(status, answer.to_string().as_bytes()))
        };
        let answer = match behaviour {
            None => answer,
            Some(Behaviour::Answer(status, body)) => response(status, body.to_string().as_bytes()),
            Some(Behaviour::Raw(status, body)) => response(status, &body),
            Some(Behaviour::Slow(time)) => {
                sleep(time).await;
                answer
            }
            Some(Behaviour::Hang) => std::future::pending().await,
            Some(Behaviour::HalfThenHang) => {
                stream.write_all(&answer[..answer.len() - 10]).await.ok()?;
                std::future::pending().await
            }
            Some(Behaviour::HalfThenClose) => {
                stream.write_all(&answer[..answer.len() - 10]).await.ok()?;
                return None;
            }
            Some(Behaviour::Close) => return None,
            Some(Behaviour::Reset) => {
                stream.set_zero_linger().ok()?;
                return None;
            }
        };
        stream.write_all(&answer).await.ok()?;
    }
}

fn response(status: u16, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

async fn read_request(stream: &mut TcpStream) -> Option<Recorded> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?.to_ascii_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let length: usize = header("content-length:").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let target = header("x-amz-target:").unwrap_or_default().rsplit('.').next().unwrap_or_default();
    let operation = ["PutEvents", "DescribeEventBus", "SendMessage", "GetSecretValue"]
        .into_iter()
        .find(|operation| operation.eq_ignore_ascii_case(target))
        .unwrap_or_else(|| panic!("unexpected request: {head}"));
    let body = serde_json::from_slice(&bytes[head_end..]).unwrap();
    Some(Recorded { operation: operation.to_owned(), body })
}
