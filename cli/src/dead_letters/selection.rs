//! The messages that a command is about.

use std::{collections::BTreeSet, fmt};

use aws_sdk_sqs::types::Message;
use clap::Args;

use super::message::{ids, problem};
use crate::terminal;

/// Some of the messages of a queue.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Selection {
    /// The ids of messages
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    /// All messages with this problem, such as contract-violation
    #[arg(long, value_name = "CODE")]
    problem: Option<String>,

    /// All messages
    #[arg(long)]
    all: bool,
}

/// Which of the ids on the command line have been found.
#[derive(Debug)]
pub(super) struct Found<'a> {
    wanted: &'a [String],
    found: BTreeSet<&'a str>,
}

impl Selection {
    /// The name of the message in the output, if it is selected: an id from the command line, or the message's first id.
    pub(super) fn name<'a>(&'a self, message: &Message, found: &mut Found<'a>) -> Option<String> {
        let ids: Vec<_> = ids(message).collect();
        if self.ids.is_empty() {
            let is_selected = self.problem.as_deref().is_none_or(|wanted| wanted == problem(message));
            return ids.into_iter().next().filter(|_| is_selected);
        }
        found.name(&ids).map(str::to_owned)
    }

    pub(super) fn found(&self) -> Found<'_> {
        Found::new(&self.ids)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.problem, self.all) {
            (Some(problem), _) => write!(f, "all messages with the problem {problem}"),
            (None, true) => f.write_str("all messages"),
            (None, false) => write!(f, "the messages {}", self.ids.join(", ")),
        }
    }
}

impl<'a> Found<'a> {
    pub(super) fn new(wanted: &'a [String]) -> Self {
        Self { wanted, found: BTreeSet::new() }
    }

    /// The first wanted id among the ids of a message. All of them count as found.
    pub(super) fn name(&mut self, ids: &[String]) -> Option<&'a str> {
        let mut names = self.wanted.iter().filter(|id| ids.contains(id)).map(String::as_str).peekable();
        let first = names.peek().copied();
        self.found.extend(names);
        first
    }

    /// Whether every id was found. Names those that weren't.
    pub(super) fn report_missing(&self) -> bool {
        let missing: Vec<_> = self.wanted.iter().map(String::as_str).filter(|id| !self.found.contains(id)).collect();
        if !missing.is_empty() {
            terminal::error(&format!("no message has the id {}", missing.join(" or ")));
        }
        missing.is_empty()
    }
}
