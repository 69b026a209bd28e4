//! A minimal function that forwards a body to the bus with the default settings of AWS's SDK and Lambda's runtime, as
//! their guides show.

use std::env;

use aws_sdk_eventbridge::{Client, types::PutEventsRequestEntry};
use lambda_http::{Body, Error, Request, Response, service_fn};

#[tokio::main]
async fn main() -> Result<(), Error> {
    lambda_http::tracing::init_default_subscriber();
    let bus = env::var("EVENT_BUS_NAME")?;
    let client = Client::new(&aws_config::load_from_env().await);
    let (client, bus) = (&client, &bus);
    lambda_http::run(service_fn(move |request: Request| async move {
        let entry = PutEventsRequestEntry::builder()
            .event_bus_name(bus)
            .source("scalekit")
            .detail_type("organization.sso_enabled")
            .detail(String::from_utf8_lossy(request.body()))
            .build();
        client.put_events().entries(entry).send().await?;
        Ok::<_, Error>(Response::new(Body::Empty))
    }))
    .await
}
