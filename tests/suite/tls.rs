//! Tests of which certificate authorities the function trusts. The AWS endpoint is served over TLS, with a certificate
//! from an authority that the tests create.

use std::{fs, path::PathBuf, sync::Arc};

use aws_sdk_eventbridge::{Client, config::Credentials};
use aws_smithy_http_client::tls::TrustStore;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use scalekit_eventbridge::aws::http_client;
use serde_json::json;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, rustls};

use crate::{process::Environment, support::endpoint::Endpoint};

/// The message that is logged when the function starts to trust the system's authorities.
const FALLBACK_MESSAGE: &str =
    "a server's certificate is not from Amazon; the system's authorities are trusted from now on";

/// A TLS server in front of an endpoint.
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
                    // The handshake fails when the client doesn't trust the certificate.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut behind = TcpStream::connect(behind).await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut behind).await;
                });
            }
        });
        Self { url, authority: authority.pem(), serving }
    }

    /// Writes the authority's certificate to a file and returns its path.
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
async fn the_authorities_in_a_configured_bundle_are_trusted() {
    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        let mut environment = Environment::new().await;
        let tls = Tls::before(&environment.aws).await;
        environment.set("AWS_ENDPOINT_URL", &tls.url);
        environment.set(variable, tls.bundle(variable).to_str().unwrap());
        let process = environment.start();
        environment.deliver().await;
        assert_eq!(environment.aws.entries().len(), 1, "{variable}");
        let lines = process.stop().await.lines();
        assert_eq!(lines.len(), 1, "{variable}: {lines:?}");
    }
}

#[tokio::test]
async fn an_unknown_authority_is_not_trusted() {
    let mut environment = Environment::new().await;
    let tls = Tls::before(&environment.aws).await;
    environment.set("AWS_ENDPOINT_URL", &tls.url);
    let process = environment.start();
    let answer = environment.invoke().await;
    assert_eq!((answer.status, answer.code()), (503, "bus-unavailable"));
    assert_eq!(environment.aws.connections(), 0);
    let lines = process.stop().await.lines();
    let messages: Vec<_> = lines.iter().map(|line| &line["message"]).collect();
    assert_eq!(messages[..2], [FALLBACK_MESSAGE, "could not check whether the event bus exists"], "{lines:?}");
    let error = lines.last().unwrap()["error"].as_str().unwrap();
    assert!(error.contains("invalid peer certificate: UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn an_unreachable_endpoint_does_not_change_the_trusted_authorities() {
    let mut environment = Environment::new().await;
    environment.set("AWS_ENDPOINT_URL", &Endpoint::closed().url());
    let process = environment.start();
    assert_eq!(environment.invoke().await.code(), "bus-unavailable");
    let log = process.stop().await.lines();
    assert!(log.iter().all(|line| line["message"] != FALLBACK_MESSAGE), "{log:?}");
}

#[tokio::test]
async fn the_fallback_authorities_are_trusted_after_a_certificate_that_is_not_from_amazon() {
    let endpoint = Endpoint::start().await;
    let tls = Tls::before(&endpoint).await;
    let fallback = TrustStore::empty().with_pem_certificate(tls.authority.as_bytes());
    let config = aws_sdk_eventbridge::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_eventbridge::config::Region::new("eu-central-1"))
        .credentials_provider(Credentials::for_tests())
        .endpoint_url(&tls.url)
        .retry_config(aws_sdk_eventbridge::config::retry::RetryConfig::disabled())
        .http_client(http_client::amazon_first(fallback).unwrap());
    let client = Client::from_conf(config.build());
    let check_exists = || client.describe_event_bus().name("scalekit-events").send();
    check_exists().await.unwrap_err();
    for _ in 0..2 {
        check_exists().await.unwrap();
    }
    assert_eq!(endpoint.requests("DescribeEventBus"), vec![json!({"Name": "scalekit-events"}); 2]);
    // The authorities are chosen once, so both calls share one connection.
    assert_eq!(endpoint.connections(), 1);
}
