//! A call to AWS went wrong: whose fault is it, and is it worth another try?
//!
//! The classes decide everything that follows: what the sender is told, whether the event is parked, whether we try again.

use std::{error::Error, fmt, time::Duration};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_eventbridge::{
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
};
use tokio::time::{Instant, sleep, timeout_at};

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The payload's: the same call fails the same way for ever.
    Payload,
    /// The deployment's: it fails until someone repairs a permission, a key, a name.
    Deployment,
    /// Nobody's: it may pass.
    Transient,
}

/// What went wrong, for the log: it holds nothing of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whose fault it is.
    pub fault: Fault,
    /// What happened.
    pub reason: String,
}

impl Fault {
    /// The class of an error code, of one entry or of a whole call. Unknown codes may pass.
    #[must_use]
    pub fn of_code(code: &str) -> Self {
        match code {
            "MalformedDetail" | "InvalidArgument" | "ValidationException" | "InvalidMessageContents" => Self::Payload,
            "AccessDenied"
            | "AccessDeniedException"
            | "AuthFailure"
            | "DecryptionFailure"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "InvalidAccountIdException"
            | "InvalidAddress"
            | "InvalidClientTokenId"
            | "InvalidSecurity"
            | "InvalidSignatureException"
            | "InvalidToken"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "NotAuthorizedForDetailTypeException"
            | "NotAuthorizedForSourceException"
            | "OptInRequired"
            | "QueueDoesNotExist"
            | "RedactionFailure"
            | "RequestExpired"
            | "ResourceNotFoundException"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
            | "UnsupportedOperation"
            | "AWS.SimpleQueueService.NonExistentQueue" => Self::Deployment,
            // KMS's own throttling passes; its other troubles are the key's or its policy's.
            _ if !code.contains("Throttl") && (code.starts_with("KMS") || code.starts_with("Kms")) => Self::Deployment,
            _ => Self::Transient,
        }
    }
}

impl Trouble {
    /// Trouble that may pass.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self { fault: Fault::Transient, reason: reason.into() }
    }

    /// Trouble that an AWS error code names.
    #[must_use]
    pub fn of_code(call: &str, code: &str) -> Self {
        Self { fault: Fault::of_code(code), reason: format!("{call}: {code}") }
    }

    /// What an SDK call's error says.
    ///
    /// The service's own message is told only where it can't quote the payload: where the fault is the deployment's.
    #[must_use]
    pub fn of_call<E>(call: &str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let SdkError::ServiceError(service) = error {
            let meta = service.err().meta();
            let fault = meta.code().map_or(Fault::Transient, Fault::of_code);
            let code = meta.code().unwrap_or("an error without a code");
            let status = service.raw().status().as_u16();
            let mut reason = format!("{call}: {code} (HTTP {status})");
            if let (Fault::Deployment, Some(message)) = (fault, meta.message()) {
                reason = format!("{reason}: {message}");
            }
            return Self { fault, reason };
        }
        let fault = match cause::<CredentialsError>(error) {
            Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)) => {
                Fault::Deployment
            }
            _ => Fault::Transient,
        };
        Self { fault, reason: format!("{call}: {}", Chain(error)) }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for Trouble {}

/// How often a call is made at most.
const ATTEMPTS: u32 = 5;

/// What the first pause before another try is at most; each later one is at most twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The attempts of one call, until it works, fails for good, or another one isn't worth it: after [`ATTEMPTS`] of them, or
/// when the time is up.
///
/// Pauses are random ("full jitter"), so that functions that failed together don't come back together.
#[derive(Debug)]
pub struct Attempts {
    call: &'static str,
    until: Instant,
    left: u32,
    pause: Duration,
}

impl Attempts {
    /// Attempts of this call that all end at `until`.
    #[must_use]
    pub fn of(call: &'static str, until: Instant) -> Self {
        Self { call, until, left: ATTEMPTS, pause: FIRST_PAUSE }
    }

    /// Makes one attempt, for as long as there is time.
    ///
    /// # Errors
    /// The attempt's trouble, or that the time is up.
    pub async fn attempt<T>(&mut self, call: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        self.left = self.left.saturating_sub(1);
        let in_time = timeout_at(self.until, call).await;
        in_time.unwrap_or_else(|_| Err(Trouble::transient(format!("{}: no answer in time", self.call))))
    }

    /// Pauses before another attempt.
    ///
    /// # Errors
    /// The last attempt's trouble, when there is no other attempt.
    pub async fn pause_after(&mut self, trouble: Trouble) -> Result<(), Trouble> {
        let pause = self.pause.mul_f64(fastrand::f64());
        if trouble.fault != Fault::Transient || self.left == 0 || Instant::now() + pause >= self.until {
            return Err(trouble);
        }
        sleep(pause).await;
        self.pause *= 2;
        Ok(())
    }
}

/// An error and its causes, each said once, without what `Debug` would put in braces: some of the SDK's texts show the whole
/// request so, and with it the payload.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |error: &dyn Error| error.to_string().split('{').next().unwrap_or_default().trim_end().to_owned();
        let mut said = text(self.0);
        f.write_str(&said)?;
        let mut error = self.0.source();
        while let Some(cause) = error {
            let cause_said = text(cause);
            if !said.contains(&cause_said) {
                write!(f, ": {cause_said}")?;
                said = cause_said;
            }
            error = cause.source();
        }
        Ok(())
    }
}

