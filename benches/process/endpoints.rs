//! Local servers that replace Lambda's Runtime API and the AWS services, which are served over TLS.

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, pem::PemObject},
};

use crate::bus::Bus;

/// The system's certificate bundles. On Lambda, a function reads a bundle of about the same size.
const SYSTEM_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

/// The answer of `SendMessage`.
const SENT: &str =
    r#"{"MessageId":"00000000-0000-4000-8000-000000000000","MD5OfMessageBody":"00000000000000000000000000000000"}"#;

const AMAZON_ROOTS: &str = include_str!("../../src/aws/amazon-roots.pem");

/// A request: its head, which is the first line and the headers, and its body.
struct Request {
    head: String,
    body: Vec<u8>,
}

/// The server's side of a connection.
struct Connection<S> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Reads the next request. Returns `None` when the client has closed the connection.
    fn request(&mut self) -> Option<Request> {
        let head_end = loop {
            match self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => self.read()?,
            }
        };
        let head = String::from_utf8_lossy(&self.unread[..head_end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let end = head_end + length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
        while self.unread.len() < end {
            self.read()?;
        }
        let body = self.unread[head_end..end].to_vec();
        self.unread.drain(..end);
        Some(Request { head, body })
    }

    fn read(&mut self) -> Option<()> {
        let mut bytes = [0; 16 * 1024];
        let count = self.stream.read(&mut bytes).ok().filter(|&count| count > 0)?;
        self.unread.extend_from_slice(&bytes[..count]);
        Some(())
    }

    fn answer(&mut self, status: u16, headers: &str, body: &str) -> Option<()> {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
        self.stream.write_all(answer.as_bytes()).and_then(|()| self.stream.flush()).ok()
    }
}

/// Serves each connection in its own thread for as long as the benchmark runs. Returns the port.
fn serve(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = serve.clone();
            thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                serve(stream);
            });
        }
    });
    Ok(port)
}

/// A call to the Runtime API and the time at which it arrived.
enum Call {
    /// The function requests an event.
    Ready(Instant),
    /// The function answers an event.
    Answered(Instant, String),
    /// The function reports an error.
    Failed(String),
}

/// Lambda's Runtime API, for one process.
pub struct RuntimeApi {
    /// The value of `AWS_LAMBDA_RUNTIME_API`.
    pub address: String,
    events: Sender<Arc<str>>,
    calls: Receiver<Call>,
}

impl RuntimeApi {
    pub fn start() -> io::Result<Self> {
        let (events, waiting) = channel::<Arc<str>>();
        let (called, calls) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let port = serve(move |stream| {
            let mut connection = Connection::new(stream);
            while let Some(request) = connection.request() {
                let now = Instant::now();
                let path = request.head.split(' ').nth(1).unwrap_or_default();
                let body = || String::from_utf8_lossy(&request.body).into_owned();
                let call = match path.rsplit('/').next() {
                    Some("next") => Call::Ready(now),
                    Some("response") => Call::Answered(now, body()),
                    _ => Call::Failed(body()),
                };
                let next = matches!(call, Call::Ready(_));
                if called.send(call).is_err() {
                    return;
                }
                let answered = if next {
                    let Ok(event) = waiting.lock().expect("no thread panics").recv() else { return };
                    let headers = "content-type: application/json\r\n\
                        lambda-runtime-aws-request-id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n\
                        lambda-runtime-deadline-ms: 4102444800000\r\n\
                        lambda-runtime-invoked-function-arn: arn:aws:lambda:eu-central-1:123456789012:function:bench\r\n\
                        lambda-runtime-trace-id: Root=1-68ee1577-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1\r\n";
                    connection.answer(200, headers, &event)
                } else {
                    connection.answer(202, "", "")
                };
                if answered.is_none() {
                    return;
                }
            }
        })?;
        Ok(Self { address: format!("127.0.0.1:{port}"), events, calls })
    }

    /// Waits until the function requests its next event and returns the time of the request.
    pub fn ready(&self) -> Result<Instant, String> {
        match self.call()? {
            Call::Ready(at) => Ok(at),
            Call::Answered(_, answer) => Err(format!("the function answered without an event: {answer}")),
            Call::Failed(error) => Err(error),
        }
    }

    /// Sends an event and returns the time until it is answered, and the answer. The function must be ready.
    pub fn invoke(&self, event: &Arc<str>) -> Result<(Duration, String), String> {
        let sent = Instant::now();
        self.events.send(Arc::clone(event)).map_err(|error| error.to_string())?;
        match self.call()? {
            Call::Answered(at, answer) => Ok((at - sent, answer)),
            Call::Ready(_) => Err("the function requested another event without an answer".into()),
            Call::Failed(error) => Err(error),
        }
    }

