//! The program for people: sends events, shows them on the bus, handles dead-lettered messages, and checks a deployment.
//!
//! Each command has a file of its own. What several of them need is in `event` (what is sent), `delivery` (how it is signed
//! and posted), `subscription` (what arrives on a bus), `aws` (the calls) and `terminal` (what is printed).

mod assignment;
mod aws;
mod dead_letters;
mod delivery;
mod doctor;
mod event;
mod put;
mod send;
mod stop;
mod subscription;
mod tail;
mod terminal;

use std::{
    env,
    error::Error,
    io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};

use crate::terminal::Format;

/// Sends Scalekit's events, shows them on the bus, handles dead-lettered messages, and checks a deployment.
#[derive(Debug, Parser)]
#[command(name = "scalekit-events", version, after_help = CREDENTIALS)]
struct Program {
    #[command(subcommand)]
    command: Subcommands,

    /// Print each result as one line of JSON
    #[arg(long, global = true)]
    json: bool,
}

const CREDENTIALS: &str = "\
All commands but `send` call AWS. The credentials and the region come from the environment, the profile in AWS_PROFILE \
(which can use SSO), a container or an instance.";

#[derive(Debug, Subcommand)]
enum Subcommands {
    Send(send::Arguments),
    Put(put::Arguments),
    Tail(tail::Arguments),
    #[command(subcommand)]
    DeadLetters(dead_letters::Subcommands),
    Doctor(doctor::Arguments),
}

fn main() -> ExitCode {
    if let Err(error) = unset_empty_variables() {
        return fail(&error);
    }
    let program = Program::parse();
    let format = if program.json { Format::Json } else { Format::Text };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let outcome = runtime.block_on(async {
        match program.command {
            Subcommands::Send(arguments) => send::run(&arguments, format).await,
            Subcommands::Put(arguments) => put::run(&arguments, format).await,
            Subcommands::Tail(arguments) => tail::run(&arguments, format).await,
            Subcommands::DeadLetters(command) => dead_letters::run(&command, format).await,
            Subcommands::Doctor(arguments) => doctor::run(&arguments, format).await,
        }
    });
    outcome.unwrap_or_else(|error| fail(&*error))
}

fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    // A program such as `head` has read enough.
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    terminal::error(&error.to_string());
    ExitCode::FAILURE
}

/// Runs the program again without the variables of AWS that are empty, if there are any.
///
/// For the AWS CLI, an empty variable is an unset one. The SDK takes an empty `AWS_ENDPOINT_URL` for a URL, and panics.
fn unset_empty_variables() -> Result<(), io::Error> {
    let is_aws = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.starts_with("AWS_"));
    let empty: Vec<_> = env::vars_os().filter(|(name, value)| value.is_empty() && is_aws(name)).collect();
    if empty.is_empty() {
        return Ok(());
    }
    let mut program = Command::new(env::current_exe()?);
    program.args(env::args_os().skip(1));
    for (name, _) in &empty {
        program.env_remove(name);
    }
    Err(program.exec())
}
