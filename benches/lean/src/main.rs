//! A minimal function that forwards a body to the bus with the SDK settings of the real function. It neither verifies
//! nor logs deliveries.

use std::env;

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use scalekit_eventbridge::aws;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Envelope {
    body: String,
}

fn main() -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let bus = env::var("EVENT_BUS_NAME")?;
        let client = Client::new(&aws::load(|name| env::var(name).ok()).await?);
        let (client, bus) = (&client, &bus);
        lambda_runtime::run(service_fn(move |event: LambdaEvent<Envelope>| async move {
            let entry = PutEventsRequestEntry::builder()
                .event_bus_name(bus)
                .source("scalekit")
                .detail_type("organization.sso_enabled")
                .detail(event.payload.body)
                .build();
            client.put_events().entries(entry).send().await?;
            Ok::<Value, Error>(json!({"statusCode": 200}))
        }))
        .await
    })
}
