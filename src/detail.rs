//! What does a consumer find in an event's `detail`? The vendor's event, as this function forwarded it.
//!
//! For consumers in Rust, with the envelope of their choice, such as `aws_lambda_events`' `EventBridgeEvent<Detail>`.
//! A tolerant reader: what the bus carries passed the contract, and members that this version doesn't know are kept.
//!
//! ```
//! use scalekit_eventbridge::{data::Data, detail::Detail};
//!
//! let detail: Detail = serde_json::from_str(
//!     r#"{
//!         "spec_version": "1", "id": "evt_1", "type": "organization.sso_enabled", "object": "Connection",
//!         "environment_id": "env_1", "occurred_at": "2025-10-14T09:29:27Z",
//!         "data": {"id": "conn_1", "organization_id": "org_1", "provider": null, "enabled": true}
//!     }"#,
//! )?;
//! if let Some(Data::Connection(connection)) = detail.typed_data()? {
//!     assert_eq!((connection.id.as_str(), connection.enabled, connection.provider), ("conn_1", Some(true), None));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    catalogue::{EventType, ObjectType},
    data::{Data, Unfit},
    timestamp,
};

/// The `detail` of a forwarded event.
///
/// Serializing it gives back the JSON that came in, `null` and missing members alike, since `data` stays as it is and is
/// read by [`Detail::typed_data`]. Numbers are `serde_json`'s, which holds whole ones of 64 bits and others as `f64`; and
/// it reads no more than 128 levels, of the 1000 that the bus takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct Detail {
    /// The version of the vendor's event format: digits.
    #[cfg_attr(feature = "schemas", schemars(extend("pattern" = "^[0-9]+$")))]
    pub spec_version: String,
    /// `evt_…`, the same each time the event is delivered: de-duplicate on it.
    #[cfg_attr(feature = "schemas", schemars(length(max = 32), extend("pattern" = "^evt_")))]
    pub id: String,
    /// What happened; the event's detail-type too.
    pub r#type: EventType,
    /// What it happened to.
    pub object: ObjectType,
    /// `env_…`
    #[cfg_attr(feature = "schemas", schemars(length(max = 32), extend("pattern" = "^env_")))]
    pub environment_id: String,
    /// When, as the vendor wrote it: RFC 3339, to the nanosecond. See [`Detail::instant`].
    #[cfg_attr(feature = "schemas", schemars(description = "When, to the nanosecond.", extend("format" = "date-time")))]
    pub occurred_at: String,
    /// `org_…`, for events about an organization.
    #[cfg_attr(feature = "schemas", schemars(with = "String", length(max = 32), extend("pattern" = "^org_")))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// What the event is called for people.
    #[cfg_attr(feature = "schemas", schemars(with = "String", length(min = 1, max = 200)))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// What the event is about; its shape is the type's [`family`](EventType::family). See [`Detail::typed_data`].
    #[cfg_attr(feature = "schemas", schemars(with = "Map<String, Value>"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
    /// Members that this version doesn't know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Detail {
    /// `occurred_at` as an instant; `None` only for an event that this function didn't forward.
    #[must_use]
    pub fn instant(&self) -> Option<DateTime<Utc>> {
        timestamp::parse(&self.occurred_at)
    }

    /// `data` as the type that the event's type tells; `None` when there is no `data` or the type isn't catalogued.
    ///
    /// # Errors
    /// [`Unfit`] when `data` isn't what the catalogue says, where [`Detail::data`] still has it.
    pub fn typed_data(&self) -> Result<Option<Data>, Unfit> {
        let (Some(family), Some(data)) = (self.r#type.family(), &self.data) else {
            return Ok(None);
        };
        Data::read(family, data).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serializing_gives_back_what_came_in() {
        let event = serde_json::json!({
            "spec_version": "1", "id": "evt_1", "type": "organization.sso_enabled", "object": "Connection",
            "environment_id": "env_1", "occurred_at": "2025-10-14T09:29:27.098914861Z", "organization_id": "org_1",
            "display_name": "SSO", "data": {"id": "conn_1", "provider": null}, "new_member": [1]
        });
        let detail: Detail = serde_json::from_value(event.clone()).unwrap();
        assert_eq!(detail.r#type, EventType::SsoEnabled);
        assert_eq!(detail.object, ObjectType::Connection);
        assert_eq!(detail.instant().unwrap().timestamp_subsec_nanos(), 98_914_861);
        assert_eq!(serde_json::to_value(&detail).unwrap(), event);
    }

    #[test]
    fn a_type_that_this_version_does_not_know() {
        let event = serde_json::json!({
            "spec_version": "2", "id": "evt_1", "type": "passkey.registered", "object": "Passkey",
            "environment_id": "env_1", "occurred_at": "2027-01-01T00:00:00Z"
        });
        let detail: Detail = serde_json::from_value(event.clone()).unwrap();
        assert_eq!((detail.r#type.as_str(), detail.r#type.family()), ("passkey.registered", None));
        assert_eq!(serde_json::to_value(&detail).unwrap(), event);
    }

    #[test]
    fn what_is_no_type_is_no_detail() {
        let error = serde_json::from_str::<EventType>("\"Organization\"").unwrap_err();
        assert!(error.to_string().starts_with("not the name of a Scalekit EventType"), "{error}");
    }
}
