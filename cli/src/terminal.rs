//! What the program prints: results to standard output, and everything else to standard error.
//!
//! Events, messages and AWS's texts come from outside, so they are printed without control characters: an escape sequence
//! could change what the terminal shows, and a line break could forge a row. Colours are only printed to a terminal.

use std::{
    borrow::Cow,
    error::Error,
    io::{self, BufRead, IsTerminal, Write},
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use serde_json::Value;

/// How often the progress is printed to a terminal, and to something else, such as a log.
const PROGRESS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(10)];

/// The colour of a text.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub(crate) const FAINT: Style = Style::new().dimmed();
pub(crate) const PLAIN: Style = Style::new();

/// A text and its colour.
pub(crate) type Cell<'a> = (Style, Cow<'a, str>);

/// A cell without a colour, or `-` if there is no text.
pub(crate) fn plain<'a>(text: impl Into<Option<&'a str>>) -> Cell<'a> {
    (PLAIN, text.into().filter(|text| !text.is_empty()).unwrap_or("-").into())
}

/// The format of the results.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Format {
    /// A line of text for each result.
    Text,
    /// A line of JSON for each result.
    Json,
}

impl Format {
    /// Prints a result.
    ///
    /// # Errors
    /// If nobody reads the output anymore.
    pub(crate) fn print(self, cells: &[Cell<'_>], value: &Value) -> io::Result<()> {
        match self {
            Self::Text => line(cells),
            Self::Json => json(&value.to_string()),
        }
    }
}

/// Prints a line of text.
///
/// # Errors
/// If nobody reads the output anymore.
pub(crate) fn line(cells: &[Cell<'_>]) -> io::Result<()> {
    let cells: Vec<_> = cells.iter().map(|(style, text)| format!("{style}{}{style:#}", printable(text))).collect();
    writeln!(anstream::stdout(), "{}", cells.join("  "))
}

/// Prints JSON as one line.
///
/// # Errors
/// If nobody reads the output anymore.
pub(crate) fn json(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{}", one_line(text))
}

/// Prints the body of a message: byte for byte, or readable if standard output is a terminal.
///
/// # Errors
/// If nobody reads the output anymore.
pub(crate) fn body(bytes: &[u8]) -> io::Result<()> {
    let mut output = io::stdout();
    if output.is_terminal() {
        for line in String::from_utf8_lossy(bytes).split('\n') {
            writeln!(output, "{}", printable(line))?;
        }
        return Ok(());
    }
    output.write_all(bytes)?;
    writeln!(output)
}

/// Prints a line to standard error.
pub(crate) fn note(text: &str) {
    // There is nothing to do if nobody reads it.
    let _ = writeln!(anstream::stderr(), "{}", printable(text));
}

/// Prints an error.
pub(crate) fn error(text: &str) {
    let _ = writeln!(anstream::stderr(), "{BAD}error{BAD:#}: {}", printable(text));
}

/// An error and its causes.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error as &dyn Error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Asks a question. Anything but `y` or `yes` is a no.
///
/// # Errors
/// If nobody can answer.
pub(crate) fn confirm(question: &str) -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(io::Error::other("nobody can confirm this, because standard input isn't a terminal; add --yes"));
    }
    write!(anstream::stderr(), "{} [y/N] ", printable(question))?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// The progress of a command that can take long, on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    printed: Instant,
    is_shown: bool,
}

impl Progress {
    /// `total` is approximate. `what` is what is counted, such as "messages".
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        Self { what, total, done: 0, printed: Instant::now(), is_shown: false }
    }

    pub(crate) fn add(&mut self, count: usize) {
        self.done += count as u64;
        let on_terminal = io::stderr().is_terminal();
        if self.printed.elapsed() < PROGRESS[usize::from(!on_terminal)] {
            return;
        }
        let (start, end) = if on_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        let text = format!("{} {}, of about {}", self.done, self.what, self.total.max(self.done));
        let _ = write!(io::stderr(), "{start}{text}{end}");
        self.printed = Instant::now();
        self.is_shown = on_terminal;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// A duration in its largest unit, and the next one below.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", seconds / 86400), ("h", seconds / 3600 % 24), ("min", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, number)| *number > 0).unwrap_or(units.len() - 1);
    let shown = units[first..].iter().take(2).enumerate().filter(|(index, (_, number))| *index == 0 || *number > 0);
    shown.map(|(_, (unit, number))| format!("{number} {unit}")).collect::<Vec<_>>().join(" ")
}

/// The text with an escape in the place of each character that a terminal could act upon.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut printable, c| {
        if is_control(c) {
            printable.extend(c.escape_unicode());
        } else {
            printable.push(c);
        }
        printable
    })
}

/// JSON as one line without control characters, which is equal JSON. Between the tokens, only line breaks and tabs are
/// allowed, and in a string, only DEL and the characters above.
fn one_line(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut line, c| {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c if is_control(c) => line.extend(format!("\\u{:04x}", u32::from(c)).chars()),
            c => line.push(c),
        }
        line
    })
}

/// Control characters, those that change the direction of a text, and separators of lines.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, expected) in [
            ("plain, é 😀", "plain, é 😀"),
            ("\x1b[31m", "\\u{1b}[31m"),
            ("a\nb\r\t", "a\\u{a}b\\u{d}\\u{9}"),
            ("\u{7f}\u{9b}31m", "\\u{7f}\\u{9b}31m"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
        ] {
            assert_eq!(printable(text), expected, "{text:?}");
        }
    }

    #[test]
    fn json_in_one_line_is_the_same_json() {
        for (json, expected) in [
            ("{\n\t\"a\": 1\r\n}", "{  \"a\": 1  }"),
            ("\"\u{7f}\u{9b}\u{202e}\"", "\"\\u007f\\u009b\\u202e\""),
            ("\"\\u001b\"", "\"\\u001b\""),
        ] {
            assert_eq!(one_line(json), expected);
            let [before, after]: [Value; 2] = [json, expected].map(|it| serde_json::from_str(it).unwrap());
            assert_eq!(before, after);
        }
    }

    #[test]
    fn a_duration_is_short() {
        for (seconds, expected) in [
            (0.0, "0 s"),
            (0.123_456_789_012, "0 s"),
            (59.9, "59 s"),
            (60.0, "1 min"),
            (3_725.5, "1 h 2 min"),
            (86_400.0, "1 d"),
            (90_000.0, "1 d 1 h"),
            (1_209_599.0, "13 d 23 h"),
        ] {
            assert_eq!(duration(Duration::from_secs_f64(seconds)), expected);
        }
    }
}
