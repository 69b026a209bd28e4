//! How do we reach AWS? The SDK's configuration, with what a Lambda function has no use for left out.
//!
//! Region, credentials (environment, a profile's keys, container), `AWS_ENDPOINT_URL*`, `AWS_USE_FIPS_ENDPOINT`,
//! `AWS_USE_DUALSTACK_ENDPOINT` and `AWS_CA_BUNDLE` work as in every AWS SDK. Left out on purpose: SSO, roles to assume, web
//! identity, credential processes and EC2's instance metadata, none of which a Lambda function has; each costs start time
//! and size, so `aws_config`'s own loader, which links all of them, is not used.

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, ecs::EcsCredentialsProvider,
    environment::EnvironmentVariableCredentialsProvider, identity::IdentityCache,
    meta::credentials::CredentialsProviderChain, profile, provider_config::ProviderConfig, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_runtime::env_config::{EnvConfigValue, file::EnvConfigFiles, section::EnvConfigSections};
use aws_sdk_eventbridge::config::SharedHttpClient;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_types::{
    os_shim_internal::{Env, Fs},
    service_config::{LoadServiceConfig, ServiceConfigKey},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::config::{ConfigError, REAL_LAMBDA};

/// How long a connection may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(1);

/// How long one attempt of a call may take, connection included.
const ATTEMPT_TIME: Duration = Duration::from_millis(2_500);

/// Who vouches for AWS's endpoints: [Amazon Trust Services](https://www.amazontrust.com/repository/). Reading the system's
/// 150 certificates instead is most of what the process does in a cold start.
const AMAZON_ROOTS: &[u8] = include_bytes!("amazon-roots.pem");

/// Each of these says that a connection may end elsewhere, or that the system's certificates are not the ones to trust.
const OTHER_ENDS: [&str; 7] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_EVENTBRIDGE",
    "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "AWS_ENDPOINT_URL_SQS",
    "AWS_USE_FIPS_ENDPOINT",
];

/// Reads AWS's own environment variables and files.
///
/// # Errors
/// When there is no region, or `AWS_CA_BUNDLE` can't be used.
pub async fn load(variable: impl Fn(&str) -> Option<String>) -> Result<SdkConfig, ConfigError> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let settings = Settings::read().await;
    let region = variable("AWS_REGION").or_else(|| settings.get("AWS_DEFAULT_REGION", "region"));
    let region = region.ok_or_else(|| {
        ConfigError::new("AWS_REGION", "is not set; it should hold the bus's region, such as `eu-central-1`")
    })?;
    let only_aws = variable(REAL_LAMBDA).is_some()
        && OTHER_ENDS.iter().all(|name| variable(name).is_none())
        && is_amazons(&region);
    let http_client = match variable("AWS_CA_BUNDLE") {
        None if only_aws => client_trusting(TrustStore::empty().with_pem_certificate(AMAZON_ROOTS)),
        bundle => http_client(bundle.as_deref()),
    }?;
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

/// AWS's own environment variables and files. A variable comes before the profile, a service's own before the general one.
#[derive(Debug)]
struct Settings {
    env: Env,
    profile: EnvConfigSections,
}

impl Settings {
    async fn read() -> Self {
        let env = Env::real();
        let profile = profile::load(&Fs::real(), &env, &EnvConfigFiles::default(), None).await;
        let profile = profile.unwrap_or_else(|error| {
            tracing::warn!(%error, "could not read AWS's configuration files");
            EnvConfigSections::default()
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
        let mut chain =
            CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new());
        let key = |member| self.profile.get(member).map(str::to_owned);
        if let (Some(id), Some(secret)) = (key("aws_access_key_id"), key("aws_secret_access_key")) {
            let keys = Credentials::new(id, secret, key("aws_session_token"), None, "Profile");
            chain = chain.or_else("Profile", keys);
        }
        let container = EcsCredentialsProvider::builder().configure(&provider).build();
        SharedCredentialsProvider::new(chain.or_else("Container", container))
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

/// The limits of one attempt. How many attempts there are is for [`crate::trouble::retry`] to say, not for the SDK:
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
    client_trusting(trust)
}

fn client_trusting(trust: TrustStore) -> Result<SharedHttpClient, ConfigError> {
    let tls = TlsContext::builder().with_trust_store(trust).build();
    let tls = tls.map_err(|error| ConfigError::new("AWS_CA_BUNDLE", error.to_string()))?;
    Ok(Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).tls_context(tls).build_https())
}

/// Whether a region's endpoints are vouched for by Amazon Trust Services: not in China, in the sovereign and secret regions.
fn is_amazons(region: &str) -> bool {
    !["cn-", "eusc-", "us-gov-", "us-iso", "eu-iso"].iter().any(|prefix| region.starts_with(prefix))
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
    fn amazons_roots_are_all_usable() {
        let mut usable = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(AMAZON_ROOTS) {
            usable.add(certificate.unwrap()).unwrap();
        }
        assert_eq!(usable.len(), 5);
    }

    #[test]
    fn regions_of_other_authorities() {
        for region in ["cn-north-1", "us-gov-west-1", "eusc-de-east-1", "us-isob-east-1", "eu-isoe-west-1"] {
            assert!(!is_amazons(region), "{region}");
        }
        assert!(["us-east-1", "eu-central-1", "ap-southeast-7"].into_iter().all(is_amazons));
    }
}
