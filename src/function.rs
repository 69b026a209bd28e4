//! The Lambda function. [`Function::invoke`] handles one invocation: `Function::deliver` responds to a delivery, and
//! `Function::drain` forwards a batch of parked messages. Both end in `Function::forward_or_refuse`.

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt, future::join_all};
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use scalekit_events::drift::Drift;
use tokio::time::timeout_at;

use crate::{
    aws::{AwsError, ErrorClass},
    bus::{Bus, Lane},
    deadlines::Deadlines,
    entry::{self, Entry},
    event::{Event, Validation},
    invocation::{Invocation, RawEvent, Request},
    log::{EventLine, Trigger},
    parked::Message,
    problem::Problem,
    queue::{MessageId, Queue},
    response::{Accepted, BatchResponse, Reply, Response},
    secret::{Keyring, Keys},
    signature::{Delivery, SignatureError, Verified},
    trace,
};

/// The settings for validation.
#[derive(Debug)]
pub struct Policy {
    /// The largest difference between a delivery's timestamp and our clock, in both directions.
    pub tolerance: Duration,
    /// How closely an event must follow the format that Scalekit publishes.
    pub validation: Validation,
    /// The only environment whose events are accepted, if it is set.
    pub environment_id: Option<String>,
}

/// Everything that outlives an invocation.
#[derive(Debug)]
pub struct Function {
    /// The signing keys.
    pub keyring: Keyring,
    /// The settings for validation.
    pub policy: Policy,
    /// The source of every event on the bus.
    pub source: String,
    /// The bus.
    pub bus: Bus,
    /// The queue for events that the bus can't take yet.
    pub parking_queue: Option<Queue>,
    /// The queue for copies of authentic deliveries that were refused.
    pub dead_letter_queue: Option<Queue>,
}

/// What is known about a body besides the body itself.
#[derive(Clone, Copy)]
struct Origin<'a> {
    /// The header of the delivery. A parked message has none.
    webhook_id: Option<&'a str>,
    trace_header: Option<&'a str>,
}

/// The result of a delivery or a parked message, for the response and the log.
struct Handled<'a> {
    authentic: bool,
    event: Option<Event<'a>>,
    drift: Drift,
    copy: Option<Result<MessageId, AwsError>>,
    result: Result<Accepted, Problem>,
}

impl Handled<'_> {
    /// A delivery that failed before it was known to be authentic.
    fn unverified(problem: Problem) -> Self {
        Self { authentic: false, event: None, drift: Drift::default(), copy: None, result: Err(problem) }
    }

    /// A parked message that failed before its event was known. Its signature was verified before it was parked.
    fn failed_message(problem: Problem) -> Self {
        Self { authentic: true, ..Self::unverified(problem) }
    }
}

impl Function {
    /// Handles one invocation that begins at the time `now`.
    ///
    /// # Errors
    /// [`Diagnostic`] if the Lambda event is neither an HTTP request nor a batch of messages from the parking queue. Lambda
    /// counts the invocation as failed, so if it was a batch from another queue, its messages stay in that queue.
    pub async fn invoke(&self, event: LambdaEvent<RawEvent>, now: SystemTime) -> Result<Reply, Diagnostic> {
        let LambdaEvent { payload, context } = event;
        let deadlines = Deadlines::new(now, context.deadline);
        match payload.read(self.parking_queue.as_ref()) {
            Invocation::Http(request) => Ok(Reply::Http(self.deliver(&request, &context, deadlines).await)),
            Invocation::MalformedHttp(format, reason) => {
                let handled = Handled::unverified(Problem::MalformedRequest(reason));
                let response = Response::new(&handled.result, format);
                log_delivery(&handled, None, &response, &context, deadlines);
                Ok(Reply::Http(response))
            }
            Invocation::Parked(messages) => Ok(Reply::Batch(self.drain(&messages, &context, deadlines).await)),
            Invocation::Unknown => {
                let error = "expected an HTTP request from a function URL or API Gateway, or a batch of messages of the \
                             parking queue";
                tracing::warn!(error, request_id = context.request_id, "unknown invocation");
                Err(Diagnostic { error_type: "UnknownInvocation".into(), error_message: error.into() })
            }
        }
    }

    /// Handles a delivery and writes its log line. A panic or a timeout also gets a response.
    async fn deliver(&self, request: &Request<'_>, context: &Context, deadlines: Deadlines) -> Response {
        let handled = {
            // Pinned here and below, so that each wrapper holds a pointer: otherwise, each would contain the whole future.
            let handle = pin!(self.handle_delivery(request, context, deadlines));
            guard(handle, deadlines).await.unwrap_or_else(Handled::unverified)
        };
        let response = Response::new(&handled.result, request.format);
        log_delivery(&handled, request.headers.webhook_id.as_deref(), &response, context, deadlines);
        response
    }

