//! What does the operator see? One line for each event, and nothing of a payload but what a [`Record`] names.
//!
//! Lambda's runtime logs whole events at TRACE, so every crate but ours is held to warnings, whatever the level is.
//! `RUST_LOG` is ignored on purpose: `AWS_LAMBDA_LOG_LEVEL` and `AWS_LAMBDA_LOG_FORMAT` are Lambda's own settings.

use std::{fmt::Debug, io::Write, panic::PanicHookInfo, time::Duration};

use serde::Serialize;
use tracing::{
    Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{
        self, MakeWriter,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::{Context, SubscriberExt},
};

use crate::{event::Event, problem::Problem};

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The bus has it.
    Forwarded,
    /// The parking queue has it.
    Parked,
    /// It was refused: the delivery's fault.
    Refused,
    /// It was not taken: our fault, or the bus's.
    Failed,
}

/// Where an event came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// A delivery by the sender.
    Http,
    /// A message of our own queue.
    Queue,
}

/// The line of one event: the members are the line's fields, all of them part of the product.
#[derive(Debug, Default)]
pub struct Record {
    /// `status`: the HTTP answer's.
    pub status: Option<u16>,
    /// `problem`: the problem's code.
    pub problem: Option<&'static str>,
    /// `error`: why, in words of ours, of AWS's or of the system's; never of the payload.
    pub error: Option<String>,
    /// `authentic`: whether a signature matched and was fresh, or our own queue had it.
    pub authentic: bool,
    /// `webhook_id`: the sender's id of the delivery, the same for each of its tries.
    pub webhook_id: Option<String>,
    /// `event_id`: `evt_…`
    pub event_id: Option<String>,
    /// `type`
    pub event_type: Option<String>,
    /// `object`
    pub object: Option<String>,
    /// `environment_id`
    pub environment_id: Option<String>,
    /// `organization_id`
    pub organization_id: Option<String>,
    /// `catalogued`: whether the type and the object are both in the catalogue.
    pub catalogued: Option<bool>,
    /// `drift`: where `data` isn't what the catalogue says, in JSON Pointers with a space between them.
    pub drift: Option<String>,
    /// `bus_event_id`: the bus's own id of the event, the proof that it has it.
    pub bus_event_id: Option<String>,
    /// `queue_message_id`: of the parked event, of the refused delivery's copy, or of the message that came from the queue.
    pub queue_message_id: Option<String>,
    /// `copy_error`: why a refused delivery could not be copied to its queue.
    pub copy_error: Option<String>,
    /// `request_id`: Lambda's.
    pub request_id: String,
}

/// The longest webhook id that is logged, in bytes: the header is a stranger's to write.
const MAX_WEBHOOK_ID: usize = 128;

impl Record {
    /// Takes over what identifies the delivery.
    pub fn delivery(&mut self, webhook_id: Option<&str>) {
        self.webhook_id = webhook_id
            .filter(|id| id.len() <= MAX_WEBHOOK_ID && id.bytes().all(|byte| byte.is_ascii_graphic()))
            .map(str::to_owned);
    }

    /// Takes over what identifies the event.
    pub fn event(&mut self, event: &Event<'_>) {
        self.event_id = Some(event.id().to_owned());
        self.event_type = Some(event.event_type().to_string());
        self.object = Some(event.object().to_string());
        self.environment_id = Some(event.environment_id().to_owned());
        self.organization_id = event.organization_id().map(str::to_owned);
        self.catalogued = Some(event.event_type().is_catalogued() && event.object().is_catalogued());
    }

    /// Takes over where the event's `data` isn't what the catalogue says.
    pub fn drift(&mut self, event: &Event<'_>) {
        let drift = event.drift();
        self.drift = (!drift.is_empty()).then(|| drift.to_string());
    }

    /// Takes over why the event was not taken.
    pub fn problem(&mut self, problem: &Problem) -> Outcome {
        self.problem = Some(problem.code());
        self.error = Some(problem.to_string());
        if problem.status().is_client_error() { Outcome::Refused } else { Outcome::Failed }
    }

