//! `send`: signs events as Scalekit does, and posts them to the function.

use std::{env, error::Error, process::ExitCode};

use clap::Args;
use http::Uri;
use serde_json::json;

use crate::{
    delivery::{self, DEVELOPMENT_SECRET, Endpoint, LOCAL},
    event::{self, Events},
    terminal::{self, BAD, FAINT, Format, GOOD, plain},
};

/// Sign events as Scalekit does, and post them to the function
///
/// The exit status is 0 if every response has a status of 2xx.
///
/// The signing secret (whsec_...) is read from the variable WEBHOOK_SECRET. Without it, events are signed with the development
/// secret, which is public. Only a function that runs locally accepts it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// List the event types and the objects that they are about
    #[arg(long, conflicts_with = "events")]
    list: bool,

    #[command(flatten)]
    events: Option<Events>,

    /// Where to post. By default, where `make watch` listens
    #[arg(long, value_name = "URL", default_value = LOCAL, value_parser = delivery::parse_url)]
    post: Uri,
}

pub(crate) async fn run(arguments: &Arguments, format: Format) -> Result<ExitCode, Box<dyn Error>> {
    let Some(events) = &arguments.events else {
        for (name, sample) in event::types() {
            let object = sample["object"].as_str();
            format.print(
                &[plain(name), (FAINT, object.unwrap_or_default().into())],
                &json!({"type": name, "object": object}),
            )?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let secrets = env::var("WEBHOOK_SECRET").unwrap_or_default();
    // Like the function, this accepts several secrets. Any of them can sign.
    let separators = |c: char| c.is_whitespace() || c == ',';
    let secret = secrets.split(separators).find(|secret| !secret.is_empty()).unwrap_or(DEVELOPMENT_SECRET);
    let endpoint = Endpoint::new(arguments.post.clone());
    let mut code = ExitCode::SUCCESS;
    for (number, body) in (0..).zip(events.read()?) {
        let body = body?;
        let (webhook_id, response) = endpoint.deliver(secret, number, &body.bytes).await.map_err(|error| {
            let hint = if arguments.post == LOCAL { ". Does `make watch` run, and does it listen there?" } else { "" };
            format!("{error}{hint}")
        })?;
        let is_success = (200..300).contains(&response.status);
        let (label, id) = (body.label(), body.member("id"));
        format.print(
            &[
                (if is_success { GOOD } else { BAD }, response.status.to_string().into()),
                plain(label.as_str()),
                plain(id.as_deref()),
            ],
            &json!({"status": response.status, "type": label, "id": id, "webhook_id": webhook_id, "response": response.body}),
        )?;
        if !is_success {
            code = ExitCode::FAILURE;
            if matches!(format, Format::Text) && !response.body.is_empty() {
                terminal::line(&[plain(response.body.as_str())])?;
            }
        }
    }
    Ok(code)
}
