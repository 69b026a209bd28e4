//! How do we reach AWS? The SDK's configuration, with what a Lambda function has no use for left out.
//!
//! Region, credentials (environment, profile, container), `AWS_ENDPOINT_URL*` and `AWS_CA_BUNDLE` work as in every AWS
//! SDK. Left out on purpose: SSO, web identity, credential processes and EC2's instance metadata, none of which a Lambda
//! function has; each costs start time and size.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, SdkConfig,
    ecs::EcsCredentialsProvider,
    environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider},
    meta::{credentials::CredentialsProviderChain, region::RegionProviderChain},
    profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider},
    provider_config::ProviderConfig,
    retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_sdk_eventbridge::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::config::ConfigError;

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// How long one attempt of a call may take, connection included.
const ATTEMPT_TIME: Duration = Duration::from_millis(2_500);

/// Reads AWS's own environment variables and files.
///
/// # Errors
/// When there is no region, or `AWS_CA_BUNDLE` can't be used.
pub async fn load(variable: impl Fn(&str) -> Option<String>) -> Result<SdkConfig, ConfigError> {
    let http_client = http_client(variable("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).as_deref())?;
    let provider = ProviderConfig::without_region().with_http_client(http_client.clone());
    let credentials = CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new())
        .or_else("Profile", ProfileFileCredentialsProvider::builder().configure(&provider).build())
        .or_else("Container", EcsCredentialsProvider::builder().configure(&provider).build());
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::builder().configure(&provider).build());
    let config = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http_client)
        .region(region)
        .credentials_provider(credentials)
        .timeout_config(timeouts())
        .retry_config(RetryConfig::disabled())
        .load()
        .await;
    if config.region().is_none() {
        return Err(ConfigError::new(
            "AWS_REGION",
            "is not set; it should hold the bus's region, such as `eu-central-1`",
        ));
    }
    Ok(config)
}

/// The limits of one attempt. How many attempts there are is for [`crate::trouble::Attempts`] to say, not for the SDK:
/// it never retries failed entries, and knows nothing of the answer's deadline.
#[must_use]
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIME).operation_attempt_timeout(ATTEMPT_TIME).build()
}

/// The HTTP client of all calls, with the certificates of a bundle in place of the system's if one is named.
///
/// # Errors
/// When the bundle can't be used.
pub fn http_client(ca_bundle: Option<&str>) -> Result<SharedHttpClient, ConfigError> {
    let trust = match ca_bundle {
        None => TrustStore::default(),
        Some(path) => trust(path).map_err(|why| {
            let reason = format!("holds `{path}`, {why}; it should hold the path of a file of PEM certificates");
            ConfigError::new("AWS_CA_BUNDLE", reason)
        })?,
    };
    let tls = TlsContext::builder().with_trust_store(trust).build();
    let tls = tls.map_err(|error| ConfigError::new("AWS_CA_BUNDLE", error.to_string()))?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https())
}

/// The certificates of a bundle. The client panics on one that it can't use, so each is tried here first; as with the
/// system's own bundle, those that can't be used are left out.
fn trust(path: &str) -> Result<TrustStore, String> {
    let pem = std::fs::read(path).map_err(|error| format!("which can't be read ({error})"))?;
    let mut trust = TrustStore::empty();
    let mut usable = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("which is not valid PEM ({error})"))?;
        if usable.add(certificate.clone()).is_ok() {
            trust.add_pem_certificate(to_pem(&certificate));
        }
    }
    if usable.is_empty() { Err("which holds no usable certificate".into()) } else { Ok(trust) }
}

fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let base64 = BASE64_STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}
