//! The problems for which a delivery is not acknowledged, and their responses.
//!
//! The sender retries after any status but 2xx. A 4xx says that the cause is in the delivery, a 5xx that it is in the
//! function or in AWS. The response consists of fixed texts and JSON Pointers
//! ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). The log contains the full reason, which [`fmt::Display`]
//! writes.

use std::fmt;

use lambda_http::http::StatusCode;
use scalekit_events::drift::Deviation;
use serde::Serialize;

use crate::{
    aws::{AwsError, ErrorClass},
    entry::{MAX_ENTRY_BYTES, TooLarge},
    event::EventError,
    signature::SignatureError,
};

/// The prefix of every problem's `type`. The problem's code follows.
pub const PROBLEM_TYPE: &str = "urn:scalekit-eventbridge:problem:";

/// The value of `Retry-After`, in seconds, for problems that may be temporary.
pub const RETRY_AFTER_SECONDS: &str = "30";

/// Why a delivery isn't acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The Lambda event can't be parsed as an HTTP request.
    MalformedRequest(&'static str),
    /// The method isn't POST.
    MethodNotAllowed,
    /// There is no key to check a signature with.
    SecretUnavailable,
    /// The delivery isn't authentic.
    Signature(SignatureError),
    /// The delivery is authentic, but its entry would be too large for the bus.
    ContentTooLarge(TooLarge),
    /// The delivery is authentic, but its body is not an event.
    Event(EventError),
    /// The bus hasn't confirmed the event.
    Bus(AwsError),
    /// Neither the bus nor the parking queue has confirmed the event.
    NotStored {
        /// Why the bus doesn't have it.
        bus: AwsError,
        /// Why the parking queue doesn't have it.
        queue: AwsError,
    },
    /// The work was cancelled, because the response is due.
    TimedOut,
    /// The function itself failed.
    Internal,
}

/// The response body: [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457).
#[derive(Debug, Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Deviation],
}

impl Problem {
    /// The status, the code that ends the `type`, and the title.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedRequest(_) => (StatusCode::BAD_REQUEST, "malformed-request", "Malformed request"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::ContentTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "content-too-large", "Content too large"),
            Self::SecretUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "secret-unavailable", "Secret unavailable"),
            Self::Signature(SignatureError::Stale { .. }) => {
                (StatusCode::UNAUTHORIZED, "stale-timestamp", "Stale timestamp")
            }
            Self::Signature(_) => (StatusCode::UNAUTHORIZED, "invalid-signature", "Invalid signature"),
            Self::Event(EventError::Malformed(_)) => (StatusCode::BAD_REQUEST, "malformed-json", "Malformed JSON"),
            Self::Event(EventError::Violations(_)) => {
                (StatusCode::BAD_REQUEST, "contract-violation", "Contract violation")
            }
            Self::Bus(AwsError { class: ErrorClass::Rejected, .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "refused-by-bus", "Refused by the bus")
            }
            Self::Bus(AwsError { class: ErrorClass::Misconfigured, .. }) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", "Misconfigured")
            }
            Self::Bus(_) | Self::NotStored { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "bus-unavailable", "Bus unavailable")
            }
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed-out", "Timed out"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal-error", "Internal error"),
        }
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// The problem's kebab-case code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().1
    }

    /// The response header that the problem needs besides `content-type`, if any.
    #[must_use]
    pub fn header(&self) -> Option<(&'static str, &'static str)> {
        match self.status() {
            StatusCode::METHOD_NOT_ALLOWED => Some(("allow", "POST")),
            StatusCode::SERVICE_UNAVAILABLE => Some(("retry-after", RETRY_AFTER_SECONDS)),
            _ => None,
        }
    }

    /// The body of the response, in JSON.
    #[must_use]
    pub fn body(&self) -> String {
        let (status, code, title) = self.kind();
        let details = Details {
            r#type: format!("{PROBLEM_TYPE}{code}"),
            title,
            status: status.as_u16(),
            detail: self.detail(),
            errors: match self {
                Self::Event(EventError::Violations(violations)) => violations,
                _ => &[],
            },
        };
        // Serializing strings and numbers can't fail.
        serde_json::to_string(&details).unwrap_or_default()
    }

    /// The text for the caller. It contains nothing of the delivery and no internals.
    fn detail(&self) -> String {
        match self {
            Self::MalformedRequest(reason) => format!("The request can't be read: {reason}."),
            Self::MethodNotAllowed => "The method must be POST.".into(),
            Self::ContentTooLarge(TooLarge { bytes, is_lower_bound: false }) => {
                format!("The entry for the bus would have {bytes} bytes; the limit is {MAX_ENTRY_BYTES} bytes.")
            }
            Self::ContentTooLarge(TooLarge { bytes, is_lower_bound: true }) => {
                format!(
                    "The entry for the bus would have at least {bytes} bytes; the limit is {MAX_ENTRY_BYTES} bytes."
                )
            }
            Self::SecretUnavailable => "Signatures can't be checked at the moment.".into(),
            Self::Signature(SignatureError::Missing(header)) => format!("The `{header}` header is missing."),
            Self::Signature(SignatureError::Malformed(header)) => format!("The `{header}` header is malformed."),
            Self::Signature(SignatureError::NoV1) => "The `webhook-signature` header has no v1 signature.".into(),
            Self::Signature(SignatureError::Ed25519) => "Ed25519 signatures (v1a) are not supported.".into(),
            Self::Signature(SignatureError::NoMatch) => "No signature matches.".into(),
            Self::Signature(SignatureError::Stale { .. }) => {
                "The timestamp differs from the current time by more than the tolerance.".into()
            }
            Self::Event(EventError::Malformed(malformed)) => {
                format!("The body is not JSON that the bus accepts: {malformed}.")
            }
            Self::Event(EventError::Violations(_)) => "The body breaks the event's contract: see `errors`.".into(),
            Self::Bus(AwsError { class: ErrorClass::Rejected, .. }) => "The event bus rejects this event.".into(),
            Self::Bus(AwsError { class: ErrorClass::Misconfigured, .. }) => {
                "The function is misconfigured; its log has the reason.".into()
            }
            Self::Bus(_) | Self::NotStored { .. } => "The event can't be forwarded at the moment.".into(),
            Self::TimedOut => "The function could not finish in time.".into(),
            Self::Internal => "The function failed.".into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MalformedRequest(reason) => f.write_str(reason),
            Self::MethodNotAllowed => f.write_str("the method is not POST"),
            Self::ContentTooLarge(error) => error.fmt(f),
            Self::SecretUnavailable => f.write_str("there is no usable signing secret"),
            Self::Signature(error) => error.fmt(f),
            Self::Event(error) => error.fmt(f),
            Self::Bus(error) => error.fmt(f),
            Self::NotStored { bus, queue } => write!(f, "{bus}; parking the event failed, too: {queue}"),
            Self::TimedOut => f.write_str("the function cancelled the work at its deadline"),
            Self::Internal => f.write_str("the function panicked"),
        }
    }
}

impl std::error::Error for Problem {}
