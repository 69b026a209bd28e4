//! The Rust handlers of the page `types.md`: one for events, and one for batches from an SQS queue.

use std::env;

use aws_lambda_events::{
    eventbridge::EventBridgeEvent,
    sqs::{SqsBatchResponse, SqsEvent},
};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use scalekit_events::{catalogue::EventType, data::Data, detail::Detail};

/// Handles one event, and returns what to log.
pub(crate) fn consume(event: EventBridgeEvent) -> Result<String, Error> {
    if !matches!(event.detail_type.as_str(), "organization.sso_enabled" | "organization.directory.user_deleted") {
        return Ok(format!("ignored {}", event.detail_type));
    }
    // The message of serde's error can contain values.
    let detail: Detail = serde_json::from_value(event.detail).map_err(|_| "the detail isn't a valid event")?;
    match (&detail.r#type, detail.typed_data()?) {
        (EventType::SsoEnabled, Some(Data::Connection(connection))) => Ok(format!("live {}", connection.id)),
        (EventType::DirectoryUserDeleted, Some(Data::DirectoryUser(user))) => Ok(format!("removed {}", user.id)),
        _ => Err("the event has no data".into()),
    }
}

/// Handles the body of a message.
pub(crate) fn consume_body(body: &str) -> Result<String, Error> {
    consume(serde_json::from_str(body).map_err(|_| "the message isn't an event of EventBridge")?)
}

/// For events.
pub(crate) fn handle_event(event: EventBridgeEvent) -> Result<(), Error> {
    println!("{}", consume(event)?);
    Ok(())
}

/// For batches.
pub(crate) fn handle_batch(batch: SqsEvent) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    for message in batch.records {
        let id = message.message_id.unwrap_or_default();
        match consume_body(&message.body.unwrap_or_default()) {
            Ok(done) => println!("{done}"),
            Err(error) => {
                println!("failed {id}: {error}");
                response.add_failure(id);
            }
        }
    }
    response
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // Lambda sets this variable to the function's handler.
    match env::var("_HANDLER")?.as_str() {
        "event" => run(service_fn(async |event: LambdaEvent<_>| handle_event(event.payload))).await,
        "batch" => run(service_fn(async |batch: LambdaEvent<_>| Ok::<_, Error>(handle_batch(batch.payload)))).await,
        other => Err(format!("the function's handler should be event or batch, not {other}").into()),
    }
}
