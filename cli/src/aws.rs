//! The calls to AWS, and their errors in one line.

mod read;

use std::{error::Error, iter};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_eventbridge::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};

pub(crate) use read::{CallError, Reader, Service};

/// The clients.
pub(crate) struct Aws {
    pub(crate) events: aws_sdk_eventbridge::Client,
    pub(crate) queues: aws_sdk_sqs::Client,
    config: SdkConfig,
}

impl Aws {
    /// Loads the region and the credentials from the places where the AWS CLI finds them.
    pub(crate) async fn load() -> Result<Self, Box<dyn Error>> {
        let http_client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let config = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http_client).load().await;
        if config.region().is_none() {
            return Err("there is no region: set AWS_REGION, or AWS_PROFILE to a profile that has one".into());
        }
        let events = aws_sdk_eventbridge::Client::new(&config);
        let queues = aws_sdk_sqs::Client::new(&config);
        Ok(Self { events, queues, config })
    }

    /// The services that are only read.
    ///
    /// # Errors
    /// If there are no credentials.
    pub(crate) async fn reader(&self) -> Result<Reader, String> {
        Reader::new(&self.config).await
    }

    /// The URL of a queue.
    pub(crate) async fn queue_url(&self, queue: &str) -> Result<String, String> {
        if queue.starts_with("https://") || queue.starts_with("http://") {
            return Ok(queue.to_owned());
        }
        let output = self.queues.get_queue_url().queue_name(queue).send().await;
        output.explain(&format!("find the queue {queue}"))?.queue_url.ok_or_else(|| format!("{queue} has no URL"))
    }
}

/// Whether a call failed because a resource doesn't exist. SQS has two codes for this.
pub(crate) fn is_missing(error: &impl ProvideErrorMetadata) -> bool {
    let codes = ["ResourceNotFoundException", "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"];
    error.code().is_some_and(|code| codes.contains(&code))
}

/// Explains the failure of a call.
pub(crate) trait Explain<T> {
    /// Replaces the error by a sentence: "could not {what}: {why}". It contains no event and no signed request.
    fn explain(self, what: &str) -> Result<T, String>;
}

impl<T, E, R> Explain<T> for Result<T, SdkError<E, R>>
where
    E: ProvideErrorMetadata + Error + 'static,
    R: std::fmt::Debug + 'static,
{
    fn explain(self, what: &str) -> Result<T, String> {
        self.map_err(|error| {
            let why = match (error.code(), error.message()) {
                // These messages can quote the signed request with its session token, or what was sent.
                (Some(code), _) if code.contains("Signature") || code.contains("Validation") => code.to_owned(),
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.to_owned(),
                (None, _) => {
                    let first: Option<&dyn Error> = Some(&error);
                    let causes = iter::successors(first, |&error| error.source());
                    // Some of the SDK's texts contain the whole request after a brace.
                    let text = |error: &dyn Error| error.to_string().split('{').next().unwrap_or_default().to_owned();
                    causes.map(text).collect::<Vec<_>>().join(": ")
                }
            };
            format!("could not {what}: {why}")
        })
    }
}
