//! The HTTP client for calls to AWS, and the certificate authorities that it trusts.

use std::{
    error::Error,
    io, iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_sdk_eventbridge::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{
    CertificateError, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{config::ConfigError, trace};

/// The header in which the SDK forwards the trace header of the invocation.
const TRACE_HEADER: &str = "x-amzn-trace-id";

/// The root certificates of AWS's endpoints. The system trusts some 140 authorities, and reading them all to find these
/// five would be most of a cold start.
const AMAZON_ROOTS: &str = include_str!("amazon-roots.pem");

/// The HTTP client for all calls. It trusts only
/// - the authorities in `AWS_CA_BUNDLE`, if that is set;
/// - otherwise those in `SSL_CERT_FILE` or `SSL_CERT_DIR`, if one of them is set;
/// - otherwise Amazon's own, until a server presents a certificate of another authority, and from then on the system's.
///
/// # Errors
/// [`ConfigError`] if the bundle, or the file in `SSL_CERT_FILE`, can't be used.
pub fn http_client(variable: impl Fn(&str) -> Option<String>) -> Result<SharedHttpClient, ConfigError> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let certificates = |variable, path: &str| {
        // The value isn't shown: it could be anything, such as a secret.
        let reason = |why| format!("names a file {why}; it should hold the path of a file of PEM certificates");
        trust(path).map_err(|why| ConfigError::new(variable, reason(why)))
    };
    if let Some(path) = set("AWS_CA_BUNDLE") {
        return client(certificates("AWS_CA_BUNDLE", &path)?);
    }
    if let Some(path) = set("SSL_CERT_FILE") {
        // The SDK reads the file again. Without a usable certificate, it would panic.
        certificates("SSL_CERT_FILE", &path)?;
    }
    if set("SSL_CERT_FILE").or_else(|| set("SSL_CERT_DIR")).is_some() {
        return client(TrustStore::default());
    }
    amazon_first(TrustStore::default())
}

/// An HTTP client that trusts Amazon's authorities until a server presents a certificate of another authority, and from
/// then on `others`. That happens in some of AWS's partitions, behind a proxy that inspects TLS, and if Amazon changes its
/// authorities.
///
/// The call to such a server fails like one that can't connect, and is retried.
///
/// # Errors
/// [`ConfigError`] if the SDK refuses the settings of TLS.
pub fn amazon_first(others: TrustStore) -> Result<SharedHttpClient, ConfigError> {
    let amazon = client(TrustStore::empty().with_pem_certificate(AMAZON_ROOTS))?;
    Ok(SharedHttpClient::new(AmazonFirst { amazon, others: client(others)?, use_others: Arc::default() }))
}

/// An HTTP client that trusts these authorities. It loads them when it first connects.
fn client(trust: TrustStore) -> Result<SharedHttpClient, ConfigError> {
    let tls = TlsContext::builder().with_trust_store(trust).build();
    let tls = tls.map_err(|error| ConfigError::new("AWS_CA_BUNDLE", error.to_string()))?;
    let client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https();
    Ok(SharedHttpClient::new(WithoutWarmUp(client)))
}

/// Skips the SDK's connector warm-up, which would load the root certificates once per service, and adds [`ValidTrace`] to
/// every connector.
#[derive(Debug)]
struct WithoutWarmUp(SharedHttpClient);

impl HttpClient for WithoutWarmUp {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(ValidTrace(self.0.http_connector(settings, components)))
    }
}

/// Removes an invalid trace header from a request. The SDK forwards the trace header of the invocation without checking it,
/// and SQS may refuse a call with an invalid one.
#[derive(Debug)]
struct ValidTrace(SharedHttpConnector);

impl HttpConnector for ValidTrace {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        if request.headers().get(TRACE_HEADER).is_some_and(|header| trace::valid_header(header).is_none()) {
            request.headers_mut().remove(TRACE_HEADER);
        }
        self.0.call(request)
    }
}

/// See [`amazon_first`].
#[derive(Debug)]
struct AmazonFirst {
    amazon: SharedHttpClient,
    others: SharedHttpClient,
    /// Whether a server presented a certificate of another authority.
    use_others: Arc<AtomicBool>,
}

impl HttpClient for AmazonFirst {
    // The SDK asks for a connector at each attempt. Each client keeps its connectors, so that connections are reused.
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        if self.use_others.load(Ordering::Relaxed) {
            return self.others.http_connector(settings, components);
        }
        let connector = self.amazon.http_connector(settings, components);
        SharedHttpConnector::new(AmazonConnector { connector, use_others: Arc::clone(&self.use_others) })
    }
}

/// Trusts Amazon's authorities, and sets `use_others` if a server presents a certificate of another authority.
#[derive(Debug)]
struct AmazonConnector {
    connector: SharedHttpConnector,
    use_others: Arc<AtomicBool>,
}

impl HttpConnector for AmazonConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (call, use_others) = (self.connector.call(request), Arc::clone(&self.use_others));
        HttpConnectorFuture::new(async move {
            call.await.inspect_err(|error| {
                if is_unknown_issuer(error) && !use_others.swap(true, Ordering::Relaxed) {
                    tracing::info!(
                        "a server's certificate is not from Amazon; the system's authorities are trusted from now on"
                    );
                }
            })
        })
    }
}

/// Whether the call failed because the server's certificate has an unknown issuer.
fn is_unknown_issuer(error: &(dyn Error + 'static)) -> bool {
    // `source` of an I/O error skips the error inside it.
    fn inner<'a>(&error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    }
    let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
    iter::successors(Some(error), inner).any(|error| error.downcast_ref() == Some(&unknown))
}

/// The certificates of a bundle. Invalid ones are skipped, as the SDK skips those of the system's bundle: the client would
/// panic when it connects.
fn trust(path: &str) -> Result<TrustStore, String> {
    let pem = std::fs::read(path).map_err(|error| format!("that can't be read ({error})"))?;
    let mut trust = TrustStore::empty();
    let mut usable = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("that is not valid PEM ({error})"))?;
        if usable.add(certificate.clone()).is_ok() {
            trust.add_pem_certificate(to_pem(&certificate));
        }
    }
    if usable.is_empty() { Err("that holds no usable certificate".into()) } else { Ok(trust) }
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let base64 = BASE64_STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use aws_smithy_runtime_api::client::result::ConnectorError;

    use super::*;

    /// Records the trace headers of requests.
    #[derive(Debug, Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<Option<String>>>>);

    impl HttpConnector for Recorder {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            self.0.lock().unwrap().push(request.headers().get(TRACE_HEADER).map(str::to_owned));
            HttpConnectorFuture::ready(Err(ConnectorError::io("recorded".into())))
        }
    }

    #[tokio::test]
    async fn only_a_valid_trace_header_is_sent() {
        let recorder = Recorder::default();
        let connector = ValidTrace(SharedHttpConnector::new(recorder.clone()));
        let valid = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
        for header in [None, Some(valid), Some("Root=1-0"), Some("<script>")] {
            let mut request = HttpRequest::empty();
            if let Some(header) = header {
                request.headers_mut().insert(TRACE_HEADER, header);
            }
            connector.call(request).await.unwrap_err();
        }
        assert_eq!(*recorder.0.lock().unwrap(), [None, Some(valid.to_owned()), None, None]);
    }

    #[test]
    fn mozilla_trusts_amazons_roots() {
        let ours: Vec<_> = CertificateDer::pem_slice_iter(AMAZON_ROOTS.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(ours.len(), 5);
        for root in &ours {
            assert!(webpki_root_certs::TLS_SERVER_ROOT_CERTS.contains(root), "{}", to_pem(root));
        }
    }
}
