//! What happens to one invocation? The one place that knows every stage, and their order.
//!
//! `Request → Delivery → Verified → Event → Entry → Held → Response`, each refusal ending the way; or, for a batch of
//! our own queue, the same way without the request.

use std::{
    panic::AssertUnwindSafe,
    pin::pin,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;
use lambda_runtime::{Context, Diagnostic, LambdaEvent};
use tokio::time::{Instant, timeout_at};

use crate::{
    bus::{Bus, EventId},
    entry::{self, Address, Entry},
    envelope::{EnvelopeError, Invocation, Payload, Request},
    event::{Event, UnknownEvents},
    log::{Outcome, Record, Trigger},
    problem::Problem,
    queue::{Message, Queue},
    response::{BatchResponse, Held, Reply, Response},
    secret::{Keyring, Keys},
    signature::{Delivery, SignatureError, Verified},
    trouble::{Fault, Trouble},
};

/// How long an answer takes at most. The sender waits about 10 s, of which a cold start may take two.
const ANSWER_WITHIN: Duration = Duration::from_millis(7_500);

/// How long keeping a copy of a refused delivery may hold its answer up: the sender's next try brings another copy.
const COPY_TIME: Duration = Duration::from_secs(3);

/// How long before the invocation's own deadline the answer leaves.
const DEADLINE_MARGIN: Duration = Duration::from_millis(300);

/// How much later a stage is cut off that doesn't keep to the answer's time. What a stage says of itself says more.
const CUT_OFF_AFTER: Duration = Duration::from_millis(100);

/// How much of the time there is may pass before the event is parked.
const PARK_AFTER: f64 = 2.0 / 3.0;

/// The longest trace header that EventBridge takes, in characters.
const MAX_TRACE_HEADER: usize = 500;

/// What deliveries are judged by.
#[derive(Debug)]
pub struct Rules {
    /// How far a delivery's timestamp may be from our clock, both ways.
    pub tolerance: Duration,
    /// What happens to types and objects outside the catalogue.
    pub unknown_events: UnknownEvents,
}

/// The function: everything that outlives an invocation.
#[derive(Debug)]
pub struct Function {
    /// The keys that deliveries are signed with.
    pub keyring: Keyring,
    /// What deliveries are judged by beside.
    pub rules: Rules,
    /// Where entries go.
    pub address: Address,
    /// The bus.
    pub bus: Bus,
    /// Where events wait that the bus can't have yet.
    pub parking: Option<Queue>,
    /// Where copies of authentic, but refused deliveries go.
    pub refused: Option<Queue>,
}

/// Until when what must have happened.
#[derive(Debug, Clone, Copy)]
struct Time {
    now: SystemTime,
    started: Instant,
    answer: Instant,
}

impl Time {
    fn new(now: SystemTime, deadline_ms: u64) -> Self {
        let started = Instant::now();
        let deadline = SystemTime::UNIX_EPOCH + Duration::from_millis(deadline_ms);
        // `cargo lambda watch` sends a number of milliseconds, not a time: what is over before it began says nothing.
        let left = deadline.duration_since(now).map_or(ANSWER_WITHIN, |left| left.saturating_sub(DEADLINE_MARGIN));
        Self { now, started, answer: started + left.min(ANSWER_WITHIN) }
    }

    fn park(&self) -> Instant {
        self.started + (self.answer - self.started).mul_f64(PARK_AFTER)
    }
}

impl Function {
    /// Answers one invocation, at the time `now`.
    ///
    /// # Errors
    /// For an event that is neither an HTTP request nor a batch of the parking queue: nobody waits for an HTTP answer.
    pub async fn invoke(&self, event: LambdaEvent<Invocation>, now: SystemTime) -> Result<Reply, Diagnostic> {
        let LambdaEvent { payload, context } = event;
        let time = Time::new(now, context.deadline);
        match payload.request() {
            Err(EnvelopeError::NotHttp) => match self.parking.as_ref().and_then(|queue| queue.messages(&payload)) {
                Some(messages) => Ok(Reply::Batch(self.drain(&messages, &context, time).await)),
                None => Err(Diagnostic {
                    error_type: "UnknownEvent".into(),
                    error_message: "the event is neither an HTTP request nor a batch of the parking queue".into(),
                }),
            },
            request => Ok(Reply::Http(self.answer(request, &context, time).await)),
        }
    }

    /// Answers a delivery, whatever happens, and writes its line.
    async fn answer(&self, request: Result<Request<'_>, EnvelopeError>, context: &Context, time: Time) -> Response {
        let mut record = Record { request_id: context.request_id.clone(), ..Record::default() };
        let payload = request.as_ref().map_or(Payload::V1, |request| request.payload);
        let held: Result<Held, Problem> = {
            // Pinned where it stands, here and below: the SDK's calls are large, and each wrapper would move them.
            let deliver = pin!(self.deliver(request, context, time, &mut record));
            let in_time = unless_panicking(timeout_at(time.answer + CUT_OFF_AFTER, deliver)).await;
            in_time.and_then(|held| held.unwrap_or_else(|_| Err(Problem::Bus(Trouble::transient("no answer in time")))))
        };
        let response = held.as_ref().map_or_else(Response::from, Response::from).in_payload(payload);
        let outcome = match &held {
            Ok(Held::ByBus(id)) => {
                record.bus_event_id = Some(id.to_string());
                Outcome::Forwarded
            }
            Ok(Held::ByQueue(id)) => {
                record.queue_message_id = Some(id.to_string());
                Outcome::Parked
            }
            Err(problem) => record.problem(problem),
        };
        record.status = Some(response.status());
        record.write(outcome, Trigger::Http, time.started.elapsed());
        response
    }

    async fn deliver(
        &self,
        request: Result<Request<'_>, EnvelopeError>,
        context: &Context,
        time: Time,
        record: &mut Record,
    ) -> Result<Held, Problem> {
        let request = request.map_err(|error| match error {
            EnvelopeError::Malformed(reason) => Problem::MalformedRequest(reason),
            EnvelopeError::NotHttp => Problem::MalformedRequest("not an HTTP request"),
        })?;
        record.delivery(request.headers.webhook_id.as_deref());
        let delivery = self.admit(&request)?;
        let verified = self.verify(&delivery, time.now).await?;
        record.authentic = true;

        let trace = trace_header(context.xray_trace_id.as_deref());
        let held = match Event::parse(&verified, self.rules.unknown_events) {
            // The secret is read again beside the forward: after the answer, Lambda freezes the process.
            Ok(event) => {
                let held = {
                    let forward = pin!(self.forward_or_park(&event, trace, time, record));
                    let refresh = pin!(self.keyring.refresh(time.now));
                    tokio::join!(forward, timeout_at(time.answer, refresh)).0
                };
                record.drift(&event);
                held
            }
            Err(error) => Err(Problem::Event(error)),
        };
        if let (Err(problem), Some(queue)) = (&held, &self.refused)
            && problem.status().is_client_error()
        {
            let reason = problem.to_string();
            let webhook_id = request.headers.webhook_id.as_deref().unwrap_or_default();
            let reason = [("problem", problem.code()), ("reason", &reason), ("webhook-id", webhook_id)];
            let until = time.answer.min(Instant::now() + COPY_TIME);
            match queue.keep(verified.body(), trace, &reason, until).await {
                Ok(id) => record.queue_message_id = Some(id.to_string()),
                Err(trouble) => record.copy_error = Some(trouble.to_string()),
            }
        }
        held
    }

    /// Every check before the signature's, in the order of the answers' table.
    ///
    /// # Errors
    /// The first problem found.
    pub fn admit<'a>(&self, request: &'a Request<'_>) -> Result<Delivery<'a>, Problem> {
        if &*request.method != "POST" {
            return Err(Problem::MethodNotAllowed);
        }
        if !request.headers.content_type.as_deref().is_some_and(is_json) {
            return Err(Problem::UnsupportedMediaType);
        }
        self.address.can_fit(&request.body).map_err(Problem::ContentTooLarge)?;
        Ok(Delivery {
            id: request.headers.webhook_id.as_deref(),
            timestamp: request.headers.webhook_timestamp.as_deref(),
            signature: request.headers.webhook_signature.as_deref(),
            body: &request.body,
        })
    }

    /// Verifies a delivery with the keys in memory and, if none of them matches, with those that are in the store now.
    async fn verify<'a>(&self, delivery: &Delivery<'a>, now: SystemTime) -> Result<Verified<'a>, Problem> {
        let verify = |keys: &Keys| match delivery.verify(keys.at(now), now, self.rules.tolerance) {
            Err(SignatureError::NoMatch) if keys.at(now).next().is_none() => Err(Problem::SecretUnavailable),
            verified => verified.map_err(Problem::Signature),
        };
        let keys = self.keyring.keys();
        match verify(&keys) {
            Err(Problem::SecretUnavailable | Problem::Signature(SignatureError::NoMatch)) => {
                self.keyring.refresh_for_mismatch(now).await;
                verify(&self.keyring.keys())
            }
            settled => settled,
        }
    }

    async fn forward_or_park(
        &self,
        event: &Event<'_>,
        trace: Option<&str>,
        time: Time,
        record: &mut Record,
    ) -> Result<Held, Problem> {
        record.event(event);
        let entry = self.address.entry(event, trace).map_err(Problem::ContentTooLarge)?;
        let Some(parking) = &self.parking else {
            return self.forward(entry, time.now, time.answer).await.map(Held::ByBus).map_err(Problem::Bus);
        };
        let trouble = match self.forward(entry, time.now, time.park()).await {
            Ok(id) => return Ok(Held::ByBus(id)),
            Err(trouble) if trouble.fault == Fault::Payload => return Err(Problem::Bus(trouble)),
            Err(trouble) => trouble,
        };
        record.error = Some(trouble.to_string());
        parking
            .park(event.body(), trace, time.answer)
            .await
            .map(Held::ByQueue)
            .map_err(|parking| Problem::Bus(Trouble::transient(format!("{trouble}; and not parked: {parking}"))))
    }

    async fn forward(&self, entry: Entry<'_>, now: SystemTime, until: Instant) -> Result<EventId, Trouble> {
        let mut results = self.bus.put(&[entry], now, until).await;
        results.pop().unwrap_or_else(|| Err(Trouble::transient("PutEvents: no result")))
    }

    /// Forwards a batch of our own queue, and writes a line for each message.
    async fn drain(&self, messages: &[Message<'_>], context: &Context, time: Time) -> BatchResponse {
        let mut records: Vec<_> = messages
            .iter()
            .map(|message| Record {
                request_id: context.request_id.clone(),
                queue_message_id: Some(message.id().to_owned()),
                authentic: true,
                ..Record::default()
            })
            .collect();
        let outcomes = unless_panicking(pin!(self.forward_messages(messages, &mut records, time))).await;
        let outcomes = outcomes.unwrap_or_else(|problem| vec![Err(problem); messages.len()]);
        for (record, outcome) in records.iter_mut().zip(&outcomes) {
            let outcome = match outcome {
                Ok(id) => {
                    record.bus_event_id = Some(id.to_string());
                    Outcome::Forwarded
                }
                Err(problem) => record.problem(problem),
            };
            record.write(outcome, Trigger::Queue, time.started.elapsed());
        }
        BatchResponse::new(messages, &outcomes)
    }

    async fn forward_messages(
        &self,
        messages: &[Message<'_>],
        records: &mut [Record],
        time: Time,
    ) -> Vec<Result<EventId, Problem>> {
        let events: Vec<_> = messages
            .iter()
            .map(|message| Event::parse(&Verified::parked(message), self.rules.unknown_events).map_err(Problem::Event))
            .collect();
        let entries: Vec<_> = events
            .iter()
            .zip(messages)
            .zip(&mut *records)
            .map(|((event, message), record)| {
                let event = event.as_ref().map_err(Problem::clone)?;
                record.event(event);
                let trace = trace_header(message.trace_header());
                self.address.entry(event, trace).map_err(Problem::ContentTooLarge)
            })
            .collect();

        let ready: Vec<_> = entries.iter().flatten().copied().collect();
        let mut results = Vec::with_capacity(ready.len());
        for call in entry::calls(&ready) {
            results.extend(self.bus.put(call, time.now, time.answer).await);
        }
        for (record, event) in records.iter_mut().zip(&events) {
            if let Ok(event) = event {
                record.drift(event);
            }
        }
        let mut results = results.into_iter();
        entries
            .into_iter()
            .map(|entry| {
                entry?;
                let result = results.next().unwrap_or_else(|| Err(Trouble::transient("PutEvents: no result")));
                result.map_err(Problem::Bus)
            })
            .collect()
    }
}

/// Runs a stage; a panic in it is a problem like others, and the process lives on.
async fn unless_panicking<T>(stage: impl Future<Output = T>) -> Result<T, Problem> {
    AssertUnwindSafe(stage).catch_unwind().await.map_err(|_| Problem::Internal)
}

/// Whether a content type is `application/json`, whatever its parameters and case.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// The trace header, if the bus and the queue would take it: a trace is worth less than the event.
fn trace_header(value: Option<&str>) -> Option<&str> {
    value.filter(|trace| (1..=MAX_TRACE_HEADER).contains(&trace.len()) && trace.is_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem() {
        let panicking = async { panic!("as told") };
        assert_eq!(unless_panicking::<()>(panicking).await, Err(Problem::Internal));
        let later = async {
            tokio::task::yield_now().await;
            panic!("as told")
        };
        assert_eq!(unless_panicking::<()>(later).await, Err(Problem::Internal));
        assert_eq!(unless_panicking(async { 1 }).await, Ok(1));
    }

    #[test]
    fn the_time_there_is() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_760_434_167);
        let now_ms = 1_760_434_167_000;
        let milliseconds = Duration::from_millis;
        for (why, deadline_ms, answer, park) in [
            ("no time at all, but a number of milliseconds, as `cargo lambda watch` has it", 600_000, 7_500, 5_000),
            ("a time that is over", now_ms - 1, 7_500, 5_000),
            ("the present", now_ms, 0, 0),
            ("the margin", now_ms + 300, 0, 0),
            ("a little more", now_ms + 301, 1, 0),
            ("three seconds", now_ms + 3_000, 2_700, 1_800),
            ("just as long as an answer may take", now_ms + 7_800, 7_500, 5_000),
            ("ten seconds", now_ms + 10_000, 7_500, 5_000),
            ("a quarter of an hour", now_ms + 900_000, 7_500, 5_000),
            ("the last instant there is", u64::MAX, 7_500, 5_000),
        ] {
            let time = Time::new(now, deadline_ms);
            assert_eq!(time.now, now, "{why}");
            assert_eq!(time.answer - time.started, milliseconds(answer), "{why}: the answer");
            let until_parked = time.park() - time.started;
            assert_eq!(until_parked.as_millis(), milliseconds(park).as_millis(), "{why}: the parking");
        }
    }

    #[test]
    fn an_answer_leaves_before_anybody_stops_waiting() {
        assert!(ANSWER_WITHIN + CUT_OFF_AFTER < Duration::from_secs(9));
        assert!(CUT_OFF_AFTER < DEADLINE_MARGIN);
    }
}
