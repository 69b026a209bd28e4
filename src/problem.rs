//! What is the sender told? Every way to refuse or to fail, and its one answer.
//!
//! 4xx against 5xx *is* the contract with the sender: all but 2xx is sent again, but a 4xx says that it is the delivery's
//! fault and a 5xx that it is ours. So the whole table stands here. What the caller reads is fixed text and JSON Pointers
//! ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)); what the log reads ([`fmt::Display`]) says why.

use std::fmt;

use lambda_http::http::StatusCode;
use serde::Serialize;

use crate::{
    entry::{MAX_ENTRY_BYTES, TooLarge},
    event::{EventError, Violation},
    signature::SignatureError,
    trouble::{Fault, Trouble},
};

/// What the `type` of each problem starts with; its code follows.
pub const PROBLEM_TYPE: &str = "urn:scalekit-eventbridge:problem:";

/// When the sender should try again after trouble that may pass, in seconds.
pub const RETRY_AFTER_SECONDS: &str = "30";

/// Why a delivery isn't acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The envelope can't be read as an HTTP request.
    MalformedRequest(&'static str),
    /// The method isn't POST.
    MethodNotAllowed,
    /// The content type isn't `application/json`.
    UnsupportedMediaType,
    /// The bus wouldn't take an entry of this size.
    ContentTooLarge(TooLarge),
    /// There is no key to check a signature with.
    SecretUnavailable,
    /// The delivery isn't authentic.
    Signature(SignatureError),
    /// The delivery is authentic, but its body is not an event.
    Event(EventError),
    /// The bus doesn't have the event, nor has a queue of ours.
    Bus(Trouble),
    /// The function itself failed.
    Internal,
}

/// The answer's body: [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457).
#[derive(Debug, Serialize)]
struct Details<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Violation],
}

impl Problem {
    /// The status, the code that ends the `type`, and the title.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedRequest(_) => (StatusCode::BAD_REQUEST, "malformed-request", "Malformed request"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
            }
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
            Self::Bus(Trouble { fault: Fault::Payload, .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "refused-by-bus", "Refused by the bus")
            }
            Self::Bus(Trouble { fault: Fault::Deployment, .. }) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", "Misconfigured")
            }
            Self::Bus(Trouble { fault: Fault::Transient, .. }) => {
                (StatusCode::SERVICE_UNAVAILABLE, "bus-unavailable", "Bus unavailable")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal-error", "Internal error"),
        }
    }

    /// The answer's status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.kind().0
    }

    /// The problem's kebab-case code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().1
    }

    /// The answer's header beside its content type, if it has one.
    #[must_use]
    pub fn header(&self) -> Option<(&'static str, &'static str)> {
        match self.status() {
            StatusCode::METHOD_NOT_ALLOWED => Some(("allow", "POST")),
            StatusCode::SERVICE_UNAVAILABLE => Some(("retry-after", RETRY_AFTER_SECONDS)),
            _ => None,
        }
    }

    /// The answer's body, in JSON.
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
        // A struct of texts and numbers has no way to fail.
        serde_json::to_string(&details).unwrap_or_default()
    }

    /// What the caller reads: nothing of the delivery, nothing of the inside.
    fn detail(&self) -> String {
        match self {
            Self::MalformedRequest(reason) => format!("The request can't be read: {reason}."),
            Self::MethodNotAllowed => "Deliveries are sent with POST.".into(),
            Self::UnsupportedMediaType => "The content type must be `application/json`.".into(),
            Self::ContentTooLarge(TooLarge { bytes }) => {
                format!("The entry for the bus would be {bytes} bytes large; the limit is {MAX_ENTRY_BYTES} bytes.")
            }
            Self::SecretUnavailable => "Signatures can't be checked at the moment.".into(),
            Self::Signature(SignatureError::Missing(header)) => format!("The `{header}` header is missing."),
            Self::Signature(SignatureError::Malformed(header)) => format!("The `{header}` header is malformed."),
            Self::Signature(SignatureError::NoMatch) => "No signature matches.".into(),
            Self::Signature(SignatureError::Stale { .. }) => {
                "The timestamp is further from the present than is tolerated.".into()
            }
            Self::Event(EventError::Malformed(malformed)) => {
                format!("The body is not JSON that the bus takes: {malformed}.")
            }
            Self::Event(EventError::Violations(_)) => "The body breaks the event's contract: see `errors`.".into(),
            Self::Bus(Trouble { fault: Fault::Payload, .. }) => "The event bus refuses this event for good.".into(),
            Self::Bus(Trouble { fault: Fault::Deployment, .. }) => {
                "The function's deployment is wrong; its log says what is.".into()
            }
            Self::Bus(Trouble { fault: Fault::Transient, .. }) => {
                "The event bus can't be reached at the moment.".into()
            }
            Self::Internal => "The function failed.".into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MalformedRequest(reason) => f.write_str(reason),
            Self::MethodNotAllowed => f.write_str("the method is not POST"),
            Self::UnsupportedMediaType => f.write_str("the content type is not application/json"),
            Self::ContentTooLarge(error) => error.fmt(f),
            Self::SecretUnavailable => f.write_str("there is no usable signing secret"),
            Self::Signature(error) => error.fmt(f),
            Self::Event(error) => error.fmt(f),
            Self::Bus(trouble) => trouble.fmt(f),
            Self::Internal => f.write_str("the function panicked"),
        }
    }
}

impl std::error::Error for Problem {}
