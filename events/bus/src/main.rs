//! Shows the events of a deployed bus, puts samples on it, and reads and redrives dead-lettered messages: `cargo bus --help`.

mod aws;
mod dead_letters;
mod put;
mod tail;

use std::{error::Error, process::ExitCode};

use lexopt::{Arg, Parser, ValueExt};

use crate::aws::Aws;

const HELP: &str = "\
Shows the events of a deployed bus, puts samples on it, and redrives dead-lettered messages.

Usage:
  cargo bus tail BUS [--pattern PATTERN] [--json]
  cargo bus put BUS EVENT... [--set PATH=VALUE] [--count N] [--source SOURCE]
  cargo bus dead-letters list QUEUE
  cargo bus dead-letters show QUEUE ID...
  cargo bus dead-letters redrive QUEUE --to QUEUE ID...

tail          Shows each event that arrives, until Ctrl-C. It creates a rule and a queue, and removes them at the end
put           Puts events on the bus, without a signature. EVENT is an event type or a file, as for `cargo send`
dead-letters  Lists the messages of the dead-letter queue, shows a message's body, or moves messages to the parking queue.
              ID is a webhook id (msg_...), an event id (evt_...) or the id of a message in SQS

BUS is a name or an ARN. QUEUE is a name or a URL.

Options:
      --pattern PATTERN Show only the events that match this event pattern
      --json            Print each event as one line of JSON, as EventBridge delivers it
      --set PATH=VALUE  Set a member of the body, such as data.active=false. VALUE is JSON, or else a string
      --count N         Put each event N times, each time as a new event
      --source SOURCE   The source of the events. Default: scalekit.test, which rules for scalekit don't match
      --to QUEUE        The parking queue
  -h, --help            Print this help

The credentials and the region come from the environment, the profile in AWS_PROFILE (which can use SSO), a container or
an instance.
";

/// The result of a command. `false` if something failed and the failure has already been reported.
type Outcome = Result<bool, Box<dyn Error>>;

#[derive(Default)]
struct Options {
    values: Vec<String>,
    pattern: Option<String>,
    json: bool,
    set: Vec<String>,
    count: Option<String>,
    source: Option<String>,
    to: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match parse(Parser::from_env()) {
        Ok(Some(options)) => run(&options).await,
        Ok(None) => {
            print!("{HELP}");
            Ok(true)
        }
        Err(error) => Err(error),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bus: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Parses the command line. `None` if it asks for help.
fn parse(mut parser: Parser) -> Result<Option<Options>, Box<dyn Error>> {
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Long("json") => options.json = true,
            Arg::Long("pattern") => options.pattern = Some(parser.value()?.string()?),
            Arg::Long("set") => options.set.push(parser.value()?.string()?),
            Arg::Long("count") => options.count = Some(parser.value()?.string()?),
            Arg::Long("source") => options.source = Some(parser.value()?.string()?),
            Arg::Long("to") => options.to = Some(parser.value()?.string()?),
            Arg::Value(value) => options.values.push(value.string()?),
            other => return Err(format!("{}; --help lists the options", other.unexpected()).into()),
        }
    }
    Ok(Some(options))
}

async fn run(options: &Options) -> Outcome {
    let Options { pattern, json, set, count, source, to, .. } = options;
    let unused = |used: &[&str]| {
        [
            ("--pattern", pattern.is_some()),
            ("--json", *json),
            ("--set", !set.is_empty()),
            ("--count", count.is_some()),
            ("--source", source.is_some()),
            ("--to", to.is_some()),
        ]
        .into_iter()
        .find(|(name, is_set)| *is_set && !used.contains(name))
        .map_or(Ok(()), |(name, _)| Err(format!("this command has no option {name}; --help lists the options")))
    };
    let values: Vec<_> = options.values.iter().map(String::as_str).collect();
    match values[..] {
        ["tail", bus] => {
            unused(&["--pattern", "--json"])?;
            tail::tail(&Aws::load().await?, bus, pattern.as_deref(), *json).await
        }
        ["put", bus, ref events @ ..] if !events.is_empty() => {
            unused(&["--set", "--count", "--source"])?;
            let put = put::Put::parse(events, set, count.as_deref(), source.as_deref())?;
            put.run(&Aws::load().await?, bus).await
        }
        ["dead-letters", "list", queue] => {
            unused(&[])?;
            dead_letters::list(&Aws::load().await?, queue).await
        }
        ["dead-letters", "show", queue, ref ids @ ..] if !ids.is_empty() => {
            unused(&[])?;
            dead_letters::show(&Aws::load().await?, queue, ids).await
        }
        ["dead-letters", "redrive", queue, ref ids @ ..] if !ids.is_empty() => {
            unused(&["--to"])?;
            let to = to.as_deref().ok_or("name the parking queue with --to; the function forwards its messages")?;
            dead_letters::redrive(&Aws::load().await?, queue, to, ids).await
        }
        _ => Err("this is not a complete command; --help lists the commands".into()),
    }
}
