//! How do we reach AWS? The SDK's configuration, with what a Lambda function has no use for left out.
//!
//! Region, credentials (environment, a profile's keys, container), `AWS_ENDPOINT_URL*`, `AWS_USE_FIPS_ENDPOINT`,
//! `AWS_USE_DUALSTACK_ENDPOINT` and `AWS_CA_BUNDLE` work as in every AWS SDK. Left out on purpose: SSO, roles to assume, web
//! identity, credential processes and EC2's instance metadata, none of which a Lambda function has. `aws_config`'s own
//! loader links some of them whatever its features are, an eighth of the binary, so its parts are put together here.

use std::{
    error::Error,
    io, iter,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_config::{
    BehaviorVersion, Region, SdkConfig,
    ecs::EcsCredentialsProvider,
    environment::EnvironmentVariableCredentialsProvider,
    identity::IdentityCache,
    meta::credentials::CredentialsProviderChain,
    profile::{self, ProfileSet},
    provider_config::ProviderConfig,
    retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_runtime::env_config::{EnvConfigValue, file::EnvConfigFiles};
use aws_sdk_eventbridge::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
};
use aws_types::{
    os_shim_internal::{Env, Fs},
    service_config::{LoadServiceConfig, ServiceConfigKey},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{
    CertificateError, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::config::ConfigError;

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// How long one attempt of a call may take, connection included.
const ATTEMPT_TIME: Duration = Duration::from_millis(2_500);

/// Who vouches for AWS's endpoints. Reading the some 140 authorities that a system trusts, to find these five, would be
/// most of what a cold start does.
const AMAZON_ROOTS: &str = include_str!("amazon-roots.pem");

/// Reads AWS's own environment variables and files.
///
/// # Errors
/// When there is no region, or `AWS_CA_BUNDLE` can't be used.
pub async fn load(variable: impl Fn(&str) -> Option<String>) -> Result<SdkConfig, ConfigError> {
    let http_client = http_client(&variable)?;
    let settings = Settings::read().await;
    let region = settings.get("AWS_REGION", "region").or_else(|| settings.get("AWS_DEFAULT_REGION", "region"));
    let region = region.ok_or_else(|| {
        ConfigError::new("AWS_REGION", "is not set; it should hold the bus's region, such as `eu-central-1`")
    })?;
    Ok(SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(region))
        .use_fips(settings.flag("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"))
        .use_dual_stack(settings.flag("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"))
        .credentials_provider(settings.credentials(&http_client))
        .identity_cache(IdentityCache::lazy().build())
        .http_client(http_client)
        .timeout_config(timeouts())
        .retry_config(RetryConfig::disabled())
        .service_config(settings)
        .build())
}

/// AWS's own environment variables, and the profile in its files. A variable comes before the profile, and what is set for
/// one service before what is set for all.
#[derive(Debug)]
struct Settings {
    env: Env,
    profile: ProfileSet,
}

impl Settings {
    async fn read() -> Self {
        let env = Env::real();
        let profile = profile::load(&Fs::real(), &env, &EnvConfigFiles::default(), None).await;
        let profile = profile.unwrap_or_else(|error| {
            tracing::warn!(%error, "could not read AWS's configuration files");
            ProfileSet::default()
        });
        Self { env, profile }
    }

    fn get(&self, variable: &str, member: &str) -> Option<String> {
        self.load(&EnvConfigValue::new().env(variable).profile(member))
    }

    fn flag(&self, variable: &str, member: &str) -> bool {
        self.get(variable, member).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn load(&self, value: &EnvConfigValue<'_>) -> Option<String> {
        let (value, _) = value.load(&self.env, Some(&self.profile))?;
        Some(value.into_owned()).filter(|value| !value.is_empty())
    }

    fn credentials(&self, http_client: &SharedHttpClient) -> SharedCredentialsProvider {
        let provider = ProviderConfig::without_region().with_http_client(http_client.clone());
        let container = EcsCredentialsProvider::builder().configure(&provider).build();
        let chain = CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new())
            .or_else("Profile", ProfileKeys(self.profile.clone()))
            .or_else("Container", container);
        SharedCredentialsProvider::new(chain)
    }
}

impl LoadServiceConfig for Settings {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        if key.env() == "AWS_ENDPOINT_URL"
            && self.flag("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")
        {
            return None;
        }
        self.load(&EnvConfigValue::new().env(key.env()).profile(key.profile()).service_id(key.service_id()))
    }
}

/// The keys that stand in a profile itself.
#[derive(Debug)]
struct ProfileKeys(ProfileSet);

impl ProfileKeys {
    fn keys(&self) -> provider::Result {
        let member = |name| self.0.get(name).map(str::to_owned);
        if let (Some(id), Some(secret)) = (member("aws_access_key_id"), member("aws_secret_access_key")) {
            return Ok(Credentials::new(id, secret, member("aws_session_token"), None, "Profile"));
        }
        let elsewhere = ["credential_process", "login_session", "role_arn", "sso_session", "sso_start_url"];
        let Some(elsewhere) = elsewhere.into_iter().find(|name| self.0.get(name).is_some()) else {
            return Err(CredentialsError::not_loaded("the profile holds no keys"));
        };
        Err(CredentialsError::invalid_configuration(format!(
            "the profile `{}` has `{elsewhere}` in the place of keys, which is not supported here; \
             AWS CLI 2 prints its keys as variables: `aws configure export-credentials --format env`",
            self.0.selected_profile()
        )))
    }
}

impl ProvideCredentials for ProfileKeys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(self.keys())
    }
}

