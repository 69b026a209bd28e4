//! Signs a body as Scalekit does, with the present time, and prints the envelope or posts the delivery to a URL.
//!
//! ```sh
//! export WEBHOOK_SECRET=whsec_…
//! cargo run --example send -- events/bodies/user.login.json --post https://….lambda-url.eu-central-1.on.aws/
//! cargo run --example send -- events/bodies/user.login.json > envelope.json && cargo lambda invoke --data-file envelope.json
//! ```
//!
//! Without `WEBHOOK_SECRET` it signs with the development secret, which only a local function accepts.

use std::{
    env, fs,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use scalekit_eventbridge::{secret::DEVELOPMENT_SECRET, signature::Key};
use test_support::SignedDelivery;

const USAGE: &str = "usage: cargo run --example send -- BODY_FILE [--post URL]";

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let (file, url) = match arguments {
        [file] => (file, None),
        [file, option, url] if option == "--post" => (file, Some(url)),
        _ => return Err(USAGE.into()),
    };
    let body = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    let secret = env::var("WEBHOOK_SECRET").unwrap_or_else(|_| DEVELOPMENT_SECRET.to_owned());
    let key = Key::parse(&secret).map_err(|error| format!("WEBHOOK_SECRET is invalid: {error}"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let signed = SignedDelivery::new(&key, &format!("msg_{}", now.as_nanos()), now.as_secs(), &body);

    let Some(url) = url else {
        println!("{:#}", signed.function_url());
        return Ok(ExitCode::SUCCESS);
    };
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let mut request = ureq::Agent::new_with_config(config).post(url);
    for (name, value) in signed.headers() {
        request = request.header(name, value);
    }
    let mut response = request.send(&signed.body)?;
    println!("{} {}", response.status(), response.body_mut().read_to_string()?);
    Ok(if response.status().is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
