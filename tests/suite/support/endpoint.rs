//! A local AWS endpoint that answers or fails as the test configures it. It serves real HTTP over a real socket, so
//! tests can check what is sent over the network and how the function reacts to failures.
//!
//! Like the real service, it records the entries and messages that it accepted, even if its answer did not arrive.
//! Every acknowledged event must be among them.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// How the endpoint handles a request.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Answers with this status and JSON.
    Answer(u16, Value),
    /// Answers with this status and these bytes.
    Raw(u16, Vec<u8>),
    /// Accepts all entries except those of these events, which fail with these codes.
    Fail(Vec<(String, &'static str)>),
    /// Waits before it answers normally.
    Slow(Duration),
    /// Reads the request and never answers.
    Hang,
    /// Accepts the request, sends a truncated answer and keeps the connection open.
    HalfThenHang,
    /// Accepts the request, sends a truncated answer and closes the connection.
    HalfThenClose,
    /// Closes the connection without an answer.
    Close,
    /// Resets the connection.
    Reset,
}

impl Behaviour {
    /// Whether the service accepts at least a part of the request in this case.
    fn accepts(&self) -> bool {
        matches!(self, Self::Slow(_) | Self::HalfThenHang | Self::HalfThenClose | Self::Fail(_))
    }
}

/// A request that the endpoint received.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The operation, such as `PutEvents`.
    pub operation: &'static str,
    /// The body, parsed as JSON, or `null` if it isn't JSON.
    pub body: Value,
}

/// An entry or a message that the service accepted.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The id that the service assigned.
    pub id: String,
    /// The entry, or the body of the `SendMessage` request.
    pub what: Value,
}

impl Taken {
    /// The text of the event.
    pub fn body(&self) -> &str {
        let body = if self.is_entry() { &self.what["Detail"] } else { &self.what["MessageBody"] };
        body.as_str().unwrap()
    }

    fn is_entry(&self) -> bool {
        self.what.get("Detail").is_some()
    }

    /// Whether this is a message in the queue with this name.
    pub fn is_in(&self, queue: &str) -> bool {
        self.what["QueueUrl"].as_str().is_some_and(|url| url.ends_with(&format!("/{queue}")))
    }
}

/// Decides how each request of an operation is handled.
type Plan = Box<dyn FnMut(&Recorded) -> Option<Behaviour> + Send>;

#[derive(Default)]
struct State {
    connections: usize,
    /// The tasks that serve the open connections.
    served: JoinSet<Option<()>>,
    requests: Vec<Recorded>,
    taken: Vec<Taken>,
    script: VecDeque<(String, Behaviour)>,
    plans: HashMap<String, Plan>,
    ids: u64,
    /// The answers to `GetSecretValue` by version stage.
    secret: BTreeMap<String, Value>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("requests", &self.requests).field("taken", &self.taken).finish_non_exhaustive()
    }
}

