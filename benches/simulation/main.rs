//! Simulates a long outage of the bus, and the drain of the parking queue after it. `docs/performance.md` explains the
//! model and its assumptions.
//!
//! ```sh
//! cargo bench -p benches --bench simulation
//! ```

mod chart;

use std::{collections::VecDeque, error::Error};

use fastrand::Rng;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SEED: u64 = 16;

/// A step is the time of one call to the bus, in seconds.
const STEP: f64 = 0.05;
const STEPS_PER_HOUR: usize = 72_000;

/// The time after which a failed message is visible again (`VisibilityTimeout`), in steps.
const INVISIBLE: usize = 1_800;

/// The longest time of a drain, in steps: 0.9 of 7.5 seconds. In the outage, a drain always takes this long.
const INVOCATION: usize = 135;

/// The most entries in a call.
const ENTRIES: usize = 10;

/// The upper limit of the pause after each throttled attempt, in steps. Later pauses have the last limit.
const PAUSES: [usize; 5] = [2, 4, 8, 16, 32];

/// The most attempts of a new delivery.
const ATTEMPTS: usize = 5;

/// When a simulation ends at the latest, after the outage.
const LONGEST: usize = 24 * STEPS_PER_HOUR;

/// List prices of us-east-1 in US dollars, without free tiers, as in docs/operations.md: a Lambda request, a GB-second on
/// arm64, an SQS request and a GB of log.
const REQUEST: f64 = 0.20e-6;
const GB_SECOND: f64 = 0.000_013_333_4;
const SQS_REQUEST: f64 = 0.40e-6;
const LOG_GB: f64 = 0.50;
const MEMORY_GB: f64 = 0.125;

/// The size of the function's log line for a message, and of Lambda's two lines for an invocation, in GB.
const MESSAGE_LOG: f64 = 490e-9;
const INVOCATION_LOG: f64 = 700e-9;

/// How the function drains the queue, from the figures of the process benchmark.
struct Drain {
    name: &'static str,
    /// The most messages in an invocation.
    batch: usize,
    /// The most calls at once.
    calls: usize,
    /// The most attempts of a throttled call.
    attempts: usize,
    /// The most messages per second that the CPU share of 128 MB allows in one environment.
    rate: f64,
    /// The time by which an outage lengthens a delivery, in seconds.
    parking: f64,
}

/// The rates were measured at 128 MB, with batches of this size and a bus that takes 10 ms. A delivery that was retried in an
/// outage took 0.83 s in the measurement. One that is parked at once takes 1 ms there; here, SQS takes 20 ms for its answer.
const ONE_CALL: Drain =
    Drain { name: "one call at a time", batch: 10, calls: 1, attempts: 5, rate: 514.0, parking: 0.83 };
const TEN_CALLS: Drain =
    Drain { name: "up to 10 calls at once", batch: 100, calls: 10, attempts: usize::MAX, rate: 1_000.0, parking: 0.02 };

/// What happens. Rates are per second.
#[derive(Clone, Copy)]
struct Scenario {
    deliveries: f64,
    outage_hours: f64,
    /// The entries per second that the bus accepts.
    quota: f64,
    /// `DrainConcurrency`
    environments: usize,
}

/// The default scenario, with the quota of a region of medium size.
const DEFAULT_SCENARIO: Scenario = Scenario { deliveries: 1_000.0, outage_hours: 1.0, quota: 2_400.0, environments: 5 };

/// The results of one run.
#[derive(Default)]
struct Outcome {
    /// The hours from the end of the outage until nothing is parked, unless that takes longer than a day.
    to_empty: Option<f64>,
    /// The age of the oldest event when it was accepted, in hours.
    oldest: f64,
    duplicates: usize,
    /// How often a message was handed over in the last hour of the outage.
    handed_over: usize,
    /// The most messages that were invisible at once.
    invisible: usize,
    /// How often a message was reported as failed after the outage.
    failed: usize,
    /// The number of deliveries that were parked after the outage.
    parked_late: usize,
    dollars: f64,
    /// The number of parked messages in each minute.
    parked: Vec<usize>,
}

