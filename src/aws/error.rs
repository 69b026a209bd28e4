//! The error of a call to an AWS service, and its consequence for the event.

use std::{borrow::Cow, error::Error, fmt, iter};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_eventbridge::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};

/// The consequence of an error: it decides the response, whether the event is parked and whether the call is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// The service rejects what was sent. The same call always fails.
    Rejected,
    /// A permission, a key or a name is wrong. The call fails until the deployment is repaired.
    Misconfigured,
    /// The service's rate limit is exceeded. The call succeeds later, at a lower rate.
    Throttled,
    /// The call may succeed when it is retried.
    Transient,
    /// The connection was lost before an answer came, or the request's signature had expired. Both happen to the first call
    /// after Lambda has frozen the process for a while, so they may say nothing about the service. The call may succeed when
    /// it is retried with a new signature.
    Interrupted,
}

/// A failed call to an AWS service. It is safe to log: it contains nothing of an event or a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsError {
    /// What follows from the error: whether the call can succeed later, and what must change for that.
    pub class: ErrorClass,
    /// The operation and what went wrong, for the log.
    pub message: Cow<'static, str>,
}

impl ErrorClass {
    /// Classifies an AWS error code, of one entry or of a whole call. An unknown code is transient.
    #[must_use]
    pub fn from_code(code: &str) -> Self {
        // One error has several spellings: with and without the suffix, with the prefix of SQS's older protocol.
        let code = code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code);
        let code = code.strip_suffix("Exception").unwrap_or(code);
        match code {
            "InvalidArgument"
            | "InvalidMessageContents"
            | "InvalidParameterCombination"
            | "InvalidParameterValue"
            | "MalformedDetail"
            | "Validation"
            | "ValidationError" => Self::Rejected,
            "AccessDenied"
            | "AuthFailure"
            | "DecryptionFailure"
            | "ExpiredToken"
            | "IncompleteSignature"
            | "InvalidAccountId"
            | "InvalidAddress"
            | "InvalidClientTokenId"
            | "InvalidRequest"
            | "InvalidSecurity"
            | "InvalidToken"
            | "MissingAuthenticationToken"
            | "MissingParameter"
            | "NonExistentQueue"
            | "NotAuthorized"
            | "NotAuthorizedForDetailType"
            | "NotAuthorizedForSource"
            | "OptInRequired"
            | "QueueDoesNotExist"
            | "RedactionFailure"
            | "ResourceNotFound"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClient"
            | "UnsupportedOperation" => Self::Misconfigured,
            "InvalidSignature" | "RequestExpired" | "RequestTimeTooSkewed" => Self::Interrupted,
            "LimitExceeded" | "RequestLimitExceeded" | "TooManyRequests" => Self::Throttled,
            _ if code.contains("Throttl") => Self::Throttled,
            // KMS's other errors come from the key or the key's policy.
            _ if code.starts_with("KMS") || code.starts_with("Kms") => Self::Misconfigured,
            _ => Self::Transient,
        }
    }

    /// Whether another attempt can succeed without a change of the event or the deployment.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        matches!(self, Self::Throttled | Self::Transient | Self::Interrupted)
    }
}

impl AwsError {
    /// An error of this class.
    pub fn new(class: ErrorClass, message: impl Into<Cow<'static, str>>) -> Self {
        Self { class, message: message.into() }
    }

    /// An error that may pass.
    pub fn transient(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorClass::Transient, message)
    }

    /// The error that an AWS error code names.
    #[must_use]
    pub fn from_code(operation: &str, code: &str) -> Self {
        Self::new(ErrorClass::from_code(code), format!("{operation}: {code}"))
    }

    /// The error of an SDK call.
    ///
    /// The service's own message is included only for codes whose message names a resource or a permission. Other
    /// messages can quote the event, or the signed request with its session token.
    #[must_use]
    pub fn from_sdk<E>(operation: &str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let SdkError::ServiceError(service) = error {
            let meta = service.err().meta();
            let class = match meta.code().map_or(ErrorClass::Transient, ErrorClass::from_code) {
                // The error has one code for a signature that has expired and for one that was made with a wrong key.
                ErrorClass::Interrupted if meta.message().is_some_and(|text| text.contains("does not match")) => {
                    ErrorClass::Misconfigured
                }
                class => class,
            };
            let code = meta.code().unwrap_or("an error without a code");
            let status = service.raw().status().as_u16();
            let mut message = format!("{operation}: {code} (HTTP {status})");
            if let Some(service_message) = meta.message().filter(|_| has_safe_message(code)) {
                message = format!("{message}: {service_message}");
            }
            return Self::new(class, message);
        }
        let class = match (find_source::<CredentialsError>(error), error) {
            (Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)), _) => {
                ErrorClass::Misconfigured
            }
            (None, SdkError::DispatchFailure(failure)) if !failure.is_timeout() => ErrorClass::Interrupted,
            _ => ErrorClass::Transient,
        };
        Self::new(class, format!("{operation}: {}", SourceChain(error)))
    }
}

