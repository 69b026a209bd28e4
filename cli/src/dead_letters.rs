//! `dead-letters`: handles the messages of the dead-letter queue. They are copies of refused deliveries, which usually have the
//! webhook id and the reason in their attributes, and events that the bus didn't accept for 24 hours, which have neither.

mod delete;
mod list;
mod message;
mod redrive;
mod scan;
mod selection;
mod show;

use std::{error::Error, process::ExitCode};

use clap::Subcommand;

use crate::{aws::Aws, terminal::Format};

/// List, show, redrive and delete the messages of the dead-letter queue
///
/// QUEUE is a name or a URL. ID is a webhook id (`msg_...`), an event id (`evt_...`) or the id of a message in SQS.
#[derive(Debug, Subcommand)]
pub(crate) enum Subcommands {
    List(list::Arguments),
    Show(show::Arguments),
    Redrive(redrive::Arguments),
    Delete(delete::Arguments),
}

pub(crate) async fn run(command: &Subcommands, format: Format) -> Result<ExitCode, Box<dyn Error>> {
    let aws = Aws::load().await?;
    match command {
        Subcommands::List(arguments) => list::run(&aws, arguments, format).await,
        Subcommands::Show(arguments) => show::run(&aws, arguments, format).await,
        Subcommands::Redrive(arguments) => redrive::run(&aws, arguments, format).await,
        Subcommands::Delete(arguments) => delete::run(&aws, arguments, format).await,
    }
}