    /// Writes the line: refusals are warnings, failures are errors.
    pub fn write(&self, outcome: Outcome, trigger: Trigger, duration: Duration) {
        macro_rules! write {
            ($level:expr) => {
                tracing::event!(
                    $level,
                    outcome = outcome.as_str(),
                    trigger = trigger.as_str(),
                    status = self.status,
                    problem = self.problem,
                    error = self.error,
                    authentic = self.authentic,
                    webhook_id = self.webhook_id,
                    event_id = self.event_id,
                    r#type = self.event_type,
                    object = self.object,
                    environment_id = self.environment_id,
                    organization_id = self.organization_id,
                    catalogued = self.catalogued,
                    drift = self.drift,
                    bus_event_id = self.bus_event_id,
                    queue_message_id = self.queue_message_id,
                    copy_error = self.copy_error,
                    duration_ms = duration.as_secs_f64() * 1e3,
                    request_id = self.request_id,
                )
            };
        }
        match outcome {
            Outcome::Forwarded | Outcome::Parked => write!(Level::INFO),
            Outcome::Refused => write!(Level::WARN),
            Outcome::Failed => write!(Level::ERROR),
        }
    }
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Parked => "parked",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Queue => "queue",
        }
    }
}

/// How lines are written: Lambda's `AWS_LAMBDA_LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, with the `timestamp` and the `level` that Lambda's level filter reads.
    Json,
    /// For people.
    Text,
}

impl Format {
    /// Reads the variable; Lambda's own default is text.
    #[must_use]
    pub fn parse(value: Option<&str>) -> Self {
        if value.is_some_and(|value| value.eq_ignore_ascii_case("json")) { Self::Json } else { Self::Text }
    }
}

/// Reads `AWS_LAMBDA_LOG_LEVEL`; Lambda's own default is INFO, and its FATAL is above every level here.
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

/// Writes lines of ours from this level on, and warnings of every other crate.
pub fn subscriber<W>(format: Format, level: LevelFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = match format {
        Format::Json => JsonLines(writer).boxed(),
        // A line that can't be written is lost, and nothing else: to tell of it on stderr panics where that is broken too.
        Format::Text => {
            fmt::layer().with_writer(writer).with_target(false).with_ansi(false).log_internal_errors(false).boxed()
        }
    };
    let others = level.min(LevelFilter::WARN);
    Registry::default()
        .with(lines)
        .with(Targets::new().with_default(others).with_target(env!("CARGO_CRATE_NAME"), level))
}

/// Writes each event as one line of JSON: `timestamp`, `level`, and the event's fields.
///
/// tracing-subscriber's own JSON takes 27,000 instructions for a delivery's line, this 10,000 with the same members.
struct JsonLines<W>(W);

impl<S: Subscriber, W: for<'writer> MakeWriter<'writer> + 'static> Layer<S> for JsonLines<W> {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut timestamp = String::new();
        // Writing into memory has no way to fail; nor has writing texts and numbers, below.
        let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        let mut line = Line(Vec::with_capacity(1024));
        line.member("timestamp", &timestamp);
        line.member("level", event.metadata().level().as_str());
        event.record(&mut line);
        line.0.extend_from_slice(b"}\n");
        // A line that can't be written is lost, and nothing else.
        let _ = self.0.make_writer().write_all(&line.0);
    }
}

/// A JSON object, open at its end.
struct Line(Vec<u8>);

impl Line {
    fn member(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        let _ = serde_json::to_writer(&mut self.0, name);
        self.0.push(b':');
        let _ = serde_json::to_writer(&mut self.0, value);
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field.name(), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.member(field.name(), &format!("{value:?}"));
    }
}

/// Logs where a panic happened, and not what it says: that could be a part of a payload.
pub fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string);
    tracing::error!(location, "panicked");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_levels_of_lambda() {
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