    /// The path of a delivery: method, signature, size, JSON and contract, then the bus or the parking queue.
    ///
    /// The body is checked only after the signature, so that a refusal because of the body is logged as the refusal of an
    /// authentic delivery, and a copy is sent to the dead-letter queue.
    async fn handle_delivery<'a>(
        &self,
        request: &'a Request<'_>,
        context: &Context,
        deadlines: Deadlines,
    ) -> Handled<'a> {
        let verified = match self.authenticate(request, deadlines.began).await {
            Ok(verified) => verified,
            Err(problem) => return Handled::unverified(problem),
        };
        let origin = Origin {
            webhook_id: request.headers.webhook_id.as_deref(),
            trace_header: context.xray_trace_id.as_deref().and_then(trace::valid_header),
        };
        let forward = async |event: &Event<'_>| {
            // Refresh the secret while the event is forwarded: after the response, Lambda freezes the process.
            let forward = pin!(self.forward_or_park(event, origin.trace_header, deadlines));
            let refresh = pin!(self.keyring.refresh(deadlines.began));
            tokio::join!(forward, timeout_at(deadlines.response, refresh)).0
        };
        self.forward_or_refuse(&verified, origin, forward, deadlines).await
    }

    /// The path of an authentic body: size, JSON and contract, then `forward`. If the event is refused, a copy is sent to the
    /// dead-letter queue.
    async fn forward_or_refuse<'a>(
        &self,
        verified: &Verified<'a>,
        origin: Origin<'_>,
        forward: impl AsyncFnOnce(&Event<'a>) -> Result<Accepted, Problem>,
        deadlines: Deadlines,
    ) -> Handled<'a> {
        let (event, result) = match self.parse(verified) {
            Ok(event) => {
                let result = {
                    let forward = pin!(forward(&event));
                    // Guarded here as well as in the caller, so that the log line of a panic or a timeout contains the event.
                    guard(forward, deadlines).await.and_then(|result| result)
                };
                (Some(event), result)
            }
            Err(problem) => (None, Err(problem)),
        };
        let copy = match &result {
            Err(problem) if problem.status().is_client_error() => {
                self.dead_letter(verified, origin, problem, deadlines).await
            }
            _ => None,
        };
        let drift = event.as_ref().map(Event::drift).unwrap_or_default();
        Handled { authentic: true, event, drift, copy, result }
    }

    /// Verifies a delivery with the keys in memory and, if none matches, with those that are in the secret now.
    async fn authenticate<'a>(&self, request: &'a Request<'_>, now: SystemTime) -> Result<Verified<'a>, Problem> {
        let delivery = read_delivery(request)?;
        let verify = |keys: &Keys| match delivery.verify(keys.valid_at(now), now, self.policy.tolerance) {
            Err(SignatureError::NoMatch) if keys.valid_at(now).next().is_none() => Err(Problem::SecretUnavailable),
            result => result.map_err(Problem::Signature),
        };
        match verify(&self.keyring.keys()) {
            Err(Problem::SecretUnavailable | Problem::Signature(SignatureError::NoMatch)) => {
                self.keyring.refresh_for_mismatch(now).await;
                verify(&self.keyring.keys())
            }
            result => result,
        }
    }

    /// Parses the event in an authentic body.
    ///
    /// # Errors
    /// [`Problem`] if the body is too large for the bus, or not a valid event.
    pub fn parse<'a>(&self, verified: &Verified<'a>) -> Result<Event<'a>, Problem> {
        entry::check_body_size(&self.source, verified.body()).map_err(Problem::ContentTooLarge)?;
        let Policy { validation, environment_id, .. } = &self.policy;
        Event::parse(verified, *validation, environment_id.as_deref()).map_err(Problem::Event)
    }

    async fn forward_or_park(
        &self,
        event: &Event<'_>,
        trace_header: Option<&str>,
        deadlines: Deadlines,
    ) -> Result<Accepted, Problem> {
        let entry = Entry::new(&self.source, event, trace_header).map_err(Problem::ContentTooLarge)?;
        let insist = || self.bus.put(entry, Lane::LastResort, deadlines.now(), deadlines.response);
        let Some(parking_queue) = &self.parking_queue else {
            return insist().await.map(Accepted::ByBus).map_err(Problem::Bus);
        };
        let bus_error = match self.bus.put(entry, Lane::Delivery, deadlines.now(), deadlines.park_at()).await {
            Ok(id) => return Ok(Accepted::ByBus(id)),
            Err(error) if error.class == ErrorClass::Rejected => return Err(Problem::Bus(error)),
            Err(error) => error,
        };
        let queue = match parking_queue.park(event.body(), trace_header, deadlines.response).await {
            Ok(message_id) => return Ok(Accepted::ByParkingQueue { message_id, bus_error }),
            Err(error) => error,
        };
        // The bus may not even have been called, so use the time that is left.
        match insist().await {
            Ok(id) => Ok(Accepted::ByBus(id)),
            Err(error) if error.class == ErrorClass::Rejected => Err(Problem::Bus(error)),
            Err(bus) => Err(Problem::NotStored { bus, queue }),
        }
    }

    /// Sends a copy of a refused delivery or message to the dead-letter queue, if there is one.
    async fn dead_letter(
        &self,
        verified: &Verified<'_>,
        origin: Origin<'_>,
        problem: &Problem,
        deadlines: Deadlines,
    ) -> Option<Result<MessageId, AwsError>> {
        let queue = self.dead_letter_queue.as_ref()?;
        let reason = problem.to_string();
        let webhook_id = origin.webhook_id.map(|id| ("webhook-id", id));
        let attributes: Vec<_> =
            [("problem", problem.code()), ("reason", reason.as_str())].into_iter().chain(webhook_id).collect();
        Some(queue.dead_letter(verified.body(), origin.trace_header, &attributes, deadlines.copy_until()).await)
    }

    /// Forwards parked messages. Those that aren't done stay in the queue.
    async fn drain(&self, messages: &[Message<'_>], context: &Context, deadlines: Deadlines) -> BatchResponse {
        let done = join_all(messages.iter().map(|message| self.drain_message(message, context, deadlines))).await;
        BatchResponse::new(messages.iter().zip(done).filter(|(_, done)| !done).map(|(message, _)| message.id()))
    }

    /// Forwards a parked message and writes its log line. Returns whether the message may leave the queue: the bus has its
    /// event, or the event can never be forwarded and a copy is in the dead-letter queue.
    async fn drain_message(&self, message: &Message<'_>, context: &Context, deadlines: Deadlines) -> bool {
        let verified = Verified::before_parking(message);
        let origin = Origin { webhook_id: None, trace_header: message.trace_header().and_then(trace::valid_header) };
        let forward = async |event: &Event<'_>| {
            let entry = Entry::new(&self.source, event, origin.trace_header).map_err(Problem::ContentTooLarge)?;
            let put = self.bus.put(entry, Lane::Parked, deadlines.now(), deadlines.drain_until()).await;
            put.map(Accepted::ByBus).map_err(Problem::Bus)
        };
        let handled = {
            let handle = pin!(self.forward_or_refuse(&verified, origin, forward, deadlines));
            guard(handle, deadlines).await.unwrap_or_else(Handled::failed_message)
        };
        log_message(message, &handled, context, deadlines);
        handled.result.is_ok() || handled.copy.is_some_and(|copy| copy.is_ok())
    }
}

