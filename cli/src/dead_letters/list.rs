//! `dead-letters list`: a line for each delivery.

use std::{collections::HashMap, error::Error, process::ExitCode};

use clap::Args;
use serde_json::json;

use super::{
    message::{attribute, ids, member, problem, sent},
    scan::{Pace, Scan},
};
use crate::{
    aws::Aws,
    terminal::{DOUBTFUL, FAINT, Format, plain},
};

/// List the messages. Copies of one delivery are one line
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The dead-letter queue
    queue: String,

    /// Only messages with this problem, such as contract-violation
    #[arg(long, value_name = "CODE")]
    problem: Option<String>,

    /// Receive at most N messages a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

/// A delivery, of which there can be several copies.
struct Delivery {
    copies: usize,
    id: String,
    event_id: Option<String>,
    event_type: Option<String>,
    problem: String,
    reason: Option<String>,
    sent: Option<String>,
}

pub(super) async fn run(aws: &Aws, arguments: &Arguments, format: Format) -> Result<ExitCode, Box<dyn Error>> {
    let mut scan = Scan::new(aws, &arguments.queue, arguments.rate).await?;
    let mut pace = Pace::new(arguments.rate);
    let mut deliveries: HashMap<String, Delivery> = HashMap::new();
    while let Some(messages) = scan.next().await? {
        for message in &messages {
            let problem = problem(message);
            if arguments.problem.as_deref().is_some_and(|wanted| wanted != problem) {
                continue;
            }
            let id = ids(message).next().unwrap_or_default();
            let delivery = deliveries.entry(id.clone()).or_insert_with(|| Delivery {
                copies: 0,
                id,
                event_id: member(message, "id"),
                event_type: member(message, "type"),
                problem: problem.to_owned(),
                reason: attribute(message, "reason").map(str::to_owned),
                sent: sent(message),
            });
            delivery.copies += 1;
        }
        pace.wait(messages.len()).await;
    }
    let finished = scan.finish().await;
    let mut deliveries: Vec<_> = deliveries.into_values().collect();
    deliveries.sort_unstable_by(|a, b| (&a.sent, &a.id).cmp(&(&b.sent, &b.id)));
    for Delivery { copies, id, event_id, event_type, problem, reason, sent } in deliveries {
        format.print(
            &[
                plain(id.as_str()),
                plain(format!("{copies}×").as_str()),
                plain(event_id.as_deref()),
                plain(event_type.as_deref()),
                (DOUBTFUL, problem.as_str().into()),
                (FAINT, sent.as_deref().unwrap_or("-").into()),
            ],
            &json!({
                "id": id, "copies": copies, "event_id": event_id, "type": event_type, "problem": problem, "reason": reason,
                "sent": sent,
            }),
        )?;
    }
    finished?;
    Ok(ExitCode::SUCCESS)
}
