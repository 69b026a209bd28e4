//! A consumer in Rust: a Lambda function behind a rule on the bus, which takes each event once, and typed.
//!
//! It closes the accounts of users who left a directory, and tells of connections that go live. Its crate would need:
//!
//! ```toml
//! aws_lambda_events = { version = "1", default-features = false, features = ["eventbridge"] }
//! lambda_runtime = "1"
//! scalekit-eventbridge = { git = "…", default-features = false }
//! ```
//!
//! `cargo lambda watch --example consumer` runs it, and `cargo lambda invoke consumer --data-file event.json` sends it an
//! event.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use scalekit_eventbridge::{
    catalogue::EventType,
    data::{Data, Unfit},
    detail::Detail,
};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let consumer = &Consumer::default();
    lambda_runtime::run(service_fn(async |event: LambdaEvent<EventBridgeEvent<Detail>>| {
        let detail = event.payload.detail;
        // An error has Lambda try again, twice, and then hand the event to the function's dead-letter queue.
        let action = consumer.consume(&detail)?;
        println!("{}", json!({"event_id": detail.id, "type": detail.r#type, "action": format!("{action:?}")}));
        Ok::<(), Error>(())
    }))
    .await
}

/// What an event has this consumer do.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// Close the account of this directory user in this organization.
    CloseAccount { user: String, organization: String },
    /// Tell the people of this organization that they can log in with the connection.
    TellOfConnection { connection: String, organization: String },
    /// Nothing: it was done when the event came before.
    DoneBefore,
    /// Nothing: the event is about something else.
    NotMine,
}

/// What outlives an invocation.
#[derive(Default)]
struct Consumer {
    /// The ids of events that were taken. The bus delivers at least once.
    ///
    /// This forgets when Lambda ends the process, and another process doesn't know it. Where that matters, this is a table:
    /// a conditional `PutItem` in DynamoDB with a time to live, as the idempotency of Powertools for AWS Lambda does it.
    done: Mutex<HashSet<String>>,
}

impl Consumer {
    /// Takes an event, once.
    ///
    /// # Errors
    /// When `data` isn't what the catalogue says, in a type that this consumer takes.
    fn consume(&self, detail: &Detail) -> Result<Action, Unfit> {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.contains(&detail.id) {
            return Ok(Action::DoneBefore);
        }
        let action = action(detail)?;
        // The work goes here. Only what is done is noted as done: else an event whose work fails would be lost.
        done.insert(detail.id.clone());
        Ok(action)
    }
}

/// What to do. Types that this version doesn't know are no error, and neither are new members and values.
fn action(detail: &Detail) -> Result<Action, Unfit> {
    // Other types' `data` isn't read, so that a surprise in it is none of ours.
    if !matches!(detail.r#type, EventType::DirectoryUserDeleted | EventType::SsoEnabled) {
        return Ok(Action::NotMine);
    }
    Ok(match detail.typed_data()? {
        Some(Data::DirectoryUser(user)) => Action::CloseAccount { user: user.id, organization: user.organization_id },
        Some(Data::Connection(connection)) => {
            Action::TellOfConnection { connection: connection.id, organization: connection.organization_id }
        }
        _ => Action::NotMine,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ENABLED: &str = include_str!("../events/bodies/organization.sso_enabled.json");
    const DELETED: &str = include_str!("../events/bodies/organization.directory.user_deleted.json");

    /// As Lambda's runtime reads it.
    fn read(detail: &str) -> Detail {
        let event = format!(
            r#"{{"version": "0", "id": "00000000-0000-4000-8000-000000000000", "detail-type": "…", "source": "scalekit",
                "account": "123456789012", "time": "2025-10-14T09:29:27Z", "region": "eu-central-1", "resources": [],
                "detail": {detail}}}"#
        );
        serde_json::from_str::<EventBridgeEvent<Detail>>(&event).unwrap().detail
    }

    #[test]
    fn each_event_once() {
        let consumer = Consumer::default();
        let tell = Action::TellOfConnection {
            connection: "conn_94567862424830277".into(),
            organization: "org_83544995172188677".into(),
        };
        let close = Action::CloseAccount {
            user: "diruser_95434876970365909".into(),
            organization: "org_83544995172188677".into(),
        };
        assert_eq!(consumer.consume(&read(ENABLED)), Ok(tell));
        assert_eq!(consumer.consume(&read(DELETED)), Ok(close));
        assert_eq!(consumer.consume(&read(ENABLED)), Ok(Action::DoneBefore));
    }

    #[test]
    fn what_fails_is_not_done() {
        let consumer = Consumer::default();
        let mut detail = read(ENABLED);
        let id = detail.data.as_mut().unwrap().remove("id").unwrap();
        assert_eq!(consumer.consume(&detail).unwrap_err().to_string(), "not what the catalogue says: /data/id");
        detail.data.as_mut().unwrap().insert("id".into(), id);
        assert!(matches!(consumer.consume(&detail), Ok(Action::TellOfConnection { .. })));
    }

    #[test]
    fn types_and_members_that_come_later() {
        let mut event: Value = serde_json::from_str(ENABLED).unwrap();
        event["id"] = json!("evt_1");
        event["data"]["new"] = json!({"a": 1});
        event["data"]["provider"] = json!("NEW");
        assert!(matches!(action(&read(&event.to_string())), Ok(Action::TellOfConnection { .. })));
        event["type"] = json!("passkey.registered");
        assert_eq!(action(&read(&event.to_string())), Ok(Action::NotMine));
        event["type"] = json!("role.created");
        assert_eq!(action(&read(&event.to_string())), Ok(Action::NotMine), "its data is none of a role");
    }
}
