//! An example consumer: a Lambda function that is the target of a rule on the bus and handles each typed event once. For
//! a queue between the two, see `events/types.md`.
//!
//! It closes the accounts of users who were removed from a directory, and notifies organizations of enabled
//! connections. A crate with this code needs these dependencies:
//!
//! ```toml
//! aws_lambda_events = { version = "1", default-features = false, features = ["eventbridge"] }
//! lambda_runtime = "1"
//! scalekit-events = { git = "…" }
//! ```
//!
//! `cargo lambda watch --example consumer` runs it. This command sends it an event:
//!
//! ```sh
//! cargo lambda invoke --data-file events/delivered/organization.sso_enabled.json
//! ```

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use scalekit_events::{
    catalogue::EventType,
    data::{Data, DataError},
    detail::Detail,
};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let consumer = &Consumer::default();
    lambda_runtime::run(service_fn(async |event: LambdaEvent<EventBridgeEvent<Detail>>| {
        let detail = event.payload.detail;
        // After an error, Lambda retries twice and then sends the event to the function's on-failure destination.
        let action = consumer.consume(&detail)?;
        println!("{}", json!({"event_id": detail.id, "type": detail.r#type, "action": format!("{action:?}")}));
        Ok::<(), Error>(())
    }))
    .await
}

/// The action that an event requires.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// Close the account of this directory user in this organization.
    CloseAccount { user: String, organization: String },
    /// Notify this organization that its users can log in with the connection.
    TellOfConnection { connection: String, organization: String },
    /// Nothing, because the event was handled before.
    DoneBefore,
    /// Nothing, because this consumer does not handle events of this type.
    Ignore,
}

/// The state that is kept between invocations.
#[derive(Default)]
struct Consumer {
    /// The ids of the events that were handled. They are needed because the bus delivers at least once.
    ///
    /// The set is lost when Lambda ends the process, and concurrent processes do not share it. If that matters, use a
    /// database table instead, such as a conditional `PutItem` in DynamoDB with a time to live, as the idempotency
    /// utility of Powertools for AWS Lambda does.
    handled: Mutex<HashSet<String>>,
}

impl Consumer {
    /// Handles an event, unless it was handled before.
    ///
    /// # Errors
    /// [`DataError`] if the `data` of a handled type differs from the catalogue.
    fn consume(&self, detail: &Detail) -> Result<Action, DataError> {
        let mut handled = self.handled.lock().unwrap_or_else(PoisonError::into_inner);
        if handled.contains(&detail.id) {
            return Ok(Action::DoneBefore);
        }
        let action = action(detail)?;
        // Do the work here. Record the event only after the work has succeeded: otherwise a failed event would be lost.
        handled.insert(detail.id.clone());
        Ok(action)
    }
}

/// Returns the action for an event. Unknown event types, new members and new values are not errors.
fn action(detail: &Detail) -> Result<Action, DataError> {
    // The `data` of other types is not read, so unexpected values in it cause no error here.
    if !matches!(detail.r#type, EventType::DirectoryUserDeleted | EventType::SsoEnabled) {
        return Ok(Action::Ignore);
    }
    Ok(match detail.typed_data()? {
        Some(Data::DirectoryUser(user)) => Action::CloseAccount { user: user.id, organization: user.organization_id },
        Some(Data::Connection(connection)) => {
            Action::TellOfConnection { connection: connection.id, organization: connection.organization_id }
        }
        _ => Action::Ignore,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ENABLED: &str = include_str!("../events/bodies/organization.sso_enabled.json");
    const DELETED: &str = include_str!("../events/bodies/organization.directory.user_deleted.json");

    /// Reads an event with this detail as Lambda's runtime does.
    fn read(detail: &str) -> Detail {
        let event = format!(
            r#"{{"version": "0", "id": "00000000-0000-4000-8000-000000000000", "detail-type": "…", "source": "scalekit",
                "account": "123456789012", "time": "2025-10-14T09:29:27Z", "region": "eu-central-1", "resources": [],
                "detail": {detail}}}"#
        );
        serde_json::from_str::<EventBridgeEvent<Detail>>(&event).unwrap().detail
    }

    #[test]
    fn each_event_is_handled_once() {
        let consumer = Consumer::default();
        let notify = Action::TellOfConnection {
            connection: "conn_94567862424830277".into(),
            organization: "org_83544995172188677".into(),
        };
        let close = Action::CloseAccount {
            user: "diruser_95434876970365909".into(),
            organization: "org_83544995172188677".into(),
        };
        assert_eq!(consumer.consume(&read(ENABLED)), Ok(notify));
        assert_eq!(consumer.consume(&read(DELETED)), Ok(close));
        assert_eq!(consumer.consume(&read(ENABLED)), Ok(Action::DoneBefore));
    }

    #[test]
    fn a_failed_event_is_handled_when_it_is_delivered_again() {
        let consumer = Consumer::default();
        let mut detail = read(ENABLED);
        let id = detail.data.as_mut().unwrap().remove("id").unwrap();
        assert_eq!(consumer.consume(&detail).unwrap_err().to_string(), "`data` differs from the catalogue: /data/id");
        detail.data.as_mut().unwrap().insert("id".into(), id);
        assert!(matches!(consumer.consume(&detail), Ok(Action::TellOfConnection { .. })));
    }

    #[test]
    fn new_members_values_and_types_are_accepted() {
        let mut event: Value = serde_json::from_str(ENABLED).unwrap();
        event["id"] = json!("evt_1");
        event["data"]["new"] = json!({"a": 1});
        event["data"]["provider"] = json!("NEW");
        assert!(matches!(action(&read(&event.to_string())), Ok(Action::TellOfConnection { .. })));
        event["type"] = json!("passkey.registered");
        assert_eq!(action(&read(&event.to_string())), Ok(Action::Ignore));
        event["type"] = json!("role.created");
        assert_eq!(
            action(&read(&event.to_string())),
            Ok(Action::Ignore),
            "the `data` of other types should not be read"
        );
    }
}