fn cause<'a, C: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a C> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// The contract's section 4, and what SQS, STS and KMS say in the same cases.
    #[test]
    fn codes() {
        use Fault::{Deployment, Payload, Transient};
        for (fault, codes) in [
            (Payload, "MalformedDetail InvalidArgument ValidationException InvalidMessageContents"),
            (
                Deployment,
                "AccessDeniedException NotAuthorizedForSourceException NotAuthorizedForDetailTypeException \
                 InvalidAccountIdException RedactionFailure ResourceNotFoundException ExpiredTokenException \
                 UnrecognizedClientException InvalidSignatureException IncompleteSignatureException \
                 MissingAuthenticationTokenException OptInRequired",
            ),
            (
                Deployment,
                "AccessDenied ExpiredToken InvalidClientTokenId SignatureDoesNotMatch QueueDoesNotExist \
                 AWS.SimpleQueueService.NonExistentQueue InvalidAddress InvalidSecurity UnsupportedOperation",
            ),
            (
                Deployment,
                "KMSAccessDeniedException KMSDisabledException KMSInvalidStateException KMSNotFoundException \
                 KmsAccessDenied KmsDisabled KmsInvalidState KmsNotFound KMS.AccessDeniedException KMS.OptInRequired",
            ),
            (Transient, "ThrottlingException InternalFailure InternalException ServiceUnavailable RequestTimeout"),
            (Transient, "Throttling RequestThrottled KMSThrottlingException KmsThrottled KMS.ThrottlingException"),
            (Transient, "NeverHeardOf accessdeniedexception AccessDeniedExceptions X"),
        ] {
            for code in codes.split_whitespace() {
                assert_eq!(Fault::of_code(code), fault, "{code}");
                let trouble = Trouble { fault, reason: format!("PutEvents: {code}") };
                assert_eq!(Trouble::of_code("PutEvents", code), trouble);
            }
        }
        assert_eq!(Fault::of_code(""), Transient);
    }

    fn trouble(fault: Fault) -> Trouble {
        Trouble { fault, reason: "it failed".into() }
    }

    /// Attempts with so much time until one works or none is left: how many there were, and their end.
    async fn attempts(
        seconds: u64,
        mut call: impl AsyncFnMut(u32) -> Result<u32, Trouble>,
    ) -> (u32, Result<u32, Trouble>) {
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut attempts = Attempts::of("PutEvents", until);
        for attempt in 1.. {
            match attempts.attempt(call(attempt)).await {
                Ok(done) => return (attempt, Ok(done)),
                Err(trouble) => {
                    if let Err(trouble) = attempts.pause_after(trouble).await {
                        return (attempt, Err(trouble));
                    }
                }
            }
            assert!(Instant::now() < until, "an attempt begins before the time is up");
        }
        unreachable!()
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_five_times_and_nothing_else_is() {
        let transient = trouble(Fault::Transient);
        let failing = async |_| Err(transient.clone());
        assert_eq!(attempts(60, failing).await, (5, Err(transient.clone())));
        for works_at in 1..=5 {
            let call = async |attempt| if attempt == works_at { Ok(attempt) } else { Err(transient.clone()) };
            assert_eq!(attempts(60, call).await, (works_at, Ok(works_at)));
        }
        for fault in [Fault::Payload, Fault::Deployment] {
            let call = async |_| Err(trouble(fault));
            assert_eq!(attempts(60, call).await, (1, Err(trouble(fault))));
            let call = async |attempt| Err(if attempt == 2 { trouble(fault) } else { transient.clone() });
            assert_eq!(attempts(60, call).await, (2, Err(trouble(fault))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_at_most_and_are_never_the_same() {
        let mut longest = [Duration::ZERO; 4];
        for _ in 0..200 {
            let mut attempts = Attempts::of("PutEvents", Instant::now() + Duration::from_mins(1));
            for longest in &mut longest {
                attempts.attempt(ready(Err::<(), _>(trouble(Fault::Transient)))).await.unwrap_err();
                let begun = Instant::now();
                attempts.pause_after(trouble(Fault::Transient)).await.unwrap();
                *longest = begun.elapsed().max(*longest);
            }
        }
        for (longest, limit) in longest.into_iter().zip([100, 200, 400, 800]) {
            // The timer counts in whole milliseconds, and rounds up.
            let range = Duration::from_millis(limit * 9 / 10)..=Duration::from_millis(limit + 1);
            assert!(range.contains(&longest), "{longest:?} of {limit} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_goes_on_beyond_its_time() {
        let in_time = |seconds: u64, took: Instant| took.elapsed() <= Duration::from_millis(seconds * 1_000 + 1);
        for seconds in [0, 1, 3, 60] {
            let begun = Instant::now();
            let (made, end) = attempts(seconds, async |_| pending().await).await;
            assert_eq!((made, end), (1, Err(Trouble::transient("PutEvents: no answer in time"))), "{seconds} s");
            assert!(in_time(seconds, begun), "{seconds} s: {:?}", begun.elapsed());

            // An answer after each second: the last attempt is cut off.
            let begun = Instant::now();
            let calls = AtomicU32::new(0);
            let (made, _) = attempts(seconds, async |_| {
                calls.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_secs(1)).await;
                Err(trouble(Fault::Transient))
            })
            .await;
            assert_eq!(made, calls.into_inner());
            assert!(in_time(seconds, begun), "{seconds} s: {:?}", begun.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_would_last_too_long_is_not_made() {
        let mut attempts = Attempts::of("PutEvents", Instant::now());
        let begun = Instant::now();
        assert_eq!(attempts.pause_after(trouble(Fault::Transient)).await, Err(trouble(Fault::Transient)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
