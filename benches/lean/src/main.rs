//! A minimal function that forwards a body to the bus with the SDK settings of the real function. It neither verifies
//! nor logs deliveries.

use std::env;

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use scalekit_eventbridge::aws;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime;

#[derive(Deserialize)]
struct Envelope {
    body: String,
}

fn main() -> Result<(), Error> {
    // The runtime is chosen as in the real function.
    let concurrency = env::var("AWS_LAMBDA_MAX_CONCURRENCY").ok().and_then(|value| value.parse().ok()).unwrap_or(1);
    let mut runtime =
        if concurrency > 1 { runtime::Builder::new_multi_thread() } else { runtime::Builder::new_current_thread() };
    runtime.enable_all().build()?.block_on(async {
        let bus = env::var("EVENT_BUS_NAME")?;
        let client = Client::new(&aws::load(|name| env::var(name).ok()).await?);
        lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<Envelope>| {
            let (client, bus) = (client.clone(), bus.clone());
            async move {
                let entry = PutEventsRequestEntry::builder()
                    .event_bus_name(bus)
                    .source("scalekit")
                    .detail_type("organization.sso_enabled")
                    .detail(event.payload.body)
                    .build();
                client.put_events().entries(entry).send().await?;
                Ok::<Value, Error>(json!({"statusCode": 200}))
            }
        }))
        .await
    })
}
