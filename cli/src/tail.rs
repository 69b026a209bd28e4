//! `tail`: shows each event that arrives on a bus.

use std::{error::Error, io, process::ExitCode};

use clap::Args;
use serde_json::Value;

use crate::{
    aws::Aws,
    stop::Stop,
    subscription::Subscription,
    terminal::{self, FAINT, Format, plain},
};

/// The pattern that every event matches.
const EVERYTHING: &str = r#"{"source":[{"prefix":""}]}"#;

/// Show each event that arrives on a bus, until Ctrl-C
///
/// This creates a rule and a queue, whose names start with `scalekit-tail-`, and removes them at the end.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The name or the ARN of the bus
    bus: String,

    /// Show only the events that match this event pattern
    #[arg(long, default_value = EVERYTHING, hide_default_value = true)]
    pattern: String,
}

pub(crate) async fn run(arguments: &Arguments, format: Format) -> Result<ExitCode, Box<dyn Error>> {
    let mut stop = Stop::install()?;
    let aws = Aws::load().await?;
    let mut subscription = Subscription::create(&aws, &arguments.bus, &arguments.pattern).await?;
    terminal::note(&format!(
        "Showing the events of {} until Ctrl-C. It may take a few seconds before the rule takes effect.",
        arguments.bus
    ));
    let shown = tokio::select! {
        () = stop.received() => Ok(()),
        shown = show(&mut subscription, format) => shown,
    };
    let removed = subscription.remove().await;
    match &removed {
        Ok(()) => terminal::note("Removed the rule and the queue."),
        // This is reported even if showing the events failed, too.
        Err(error) => terminal::error(error),
    }
    shown?;
    Ok(if removed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn show(subscription: &mut Subscription<'_>, format: Format) -> Result<(), Box<dyn Error>> {
    loop {
        for event in subscription.receive().await? {
            match format {
                Format::Text => row(&event)?,
                // The event's own text, so that no number changes.
                Format::Json => terminal::json(&event)?,
            }
        }
    }
}

/// An event in one line: its time, type, id, organization and source.
fn row(event: &str) -> io::Result<()> {
    let event: Value = serde_json::from_str(event).unwrap_or_default();
    let detail = &event["detail"];
    terminal::line(&[
        (FAINT, event["time"].as_str().unwrap_or("-").into()),
        plain(event["detail-type"].as_str()),
        plain(detail["id"].as_str()),
        plain(detail["organization_id"].as_str()),
        plain(event["source"].as_str()),
    ])
}
