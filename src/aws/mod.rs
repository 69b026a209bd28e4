//! Calls to AWS: the SDK's configuration, errors and retries.
//!
//! The configuration is loaded from AWS's environment variables and files with `aws_config`. The HTTP client and the timeouts
//! are the function's own, and the function makes the retries itself.

mod error;
pub mod http_client;
pub mod retry;

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
use aws_types::service_config::ServiceConfigKey;

pub use self::error::{AwsError, ErrorClass};
use self::http_client::http_client;
use crate::config::ConfigError;

/// The longest time for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest time for one attempt of a call, which includes connecting.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2_500);

/// Loads the configuration.
///
/// The region comes from the environment or a profile, and the credentials from the environment, a profile or a
/// container. The SDK would also try a web identity and the metadata service of EC2. A Lambda function has neither. On a
/// machine without the metadata service, each attempt to reach it would take a second to fail.
///
/// `variable` is only used for the variables about certificates. `aws_config` reads the environment itself.
///
/// # Errors
/// [`ConfigError`] if there is no region, or `AWS_CA_BUNDLE` or `SSL_CERT_FILE` can't be used.
pub async fn load(variable: impl Fn(&str) -> Option<String>) -> Result<SdkConfig, ConfigError> {
    let http_client = http_client(&variable)?;
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .region()
        .await;
    let region = region.ok_or_else(|| {
        ConfigError::new("AWS_REGION", "is not set; it should hold the bus's region, such as `eu-central-1`")
    })?;
    let provider =
        ProviderConfig::without_region().with_region(Some(region.clone())).with_http_client(http_client.clone());
    let credentials = CredentialsProviderChain::first_try("Environment", EnvironmentVariableCredentialsProvider::new())
        .or_else("Profile", ProfileFileCredentialsProvider::builder().configure(&provider).build())
        .or_else("Container", EcsCredentialsProvider::builder().configure(&provider).build());
    Ok(aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(region)
        .credentials_provider(credentials)
        .http_client(http_client)
        .timeout_config(timeouts())
        .retry_config(RetryConfig::disabled())
        .load()
        .await)
}

/// Whether calls to SQS go to an endpoint that a variable or a profile sets, for SQS or for all services.
#[must_use]
pub fn has_sqs_endpoint(sdk: &SdkConfig) -> bool {
    // The SDK's client reads its endpoint with the same key.
    let key = ServiceConfigKey::builder().service_id("SQS").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let of_sqs = key.ok().and_then(|key| sdk.service_config()?.load_config(key));
    of_sqs.is_some() || sdk.endpoint_url().is_some()
}

/// The time limits of one attempt. [`retry`](retry::retry) makes the attempts.
#[must_use]
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build()
}
