//! `dead-letters delete`: deletes messages that nobody needs anymore.

use std::{collections::BTreeMap, error::Error, process::ExitCode};

use clap::Args;

use super::{
    scan::{Pace, Scan, report, size},
    selection::{Found, Selection},
};
use crate::{
    aws::Aws,
    terminal::{self, Format},
};

/// Delete messages, which can't be undone. This asks before it starts
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The dead-letter queue
    queue: String,

    #[command(flatten)]
    selection: Selection,

    /// Don't ask
    #[arg(long)]
    yes: bool,

    /// Delete at most N messages a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

pub(super) async fn run(aws: &Aws, arguments: &Arguments, format: Format) -> Result<ExitCode, Box<dyn Error>> {
    let queue = aws.queue_url(&arguments.queue).await?;
    if !arguments.yes {
        let total = size(aws, &queue).await;
        let question = format!(
            "Delete {}? The queue {} has about {total} messages. Deleted messages can't be restored.",
            arguments.selection, arguments.queue
        );
        if !terminal::confirm(&question)? {
            return Err("nothing was deleted".into());
        }
    }
    let mut scan = Scan::new(aws, &queue, arguments.rate).await?;
    let mut found = arguments.selection.found();
    let mut deleted = BTreeMap::new();
    let outcome = delete(&mut scan, arguments, &mut found, &mut deleted).await;
    let finished = scan.finish().await;
    report(&deleted, "deleted", format)?;
    outcome?;
    finished?;
    Ok(if found.report_missing() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn delete<'a>(
    scan: &mut Scan<'_>,
    arguments: &'a Arguments,
    found: &mut Found<'a>,
    deleted: &mut BTreeMap<String, usize>,
) -> Result<(), String> {
    let mut pace = Pace::new(arguments.rate);
    while let Some(messages) = scan.next().await? {
        let name = |message| Some((arguments.selection.name(message, found)?, message));
        let selected: Vec<_> = messages.iter().filter_map(name).collect();
        scan.delete(&selected.iter().map(|(_, message)| *message).collect::<Vec<_>>()).await?;
        pace.wait(selected.len()).await;
        for (name, _) in selected {
            *deleted.entry(name).or_insert(0) += 1;
        }
    }
    Ok(())
}
