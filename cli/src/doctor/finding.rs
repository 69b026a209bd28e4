//! What is known about one link, and what to do about it.

use std::{borrow::Cow, fmt::Display, io};

use serde_json::json;

use crate::terminal::{self, BAD, DOUBTFUL, FAINT, Format, GOOD, PLAIN};

/// Whether a link holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    /// It holds, but somebody should know about this.
    Warning,
    Broken,
    /// It couldn't be checked.
    Unknown,
    /// It wasn't checked, because nobody asked for it, or because `doctor` can't check it anywhere.
    Skipped,
}

/// A link, its state, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) link: String,
    pub(super) state: State,
    pub(super) text: String,
    /// What to do, and the page that explains it.
    pub(super) advice: Option<(String, Cow<'static, str>)>,
}

impl Finding {
    pub(super) fn new(link: impl Into<String>, state: State, text: impl Into<String>) -> Self {
        Self { link: link.into(), state, text: text.into(), advice: None }
    }

    pub(super) fn ok(link: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(link, State::Ok, text)
    }

    pub(super) fn warning(link: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(link, State::Warning, text)
    }

    pub(super) fn broken(link: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(link, State::Broken, text)
    }

    pub(super) fn skipped(link: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(link, State::Skipped, text)
    }

    /// A link that couldn't be checked, because a call failed.
    pub(super) fn unknown(link: impl Into<String>, call: &str, error: impl Display) -> Self {
        let advice = "Use credentials with the permissions that this page lists, and try again";
        Self::new(link, State::Unknown, format!("{call} failed: {error}"))
            .advise(advice, "docs/tools.md#checking-a-deployment")
    }

    /// What to do, and the page that explains it.
    pub(super) fn advise(self, what: impl Into<String>, page: impl Into<Cow<'static, str>>) -> Self {
        Self { advice: Some((what.into(), page.into())), ..self }
    }

    /// Prints the finding. The page that explains it is in this documentation.
    pub(super) fn print(&self, format: Format, documentation: &str) -> io::Result<()> {
        let (style, state) = match self.state {
            State::Ok => (GOOD, "ok"),
            State::Warning => (DOUBTFUL, "warning"),
            State::Broken => (BAD, "broken"),
            State::Unknown => (DOUBTFUL, "unknown"),
            State::Skipped => (FAINT, "skipped"),
        };
        let advice = self.advice.as_ref().map(|(action, page)| (action, format!("{documentation}/{page}")));
        let (action, page) = advice.unzip();
        let cells = [
            (style, format!("{state:7}").into()),
            (PLAIN, format!("{:21}", self.link).into()),
            (PLAIN, self.text.as_str().into()),
        ];
        let value = json!({"link": self.link, "state": state, "text": self.text, "action": action, "runbook": page});
        format.print(&cells, &value)?;
        match (format, action, page) {
            (Format::Text, Some(action), Some(page)) => {
                terminal::line(&[(PLAIN, "       ".into()), (FAINT, format!("→ {action}. See {page}").into())])
            }
            _ => Ok(()),
        }
    }
}