/// Messages that were parked in the same step.
#[derive(Clone, Copy)]
struct Group {
    parked_at: usize,
    count: usize,
}

/// The bus in one step: each entry is accepted with the same probability.
struct Bus {
    rng: Rng,
    /// The number of entries that the quota still allows.
    allowed: f64,
    /// The part of the entries of this step that it accepts.
    share: f64,
}

impl Bus {
    /// How many of these entries the bus accepts.
    fn accept(&mut self, count: usize) -> usize {
        let accepted = whole(real(count) * self.share + self.rng.f64()).min(count);
        self.allowed -= real(accepted);
        accepted
    }
}

/// An execution environment that drains the queue.
struct Environment {
    batch: VecDeque<Group>,
    /// The steps since the batch was received.
    steps: usize,
    calls: usize,
    attempts: usize,
    /// The steps until the next attempt.
    pause: usize,
    /// The number of entries that the CPU share allows.
    cpu: f64,
}

impl Environment {
    fn left(&self) -> usize {
        self.batch.iter().map(|group| group.count).sum()
    }

    /// The number of entries that it sends in this step.
    fn sent(&self) -> usize {
        if self.pause > 0 { 0 } else { self.left().min(self.calls * ENTRIES).min(whole(self.cpu)) }
    }
}

struct Simulation<'a> {
    scenario: Scenario,
    drain: &'a Drain,
    now: usize,
    outage_end: usize,
    bus: Bus,
    /// When the next delivery arrives, in seconds.
    next_arrival: f64,
    /// The number of new deliveries by the step of their next attempt, and by the number of failed attempts.
    deliveries: Vec<[usize; ATTEMPTS]>,
    waiting: VecDeque<Group>,
    /// Failed messages, and the step in which they are visible again.
    invisible: VecDeque<(usize, Group)>,
    /// The number of messages in the queue.
    parked: usize,
    outcome: Outcome,
}

impl Scenario {
    fn run(self, drain: &Drain) -> Outcome {
        let mut simulation = Simulation {
            scenario: self,
            drain,
            now: 0,
            outage_end: whole(self.outage_hours * 3_600.0 / STEP),
            bus: Bus { rng: Rng::with_seed(SEED), allowed: self.quota, share: 0.0 },
            next_arrival: 0.0,
            deliveries: vec![[0; ATTEMPTS]; PAUSES[ATTEMPTS - 1]],
            waiting: VecDeque::new(),
            invisible: VecDeque::new(),
            parked: 0,
            outcome: Outcome::default(),
        };
        // Their first batches are handed over at different times.
        let mut idle = || Environment {
            batch: VecDeque::new(),
            steps: 0,
            calls: drain.calls,
            attempts: 0,
            pause: simulation.bus.rng.usize(0..INVOCATION),
            cpu: 0.0,
        };
        let mut environments: Vec<_> = (0..self.environments).map(|_| idle()).collect();
        while simulation.outcome.to_empty.is_none() && simulation.now < simulation.outage_end + LONGEST {
            simulation.step(&mut environments);
        }
        simulation.outcome
    }
}

