//! The Lambda function: reads the environment, looks at the bus, and serves invocations.

use std::{env, io, panic, process::ExitCode, sync::Arc, time::SystemTime};

use aws_types::SdkConfig;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use scalekit_eventbridge::{
    aws,
    bus::{Bus, Look},
    config::{Config, ConfigError, Secret},
    entry::Address,
    envelope::Invocation,
    function::{Function, Rules},
    log,
    queue::Queue,
    secret::Keyring,
};
use tokio::runtime::{self, Handle};

fn main() -> ExitCode {
    let format = log::Format::parse(variable("AWS_LAMBDA_LOG_FORMAT").as_deref());
    let level = log::level(variable("AWS_LAMBDA_LOG_LEVEL").as_deref());
    // Fails only if there is a subscriber already.
    let _ = tracing::subscriber::set_global_default(log::subscriber(format, level, io::stdout));
    panic::set_hook(Box::new(log::log_panic));

    // Threads serve nobody where Lambda sends one event at a time.
    let concurrent = variable("AWS_LAMBDA_MAX_CONCURRENCY").is_some_and(|value| value.parse().unwrap_or(1) > 1);
    let runtime = if concurrent {
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

async fn run() -> Result<(), Error> {
    let function = Arc::new(start().await?);
    let handler = service_fn(move |event: LambdaEvent<Invocation>| {
        let function = Arc::clone(&function);
        async move { function.invoke(event, SystemTime::now()).await }
    });
    lambda_runtime::Runtime::new(handler).run_concurrent().await
}

/// Everything before the first invocation.
async fn start() -> Result<Function, Error> {
    let mut errors = Vec::new();
    let config = Config::read(variable).map_err(|wrong| errors.extend(wrong));
    if variable("AWS_LAMBDA_RUNTIME_API").is_none() {
        let reason = "is not set; Lambda sets it, and so does `cargo lambda watch`, which runs the function locally";
        errors.push(ConfigError::new("AWS_LAMBDA_RUNTIME_API", reason));
    }
    let sdk = aws::load(variable).await.map_err(|wrong| errors.push(wrong));
    errors.iter().for_each(log_config_error);
    let (Ok(config), Ok(sdk), []) = (config, sdk, &errors[..]) else {
        return Err(format!("the configuration is wrong in {} place(s), each told above", errors.len()).into());
    };
    for warning in config.warnings() {
        tracing::warn!(warning, "configuration");
    }

    // At once, and at most two seconds for both: the time of a cold start.
    let now = SystemTime::now();
    let (keyring, (bus, look)) = tokio::join!(keyring(config.secret, config.real_lambda, &sdk, now), async {
        let bus = Bus::new(aws_sdk_eventbridge::Client::new(&sdk), &config.bus);
        let look = bus.look(now).await;
        (bus, look)
    });
    let queue = |url: Option<String>| {
        let sdk = sdk.clone();
        url.map(|url| Queue::new(move || aws_sdk_sqs::Client::new(&sdk), &url))
    };
    let function = Function {
        keyring,
        rules: Rules { tolerance: config.tolerance, unknown_events: config.unknown_events },
        bus,
        parking: queue(config.parking_queue_url),
        refused: queue(config.refused_queue_url),
        address: Address { bus: config.bus, source: config.source },
    };
    if look == Look::Missing {
        let reason = format!(
            "holds `{}`, but there is no such event bus in this account and region; it should hold one that exists",
            function.address.bus
        );
        let error = ConfigError::new("EVENT_BUS_NAME", reason);
        log_config_error(&error);
        // Events can wait in the queue until there is a bus.
        if function.parking.is_none() {
            return Err(error.into());
        }
    }
    Ok(function)
}

/// The keys. A stored secret is read in a thread of its own: a connection is mostly computing, and there are two to be made.
async fn keyring(secret: Secret, real_lambda: bool, sdk: &SdkConfig, now: SystemTime) -> Keyring {
    match secret {
        Secret::Keys(keys) => Keyring::fixed(keys),
        Secret::Arn(arn) => {
            let sdk = sdk.clone();
            let read = move || {
                let keyring = Keyring::stored(aws_sdk_secretsmanager::Client::new(&sdk), &arn, real_lambda);
                Handle::current().block_on(keyring.refresh(now));
                keyring
            };
            let read = tokio::task::spawn_blocking(read).await;
            // Its panic is ours: as an error, it would be logged with what it says.
            read.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()))
        }
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn log_config_error(error: &ConfigError) {
    tracing::error!(variable = error.variable, error = error.reason, "configuration");
}
