//! Puts events on a bus, as the function does, but without a delivery and its signature.

use std::error::Error;

use aws_sdk_eventbridge::{primitives::DateTime, types::PutEventsRequestEntry};
use send::{Assignment, Event};
use serde_json::Value;

use crate::{
    Outcome,
    aws::{Aws, Explain},
};

/// The source that marks an event as a test.
const TEST_SOURCE: &str = "scalekit.test";

/// What to put on a bus.
pub(crate) struct Put {
    events: Vec<(String, Event)>,
    set: Vec<Assignment>,
    count: u64,
    source: String,
}

impl Put {
    pub(crate) fn parse(
        events: &[&str],
        set: &[String],
        count: Option<&str>,
        source: Option<&str>,
    ) -> Result<Self, Box<dyn Error>> {
        let events = events.iter().map(|&name| Ok((name.to_owned(), Event::find(name)?)));
        Ok(Self {
            events: events.collect::<Result<_, send::EventError>>()?,
            set: set.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
            count: count.map_or(Ok(1), send::parse_count)?,
            source: source.unwrap_or(TEST_SOURCE).to_owned(),
        })
    }

    pub(crate) async fn run(&self, aws: &Aws, bus: &str) -> Outcome {
        // `PutEvents` accepts events for a bus that doesn't exist, and drops them.
        aws.events.describe_event_bus().name(bus).send().await.explain(&format!("find the bus {bus}"))?;
        let mut number = 0;
        for (name, event) in &self.events {
            for _ in 0..self.count {
                let body = event.body(number, self.count > 1, &self.set).map_err(|error| format!("{name}: {error}"))?;
                let (bus_event_id, id) = self.put(aws, bus, body).await.map_err(|error| format!("{name}: {error}"))?;
                println!("{bus_event_id} {name} {id}");
                number += 1;
            }
        }
        Ok(true)
    }

    /// Puts an event on the bus, and returns the id that the bus assigned to it and the `id` in its body.
    async fn put(&self, aws: &Aws, bus: &str, body: Vec<u8>) -> Result<(String, String), String> {
        let detail: Value = serde_json::from_slice(&body).map_err(|error| format!("the body is not JSON: {error}"))?;
        let text = |member: &str| detail[member].as_str().map(str::to_owned);
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(bus)
            .source(&self.source)
            .detail_type(text("type").ok_or("the body has no type")?)
            .detail(String::from_utf8(body).map_err(|error| error.to_string())?)
            .set_time(text("occurred_at").as_deref().and_then(time));
        let output = aws.events.put_events().entries(entry.build()).send().await.explain("put the event on the bus")?;
        let [entry] = output.entries() else { return Err("the bus didn't say whether it accepted the event".into()) };
        match entry.event_id() {
            Some(id) if output.failed_entry_count() == 0 => Ok((id.to_owned(), text("id").unwrap_or_default())),
            _ => {
                let why = [entry.error_code(), entry.error_message()].map(Option::unwrap_or_default).join(": ");
                Err(format!("the bus didn't accept the event: {why}"))
            }
        }
    }
}

/// The time of the entry. As in the function, there is none before 1970.
fn time(text: &str) -> Option<DateTime> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    (time.timestamp() >= 0).then(|| DateTime::from_secs(time.timestamp()))
}