impl Simulation<'_> {
    fn in_outage(&self) -> bool {
        self.now < self.outage_end
    }

    fn step(&mut self, environments: &mut [Environment]) {
        let slot = self.now % self.deliveries.len();
        while self.next_arrival < seconds(self.now + 1) {
            self.deliveries[slot][0] += 1;
            self.next_arrival -= self.bus.rng.f64().max(f64::MIN_POSITIVE).ln() / self.scenario.deliveries;
        }
        while let Some(&(visible, group)) = self.invisible.front()
            && visible <= self.now
        {
            self.waiting.push_back(group);
            self.invisible.pop_front();
        }
        for environment in &mut *environments {
            self.receive(environment);
        }
        let drained: usize = environments.iter().map(Environment::sent).sum();
        let new: usize = self.deliveries[slot].iter().sum();
        self.bus.allowed = (self.bus.allowed + self.scenario.quota * STEP).min(self.scenario.quota);
        let share = (self.bus.allowed / real(new + drained)).min(1.0);
        self.bus.share = if self.in_outage() { 0.0 } else { share };
        self.deliver();
        for environment in environments {
            self.put(environment);
        }
        if self.now.is_multiple_of(STEPS_PER_HOUR / 60) {
            self.outcome.parked.push(self.parked);
        }
        if !self.in_outage() && self.parked == 0 {
            self.outcome.to_empty = Some(seconds(self.now - self.outage_end) / 3_600.0);
        }
        self.now += 1;
    }

    /// Hands over a batch to an environment that has none.
    fn receive(&mut self, environment: &mut Environment) {
        environment.cpu = (environment.cpu + self.drain.rate * STEP).min(real(self.drain.batch));
        environment.pause = environment.pause.saturating_sub(1);
        if environment.batch.is_empty() && environment.pause == 0 && !self.waiting.is_empty() {
            environment.batch = take(&mut self.waiting, self.drain.batch).into();
            (environment.steps, environment.attempts) = (0, 0);
            let receives = real(environment.left().div_ceil(ENTRIES));
            self.outcome.dollars += REQUEST + INVOCATION_LOG * LOG_GB + receives * SQS_REQUEST;
        }
    }

    /// Tries new deliveries, up to five times each, and then parks them. In the outage, they are parked at once.
    fn deliver(&mut self) {
        let slots = self.deliveries.len();
        let due = std::mem::take(&mut self.deliveries[self.now % slots]);
        let mut open = 0;
        for (attempt, count) in due.into_iter().enumerate() {
            let failed = count - self.bus.accept(count);
            if self.in_outage() || attempt + 1 == ATTEMPTS {
                open += failed;
            } else {
                self.deliveries[(self.now + PAUSES[attempt] / 2) % slots][attempt + 1] += failed;
            }
        }
        if open == 0 {
            return;
        }
        self.waiting.push_back(Group { parked_at: self.now, count: open });
        self.parked += open;
        // The bus may have accepted the calls that it could no longer answer.
        self.outcome.duplicates += if self.now == 0 { open } else { 0 };
        self.outcome.parked_late += if self.in_outage() { 0 } else { open };
        let lambda = self.drain.parking * MEMORY_GB * GB_SECOND;
        self.outcome.dollars += real(open) * (SQS_REQUEST + lambda);
    }

    /// One call, or several at once, of an environment.
    fn put(&mut self, environment: &mut Environment) {
        if environment.batch.is_empty() {
            return;
        }
        environment.steps += 1;
        self.outcome.dollars += STEP * MEMORY_GB * GB_SECOND;
        let sent = environment.sent();
        let accepted = self.bus.accept(sent);
        environment.cpu -= real(sent);
        let is_late = environment.steps == INVOCATION;
        if is_late {
            // The answers of these calls come too late, so their messages fail.
            self.outcome.duplicates += accepted;
        } else {
            for group in take(&mut environment.batch, accepted) {
                let age = seconds(self.now - group.parked_at) / 3_600.0;
                self.outcome.oldest = self.outcome.oldest.max(age);
            }
            self.parked -= accepted;
            self.outcome.dollars += real(accepted) * (SQS_REQUEST / real(ENTRIES) + MESSAGE_LOG * LOG_GB);
        }
        if accepted == sent {
            environment.attempts = 0;
            environment.calls = self.drain.calls.min(environment.calls + usize::from(sent > 0));
        } else if !self.in_outage() {
            let longest = PAUSES[environment.attempts.min(PAUSES.len() - 1)];
            environment.attempts += 1;
            environment.calls = 1.max(environment.calls / 2);
            environment.pause = self.bus.rng.usize(0..=longest);
        }
        if is_late || environment.attempts >= self.drain.attempts {
            let failed = environment.left();
            self.outcome.failed += if self.in_outage() { 0 } else { failed };
            let is_last_hour = self.in_outage() && self.now + STEPS_PER_HOUR >= self.outage_end;
            self.outcome.handed_over += if is_last_hour { failed } else { 0 };
            self.outcome.dollars += real(failed) * MESSAGE_LOG * LOG_GB;
            let visible = self.now + INVISIBLE;
            self.invisible.extend(environment.batch.drain(..).map(|group| (visible, group)));
            let invisible = self.invisible.iter().map(|(_, group)| group.count).sum();
            self.outcome.invisible = self.outcome.invisible.max(invisible);
        }
    }
}