/// The endpoint, which serves until it is dropped.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// The socket while nothing listens on it. It stays bound so that no other process gets the port.
    closed: Option<TcpSocket>,
    server: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Serves on a free local port.
    #[allow(clippy::unused_async, reason = "it must be called within a Tokio runtime")]
    pub async fn start() -> Self {
        let mut endpoint = Self::closed();
        endpoint.open();
        endpoint
    }

    /// Creates an endpoint that refuses connections until it is opened.
    pub fn closed() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        Self { address, state: Arc::default(), closed: Some(socket), server: None }
    }

    /// Creates an endpoint that accepts connections but never reads from them.
    pub fn mute() -> Self {
        let mut endpoint = Self::closed();
        let listener = endpoint.listen(64);
        let state = Arc::clone(&endpoint.state);
        endpoint.server = Some(tokio::spawn(async move {
            let mut streams = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                state.lock().unwrap().connections += 1;
                streams.push(stream);
            }
        }));
        endpoint
    }

    /// Creates an endpoint whose backlog is full, so that new connections are neither accepted nor refused.
    pub async fn unreachable() -> Self {
        let mut endpoint = Self::closed();
        let listener = endpoint.listen(1);
        let mut streams = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(endpoint.address)).await
        {
            streams.push(stream.unwrap());
        }
        endpoint.server = Some(tokio::spawn(async move {
            let _kept = (listener, streams);
            std::future::pending::<()>().await;
        }));
        endpoint
    }

    /// Starts to serve.
    pub fn open(&mut self) {
        let listener = self.listen(1024);
        let state = Arc::clone(&self.state);
        self.server = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serve = serve(stream, Arc::clone(&state));
                let mut state = state.lock().unwrap();
                state.connections += 1;
                state.served.spawn(serve);
                while state.served.try_join_next().is_some() {}
            }
        }));
    }

    /// Closes all open connections. New connections are still accepted.
    pub async fn hang_up(&self) {
        let mut served = mem::take(&mut self.state().served);
        served.shutdown().await;
    }

    fn listen(&mut self, backlog: u32) -> TcpListener {
        self.closed.take().expect("the endpoint should be closed").listen(backlog).unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URL of a queue on this endpoint.
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/123456789012/{name}", self.url())
    }

    /// Handles one request of this operation in this way, and later requests as before. Several calls of this method apply to
    /// the next requests in their order.
    pub fn once(&self, operation: &str, behaviour: Behaviour) {
        self.state().script.push_back((operation.to_owned(), behaviour));
    }

    /// Handles every request of this operation in this way from now on.
    pub fn always(&self, operation: &str, behaviour: Behaviour) {
        self.plan(operation, move |_| Some(behaviour.clone()));
    }

    /// Handles every request of this operation as `plan` decides from now on. `None` means a normal answer.
    pub fn plan(&self, operation: &str, plan: impl FnMut(&Recorded) -> Option<Behaviour> + Send + 'static) {
        self.state().plans.insert(operation.to_owned(), Box::new(plan));
    }

    /// Answers all requests normally from now on.
    pub fn recover(&self) {
        let mut state = self.state();
        state.plans.clear();
        state.script.clear();
    }

    /// Sets the secret's version at this stage: its value, and when it was created, in seconds since the Unix epoch. `None`
    /// removes the version.
    pub fn set_secret(&self, stage: &str, value: Option<(&str, Option<u64>)>) {
        let secret = &mut self.state.lock().unwrap().secret;
        match value {
            Some((value, created)) => {
                let version = BuildHasherDefault::<DefaultHasher>::default().hash_one(value).to_string();
                secret
                    .insert(stage.into(), json!({"SecretString": value, "CreatedDate": created, "VersionId": version}))
            }
            None => secret.remove(stage),
        };
    }

    /// Makes every read of the secret's version at this stage fail from now on.
    pub fn fail_stage(&self, stage: &str) {
        let failing = json!({"__type": "DecryptionFailure", "message": "it failed"});
        self.state.lock().unwrap().secret.insert(stage.into(), failing);
    }

    /// The bodies of the requests of this operation so far.
    pub fn requests(&self, operation: &str) -> Vec<Value> {
        let state = self.state();
        let requests = state.requests.iter().filter(|request| request.operation == operation);
        requests.map(|request| request.body.clone()).collect()
    }

    /// The number of requests of this operation so far.
    pub fn calls(&self, operation: &str) -> usize {
        self.state().requests.iter().filter(|request| request.operation == operation).count()
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// The number of connections that the client hasn't closed.
    pub fn open_connections(&self) -> usize {
        let mut state = self.state();
        while state.served.try_join_next().is_some() {}
        state.served.len()
    }

    /// The entries of all `PutEvents` calls so far, whether they were accepted or not.
    pub fn entries(&self) -> Vec<Value> {
        let bodies = self.requests("PutEvents");
        bodies.iter().flat_map(|body| body["Entries"].as_array().unwrap().clone()).collect()
    }

    /// The entries and messages that were accepted so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.state().taken.clone()
    }

    /// Clears the records of the requests and of the accepted entries and messages.
    pub fn forget(&self) {
        let mut state = self.state();
        state.requests.clear();
        state.taken.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
        if let Ok(mut state) = self.state.lock() {
            state.served.abort_all();
        }
    }
}

/// The answer to a `PutEvents` call with a single entry, which failed with this code.
pub fn failed_entry(code: &str) -> Behaviour {
    let entry = json!({"ErrorCode": code, "ErrorMessage": "it failed"});
    Behaviour::Answer(200, json!({"FailedEntryCount": 1, "Entries": [entry]}))
}

/// An answer in which the whole call failed with this code.
pub fn failed_call(status: u16, code: &str) -> Behaviour {
    Behaviour::Answer(status, json!({"__type": format!("com.amazonaws#{code}"), "message": "it failed"}))
}

/// The `id` of the event in an entry.
pub fn event_id(entry: &Value) -> String {
    let detail: Value = serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap();
    detail["id"].as_str().unwrap().to_owned()
}

impl State {
    fn behaviour(&mut self, request: &Recorded) -> Option<Behaviour> {
        let scripted = self.script.iter().position(|(operation, _)| operation == request.operation);
        if let Some((_, behaviour)) = scripted.and_then(|at| self.script.remove(at)) {
            return Some(behaviour);
        }
        self.plans.get_mut(request.operation).and_then(|plan| plan(request))
    }

