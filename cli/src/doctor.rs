//! `doctor`: checks each link of a deployment, from the URL to the consumers' targets, and tells what to do about the broken ones.
//!
//! It only reads, except for one unsigned POST to the URL, which the function has to refuse. With `--send`, it also posts a
//! signed sample, and subscribes to it.

mod alarms;
mod bus;
mod checksums;
mod deployment;
mod finding;
mod function;
mod metric;
mod policy;
mod queues;
mod quotas;
mod sample;
mod secret;
mod url;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use http::Uri;

use self::{
    checksums::Checksums,
    deployment::{Deployment, REPOSITORY},
    finding::{Finding, State},
};
use crate::{
    aws::Aws,
    delivery::Endpoint,
    terminal::{self, Format},
};

/// Check each link of a deployed stack, and tell what to do about the broken ones
///
/// This only reads, except for one unsigned POST to the URL, which the function has to refuse.
///
/// The exit status is 0 if every link holds, 1 if at least one is broken, 2 if the command line is wrong, and 3 if none is
/// broken, but some need attention or couldn't be checked.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The name or the ARN of the stack
    stack: String,

    /// Also sign and post a sample of a type that no rule of consumers matches, and wait for it on the bus. This creates a rule
    /// and a queue, and removes them at the end
    #[arg(long)]
    send: bool,

    /// How long to wait for the sample, from the creation of the rule
    #[arg(long, value_name = "SECONDS", default_value_t = 70, requires = "send", value_parser = clap::value_parser!(u64).range(2..=3600))]
    wait: u64,

    /// Post to this URL instead of the one in the output WebhookUrl, for example to your own domain name
    #[arg(long, value_name = "URL", value_parser = crate::delivery::parse_url)]
    url: Option<Uri>,

    /// The SHA256SUMS of the release that should run. Without this, the code is not compared with a release
    #[arg(long, value_name = "FILE")]
    checksums: Option<PathBuf>,
}

pub(crate) async fn run(arguments: &Arguments, format: Format) -> Result<ExitCode, Box<dyn Error>> {
    let checksums = arguments.checksums.as_deref().map(Checksums::read).transpose()?;
    let aws = Aws::load().await?;
    let (findings, documentation) = match Deployment::read(&aws, &arguments.stack).await {
        Ok(deployment) => {
            (check(&deployment, arguments, checksums.as_ref()).await, deployment.documentation().to_owned())
        }
        Err(finding) => (vec![*finding], REPOSITORY.to_owned()),
    };
    for finding in &findings {
        finding.print(format, &documentation)?;
    }
    let count = |state| findings.iter().filter(|finding| finding.state == state).count();
    let (broken, doubtful) = (count(State::Broken), count(State::Warning) + count(State::Unknown));
    terminal::note(&match (broken, doubtful) {
        (0, 0) => "Every link holds.".to_owned(),
        _ => format!("Broken: {broken}. Needs attention, or couldn't be checked: {doubtful}."),
    });
    Ok(match (broken, doubtful) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    })
}

/// The findings about all links, in the order in which a delivery passes them.
async fn check(deployment: &Deployment<'_>, arguments: &Arguments, checksums: Option<&Checksums>) -> Vec<Finding> {
    let endpoint = match &arguments.url {
        Some(url) => Ok(url.clone()),
        None => deployment.output("WebhookUrl").parse(),
    };
    let endpoint = endpoint.map(Endpoint::new);
    let configuration = function::configuration(deployment).await;
    let (url, function, secret, bus, queues, alarms, quotas) = tokio::join!(
        url::check(&endpoint),
        function::check(deployment, &configuration, checksums),
        secret::check(deployment, &configuration),
        bus::check(deployment),
        queues::check(deployment),
        alarms::check(deployment),
        quotas::check(deployment),
    );
    let sample = match endpoint {
        Ok(endpoint) if arguments.send => {
            let wait = Duration::from_secs(arguments.wait);
            Some(sample::check(deployment, &endpoint, &secret, &bus, wait).await)
        }
        _ => None,
    };
    let mut findings = vec![deployment.finding(), url];
    findings.extend(function);
    findings.push(secret.finding);
    findings.extend(bus.findings);
    findings.extend(queues);
    findings.extend(alarms);
    findings.extend(quotas);
    findings.extend(sample);
    findings
}
