//! Measures the whole process of the function as it is deployed, and compares it with two functions that only forward.
//! `lean` uses the function's own SDK settings, and `defaults` uses the defaults of the SDK and of the Lambda runtime.
//!
//! Lambda's Runtime API and AWS are local servers, so the figures don't include the network latency on Lambda.
//!
//! The binaries are built with Cargo Lambda, which `make bench` installs. Without `make`, it must be on the `PATH`.
//!
//! ```sh
//! cargo bench -p benches --bench process                       # 30 rounds
//! cargo bench -p benches --bench process -- 5 function lean    # 5 rounds of some subjects
//! cargo bench -p benches --bench process -- function before=/path/to/bootstrap    # with another build of the function
//! cargo bench -p benches --bench process -- drain 10 100    # the parking queue, in batches of these sizes
//! cargo bench -p benches --bench process -- parking         # deliveries in an outage of the bus
//! cargo bench -p benches --bench process -- concurrent      # several deliveries at once
//! ```

mod bus;
mod chart;
mod concurrent;
mod drain;
mod endpoints;
mod parking;
mod share;

use std::{
    env,
    error::Error,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use endpoints::{Aws, RuntimeApi};
use flate2::{Compression, write::DeflateEncoder};
use scalekit_eventbridge::signature::Key;
use share::Share;
use test_support::SignedDelivery;

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const SECRET: &str = "whsec_YmVuY2gtc2lnbnMtd2l0aC10aGlzLXNlY3JldA==";

/// The body of a valid event, from Scalekit's documentation.
const BODY: &str = include_str!("../../events/bodies/organization.sso_enabled.json");

/// The number of deliveries that each process gets in one round after its first one.
const WARM: usize = 30;

/// The numbers of deliveries after which the peak memory is read.
const FEW: usize = 1_000;
const MANY: usize = 10_000;

/// The number of deliveries whose instructions are counted.
const COUNTED: usize = 300;

/// The modes. Each replaces the default measurement, in which deliveries are sent one after the other.
const MODES: [&str; 3] = ["concurrent", "drain", "parking"];

/// A function that is measured.
#[derive(Clone)]
struct Subject {
    name: String,
    binary: PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Subject {
    /// A copy of the subject with an additional environment variable.
    fn with_variable(&self, name: &'static str, value: &str) -> Self {
        let mut subject = self.clone();
        subject.variables.push((name, value.to_owned()));
        subject
    }
}

/// The measurements of a subject. Times are in milliseconds, instructions in thousands, and sizes in megabytes.
#[derive(Default)]
pub struct Figures {
    connected: Vec<f64>,
    ready: Vec<f64>,
    cold: Vec<f64>,
    first: Vec<f64>,
    warm: Vec<f64>,
    shared_first: Vec<f64>,
    shared_warm: Vec<f64>,
    cpu: f64,
    instructions: Option<f64>,
    rss_few: f64,
    rss_many: f64,
    bytes: f64,
    zipped: f64,
}

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("not measured: the benchmark takes minutes and runs only with `cargo bench`");
        return Ok(());
    }
    let directory = env::temp_dir().join(format!("scalekit-eventbridge-bench-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let result = measure(&directory, &arguments);
    fs::remove_dir_all(&directory)?;
    result
}

/// Measures what the arguments request.
fn measure(directory: &Path, arguments: &[String]) -> Result<()> {
    let numbers: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let others: Vec<_> = arguments.iter().filter_map(|argument| argument.split_once('=')).collect();
    let is_name = |argument: &&str| argument.starts_with(char::is_alphabetic) && !argument.contains('=');
    let mut names: Vec<_> = arguments.iter().map(String::as_str).filter(is_name).collect();
    let mode = names.iter().position(|name| MODES.contains(name)).map(|at| names.remove(at));
    if mode.is_some() && names.is_empty() && others.is_empty() {
        names.push("function, as the template deploys it");
        names.extend((mode == Some("concurrent")).then_some("lean"));
    }
    let wanted =
        |name: &str| (names.is_empty() && mode.is_none()) || names.iter().any(|wanted| name.starts_with(wanted));

    let aws = Aws::start(directory, SECRET)?;
    let subjects = subjects(&aws, directory, wanted, &others)?;
    let bench = Bench { aws, log: directory.join("log"), share: Share::new() };
    if let Err(error) = &bench.share {
        println!("no figures with the CPU share of a function with 128 MB, because no CPU quota could be set: {error}");
    }
    let rounds = |default| numbers.first().copied().unwrap_or(default);
    match mode {
        Some("concurrent") => concurrent::measure(&bench, &subjects, rounds(5)),
        Some("drain") => drain::measure(&bench, &subjects, &numbers),
        Some("parking") => parking::measure(&bench, &subjects, rounds(30)),
        _ => measure_deliveries(&bench, &subjects, rounds(30)),
    }
}

/// Measures deliveries, one after the other, and draws the chart.
fn measure_deliveries(bench: &Bench, subjects: &[Subject], rounds: usize) -> Result<()> {
    let mut figures: Vec<_> = subjects.iter().map(|_| Figures::default()).collect();

    for _ in 0..rounds {
        for (subject, figures) in subjects.iter().zip(&mut figures) {
            bench.start(subject, figures)?;
        }
    }
    if bench.share.is_ok() {
        for _ in 0..rounds {
            for (subject, figures) in subjects.iter().zip(&mut figures) {
                bench.start_at_share(subject, figures)?;
            }
        }
    }
    for (subject, figures) in subjects.iter().zip(&mut figures) {
        bench.run_long(subject, figures)?;
        figures.instructions = bench.count_instructions(subject)?;
        let binary = fs::read(&subject.binary)?;
        figures.bytes = megabytes(binary.len());
        figures.zipped = megabytes(deflated_len(&binary)?);
    }

    let names: Vec<_> = subjects.iter().map(|subject| &*subject.name).collect();
    println!("\nmedians of {rounds} processes per subject, started in turn");
    let column = |figures: &Figures| {
        ROWS.iter().map(|(row, unit, column)| ((*row).to_owned(), format!("{:.2} {unit}", column(figures)))).collect()
    };
    print_table(subjects, &figures.iter().map(column).collect::<Vec<_>>());
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/bench.svg");
    chart::draw(chart, &machine(), &names, &figures)
}

/// Builds the subjects as they are deployed. Each package is built alone, so that Cargo does not unify the features of
/// different packages. `others` are the names and paths of other builds of the function.
fn subjects(
    aws: &Aws,
    directory: &Path,
    wanted: impl Fn(&str) -> bool,
    others: &[(&str, &str)],
) -> Result<Vec<Subject>> {
    let common = [
        ("AWS_ACCESS_KEY_ID", "ASIAIOSFODNN7EXAMPLE".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
        ("AWS_SESSION_TOKEN", "token".repeat(200)),
        ("AWS_REGION", "eu-central-1".to_owned()),
        ("AWS_ENDPOINT_URL", aws.url.clone()),
        ("AWS_LAMBDA_FUNCTION_NAME", "bench".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON".to_owned()),
        ("EVENT_BUS_NAME", "bench".to_owned()),
    ];
    let secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:bench".to_owned();
    let template = [
        ("WEBHOOK_SECRET_ARN", secret_arn),
        ("AWS_ENDPOINT_URL_SQS", aws.queue_url.clone()),
        ("PARKING_QUEUE_URL", format!("{}/123456789012/parking", aws.queue_url)),
        ("DEAD_LETTER_QUEUE_URL", format!("{}/123456789012/dead-letters", aws.queue_url)),
    ];
    let plain = [("WEBHOOK_SECRET", SECRET.to_owned())];
    // Each bundle contains the benchmark's own certificate authority. `amazon.pem` also has Amazon's root certificates, the
    // ones that the function trusts first. `system.pem` also has this system's bundle, which is about as large as Lambda's.
    let amazon = [("AWS_CA_BUNDLE", directory.join("amazon.pem").display().to_string())];
    let system = [("SSL_CERT_FILE", directory.join("system.pem").display().to_string())];
    let subjects: [(_, _, &[&[_]]); 5] = [
        ("function, as the template deploys it", "scalekit-eventbridge", &[&template, &amazon]),
        ("function, plain: no queues, no secret store", "scalekit-eventbridge", &[&plain, &amazon]),
        ("function, trusting the whole system bundle", "scalekit-eventbridge", &[&template, &system]),
        ("lean: only forwards", "lean", &[&amazon]),
        ("defaults: only forwards", "defaults", &[&system]),
    ];
    let variables = |own: &[&[_]]| common.iter().chain(own.iter().copied().flatten()).cloned().collect();
    let built = subjects.into_iter().filter(|(name, ..)| wanted(name)).map(|(name, package, own)| {
        Ok(Subject { name: name.to_owned(), binary: build(package, directory)?, variables: variables(own) })
    });
    let others = others.iter().map(|(name, path)| {
        Ok(Subject { name: (*name).to_owned(), binary: path.into(), variables: variables(&[&template, &amazon]) })
    });
    built.chain(others).collect()
}

/// Builds a package with Cargo Lambda, which adds a compiler flag, and chooses the linker and the version of the C library.
fn build(package: &str, directory: &Path) -> Result<PathBuf> {
    eprintln!("building {package}");
    let kind = if package == "scalekit-eventbridge" { "--bin" } else { "--example" };
    let mut cargo = Command::new(env!("CARGO"));
    // The variables that `cargo bench` sets for this package would cause other packages to be rebuilt.
    for (name, _) in env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    }) {
        cargo.env_remove(name);
    }
    let cargo = cargo
        .args(["lambda", "build", "--release", "--locked", "--package", package, kind, package, "--lambda-dir"])
        .arg(directory)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .status()?;
    if !cargo.success() {
        return Err(format!("could not build {package}").into());
    }
    Ok(directory.join(package).join("bootstrap"))
}

/// A process of a subject, and the Runtime API that serves only this process.
struct Process {
    child: Child,
    api: RuntimeApi,
    event: Arc<str>,
    started: Instant,
}

impl Process {
    /// Waits until the process requests its next event. Returns the time of the request.
    fn ready(&self) -> Result<Instant> {
        Ok(self.api.ready()?)
    }

    /// Sends a delivery and returns the time until the response, in milliseconds. The process must be ready.
    fn deliver(&self) -> Result<f64> {
        Ok(milliseconds(self.api.deliver(&self.event)?))
    }

    /// Sends this many deliveries, one after the other, and returns their times in milliseconds.
    fn deliver_many(&self, count: usize) -> Result<Vec<f64>> {
        (0..count).map(|_| self.ready().and_then(|_| self.deliver())).collect()
    }

    /// The CPU time that the current threads have used, in milliseconds.
    fn cpu(&self) -> Result<f64> {
        let mut nanoseconds = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let schedstat = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += schedstat.split(' ').next().unwrap_or_default().parse::<f64>()?;
        }
        Ok(nanoseconds / 1e6)
    }

    /// The peak of the resident memory, in megabytes.
    fn peak_rss(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        Ok(peak.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Bench {
    aws: Aws,
    log: PathBuf,
    share: std::io::Result<Share>,
}

impl Bench {
    fn spawn(&self, subject: &Subject, mut command: Command) -> Result<Process> {
        let api = RuntimeApi::start()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let delivery = SignedDelivery::new(
            &Key::parse(SECRET).map_err(|error| error.to_string())?,
            "msg_2aXyZ",
            now,
            BODY.as_bytes(),
        );
        let event = delivery.function_url().to_string().into();
        command
            .env_clear()
            .envs(subject.variables.iter().map(|(name, value)| (name, value)))
            .env("AWS_LAMBDA_RUNTIME_API", &api.address)
            .stdin(Stdio::null())
            .stdout(File::create(&self.log)?)
            .stderr(File::create(self.log.with_extension("err"))?);
        self.aws.take_connections();
        let started = Instant::now();
        Ok(Process { child: command.spawn()?, api, event, started })
    }

    /// Measures the cold start, the first delivery and warm deliveries.
    fn start(&self, subject: &Subject, figures: &mut Figures) -> Result<()> {
        let process = self.spawn(subject, Command::new(&subject.binary))?;
        let ready = process.ready()?;
        let first = process.deliver()?;
        let ready = milliseconds(ready - process.started);
        figures.ready.push(ready);
        figures.first.push(first);
        figures.cold.push(milliseconds(process.started.elapsed()));
        if let Some(connected) = self.aws.take_connections().first() {
            figures.connected.push(milliseconds(*connected - process.started));
        }
        // Leave out the first warm deliveries, which still cause page faults.
        figures.warm.extend(process.deliver_many(WARM)?.split_off(WARM / 3));
        Ok(())
    }

    /// Measures deliveries with the CPU share of a function with 128 MB. As on Lambda, the limit does not apply to the initialization.
    fn start_at_share(&self, subject: &Subject, figures: &mut Figures) -> Result<()> {
        let Ok(share) = &self.share else { return Ok(()) };
        let process = self.spawn(subject, Command::new(&subject.binary))?;
        process.ready()?;
        share.limit(process.child.id())?;
        figures.shared_first.push(process.deliver()?);
        figures.shared_warm.extend(process.deliver_many(WARM)?);
        drop(process);
        // Wait for a new period of the quota, so that the next process doesn't start with a quota that is used up.
        thread::sleep(Duration::from_millis(40));
        Ok(())
    }

    /// Measures the CPU time and the peak memory over many deliveries.
    fn run_long(&self, subject: &Subject, figures: &mut Figures) -> Result<()> {
        let process = self.spawn(subject, Command::new(&subject.binary))?;
        process.deliver_many(FEW)?;
        let cpu = process.cpu()?;
        figures.rss_few = process.peak_rss()?;
        process.deliver_many(MANY - FEW)?;
        figures.cpu = (process.cpu()? - cpu) / count(MANY - FEW);
        figures.rss_many = process.peak_rss()?;
        Ok(())
    }

    /// The instructions of one warm delivery, in thousands, or `None` if Valgrind is not installed.
    fn count_instructions(&self, subject: &Subject) -> Result<Option<f64>> {
        let deliver = |count| self.instructions_of(subject, |process| process.deliver_many(count).map(drop));
        let Some((few, many)) = deliver(COUNTED)?.zip(deliver(2 * COUNTED)?) else { return Ok(None) };
        Ok(Some((many - few) / count(COUNTED) / 1e3))
    }

    /// The instructions of a process that does this work, or `None` if Valgrind is not installed.
    fn instructions_of(&self, subject: &Subject, work: impl Fn(&Process) -> Result<()>) -> Result<Option<f64>> {
        let Some(valgrind) = which("valgrind") else { return Ok(None) };
        let mut valgrind = Command::new(valgrind);
        valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(&subject.binary);
        let mut process = self.spawn(subject, valgrind)?;
        work(&process)?;
        process.ready()?;
        Command::new("kill").arg(process.child.id().to_string()).status()?;
        process.child.wait()?;
        let output = fs::read_to_string(self.log.with_extension("err"))?;
        let collected = output.lines().find_map(|line| line.split_once("Collected :"));
        Ok(Some(collected.ok_or("callgrind counted nothing")?.1.trim().parse()?))
    }
}

/// The path of a program, if it is installed.
fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|path| path.join(program)).find(|path| path.exists())
}

fn deflated_len(bytes: &[u8]) -> Result<usize> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut encoder, bytes)?;
    Ok(encoder.finish()?.len())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn count(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

fn megabytes(bytes: usize) -> f64 {
    count(bytes) / 1e6
}

/// The percentile of the values.
fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(f64::NAN)
}

fn median(values: &[f64]) -> f64 {
    percentile(values, 50)
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, {}, loopback", env::consts::OS)
}

type Column = fn(&Figures) -> f64;

const ROWS: [(&str, &str, Column); 19] = [
    ("start → connected to AWS", "ms", |figures| median(&figures.connected)),
    ("start → ready", "ms", |figures| median(&figures.ready)),
    ("ready → first 200", "ms", |figures| median(&figures.first)),
    ("start → first 200", "ms", |figures| median(&figures.cold)),
    ("warm delivery, median", "ms", |figures| median(&figures.warm)),
    ("warm delivery, 90th percentile", "ms", |figures| percentile(&figures.warm, 90)),
    ("warm delivery, 99th percentile", "ms", |figures| percentile(&figures.warm, 99)),
    ("first after init ÷ warm", "×", |figures| median(&figures.first) / median(&figures.warm)),
    ("first after init at 128 MB, median", "ms", |figures| median(&figures.shared_first)),
    ("first after init at 128 MB, 90th percentile", "ms", |figures| percentile(&figures.shared_first, 90)),
    ("warm at 128 MB, median", "ms", |figures| median(&figures.shared_warm)),
    ("warm at 128 MB, 90th percentile", "ms", |figures| percentile(&figures.shared_warm, 90)),
    ("warm at 128 MB, 99th percentile", "ms", |figures| percentile(&figures.shared_warm, 99)),
    ("CPU per warm delivery", "ms", |figures| figures.cpu),
    ("instructions per warm delivery", "k", |figures| figures.instructions.unwrap_or(f64::NAN)),
    ("peak memory after 1,000 deliveries", "MB", |figures| figures.rss_few),
    ("peak memory after 10,000 deliveries", "MB", |figures| figures.rss_many),
    ("binary", "MB", |figures| figures.bytes),
    ("binary, zipped", "MB", |figures| figures.zipped),
];

/// Prints the names and the values of the rows, with a column for each subject.
fn print_table(subjects: &[Subject], columns: &[Vec<(String, String)>]) {
    let names: Vec<_> = subjects.iter().map(|subject| &*subject.name).collect();
    println!("\n{}\n\n| | {} |\n|---|{}", machine(), names.join(" | "), "---:|".repeat(names.len()));
    for (row, (name, _)) in columns.first().into_iter().flatten().enumerate() {
        let cells: Vec<_> = columns.iter().map(|column| &*column[row].1).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}
