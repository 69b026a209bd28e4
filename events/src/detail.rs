//! The `detail` of an EventBridge event. It is the Scalekit event, unchanged.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    catalogue::{EventType, ObjectType},
    data::{Data, DataError},
    timestamp::Timestamp,
};

/// A Scalekit event, as the `detail` of an EventBridge event.
///
/// Serializing it gives back the JSON that it was deserialized from, including unknown members and every `null` in
/// `data`. Only `organization_id`, `display_name` and `data` are left out if they are `null`. `serde_json` sets two limits:
/// it reads numbers that are not 64-bit integers as `f64`, and it refuses JSON with more than 128 levels of nesting.
///
/// Strings can have any length, because the webhook function doesn't refuse an event whose real members are longer or
/// shorter than Scalekit publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
pub struct Detail {
    /// The version of Scalekit's event format, in digits.
    #[cfg_attr(feature = "schemas", schemars(extend("pattern" = "^[0-9]+$")))]
    pub spec_version: String,
    /// The ID of the event: `evt_…`. It is the same each time the event is delivered, so use it to discard duplicates.
    #[cfg_attr(feature = "schemas", schemars(extend("pattern" = "^evt_")))]
    pub id: String,
    /// What happened. It is also the event's detail-type.
    pub r#type: EventType,
    /// The kind of object that the event is about.
    pub object: ObjectType,
    /// The ID of the environment: `env_…`.
    #[cfg_attr(feature = "schemas", schemars(extend("pattern" = "^env_")))]
    pub environment_id: String,
    /// When the event happened, with up to nanosecond precision.
    #[cfg_attr(feature = "schemas", schemars(extend("format" = "date-time")))]
    pub occurred_at: Timestamp,
    /// The ID of the organization that the event belongs to, if any: `org_…`. May be empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<String>,
    /// A readable name of the event, such as `User Logged In`. May be empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// The data of the event, as JSON. [`Detail::typed_data`] reads it as a type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Map<String, Value>>,
    /// Members that this type doesn't declare.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Detail {
    /// Reads `data` as the type that belongs to the event type; `None` if `data` is missing or the event type is
    /// unknown.
    ///
    /// # Errors
    /// [`DataError`] if a required member of `data` is missing or `null`, or if a member has the wrong JSON type.
    /// In that case, [`Detail::data`] still contains the JSON.
    pub fn typed_data(&self) -> Result<Option<Data>, DataError> {
        let (Some(family), Some(data)) = (self.r#type.family(), &self.data) else {
            return Ok(None);
        };
        Data::read(family, data).map(Some)
    }
}
