//! Measures the drain of the parking queue: one process gets parked messages in batches, one invocation after the other.

use std::{
    collections::VecDeque,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use test_support::message;

use crate::{BODY, Bench, Result, Subject, bus, bus::Behaviour, count, print_table};

/// The number of messages, and the number at the CPU share of 128 MB.
const MESSAGES: usize = 10_000;
const MESSAGES_AT_SHARE: usize = 2_000;

/// Messages of this many bytes are as many as Lambda hands over at once, which is at most 6 MB.
const LARGE: usize = 1_000_000;
const LARGE_MESSAGES: usize = 6;

/// The entries per second that a bus with a quota accepts.
const QUOTA: u32 = 500;

/// The trace header of the parked messages.
const TRACE: &str = "Root=1-68ee1577-0123456789abcdef01234567;Parent=0123456789abcdef;Sampled=1";

/// The length of the outage, which begins when half of the messages are on the bus.
const OUTAGE: Duration = Duration::from_secs(5);

/// The time after which a failed message is handed over again. It is 90 s in the template.
const INVISIBLE: Duration = Duration::from_secs(1);

/// The numbers of messages whose instructions are counted: the difference of the two excludes the start of the process.
const COUNTED: [usize; 2] = [500, 1_500];

/// Messages and how they are handed over.
#[derive(Clone, Copy)]
struct Scenario {
    behaviour: Behaviour,
    messages: usize,
    batch: usize,
    bytes: usize,
    at_share: bool,
    with_outage: bool,
}

/// What was measured.
struct Drained {
    seconds: f64,
    /// CPU time per message, in milliseconds.
    cpu: f64,
    peak_rss: f64,
    calls: u32,
    throttled: u32,
    /// How often a message was reported as failed.
    failed: usize,
    /// How often an event was accepted again.
    duplicates: u32,
    /// The time from the end of the outage to the first event that was accepted.
    noticed: Option<Duration>,
}

/// Measures and prints the figures of every subject.
pub fn measure(bench: &Bench, subjects: &[Subject], batches: &[usize]) -> Result<()> {
    let batches = if batches.is_empty() { &[10, 100] } else { batches };
    let columns: Result<Vec<_>> = subjects.iter().map(|subject| figures(bench, subject, batches)).collect();
    print_table(subjects, &columns?);
    Ok(())
}

/// The names and the figures of a subject.
fn figures(bench: &Bench, subject: &Subject, batches: &[usize]) -> Result<Vec<(String, String)>> {
    let mut rows = Vec::new();
    for &batch in batches {
        for milliseconds in [10, 50] {
            let latency = Duration::from_millis(milliseconds);
            let behaviour = Behaviour { latency, ..Behaviour::default() };
            let scenario =
                Scenario { behaviour, messages: MESSAGES, batch, bytes: 0, at_share: false, with_outage: false };
            let name = format!("batches of {batch}, {milliseconds} ms per call");
            let mut add = |figure: &str, value: String| rows.push((format!("{name}: {figure}"), value));

            let drained = scenario.run(bench, subject)?;
            add("messages per second", format!("{:.0}", drained.rate(MESSAGES)));
            add("CPU per message", format!("{:.3} ms", drained.cpu));
            add("peak memory", format!("{:.2} MB", drained.peak_rss));
            if bench.share.is_ok() {
                let at_share = Scenario { messages: MESSAGES_AT_SHARE, at_share: true, ..scenario };
                let drained = at_share.run(bench, subject)?;
                add("at 128 MB, messages per second", format!("{:.0}", drained.rate(MESSAGES_AT_SHARE)));
            }
            if milliseconds > 10 {
                continue;
            }
            let quota = Behaviour { quota: Some(QUOTA.into()), ..behaviour };
            let drained = Scenario { behaviour: quota, ..scenario }.run(bench, subject)?;
            let mut add = |figure: &str, value: String| add(&format!("{QUOTA} entries per second: {figure}"), value);
            add("messages per second", format!("{:.0}", drained.rate(MESSAGES)));
            add("failed hand-overs", drained.failed.to_string());
            add("`PutEvents` calls", drained.calls.to_string());
            add("throttled entries", drained.throttled.to_string());
            add("duplicates", drained.duplicates.to_string());

            let drained = Scenario { with_outage: true, ..scenario }.run(bench, subject)?;
            let name = format!("{name}, outage of {} s", OUTAGE.as_secs());
            let mut add = |figure: &str, value: String| rows.push((format!("{name}: {figure}"), value));
            add("seconds", format!("{:.1}", drained.seconds));
            add("failed hand-overs", drained.failed.to_string());
            add("`PutEvents` calls", drained.calls.to_string());
            add("duplicates", drained.duplicates.to_string());
            let noticed = drained.noticed.ok_or("no event was accepted after the outage")?;
            add("from its end to the first event", format!("{:.2} s", noticed.as_secs_f64()));
        }
    }
    let behaviour = Behaviour { latency: Duration::from_millis(50), ..Behaviour::default() };
    let large = Scenario {
        behaviour,
        messages: LARGE_MESSAGES,
        batch: LARGE_MESSAGES,
        bytes: LARGE,
        at_share: false,
        with_outage: false,
    };
    let drained = large.run(bench, subject)?;
    rows.push(("6 messages of 1 MB, 50 ms per call: seconds".into(), format!("{:.2}", drained.seconds)));
    rows.push(("6 messages of 1 MB, 50 ms per call: peak memory".into(), format!("{:.2} MB", drained.peak_rss)));
    if bench.share.is_ok() {
        let drained = Scenario { at_share: true, ..large }.run(bench, subject)?;
        let name = "6 messages of 1 MB, 50 ms per call: at 128 MB, seconds";
        rows.push((name.into(), format!("{:.2}", drained.seconds)));
    }
    for &batch in batches {
        if let Some(instructions) = instructions(bench, subject, batch)? {
            rows.push((format!("batches of {batch}: instructions per message"), format!("{instructions:.1} k")));
        }
    }
    Ok(rows)
}

/// The instructions of one message, in thousands, or `None` if Valgrind is not installed.
fn instructions(bench: &Bench, subject: &Subject, batch: usize) -> Result<Option<f64>> {
    let records = records(COUNTED[1], 0);
    bench.aws.bus.set(Behaviour::default());
    let instructions = COUNTED.map(|messages| {
        bench.instructions_of(subject, |process| {
            for batch in records[..messages].chunks(batch) {
                process.ready()?;
                process.api.invoke(&event(batch.iter()))?;
            }
            Ok(())
        })
    });
    let [few, many] = instructions;
    let Some((few, many)) = few?.zip(many?) else { return Ok(None) };
    Ok(Some((many - few) / count(COUNTED[1] - COUNTED[0]) / 1e3))
}

impl Drained {
    fn rate(&self, messages: usize) -> f64 {
        count(messages) / self.seconds
    }
}

impl Scenario {
    /// Hands over every message until none of them failed.
    ///
    /// # Errors
    /// If an invocation failed, or an event that wasn't reported as failed isn't on the bus.
    fn run(self, bench: &Bench, subject: &Subject) -> Result<Drained> {
        let records = records(self.messages, self.bytes);
        let process = bench.spawn(subject, Command::new(&subject.binary))?;
        process.ready()?;
        if let (true, Ok(share)) = (self.at_share, &bench.share) {
            share.limit(process.child.id())?;
        }
        bench.aws.bus.set(self.behaviour);

        let started = Instant::now();
        let cpu = process.cpu()?;
        let mut waiting: VecDeque<_> = (0..self.messages).map(|number| (started, number)).collect();
        let (mut failed, mut outage_end) = (0, None);
        while let Some(&(visible, _)) = waiting.front() {
            thread::sleep(visible.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            let ready = waiting.iter().take(self.batch).take_while(|(visible, _)| *visible <= now).count();
            let batch: Vec<_> = waiting.drain(..ready).map(|(_, number)| number).collect();
            let (_, answer) = process.api.invoke(&event(batch.iter().map(|&number| &records[number])))?;
            process.ready()?;
            let answer: Value = serde_json::from_str(&answer)?;
            let failures = answer["batchItemFailures"].as_array().ok_or_else(|| answer.to_string())?;
            failed += failures.len();
            for failure in failures {
                let number = failure["itemIdentifier"].as_str().ok_or("no message id")?.parse()?;
                waiting.push_back((Instant::now() + INVISIBLE, number));
            }
            if self.with_outage && outage_end.is_none() && waiting.len() <= self.messages / 2 {
                outage_end = Some(bench.aws.bus.fail_for(OUTAGE));
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        let seen = bench.aws.bus.take_seen();
        if let Some(lost) = (0..self.messages).find(|number| !seen.accepted.contains_key(number)) {
            return Err(format!("message {lost} is lost").into());
        }
        Ok(Drained {
            seconds,
            cpu: (process.cpu()? - cpu) / count(self.messages),
            peak_rss: process.peak_rss()?,
            calls: seen.calls,
            throttled: seen.throttled,
            failed,
            duplicates: seen.accepted.values().map(|times| times - 1).sum(),
            noticed: seen.accepted_again.zip(outage_end).map(|(accepted, end)| accepted - end),
        })
    }
}

/// The records of parked messages, whose bodies have at least this size.
fn records(messages: usize, bytes: usize) -> Vec<String> {
    let padding = format!(r#"{{"padding": "{}", "#, "x".repeat(bytes.saturating_sub(BODY.len())));
    let body = if bytes > 0 { BODY.replacen('{', &padding, 1) } else { BODY.to_owned() };
    let record = |number: usize| {
        let body = body.replacen("evt_94568078213382471", &format!("{}{number}", bus::ID), 1);
        message(&number.to_string(), &body, Some(TRACE)).to_string()
    };
    (0..messages).map(record).collect()
}

/// The event of an invocation with these records.
fn event<'a>(records: impl Iterator<Item = &'a String>) -> Arc<str> {
    let records: Vec<_> = records.map(String::as_str).collect();
    format!(r#"{{"Records":[{}]}}"#, records.join(",")).into()
}
