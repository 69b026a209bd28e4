//! `dead-letters show`: the body and the attributes of messages.

use std::{collections::HashSet, error::Error, io, process::ExitCode};

use aws_sdk_sqs::types::Message;
use base64::{Engine, prelude::BASE64_STANDARD};
use clap::Args;
use serde_json::{Value, json};

use super::{
    message::{body, digest, ids, sent},
    scan::Scan,
    selection::Found,
};
use crate::{
    aws::Aws,
    terminal::{self, Format},
};

/// Print the bodies of messages, and their attributes to standard error. Copies of one delivery are shown once
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The dead-letter queue
    queue: String,

    /// The ids of messages
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

pub(super) async fn run(aws: &Aws, arguments: &Arguments, format: Format) -> Result<ExitCode, Box<dyn Error>> {
    let mut scan = Scan::new(aws, &arguments.queue, None).await?;
    let mut found = Found::new(&arguments.ids);
    let mut shown = HashSet::new();
    while let Some(messages) = scan.next().await? {
        for message in &messages {
            let Some(name) = found.name(&ids(message).collect::<Vec<_>>()) else { continue };
            if shown.insert((name, digest(message))) {
                show(message, format)?;
            }
        }
    }
    scan.finish().await?;
    Ok(if found.report_missing() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(message: &Message, format: Format) -> io::Result<()> {
    let mut attributes: Vec<_> = message.message_attributes().into_iter().flatten().collect();
    attributes.sort_unstable_by_key(|(name, _)| *name);
    let attributes = attributes.into_iter().map(|(name, value)| (name, value.string_value().unwrap_or_default()));
    let id = message.message_id().unwrap_or_default();
    let sent = sent(message).unwrap_or_default();
    let body = body(message);
    match format {
        Format::Text => {
            let first = [("message-id", id), ("sent", sent.as_str())];
            let attributes = attributes.map(|(name, value)| (name.as_str(), value));
            for (name, value) in first.into_iter().chain(attributes) {
                terminal::note(&format!("{name}: {value}"));
            }
            terminal::body(&body)
        }
        Format::Json => {
            let attributes: Value = attributes.map(|(name, value)| (name.clone(), json!(value))).collect();
            let (member, text) = match str::from_utf8(&body) {
                Ok(text) => ("body", text.to_owned()),
                Err(_) => ("body_base64", BASE64_STANDARD.encode(&body)),
            };
            let value = json!({"message_id": id, "sent": sent, "attributes": attributes, member: text});
            terminal::json(&value.to_string())
        }
    }
}
