//! The log: one line for each event. Of the event's content, it has only the fields of [`EventLine`].
//!
//! Lambda's runtime logs whole events at TRACE, so other crates are limited to warnings at every level. `RUST_LOG` is
//! ignored: `AWS_LAMBDA_LOG_LEVEL` and `AWS_LAMBDA_LOG_FORMAT` are Lambda's own settings.

use std::{borrow::Cow, panic::PanicHookInfo, time::Duration};

use scalekit_events::drift::Drift;
use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
};

use crate::{
    aws::AwsError,
    event::Event,
    problem::Problem,
    queue::MessageId,
    response::{Accepted, Response},
};

/// The longest webhook id that is logged, in bytes. It is logged for unsigned requests, too, so anybody can choose its value.
const MAX_WEBHOOK_ID: usize = 128;

/// The longest part of an unusual id that is logged, in characters.
const MAX_SHORTENED_ID: usize = 16;

/// The module of Lambda's runtime that logs what the function itself logs better: failed invocations and panics.
const RUNTIME_ERRORS: &str = "lambda_runtime::layers::panic";

/// What triggered an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A delivery.
    Http,
    /// A message of the parking queue.
    Queue,
}

/// The line of one event. The fields' names are part of the product: operators filter on them.
#[derive(Debug)]
pub struct EventLine<'a> {
    /// `trigger`
    pub trigger: Trigger,
    /// `outcome`, and with it `problem`, `error`, `bus_event_id` or `queue_message_id`.
    pub result: &'a Result<Accepted, Problem>,
    /// `status` of the HTTP response.
    pub response: Option<&'a Response>,
    /// `authentic`: whether a signature matched and its timestamp was fresh, or the event came from the parking queue.
    pub authentic: bool,
    /// `webhook_id`: the sender's id of the delivery, the same for each of its tries.
    pub webhook_id: Option<&'a str>,
    /// `event_id`, `type`, `object`, `environment_id`, `organization_id` and `catalogued`, of a valid event. An id in `drift` is
    /// shortened.
    pub event: Option<&'a Event<'a>>,
    /// `drift`: JSON Pointers to what differs from the format that Scalekit publishes, with a space between them.
    pub drift: &'a Drift,
    /// `queue_message_id` of the parked message that the event came from.
    pub parked_message: Option<&'a str>,
    /// `queue_message_id` of the copy of a refused delivery, or `copy_error` if there is no copy.
    pub copy: Option<&'a Result<MessageId, AwsError>>,
    /// `duration_ms` of the invocation.
    pub duration: Duration,
    /// `request_id`: Lambda's.
    pub request_id: &'a str,
}

impl EventLine<'_> {
    /// Writes the line: as a warning if the event was refused, as an error if the function or AWS failed.
    pub fn write(&self) {
        let (outcome, level) = match self.result {
            Ok(Accepted::ByBus(_)) => ("forwarded", Level::INFO),
            Ok(Accepted::ByParkingQueue { .. }) => ("parked", Level::INFO),
            Err(problem) if problem.status().is_client_error() => ("refused", Level::WARN),
            Err(_) => ("failed", Level::ERROR),
        };
        let (bus_event_id, parked, error) = match self.result {
            Ok(Accepted::ByBus(id)) => (Some(id.to_string()), None, None),
            Ok(Accepted::ByParkingQueue { message_id, bus_error }) => {
                (None, Some(message_id.to_string()), Some(bus_error.to_string()))
            }
            Err(problem) => (None, None, Some(problem.to_string())),
        };
        let (copy, copy_error) = match self.copy {
            Some(Ok(id)) => (Some(id.to_string()), None),
            Some(Err(error)) => (None, Some(error.to_string())),
            None => (None, None),
        };
        let is_loggable = |id: &&str| id.len() <= MAX_WEBHOOK_ID && id.bytes().all(|byte| byte.is_ascii_graphic());
        let id = |pointer, id| if self.drift.contains(pointer) { shortened(id).into() } else { Cow::Borrowed(id) };
        let event_id = self.event.map(|event| id("/id", event.id()));
        let environment_id = self.event.map(|event| id("/environment_id", event.environment_id()));
        let organization_id = self.event.and_then(Event::organization_id);
        let organization_id = organization_id.map(|organization_id| id("/organization_id", organization_id));
        let is_catalogued = |event: &Event<'_>| event.event_type().is_known() && event.object().is_known();
        // The level of a tracing event must be a constant.
        macro_rules! write_line {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    outcome,
                    trigger = match self.trigger {
                        Trigger::Http => "http",
                        Trigger::Queue => "queue",
                    },
                    status = self.response.map(Response::status),
                    problem = self.result.as_ref().err().map(Problem::code),
                    error,
                    authentic = self.authentic,
                    webhook_id = self.webhook_id.filter(is_loggable),
                    event_id = event_id.as_deref(),
                    r#type = self.event.map(|event| event.event_type().as_str()),
                    object = self.event.map(|event| event.object().as_str()),
                    environment_id = environment_id.as_deref(),
                    organization_id = organization_id.as_deref(),
                    catalogued = self.event.map(is_catalogued),
                    drift = (!self.drift.is_empty()).then(|| self.drift.to_string()),
                    bus_event_id,
                    queue_message_id = parked.as_deref().or(self.parked_message).or(copy.as_deref()),
                    copy_error,
                    duration_ms = self.duration.as_secs_f64() * 1e3,
                    request_id = self.request_id,
                )
            };
        }
        match level {
            Level::ERROR => write_line!(Level::ERROR),
            Level::WARN => write_line!(Level::WARN),
            _ => write_line!(Level::INFO),
        }
    }
}

