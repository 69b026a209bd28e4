//! `put`: puts events on a bus, as the function does, but without a delivery and its signature.

use std::{error::Error, process::ExitCode};

use aws_sdk_eventbridge::{primitives::DateTime, types::PutEventsRequestEntry};
use clap::Args;
use serde_json::json;

use crate::{
    aws::{Aws, Explain},
    event::{Body, Events},
    terminal::{FAINT, Format, plain},
};

/// Put events on a bus, without the function and without a signature
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The name or the ARN of the bus
    bus: String,

    #[command(flatten)]
    events: Events,

    /// The source of the events. Rules for scalekit don't match the default
    #[arg(long, default_value = "scalekit.test")]
    source: String,
}

pub(crate) async fn run(arguments: &Arguments, format: Format) -> Result<ExitCode, Box<dyn Error>> {
    let Arguments { bus, events, source } = arguments;
    let bodies = events.read()?;
    let aws = Aws::load().await?;
    // `PutEvents` accepts events for a bus that doesn't exist, and drops them.
    aws.events.describe_event_bus().name(bus).send().await.explain(&format!("find the bus {bus}"))?;
    for body in bodies {
        let body = body?;
        let label = body.label();
        let bus_event_id = put(&aws, bus, source, &body).await.map_err(|error| format!("{label}: {error}"))?;
        let id = body.member("id");
        format.print(
            &[(FAINT, bus_event_id.as_str().into()), plain(label.as_str()), plain(id.as_deref())],
            &json!({"bus_event_id": bus_event_id, "type": label, "id": id}),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts an event on the bus, and returns the id that the bus assigned to it.
async fn put(aws: &Aws, bus: &str, source: &str, body: &Body) -> Result<String, String> {
    let detail = str::from_utf8(&body.bytes).map_err(|error| format!("the body is not UTF-8: {error}"))?;
    let entry = PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .source(source)
        .detail_type(body.member("type").ok_or("the body is not JSON with a type")?)
        .detail(detail)
        .set_time(body.member("occurred_at").as_deref().and_then(time));
    let output = aws.events.put_events().entries(entry.build()).send().await.explain("put the event on the bus")?;
    let [entry] = output.entries() else { return Err("the bus didn't say whether it accepted the event".into()) };
    match entry.event_id() {
        Some(id) if output.failed_entry_count() == 0 => Ok(id.to_owned()),
        _ => {
            let why = [entry.error_code(), entry.error_message()].map(Option::unwrap_or_default).join(": ");
            Err(format!("the bus didn't accept the event: {why}"))
        }
    }
}

/// The event's time, with the fraction of its second. Like the function, this leaves out a time before 1970.
fn time(text: &str) -> Option<DateTime> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok().filter(|time| time.timestamp() >= 0)?;
    // chrono represents a leap second as more than a billion nanoseconds, which the SDK doesn't accept.
    let leap = time.timestamp_subsec_nanos() / 1_000_000_000;
    Some(DateTime::from_secs_and_nanos(
        time.timestamp() + i64::from(leap),
        time.timestamp_subsec_nanos() % 1_000_000_000,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_keeps_the_fraction_of_its_second() {
        for (text, expected) in [
            ("2025-10-14T09:29:27.512Z", Some((1_760_434_167, 512_000_000))),
            ("2025-10-14T09:29:27.123456789Z", Some((1_760_434_167, 123_456_789))),
            ("2016-12-31T23:59:60.5Z", Some((1_483_228_800, 500_000_000))),
            ("0001-01-01T00:00:00Z", None),
            ("yesterday", None),
        ] {
            assert_eq!(time(text).map(|time| (time.secs(), time.subsec_nanos())), expected, "{text}");
        }
    }
}
