//! Signs events as Scalekit does, with the present time, and posts them to a URL: `cargo send --help`.

use std::{
    env,
    error::Error,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lexopt::{Parser, ValueExt};
use send::{Assignment, Event, parse_count, sign};
use serde_json::Value;
use ureq::{Agent, http::Uri};

const HELP: &str = "\
Signs events as Scalekit does, and posts them.

Usage: cargo send [OPTIONS] EVENT...

EVENT is an event type, such as organization.sso_enabled, or a file with a body. A type is sent as a new event: the
sample of events/bodies with a new id and the present time. A file is sent byte for byte, unless an option changes it.

Options:
      --set PATH=VALUE  Set a member of the body, such as data.active=false. VALUE is JSON, or else a string
      --count N         Send each event N times, with a new id and the present time each time
      --post URL        Where to post. Default: http://127.0.0.1:9000, where `make watch` listens
  -h, --help            Print this help

Environment:
  WEBHOOK_SECRET        The signing secret (whsec_...). Default: the development secret, which is public. Only a function
                        that runs locally accepts it
";

/// Where `make watch` listens.
const LOCAL: &str = "http://127.0.0.1:9000";

/// The function's `DEVELOPMENT_SECRET`.
const DEVELOPMENT_SECRET: &str = "whsec_c2NhbGVraXQtZXZlbnRicmlkZ2UtZGV2ZWxvcG1lbnQ=";

/// How long a connection may take. A response may take longer: `make watch` compiles a function that was changed.
const CONNECT_TIME: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    match Options::parse(Parser::from_env()) {
        Ok(None) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Some(options)) => run(&options).unwrap_or_else(|error| fail(&*error)),
        Err(error) => fail(&*error),
    }
}

fn fail(error: &dyn Error) -> ExitCode {
    eprintln!("send: {error}");
    ExitCode::FAILURE
}

struct Options {
    events: Vec<String>,
    set: Vec<Assignment>,
    count: u64,
    url: String,
}

impl Options {
    /// Parses the command line. `None` if it asks for help.
    fn parse(mut parser: Parser) -> Result<Option<Self>, Box<dyn Error>> {
        let mut options = Self { events: Vec::new(), set: Vec::new(), count: 1, url: LOCAL.to_owned() };
        while let Some(argument) = parser.next()? {
            match argument {
                lexopt::Arg::Short('h') | lexopt::Arg::Long("help") => return Ok(None),
                lexopt::Arg::Long("set") => options.set.push(parser.value()?.string()?.parse()?),
                lexopt::Arg::Long("count") => options.count = parse_count(&parser.value()?.string()?)?,
                lexopt::Arg::Long("post") => {
                    let url = parser.value()?.string()?;
                    let is_url = url
                        .parse::<Uri>()
                        .is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
                    if !is_url {
                        return Err(format!("--post {url}: this should be a URL, such as {LOCAL}").into());
                    }
                    options.url = url;
                }
                lexopt::Arg::Value(event) => options.events.push(event.string()?),
                other => return Err(format!("{}; --help lists the options", other.unexpected()).into()),
            }
        }
        if options.events.is_empty() {
            return Err(
                "name an event type, such as organization.sso_enabled, or a file; --help has the details".into()
            );
        }
        Ok(Some(options))
    }
}

fn run(options: &Options) -> Result<ExitCode, Box<dyn Error>> {
    let secrets = env::var("WEBHOOK_SECRET").unwrap_or_default();
    // Like the function, this accepts several secrets. Any of them can sign.
    let separators = |c: char| c.is_whitespace() || c == ',';
    let secret = secrets.split(separators).find(|secret| !secret.is_empty()).unwrap_or(DEVELOPMENT_SECRET);
    let config =
        Agent::config_builder().http_status_as_error(false).timeout_connect(Some(CONNECT_TIME)).max_redirects(0);
    let agent = Agent::new_with_config(config.build());
    let events = options.events.iter().map(|it| Ok((it, Event::find(it)?)));
    let events = events.collect::<Result<Vec<_>, Box<dyn Error>>>()?;

    let mut code = ExitCode::SUCCESS;
    let mut number = 0;
    for (name, event) in &events {
        for _ in 0..options.count {
            let body =
                event.body(number, options.count > 1, &options.set).map_err(|error| format!("{name}: {error}"))?;
            let (status, response) = post(&agent, &options.url, secret, number, &body)?;
            let detail: Value = serde_json::from_slice(&body).unwrap_or_default();
            println!("{status} {name} {}", detail["id"].as_str().unwrap_or_default());
            if !(200..300).contains(&status) {
                println!("{response}");
                code = ExitCode::FAILURE;
            }
            number += 1;
        }
    }
    Ok(code)
}

/// Signs and posts a body, and returns the response's status and body.
fn post(agent: &Agent, url: &str, secret: &str, number: u64, body: &[u8]) -> Result<(u16, String), Box<dyn Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let id = format!("msg_{}", now.as_nanos() + u128::from(number));
    let signature = sign(secret, &id, now.as_secs(), body)
        .ok_or("WEBHOOK_SECRET is not a signing secret: it should be `whsec_` and base64")?;
    let request = agent
        .post(url)
        .header("content-type", "application/json")
        .header("webhook-id", &id)
        .header("webhook-timestamp", now.as_secs().to_string())
        .header("webhook-signature", signature);
    let mut response = request.send(body).map_err(|error| {
        let hint = if url == LOCAL { ". Does `make watch` run, and does it listen there?" } else { "" };
        format!("the delivery could not be posted to {url}: {error}{hint}")
    })?;
    Ok((response.status().as_u16(), response.body_mut().read_to_string()?))
}