/// Whether the service's message for this code names a resource, a key or a permission, and nothing that was sent.
fn has_safe_message(code: &str) -> bool {
    code.starts_with("AccessDenied")
        || code.starts_with("KMS")
        || code.starts_with("Kms")
        || matches!(code, "DecryptionFailure" | "InvalidRequestException" | "ResourceNotFoundException")
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for AwsError {}

/// An error and its sources, each text once, cut off at the first brace: some of the SDK's texts contain the whole
/// request in `Debug` form, and with it the event.
struct SourceChain<'a>(&'a dyn Error);

impl fmt::Display for SourceChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |error: &dyn Error| error.to_string().split('{').next().unwrap_or_default().trim_end().to_owned();
        let mut last = text(self.0);
        f.write_str(&last)?;
        let mut error = self.0.source();
        while let Some(source) = error {
            let source_text = text(source);
            if !last.contains(&source_text) {
                write!(f, ": {source_text}")?;
                last = source_text;
            }
            error = source.source();
        }
        Ok(())
    }
}

fn find_source<'a, C: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a C> {
    iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes of the contract, and those of SQS, STS and KMS for the same cases.
    #[test]
    fn each_code_has_its_class() {
        use ErrorClass::{Interrupted, Misconfigured, Rejected, Throttled, Transient};
        for (class, codes) in [
            (Rejected, "MalformedDetail InvalidArgument ValidationException InvalidMessageContents"),
            (
                Rejected,
                "InvalidParameterValue InvalidParameterValueException InvalidParameterCombination \
                 InvalidParameterCombinationException AWS.SimpleQueueService.InvalidParameterValue",
            ),
            (
                Misconfigured,
                "AccessDeniedException NotAuthorizedForSourceException NotAuthorizedForDetailTypeException \
                 InvalidAccountIdException RedactionFailure ResourceNotFoundException ExpiredTokenException \
                 UnrecognizedClientException IncompleteSignatureException \
                 MissingAuthenticationTokenException OptInRequired",
            ),
            (
                Misconfigured,
                "AccessDenied ExpiredToken InvalidClientTokenId SignatureDoesNotMatch QueueDoesNotExist \
                 AWS.SimpleQueueService.NonExistentQueue InvalidAddress InvalidSecurity DecryptionFailure \
                 InvalidRequestException",
            ),
            (
                Misconfigured,
                "MissingParameter MissingParameterException UnsupportedOperation UnsupportedOperationException \
                 AWS.SimpleQueueService.UnsupportedOperation",
            ),
            (
                Misconfigured,
                "KMSAccessDeniedException KMSDisabledException KMSInvalidStateException KMSNotFoundException \
                 KmsAccessDenied KmsDisabled KmsInvalidState KmsNotFound KMS.AccessDeniedException KMS.OptInRequired",
            ),
            (
                Throttled,
                "ThrottlingException Throttling RequestThrottled TooManyRequestsException LimitExceededException",
            ),
            (Throttled, "RequestLimitExceeded KMSThrottlingException KmsThrottled KMS.ThrottlingException"),
            (Interrupted, "InvalidSignatureException RequestExpired RequestTimeTooSkewed InvalidSignature"),
            (Transient, "InternalFailure InternalException ServiceUnavailable RequestTimeout"),
            (Transient, "UnknownCode accessdeniedexception AccessDeniedExceptions X"),
        ] {
            for code in codes.split_whitespace() {
                assert_eq!(ErrorClass::from_code(code), class, "{code}");
                let error = AwsError::new(class, format!("PutEvents: {code}"));
                assert_eq!(AwsError::from_code("PutEvents", code), error);
            }
        }
        assert_eq!(ErrorClass::from_code(""), Transient);
    }
}
