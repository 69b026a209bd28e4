//! A local version of Lambda's Runtime API for the compiled binary: it sends events and receives the function's
//! responses.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{
        Mutex,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    task::JoinHandle,
    time::timeout,
};

/// The time limit for each step of a test. It is generous, so that a test that hangs ends but a slow machine causes no
/// failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A call that the function makes to the Runtime API.
#[derive(Debug)]
enum Call {
    Next,
    Response { id: String, reply: Value },
    Error { id: String, error: Value },
    InitError { error: Value },
}

/// An event that waits until the function requests it.
#[derive(Debug)]
struct Invocation {
    id: String,
    event: String,
}

/// The Runtime API for one process.
#[derive(Debug)]
pub struct RuntimeApi {
    address: String,
    events: UnboundedSender<Invocation>,
    calls: UnboundedReceiver<Call>,
    invocations: usize,
    server: JoinHandle<()>,
}

impl RuntimeApi {
    /// Serves on a free local port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (events, waiting) = unbounded_channel();
        let (called, calls) = unbounded_channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&waiting), called.clone()));
            }
        });
        Self { address, events, calls, invocations: 0, server }
    }

    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until the function requests its first event, which ends its initialization.
    pub async fn ready(&mut self) {
        match self.call().await {
            Call::Next => {}
            call => panic!("the function should request an event, but made this call: {call:?}"),
        }
    }

    /// Invokes the function with an event and returns its reply or its error.
    pub async fn invoke(&mut self, event: &Value) -> Result<Value, Value> {
        self.send(event);
        let (id, outcome) = self.outcome().await;
        assert_eq!(id, self.last_request_id());
        outcome
    }

    /// Invokes the function with these events concurrently and returns its replies in any order.
    pub async fn invoke_all(&mut self, events: &[Value]) -> Vec<Value> {
        for event in events {
            self.send(event);
        }
        let mut replies = Vec::new();
        for _ in events {
            replies.push(self.outcome().await.1.unwrap());
        }
        replies
    }

    fn send(&mut self, event: &Value) {
        self.invocations += 1;
        self.events.send(Invocation { id: self.last_request_id(), event: event.to_string() }).unwrap();
    }

    /// Waits until an invocation ends and returns its request id and its outcome.
    async fn outcome(&mut self) -> (String, Result<Value, Value>) {
        loop {
            match self.call().await {
                Call::Next => {}
                Call::Response { id, reply } => return (id, Ok(reply)),
                Call::Error { id, error } => return (id, Err(error)),
                Call::InitError { error } => panic!("the function should start, but reported this error: {error}"),
            }
        }
    }

    /// The request id of the last event that was sent.
    pub fn last_request_id(&self) -> String {
        format!("00000000-0000-4000-8000-{:012}", self.invocations)
    }

    async fn call(&mut self) -> Call {
        timeout(PATIENCE, self.calls.recv())
            .await
            .expect("the function should make a call in time")
            .expect("the API should be running")
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    waiting: Arc<Mutex<UnboundedReceiver<Invocation>>>,
    called: UnboundedSender<Call>,
) -> Option<()> {
    loop {
        let (target, body) = read_request(&mut stream).await?;
        let body = || serde_json::from_slice(&body).unwrap();
        let path = target.strip_prefix("POST /2018-06-01/runtime/");
        let invocation = path.and_then(|path| path.strip_prefix("invocation/")).and_then(|path| path.split_once('/'));
        let call = match (target.as_str(), path, invocation) {
            ("GET /2018-06-01/runtime/invocation/next", ..) => Call::Next,
            (_, Some("init/error"), _) => Call::InitError { error: body() },
            (_, _, Some((id, "response"))) => Call::Response { id: id.to_owned(), reply: body() },
            (_, _, Some((id, "error"))) => Call::Error { id: id.to_owned(), error: body() },
            _ => panic!("unexpected request: {target}"),
        };
        let is_next = matches!(call, Call::Next);
        called.send(call).ok()?;
        let answer = if is_next {
            let Invocation { id, event } = waiting.lock().await.recv().await?;
            let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(10);
            format!(
                "HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: {id}\r\nlambda-runtime-deadline-ms: {}\r\n\
                 lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-central-1:123456789012:function:scalekit\r\n\
                 lambda-runtime-trace-id: Root=1-68ee1577-0123456789abcdef01234567\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{event}",
                deadline.as_millis(),
                event.len()
            )
        } else {
            "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}".to_owned()
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

/// Reads a request and returns its method and path, and its body.
async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
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
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    while bytes.len() < head_end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let (method, rest) = head.split_once(' ')?;
    let path = rest.split(' ').next()?;
    Some((format!("{} {path}", method.to_ascii_uppercase()), bytes.split_off(head_end)))
}
