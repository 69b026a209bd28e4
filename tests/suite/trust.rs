//! Whose certificates does the function trust? AWS's endpoint behind TLS, with a certificate of an authority that only
//! these tests know.

use std::{fs, path::PathBuf, sync::Arc};

use aws_sdk_eventbridge::{Client, config::Credentials};
use aws_smithy_http_client::tls::TrustStore;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use scalekit_eventbridge::aws;
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls};

use crate::{endpoint::Endpoint, process::Surroundings};

/// What is logged when the system's authorities are asked.
const ELSEWHERE: &str = "AWS is behind a certificate that is not Amazon's: the system's authorities are read";

/// TLS in front of an endpoint.
struct Tls {
    url: String,
    authority: String,
    serving: JoinHandle<()>,
}

impl Tls {
    async fn before(endpoint: &Endpoint) -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["127.0.0.1".into()]).unwrap().signed_by(&key, &authority).unwrap().der().clone();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .unwrap();

        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let behind = endpoint.url().trim_start_matches("http://").to_owned();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    // A client that doesn't trust us ends here.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut behind = TcpStream::connect(behind).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut behind).await;
                });
            }
        });
        Self { url, authority: authority.pem(), serving }
    }

    /// A file that holds the authority's certificate.
    fn bundle(&self, name: &str) -> PathBuf {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, &self.authority).unwrap();
        path
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[tokio::test]
async fn authorities_are_those_of_the_variables() {
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let mut around = Surroundings::new().await;
        let tls = Tls::before(&around.aws).await;
        around.set("AWS_ENDPOINT_URL", &tls.url);
        around.set(variable, tls.bundle(variable).to_str().unwrap());
        let process = around.start();
        around.deliver().await;
        assert_eq!(around.aws.entries().len(), 1, "{variable}");
        let lines = process.stop().await.lines();
        assert_eq!(lines.len(), 1, "{variable}: {lines:?}");
    }
}

#[tokio::test]
async fn an_authority_that_nobody_knows_is_not_trusted() {
    let mut around = Surroundings::new().await;
    let tls = Tls::before(&around.aws).await;
    around.set("AWS_ENDPOINT_URL", &tls.url);
    let process = around.start();
    let answer = around.invoke().await;
    assert_eq!((answer.status, answer.code()), (503, "bus-unavailable"));
    assert_eq!(around.aws.connections(), 0);
    let lines = process.stop().await.lines();
    let told: Vec<_> = lines.iter().map(|line| &line["message"]).collect();
    assert_eq!(told[..2], [ELSEWHERE, "could not look whether the bus exists"], "{lines:?}");
    let error = lines.last().unwrap()["error"].as_str().unwrap();
    assert!(error.contains("invalid peer certificate: UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn an_endpoint_out_of_reach_says_nothing_of_authorities() {
    let mut around = Surroundings::new().await;
    around.set("AWS_ENDPOINT_URL", &Endpoint::closed().url());
    let process = around.start();
    assert_eq!(around.invoke().await.code(), "bus-unavailable");
    let log = process.stop().await.lines();
    assert!(log.iter().all(|line| line["message"] != ELSEWHERE), "{log:?}");
}

#[tokio::test]
async fn other_authorities_are_trusted_where_amazons_are_not_enough() {
    let endpoint = Endpoint::start().await;
    let tls = Tls::before(&endpoint).await;
    let others = TrustStore::empty().with_pem_certificate(tls.authority.as_bytes());
    let config = aws_sdk_eventbridge::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_eventbridge::config::Region::new("eu-central-1"))
        .credentials_provider(Credentials::for_tests())
        .endpoint_url(&tls.url)
        .retry_config(aws_sdk_eventbridge::config::retry::RetryConfig::disabled())
        .http_client(aws::amazon_first(others).unwrap());
    let client = Client::from_conf(config.build());
    let look = || client.describe_event_bus().name("scalekit-events").send();
    look().await.unwrap_err();
    for _ in 0..2 {
        look().await.unwrap();
    }
    assert_eq!(endpoint.requests("DescribeEventBus"), vec![json!({"Name": "scalekit-events"}); 2]);
    // Who is trusted is decided once: the connection stays.
    assert_eq!(endpoint.connections(), 1);
}
