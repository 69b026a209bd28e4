//! The Lambda function: reads the environment, connects to AWS, and serves invocations.

// The future of an invocation contains the futures of the SDK's calls, so its type is deeper than the default limit.
#![recursion_limit = "256"]

use std::{env, io, panic, process::ExitCode, sync::Arc, time::SystemTime};

use aws_config::{Region, SdkConfig};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use scalekit_eventbridge::{
    aws,
    bus::{Bus, BusStatus, CHECK_TIME, check_exists},
    config::{self, AwsSettings, Config, ConfigError, SecretSource},
    function::{Function, Policy},
    invocation::RawEvent,
    log,
    queue::Queue,
    secret::{self, Keyring},
};
use tokio::{runtime, time::Instant};

fn main() -> ExitCode {
    #[cfg(unix)]
    restart_without_empty_variables();
    let format = log::Format::parse(variable("AWS_LAMBDA_LOG_FORMAT").as_deref());
    let level = log::level(variable("AWS_LAMBDA_LOG_LEVEL").as_deref());
    // This only fails if there already is a subscriber.
    let _ = tracing::subscriber::set_global_default(log::subscriber(format, level, io::stdout));
    panic::set_hook(Box::new(log::log_panic));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");

    // More threads only help where Lambda sends several events at once.
    let is_concurrent = variable("AWS_LAMBDA_MAX_CONCURRENCY").is_some_and(|value| value.parse().unwrap_or(1) > 1);
    let runtime = if is_concurrent {
        runtime::Builder::new_multi_thread().enable_all().build()
    } else {
        runtime::Builder::new_current_thread().enable_all().build()
    };
    match runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %error, "stopped");
            ExitCode::FAILURE
        }
    }
}

/// Replaces the process by one without AWS's variables that are empty, if there are any. In AWS's SDKs, such a variable counts
/// as not set, but the SDK for Rust and Lambda's runtime use the empty value of some of them.
#[cfg(unix)]
fn restart_without_empty_variables() {
    use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

    let is_empty =
        |(name, value): &(OsString, OsString)| value.is_empty() && name.as_encoded_bytes().starts_with(b"AWS_");
    let empty: Vec<_> = env::vars_os().filter(is_empty).collect();
    if let (Ok(program), false) = (env::current_exe(), empty.is_empty()) {
        let mut command = Command::new(program);
        for (name, _) in empty {
            command.env_remove(name);
        }
        // It only returns if it fails, and then the process goes on with the empty variables.
        let _ = command.exec();
    }
}

async fn run() -> Result<(), Error> {
    let function = Arc::new(start().await?);
    let handler = service_fn(move |event: LambdaEvent<RawEvent>| {
        let function = Arc::clone(&function);
        async move { function.invoke(event, SystemTime::now()).await }
    });
    lambda_runtime::Runtime::new(handler).run_concurrent().await
}

/// Prepares the function: checks the configuration and the bus, and reads the signing secret.
async fn start() -> Result<Function, Error> {
    let mut errors = Vec::new();
    let mut sdk_errors = config::check_sdk_variables(variable);
    let mut sdk = None;
    if sdk_errors.is_empty() {
        sdk = aws::load(variable).await.map_err(|invalid| sdk_errors.push(invalid)).ok();
    }
    let settings = sdk.as_ref().map(|sdk| AwsSettings {
        region: sdk.region().map_or("", Region::as_ref),
        has_sqs_endpoint: aws::has_sqs_endpoint(sdk),
    });
    let config = Config::read(variable, settings).map_err(|invalid| errors.extend(invalid));
    if variable("AWS_LAMBDA_RUNTIME_API").is_none() {
        let reason = "is not set; Lambda sets it, and so does `cargo lambda watch`, which runs the function locally";
        errors.push(ConfigError::new("AWS_LAMBDA_RUNTIME_API", reason));
    }
    errors.extend(sdk_errors);
    errors.iter().for_each(log_config_error);
    let (Ok(config), Some(sdk), []) = (config, sdk, &errors[..]) else {
        return Err(format!("the configuration has {} error(s), which are logged above", errors.len()).into());
    };
    for warning in config.warnings {
        tracing::warn!(warning, "configuration");
    }

    // The secret is read and the bus is checked at the same time. The first delivery reuses the connections.
    let now = SystemTime::now();
    let keyring = keyring(config.secret, config.on_lambda, &sdk);
    let client = aws_sdk_eventbridge::Client::new(&sdk);
    let check = check_exists(client.clone(), config.bus.clone(), Instant::now() + CHECK_TIME);
    let ((), status) = tokio::join!(keyring.refresh(now), check);
    let bus = Bus::new(client, &config.bus, now, &status);
    let queue = |url: Option<String>| {
        let sdk = sdk.clone();
        let region = sdk.region().map_or("", Region::as_ref).to_owned();
        url.map(|url| Queue::new(move || aws_sdk_sqs::Client::new(&sdk), &url, &region))
    };
    let function = Function {
        keyring,
        policy: Policy {
            tolerance: config.tolerance,
            validation: config.validation,
            environment_id: config.environment_id,
        },
        source: config.source,
        bus,
        parking_queue: queue(config.parking_queue_url),
        dead_letter_queue: queue(config.dead_letter_queue_url),
    };
    if status == BusStatus::Missing {
        let reason = format!(
            "{}, but this account and region have no such event bus; it should hold one that exists",
            config::holds(&config.bus)
        );
        let error = ConfigError::new("EVENT_BUS_NAME", reason);
        log_config_error(&error);
        // Events can be parked until the bus exists.
        if function.parking_queue.is_none() {
            return Err(error.into());
        }
    }
    Ok(function)
}

fn keyring(secret: SecretSource, on_lambda: bool, sdk: &SdkConfig) -> Keyring {
    match secret {
        SecretSource::Keys(keys) => Keyring::fixed(keys),
        SecretSource::Stored(id) => Keyring::stored(secret::client(sdk, &id.arn), id, on_lambda),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn log_config_error(error: &ConfigError) {
    tracing::error!(variable = error.variable, error = error.reason, "configuration");
}