/// The first half of an id or less, because an id that Scalekit doesn't publish in this form could be anything. Characters
/// other than visible ASCII are escaped.
fn shortened(id: &str) -> String {
    let kept = MAX_SHORTENED_ID.min(id.chars().count() / 2);
    id.chars().take(kept).flat_map(char::escape_default).chain(['…']).collect()
}

/// The format of the lines: Lambda's `AWS_LAMBDA_LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, with the `timestamp` and the `level` that Lambda's own level filter reads.
    Json,
    /// Text for people.
    Text,
}

impl Format {
    /// Parses the variable. Lambda's default is text.
    #[must_use]
    pub fn parse(value: Option<&str>) -> Self {
        if value.is_some_and(|value| value.eq_ignore_ascii_case("json")) { Self::Json } else { Self::Text }
    }
}

/// Parses `AWS_LAMBDA_LOG_LEVEL`. Lambda's default is INFO, and its FATAL is above every level of ours.
#[must_use]
pub fn level(value: Option<&str>) -> LevelFilter {
    match value.unwrap_or_default().to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "warn" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        "fatal" => LevelFilter::OFF,
        _ => LevelFilter::INFO,
    }
}

/// Writes the function's lines from this level on, and warnings of other crates.
///
/// A line that can't be written is lost: reporting the error on stderr would panic if that can't be written either.
pub fn subscriber<W>(format: Format, level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_target(false).with_ansi(false).log_internal_errors(false);
    let lines = match format {
        Format::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        Format::Text => lines.boxed(),
    };
    let others = level.min(LevelFilter::WARN);
    let targets = Targets::new().with_default(others).with_target(env!("CARGO_CRATE_NAME"), level);
    Registry::default().with(lines).with(targets.with_target(RUNTIME_ERRORS, LevelFilter::OFF))
}

/// Logs where a panic happened, but not its message, which could contain a part of an event or a secret.
pub fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    tracing::error!(location, "panicked");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_lambdas() {
        for (value, expected) in [
            (None, LevelFilter::INFO),
            (Some("TRACE"), LevelFilter::TRACE),
            (Some("DEBUG"), LevelFilter::DEBUG),
            (Some("INFO"), LevelFilter::INFO),
            (Some("WARN"), LevelFilter::WARN),
            (Some("ERROR"), LevelFilter::ERROR),
            (Some("FATAL"), LevelFilter::OFF),
            (Some("fatal"), LevelFilter::OFF),
            (Some("loud"), LevelFilter::INFO),
            (Some("0"), LevelFilter::INFO),
            (Some(""), LevelFilter::INFO),
        ] {
            assert_eq!(level(value), expected, "{value:?}");
        }
    }
}
