//! Measures parked deliveries: the first of a process, which connects to the queue, and the others; and an outage of the
//! bus, during and after which the process gets ten deliveries a second.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::{Bench, Process, Result, Share, Subject, WARM, bus::Behaviour, median, percentile, print_table};

/// The time of a call to the bus in an outage.
const LATENCY: Duration = Duration::from_millis(10);

/// The length of the outage.
const OUTAGE: Duration = Duration::from_secs(15);

/// The time from one delivery to the next in the outage, unless the first takes longer.
const INTERVAL: Duration = Duration::from_millis(100);

/// The longest time for which deliveries are sent after the outage.
const PATIENCE: Duration = Duration::from_mins(1);

/// What was measured in an outage.
struct Outage {
    parked: Vec<f64>,
    calls: u32,
    /// The time from the end of the outage to the first event that was accepted.
    noticed: Duration,
}

/// Measures and prints the figures of every subject.
pub fn measure(bench: &Bench, subjects: &[Subject], rounds: usize) -> Result<()> {
    let columns: Result<Vec<_>> = subjects.iter().map(|subject| figures(bench, subject, rounds)).collect();
    print_table(subjects, &columns?);
    Ok(())
}

/// The names and the figures of a subject.
fn figures(bench: &Bench, subject: &Subject, rounds: usize) -> Result<Vec<(String, String)>> {
    let mut rows = Vec::new();
    let at_share = bench.share.as_ref().ok().map(|share| (" at 128 MB", Some(share)));
    for (name, share) in [("", None)].into_iter().chain(at_share) {
        let (mut first, mut warm) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let process = start(bench, subject, share)?;
            bench.aws.bus.set(Behaviour { error: Some((400, "AccessDeniedException")), ..Behaviour::default() });
            first.push(process.deliver()?);
            warm.extend(process.deliver_many(WARM)?);
        }
        for (kind, times) in [("first", &first), ("warm", &warm)] {
            rows.push((format!("{kind} parked delivery{name}, median"), format!("{:.2} ms", median(times))));
            let slow = percentile(times, 90);
            rows.push((format!("{kind} parked delivery{name}, 90th percentile"), format!("{slow:.2} ms")));
        }
    }
    let outage = Outage::measure(bench, subject)?;
    let name = format!("outage of {} s", OUTAGE.as_secs());
    rows.push((format!("{name}: parked deliveries"), outage.parked.len().to_string()));
    rows.push((format!("{name}: parked delivery, median"), format!("{:.2} ms", median(&outage.parked))));
    let slow = percentile(&outage.parked, 90);
    rows.push((format!("{name}: parked delivery, 90th percentile"), format!("{slow:.2} ms")));
    rows.push((format!("{name}: `PutEvents` calls"), outage.calls.to_string()));
    rows.push((format!("{name}: from its end to the first event"), format!("{:.2} s", outage.noticed.as_secs_f64())));
    Ok(rows)
}

/// A process that is ready. As on Lambda, the limit does not apply to its initialization.
fn start(bench: &Bench, subject: &Subject, share: Option<&Share>) -> Result<Process> {
    bench.aws.bus.set(Behaviour::default());
    let process = bench.spawn(subject, Command::new(&subject.binary))?;
    process.ready()?;
    if let Some(share) = share {
        share.limit(process.child.id())?;
    }
    Ok(process)
}

impl Outage {
    fn measure(bench: &Bench, subject: &Subject) -> Result<Self> {
        let process = start(bench, subject, None)?;
        let bus = &bench.aws.bus;
        bus.set(Behaviour { latency: LATENCY, ..Behaviour::default() });
        let end = bus.fail_for(OUTAGE);
        let mut outage = Self { parked: Vec::new(), calls: 0, noticed: Duration::ZERO };
        loop {
            let began = Instant::now();
            let time = process.deliver()?;
            process.ready()?;
            let seen = bus.take_seen();
            outage.calls += seen.calls;
            if let Some(accepted) = seen.accepted_again {
                outage.noticed = accepted - end;
                return Ok(outage);
            }
            if end.elapsed() > PATIENCE {
                return Err("no event was accepted after the outage".into());
            }
            outage.parked.push(time);
            thread::sleep(INTERVAL.saturating_sub(began.elapsed()));
        }
    }
}