/// Checks the method, and parses the headers that the signature check needs.
///
/// # Errors
/// [`Problem`] if the method isn't POST, or a header of the signature is missing or malformed.
pub fn read_delivery<'a>(request: &'a Request<'_>) -> Result<Delivery<'a>, Problem> {
    if &*request.method != "POST" {
        return Err(Problem::MethodNotAllowed);
    }
    let headers = &request.headers;
    let (id, timestamp) = (headers.webhook_id.as_deref(), headers.webhook_timestamp.as_deref());
    let signature = headers.webhook_signature.as_deref();
    Delivery::new(id, timestamp, signature, &request.body).map_err(Problem::Signature)
}

/// Runs a stage, and turns a panic or a timeout into a problem, so that the invocation still gets a response.
async fn guard<T>(stage: impl Future<Output = T>, deadlines: Deadlines) -> Result<T, Problem> {
    match AssertUnwindSafe(timeout_at(deadlines.cancel_at(), stage)).catch_unwind().await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) => Err(Problem::TimedOut),
        Err(_) => Err(Problem::Internal),
    }
}

fn log_delivery(
    handled: &Handled<'_>,
    webhook_id: Option<&str>,
    response: &Response,
    context: &Context,
    deadlines: Deadlines,
) {
    let line = EventLine {
        trigger: Trigger::Http,
        result: &handled.result,
        response: Some(response),
        authentic: handled.authentic,
        webhook_id,
        event: handled.event.as_ref(),
        drift: &handled.drift,
        parked_message: None,
        copy: handled.copy.as_ref(),
        duration: deadlines.elapsed(),
        request_id: &context.request_id,
    };
    line.write();
}

fn log_message(message: &Message<'_>, handled: &Handled<'_>, context: &Context, deadlines: Deadlines) {
    let line = EventLine {
        trigger: Trigger::Queue,
        result: &handled.result,
        response: None,
        authentic: handled.authentic,
        webhook_id: None,
        event: handled.event.as_ref(),
        drift: &handled.drift,
        parked_message: Some(message.id()),
        copy: handled.copy.as_ref(),
        duration: deadlines.elapsed(),
        request_id: &context.request_id,
    };
    line.write();
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_and_an_overdue_stage_become_problems() {
        let deadlines = Deadlines::new(SystemTime::UNIX_EPOCH, 10_000);
        let panicking = async { panic!("on purpose") };
        assert_eq!(guard::<()>(panicking, deadlines).await, Err(Problem::Internal));
        let later = async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        };
        assert_eq!(guard::<()>(later, deadlines).await, Err(Problem::Internal));
        assert_eq!(guard(async { 1 }, deadlines).await, Ok(1));
        assert_eq!(guard::<()>(pending(), deadlines).await, Err(Problem::TimedOut));
        assert!(deadlines.elapsed() <= Duration::from_millis(7_601), "{:?}", deadlines.elapsed());
    }
}
