//! Scalekit's webhook events as Rust types, for programs that receive the events from EventBridge.
//!
//! The webhook function puts each event on the bus unchanged, as the `detail` of an EventBridge event.
//! [`Detail`](detail::Detail) is the type of that `detail`. Combine it with a type for EventBridge's envelope, such as
//! `EventBridgeEvent<Detail>` from the crate `aws_lambda_events`. [`Detail::typed_data`](detail::Detail::typed_data)
//! reads the event's `data`, whose type depends on the event type.
//!
//! ```
//! use scalekit_events::{catalogue::EventType, data::Data, detail::Detail};
//!
//! let detail: Detail = serde_json::from_str(
//!     r#"{
//!         "spec_version": "1", "id": "evt_1", "type": "organization.sso_enabled", "object": "Connection",
//!         "environment_id": "env_1", "occurred_at": "2025-10-14T09:29:27Z",
//!         "data": {"id": "conn_1", "organization_id": "org_1", "provider": null, "enabled": true}
//!     }"#,
//! )?;
//! assert_eq!(detail.r#type, EventType::SsoEnabled);
//! if let Some(Data::Connection(connection)) = detail.typed_data()? {
//!     assert_eq!(connection.id, "conn_1");
//!     assert_eq!(connection.enabled, Some(true));
//!     assert_eq!(connection.provider, None);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`catalogue`] | the event types and object names that Scalekit publishes |
//! | [`detail`] | [`Detail`](detail::Detail), the `detail` of an EventBridge event |
//! | [`data`] | [`Data`](data::Data), with one type for each family of event types |
//! | [`drift`] | [`Drift`](drift::Drift), where an event differs from the format that Scalekit publishes |
//! | [`timestamp`] | RFC 3339 date-times |
//! | `schemas` | JSON Schema and OpenAPI documents of the events; needs the feature `schemas` |

mod cow_str;
mod open_enum;
mod shape;

pub mod catalogue;
pub mod data;
pub mod detail;
pub mod drift;
#[cfg(feature = "schemas")]
pub mod schemas;
pub mod timestamp;

pub use cow_str::CowStr;
pub use open_enum::{NotWellFormed, UnknownValue};