/// The limits of one attempt. How many attempts there are is for [`crate::trouble::Attempts`] to say, not for the SDK:
/// it never retries failed entries, and knows nothing of the answer's deadline.
#[must_use]
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIME).operation_attempt_timeout(ATTEMPT_TIME).build()
}

/// The HTTP client of all calls. It trusts a bundle's authorities if one is named; the system's, if a variable names those;
/// else Amazon's own and, where they are not enough, the system's.
fn http_client(variable: impl Fn(&str) -> Option<String>) -> Result<SharedHttpClient, ConfigError> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if let Some(path) = set("AWS_CA_BUNDLE") {
        let trust = trust(&path).map_err(|why| {
            let reason = format!("holds `{path}`, {why}; it should hold the path of a file of PEM certificates");
            ConfigError::new("AWS_CA_BUNDLE", reason)
        })?;
        return client(trust);
    }
    if set("SSL_CERT_FILE").or_else(|| set("SSL_CERT_DIR")).is_some() {
        return client(TrustStore::default());
    }
    amazon_first(TrustStore::default())
}

/// An HTTP client that trusts Amazon's authorities until a server shows a certificate of another one's, and from then on
/// those given: in some of AWS's partitions, behind a proxy that looks into TLS, and should Amazon ever change its own.
///
/// The call that meets such a server fails, as one that can't connect does, and is tried again.
///
/// # Errors
/// When an authority can't be used.
pub fn amazon_first(others: TrustStore) -> Result<SharedHttpClient, ConfigError> {
    let amazon = client(TrustStore::empty().with_pem_certificate(AMAZON_ROOTS))?;
    Ok(SharedHttpClient::new(AmazonFirst { amazon, others: client(others)?, elsewhere: Arc::default() }))
}

/// An HTTP client that trusts these authorities. It reads them when it connects first.
fn client(trust: TrustStore) -> Result<SharedHttpClient, ConfigError> {
    let tls = TlsContext::builder().with_trust_store(trust).build();
    let tls = tls.map_err(|error| ConfigError::new("AWS_CA_BUNDLE", error.to_string()))?;
    let client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https();
    Ok(SharedHttpClient::new(Unrehearsed(client)))
}

/// Connects when there is a call. The SDK would have the client read its authorities for each service, and forget them.
#[derive(Debug)]
struct Unrehearsed(SharedHttpClient);

impl HttpClient for Unrehearsed {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        self.0.http_connector(settings, components)
    }
}

/// See [`amazon_first`].
#[derive(Debug)]
struct AmazonFirst {
    amazon: SharedHttpClient,
    others: SharedHttpClient,
    /// Whether a server was met that Amazon's authorities don't vouch for.
    elsewhere: Arc<AtomicBool>,
}

impl HttpClient for AmazonFirst {
    // The SDK asks for each attempt of a call; the clients keep their connectors, and with them the connections.
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        if self.elsewhere.load(Ordering::Relaxed) {
            return self.others.http_connector(settings, components);
        }
        let connector = self.amazon.http_connector(settings, components);
        SharedHttpConnector::new(AmazonConnector { connector, elsewhere: Arc::clone(&self.elsewhere) })
    }
}

/// Connects to servers that Amazon's authorities vouch for, and notes when one is met that they don't.
#[derive(Debug)]
struct AmazonConnector {
    connector: SharedHttpConnector,
    elsewhere: Arc<AtomicBool>,
}

impl HttpConnector for AmazonConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (call, elsewhere) = (self.connector.call(request), Arc::clone(&self.elsewhere));
        HttpConnectorFuture::new(async move {
            call.await.inspect_err(|error| {
                if is_of_unknown_issuer(error) && !elsewhere.swap(true, Ordering::Relaxed) {
                    tracing::info!(
                        "AWS is behind a certificate that is not Amazon's: the system's authorities are read"
                    );
                }
            })
        })
    }
}

/// Whether it is for the sake of a server's certificate, of an authority that isn't trusted, that a call failed.
fn is_of_unknown_issuer(error: &(dyn Error + 'static)) -> bool {
    // An I/O error's source is that of the error in it.
    fn inner<'a>(&error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        match error.downcast_ref::<io::Error>() {
            Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    }
    let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
    iter::successors(Some(error), inner).any(|error| error.downcast_ref() == Some(&unknown))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_can_be_ignored() {
        let endpoint = |variables: &[(&str, &str)]| {
            let settings = Settings { env: Env::from_slice(variables), profile: ProfileSet::default() };
            let key = ServiceConfigKey::builder()
                .service_id("EventBridge")
                .env("AWS_ENDPOINT_URL")
                .profile("endpoint_url")
                .build();
            settings.load_config(key.unwrap())
        };
        let all = ("AWS_ENDPOINT_URL", "http://all");
        let own = ("AWS_ENDPOINT_URL_EVENTBRIDGE", "http://own");
        let ignore = |value| ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", value);
        assert_eq!(endpoint(&[]), None);
        assert_eq!(endpoint(&[("AWS_ENDPOINT_URL", "")]), None);
        assert_eq!(endpoint(&[all]).as_deref(), Some("http://all"));
        assert_eq!(endpoint(&[all, own]).as_deref(), Some("http://own"));
        assert_eq!(endpoint(&[all, own, ignore("false")]).as_deref(), Some("http://own"));
        assert_eq!(endpoint(&[all, own, ignore("True")]), None);
    }

    #[test]
    fn amazons_roots_are_those_that_mozilla_trusts_too() {
        let ours: Vec<_> = CertificateDer::pem_slice_iter(AMAZON_ROOTS.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(ours.len(), 5);
        for root in &ours {
            assert!(webpki_root_certs::TLS_SERVER_ROOT_CERTS.contains(root), "{}", to_pem(root));
        }
    }
}