    /// Sends a delivery and returns the time until it is answered with 200. The function must be ready.
    pub fn deliver(&self, event: &Arc<str>) -> Result<Duration, String> {
        let (time, answer) = self.invoke(event)?;
        if is_accepted(&answer) { Ok(time) } else { Err(answer) }
    }

    /// Sends this many deliveries at once, and another one for each that is answered, for this time. Returns how many
    /// were answered in it.
    pub fn deliver_for(&self, event: &Arc<str>, at_once: usize, time: Duration) -> Result<usize, String> {
        let send = || self.events.send(Arc::clone(event)).map_err(|error| error.to_string());
        let end = Instant::now() + time;
        (0..at_once).try_for_each(|_| send())?;
        let (mut answered, mut waiting) = (0, at_once);
        while waiting > 0 {
            match self.call()? {
                Call::Ready(_) => {}
                Call::Answered(at, answer) if is_accepted(&answer) => {
                    if at < end {
                        answered += 1;
                        send()?;
                    } else {
                        waiting -= 1;
                    }
                }
                Call::Answered(_, error) | Call::Failed(error) => return Err(error),
            }
        }
        Ok(answered)
    }

    fn call(&self) -> Result<Call, String> {
        self.calls.recv_timeout(Duration::from_mins(1)).map_err(|_| "the function made no call within a minute".into())
    }
}

fn is_accepted(answer: &str) -> bool {
    answer.contains("\"statusCode\":200")
}

/// The services EventBridge and Secrets Manager at one address, and SQS at another one, so that the function connects to
/// it as it does on Lambda.
pub struct Aws {
    /// The value of `AWS_ENDPOINT_URL`.
    pub url: String,
    /// The value of `AWS_ENDPOINT_URL_SQS`.
    pub queue_url: String,
    /// The event bus.
    pub bus: Arc<Bus>,
    connections: Arc<Mutex<Vec<Instant>>>,
}

impl Aws {
    /// Serves with a certificate from a new authority. The authority is written to two bundles: `amazon.pem` after
    /// Amazon's roots, which the function trusts first, and `system.pem` after the roots that this system trusts.
    pub fn start(directory: &Path, secret: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let mut authority = CertificateParams::new([])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["127.0.0.1".into()])?.signed_by(&key, &authority)?;
        let system = SYSTEM_BUNDLES.iter().find_map(|path| fs::read_to_string(path).ok()).ok_or("no system bundle")?;
        fs::write(directory.join("amazon.pem"), AMAZON_ROOTS.to_owned() + &authority.pem())?;
        fs::write(directory.join("system.pem"), system + &authority.pem())?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())?,
            )?;
        let tls = Arc::new(tls);
        let secret = format!(r#"{{"SecretString":"{secret}","CreatedDate":1700000000}}"#);
        let connections = Arc::new(Mutex::new(Vec::new()));
        let accepted = Arc::clone(&connections);
        let bus = Arc::new(Bus::default());
        let served_bus = Arc::clone(&bus);
        let serve_aws = move |stream| {
            accepted.lock().expect("no thread panics").push(Instant::now());
            let Ok(session) = ServerConnection::new(Arc::clone(&tls)) else { return };
            let mut connection = Connection::new(StreamOwned::new(session, stream));
            while let Some(request) = connection.request() {
                let target = request.head.lines().find_map(|line| line.strip_prefix("x-amz-target:"));
                let (status, answer) = match target.and_then(|target| target.rsplit('.').next()) {
                    Some("getsecretvalue") => (200, secret.clone()),
                    Some("describeeventbus") => (200, r#"{"Name":"bench"}"#.to_owned()),
                    Some("putevents") => served_bus.put_events(&request.body),
                    Some("sendmessage") => (200, SENT.to_owned()),
                    _ => panic!("unexpected request: {}", request.head),
                };
                if connection.answer(status, "content-type: application/x-amz-json-1.1\r\n", &answer).is_none() {
                    return;
                }
            }
        };
        let queue_url = format!("https://127.0.0.1:{}", serve(serve_aws.clone())?);
        Ok(Self { url: format!("https://127.0.0.1:{}", serve(serve_aws)?), queue_url, bus, connections })
    }

    /// The times of the connections since the last call of this method.
    pub fn take_connections(&self) -> Vec<Instant> {
        std::mem::take(&mut self.connections.lock().expect("no thread panics"))
    }
}
