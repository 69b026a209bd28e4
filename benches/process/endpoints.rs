//! What the function talks to, on loopback: Lambda's Runtime API, and AWS behind TLS.

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

/// The system's certificates: a function has as many to read.
const SYSTEM_BUNDLES: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];

const AMAZON_ROOTS: &str = include_str!("../../src/amazon-roots.pem");

/// One request: its first line and headers, and its body.
struct Request {
    head: String,
    body: Vec<u8>,
}

/// One connection, as a server reads and answers it.
struct Connection<S> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: Read + Write> Connection<S> {
    fn new(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// The next request, until the other side is gone.
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

/// Serves each connection in a thread of its own, for as long as the benchmark runs.
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

/// What happens at the Runtime API, and when.
enum Moment {
    /// The function asks for an event.
    Ready(Instant),
    /// It has answered one.
    Answered(Instant, String),
    /// It has given up.
    Failed(String),
}

/// Lambda's Runtime API, for one process.
pub struct RuntimeApi {
    /// What `AWS_LAMBDA_RUNTIME_API` holds.
    pub address: String,
    events: Sender<Arc<str>>,
    moments: Receiver<Moment>,
}

impl RuntimeApi {
    pub fn start() -> io::Result<Self> {
        let (events, coming) = channel::<Arc<str>>();
        let (happening, moments) = channel();
        let coming = Arc::new(Mutex::new(coming));
        let port = serve(move |stream| {
            let mut connection = Connection::new(stream);
            while let Some(request) = connection.request() {
                let now = Instant::now();
                let path = request.head.split(' ').nth(1).unwrap_or_default();
                let body = || String::from_utf8_lossy(&request.body).into_owned();
                let moment = match path.rsplit('/').next() {
                    Some("next") => Moment::Ready(now),
                    Some("response") => Moment::Answered(now, body()),
                    _ => Moment::Failed(body()),
                };
                let next = matches!(moment, Moment::Ready(_));
                if happening.send(moment).is_err() {
                    return;
                }
                let answered = if next {
                    let Ok(event) = coming.lock().expect("no thread panics").recv() else { return };
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
        Ok(Self { address: format!("127.0.0.1:{port}"), events, moments })
    }

    /// When the function asked for its next event.
    pub fn ready(&self) -> Result<Instant, String> {
        match self.moment()? {
            Moment::Ready(at) => Ok(at),
            Moment::Answered(_, answer) => Err(format!("answered without being asked: {answer}")),
            Moment::Failed(why) => Err(why),
        }
    }

    /// Hands over an event, and takes the time until it is answered with 200. The function must be ready.
    pub fn deliver(&self, event: &Arc<str>) -> Result<Duration, String> {
        let handed_over = Instant::now();
        self.events.send(Arc::clone(event)).map_err(|error| error.to_string())?;
        match self.moment()? {
            Moment::Answered(at, answer) if answer.contains("\"statusCode\":200") => Ok(at - handed_over),
            Moment::Answered(_, answer) => Err(answer),
            Moment::Ready(_) => Err("asked again without an answer".into()),
            Moment::Failed(why) => Err(why),
        }
    }

    fn moment(&self) -> Result<Moment, String> {
        self.moments.recv_timeout(Duration::from_mins(1)).map_err(|_| "nothing in a minute".into())
    }
}

/// EventBridge, Secrets Manager and SQS, behind one address.
pub struct Aws {
    /// What `AWS_ENDPOINT_URL` holds.
    pub url: String,
    connections: Arc<Mutex<Vec<Instant>>>,
}

impl Aws {
    /// Serves with a certificate of a new authority, which is written to two bundles: after Amazon's own roots, which the
    /// function trusts first, and after all that this system trusts.
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
        let port = serve(move |stream| {
            accepted.lock().expect("no thread panics").push(Instant::now());
            let Ok(session) = ServerConnection::new(Arc::clone(&tls)) else { return };
            let mut connection = Connection::new(StreamOwned::new(session, stream));
            while let Some(request) = connection.request() {
                let target = request.head.lines().find_map(|line| line.strip_prefix("x-amz-target:"));
                let answer = match target.and_then(|target| target.rsplit('.').next()) {
                    Some("getsecretvalue") => &secret,
                    Some("describeeventbus") => r#"{"Name":"bench"}"#,
                    Some("putevents") => {
                        r#"{"FailedEntryCount":0,"Entries":[{"EventId":"00000000-0000-4000-8000-000000000000"}]}"#
                    }
                    _ => panic!("no such call: {}", request.head),
                };
                if connection.answer(200, "content-type: application/x-amz-json-1.1\r\n", answer).is_none() {
                    return;
                }
            }
        })?;
        Ok(Self { url: format!("https://127.0.0.1:{port}"), connections })
    }

    /// When the connections were made since this was asked last.
    pub fn take_connections(&self) -> Vec<Instant> {
        std::mem::take(&mut self.connections.lock().expect("no thread panics"))
    }
}
