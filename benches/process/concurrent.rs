//! Measures several deliveries at once in one process, as on Lambda Managed Instances.

use std::{process::Command, time::Duration};

use crate::{Bench, Result, Subject, bus::Behaviour, count, median, print_table};

/// The numbers of deliveries at once.
const AT_ONCE: [usize; 3] = [1, 16, 64];

/// The times of a call to the bus, in milliseconds. Without any, the CPU limits the throughput.
const LATENCIES: [u64; 2] = [0, 10];

/// The time for which deliveries are sent and not counted, and the time for which they are counted.
const WARM_UP: Duration = Duration::from_millis(500);
const TIME: Duration = Duration::from_secs(2);

/// Measures and prints the deliveries per second and the CPU time of every subject. The subjects take turns.
pub fn measure(bench: &Bench, subjects: &[Subject], rounds: usize) -> Result<()> {
    let mut columns: Vec<_> = subjects.iter().map(|_| Vec::new()).collect();
    for latency in LATENCIES {
        for at_once in AT_ONCE {
            let mut figures: Vec<_> = subjects.iter().map(|_| (Vec::new(), Vec::new())).collect();
            for _ in 0..rounds {
                for (subject, (rates, cpu_times)) in subjects.iter().zip(&mut figures) {
                    let (rate, cpu) = run(bench, subject, at_once, Duration::from_millis(latency))?;
                    rates.push(rate);
                    cpu_times.push(cpu);
                }
            }
            // The last subject is the one that the others are compared with. Each round is compared by itself, because the
            // speed of a shared machine changes from one to the next.
            let last = figures.last().map(|(rates, _)| rates.clone()).unwrap_or_default();
            for (column, (rates, cpu_times)) in columns.iter_mut().zip(figures) {
                let name = format!("{latency} ms per call, {at_once} at once");
                let ratios: Vec<_> = rates.iter().zip(&last).map(|(rate, last)| rate / last).collect();
                column.push((format!("{name}: deliveries per second"), format!("{:.0}", median(&rates))));
                column.push((format!("{name}: ÷ the last column"), format!("{:.2}", median(&ratios))));
                column.push((format!("{name}: CPU per delivery"), format!("{:.2} ms", median(&cpu_times))));
            }
        }
    }
    println!("\nmedians of {rounds} processes per subject, started in turn");
    print_table(subjects, &columns);
    Ok(())
}

/// The deliveries per second of one process, and its CPU time for each, in milliseconds.
fn run(bench: &Bench, subject: &Subject, at_once: usize, latency: Duration) -> Result<(f64, f64)> {
    bench.aws.bus.set(Behaviour { latency, ..Behaviour::default() });
    let subject = subject.with_variable("AWS_LAMBDA_MAX_CONCURRENCY", &at_once.to_string());
    let process = bench.spawn(&subject, Command::new(&subject.binary))?;
    process.api.deliver_for(&process.event, at_once, WARM_UP)?;
    let cpu = process.cpu()?;
    let answered = count(process.api.deliver_for(&process.event, at_once, TIME)?);
    Ok((answered / TIME.as_secs_f64(), (process.cpu()? - cpu) / answered))
}