/// Removes this many messages, the oldest first.
fn take(groups: &mut VecDeque<Group>, mut count: usize) -> Vec<Group> {
    let mut taken = Vec::new();
    while count > 0
        && let Some(group) = groups.front_mut()
    {
        let part = group.count.min(count);
        taken.push(Group { count: part, ..*group });
        count -= part;
        group.count -= part;
        if group.count == 0 {
            groups.pop_front();
        }
    }
    taken
}

fn seconds(steps: usize) -> f64 {
    real(steps) * STEP
}

fn real(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the numbers are small and not negative")]
fn whole(number: f64) -> usize {
    number as usize
}

fn main() -> Result<()> {
    println!(
        "| deliveries per second | outage | drain | time to empty | oldest | duplicates | failed again | parked after the outage | cost |"
    );
    println!("|---:|---:|---|---:|---:|---:|---:|---:|---:|");
    for deliveries in [10.0, 100.0, 1_000.0] {
        for outage_hours in [1.0 / 60.0, 1.0 / 6.0, 1.0, 4.0] {
            for drain in [&ONE_CALL, &TEN_CALLS] {
                let scenario = Scenario { deliveries, outage_hours, ..DEFAULT_SCENARIO };
                print_row(&format!("{deliveries} | {}", time(outage_hours)), drain, &scenario.run(drain));
            }
        }
    }
    println!(
        "\n| quota | environments | drain | time to empty | oldest | duplicates | failed again | parked after the outage | cost |"
    );
    println!("|---:|---:|---|---:|---:|---:|---:|---:|---:|");
    for quota in [1_200.0, 2_400.0, 10_000.0] {
        for environments in [2, 5, 10] {
            for drain in [&ONE_CALL, &TEN_CALLS] {
                let scenario = Scenario { quota, environments, ..DEFAULT_SCENARIO };
                print_row(&format!("{quota} | {environments}"), drain, &scenario.run(drain));
            }
        }
    }
    println!("\n| environments | handed over per second in the outage | in flight |");
    println!("|---:|---:|---:|");
    for environments in [2, 5, 10, 50, 80, 100] {
        let scenario = Scenario { environments, outage_hours: 2.0, ..DEFAULT_SCENARIO };
        let Outcome { handed_over, invisible, .. } = scenario.run(&TEN_CALLS);
        println!(
            "| {environments} | {:.0} | {} |",
            real(handed_over) / 3_600.0,
            invisible + environments * TEN_CALLS.batch
        );
    }
    chart::draw(concat!(env!("CARGO_MANIFEST_DIR"), "/simulation.svg"))
}

fn print_row(scenario: &str, drain: &Drain, outcome: &Outcome) {
    let Outcome { duplicates, failed, parked_late, dollars, .. } = outcome;
    let to_empty = outcome.to_empty.map_or_else(|| "over a day".to_owned(), time);
    let (name, oldest) = (drain.name, time(outcome.oldest));
    println!(
        "| {scenario} | {name} | {to_empty} | {oldest} | {duplicates} | {failed} | {parked_late} | ${dollars:.2} |"
    );
}

/// A time in hours, for a table.
fn time(hours: f64) -> String {
    match hours {
        ..0.05 => format!("{:.0} s", hours * 3_600.0),
        ..1.0 => format!("{:.0} min", hours * 60.0),
        _ => format!("{hours:.1} h"),
    }
}