    fn take(&mut self, what: &Value) -> String {
        self.ids += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.ids);
        self.taken.push(Taken { id: id.clone(), what: what.clone() });
        id
    }

    /// Handles a request as the real service would, except that the entries of the `failing` events fail.
    fn handle(&mut self, request: &Recorded, failing: &[(String, &'static str)]) -> (u16, Value) {
        let answer = match request.operation {
            "GetSecretValue" => {
                return match self.secret.get(request.body["VersionStage"].as_str().unwrap()) {
                    Some(version) if version.get("__type").is_some() => (400, version.clone()),
                    Some(version) => (200, version.clone()),
                    None => (400, json!({"__type": "ResourceNotFoundException", "message": "no such version"})),
                };
            }
            "PutEvents" => {
                let mut failed = 0;
                let mut put = |entry| {
                    let code = match failing {
                        [] => None,
                        failing => failing.iter().find(|(id, _)| *id == event_id(entry)),
                    };
                    if let Some((_, code)) = code {
                        failed += 1;
                        return json!({"ErrorCode": code, "ErrorMessage": "it failed"});
                    }
                    json!({"EventId": self.take(entry)})
                };
                let entries: Vec<_> = request.body["Entries"].as_array().unwrap().iter().map(&mut put).collect();
                json!({"FailedEntryCount": failed, "Entries": entries})
            }
            "SendMessage" => {
                json!({"MessageId": self.take(&request.body), "MD5OfMessageBody": "00000000000000000000000000000000"})
            }
            "DescribeEventBus" => {
                json!({"Name": request.body["Name"], "Arn": "arn:aws:events:eu-central-1:123456789012:event-bus/x"})
            }
            "GetCredentials" => json!({
                "AccessKeyId": "AKIDCONTAINER",
                "SecretAccessKey": "container-secret-access-key",
                "Token": "container-session-token",
                "Expiration": "9999-12-31T23:59:59Z",
            }),
            other => panic!("the function should not call {other}"),
        };
        (200, answer)
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    loop {
        let request = read_request(&mut stream).await?;
        let (behaviour, answer) = {
            let mut state = state.lock().unwrap();
            let behaviour = state.behaviour(&request);
            let (status, answer) = match &behaviour {
                Some(Behaviour::Fail(failing)) => state.handle(&request, failing),
                Some(behaviour) if !behaviour.accepts() => (200, Value::Null),
                _ => state.handle(&request, &[]),
            };
            state.requests.push(request);
            (behaviour, response(status, answer.to_string().as_bytes()))
        };
        let half = &answer[..answer.len() - 10];
        match behaviour {
            None | Some(Behaviour::Fail(_)) => stream.write_all(&answer).await.ok()?,
            Some(Behaviour::Answer(status, body)) => {
                stream.write_all(&response(status, body.to_string().as_bytes())).await.ok()?;
            }
            Some(Behaviour::Raw(status, body)) => stream.write_all(&response(status, &body)).await.ok()?,
            Some(Behaviour::Slow(time)) => {
                sleep(time).await;
                stream.write_all(&answer).await.ok()?;
            }
            Some(Behaviour::Hang) => {
                // Until the client closes the connection.
                while stream.read(&mut [0; 1_024]).await.ok()? > 0 {}
                return None;
            }
            Some(Behaviour::HalfThenHang) => {
                stream.write_all(half).await.ok()?;
                std::future::pending::<()>().await;
            }
            Some(Behaviour::HalfThenClose) => {
                stream.write_all(half).await.ok()?;
                return None;
            }
            Some(Behaviour::Close) => return None,
            Some(Behaviour::Reset) => {
                stream.set_zero_linger().ok()?;
                return None;
            }
        }
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
    // A container requests its role's credentials with GET.
    if head.starts_with("get ") {
        return Some(Recorded { operation: "GetCredentials", body: Value::Null });
    }
    if bytes[head_end..].starts_with(b"Action=AssumeRole&") {
        return Some(Recorded { operation: "AssumeRole", body: Value::Null });
    }
    let target = header("x-amz-target:").unwrap_or_default().rsplit('.').next().unwrap_or_default();
    let operation = ["PutEvents", "DescribeEventBus", "SendMessage", "GetSecretValue"]
        .into_iter()
        .find(|operation| operation.eq_ignore_ascii_case(target))
        .unwrap_or_else(|| panic!("unexpected request: {head}"));
    let body = serde_json::from_slice(&bytes[head_end..]).unwrap();
    Some(Recorded { operation, body })
}
