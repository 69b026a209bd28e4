//! The event in an authentic body, and its contract: the rules that it must follow. All violations are reported at once.
//!
//! An [`Event`] can only be parsed from a [`Verified`] body.

use std::{borrow::Cow, fmt};

use chrono::{DateTime, Utc};
use scalekit_events::{
    CowStr,
    catalogue::{EventType, ObjectType},
    data::Data,
    drift::Drift,
    timestamp,
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

pub use crate::json::Malformed;
use crate::{json, signature::Verified};

/// The maximum length of a Scalekit id, in characters.
const MAX_IDENTIFIER_LENGTH: usize = 32;

/// The start of an environment's id.
const ENVIRONMENT_PREFIX: &str = "env_";

/// Whether this is a valid value for the variable `ENVIRONMENT_ID`. It allows fewer characters than the contract, so that
/// typing errors are found.
#[must_use]
pub fn is_environment_id(id: &str) -> bool {
    id.len() <= MAX_IDENTIFIER_LENGTH
        && id.strip_prefix(ENVIRONMENT_PREFIX).is_some_and(|suffix| {
            !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
}

/// What to do with a well-formed `type` or `object` that the catalogue doesn't list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownEvents {
    /// Forward the event: Scalekit extends its list often, and the delivery is authentic.
    Forward,
    /// Report a violation.
    Reject,
}

/// An authentic event that follows every rule of the contract.
#[derive(Debug)]
pub struct Event<'a> {
    body: &'a str,
    id: Cow<'a, str>,
    kind: EventType,
    object: ObjectType,
    environment_id: Cow<'a, str>,
    organization_id: Option<Cow<'a, str>>,
    occurred_at: DateTime<Utc>,
    data: Option<&'a RawValue>,
}

/// Why an authentic body is not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventError {
    /// It isn't a JSON object in UTF-8 with at most 1000 levels.
    Malformed(Malformed),
    /// It is a JSON object that breaks at least one rule. The list is never empty.
    Violations(Vec<Violation>),
}

/// One broken rule of the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The JSON Pointer (RFC 6901) of the member, even if the member is missing.
    pub pointer: &'static str,
    /// What is wrong. It quotes nothing from the event except, with [`UnknownEvents::Reject`], a well-formed `type` or
    /// `object` that the catalogue doesn't list.
    pub detail: Cow<'static, str>,
}

impl<'a> Event<'a> {
    /// Parses and validates an authentic body. If `environment_id` is set, an event of another environment is a violation.
    ///
    /// # Errors
    /// [`EventError`]: the place where the body isn't valid JSON, or every violation of the contract.
    pub fn parse(
        verified: &Verified<'a>,
        unknown: UnknownEvents,
        environment_id: Option<&str>,
    ) -> Result<Self, EventError> {
        let body = json::utf8(verified.body()).map_err(EventError::Malformed)?;
        let members: Members = json::object(body).map_err(EventError::Malformed)?;

        let mut check = Check { members, violations: Vec::new() };
        check.spec_version();
        let id = check.required(Member::Id).map(|id| check.identifier(Member::Id, id, "evt_"));
        let kind = check.event_type(unknown);
        let object = check.object(unknown);
        let environment_id = check.environment_id(environment_id);
        let occurred_at = check.occurred_at();
        let organization_id =
            check.optional(Member::OrganizationId).map(|id| check.identifier(Member::OrganizationId, id, "org_"));
        check.display_name();
        let data = check.data();

        match (id, kind, object, environment_id, occurred_at) {
            (Some(id), Some(kind), Some(object), Some(environment_id), Some(occurred_at))
                if check.violations.is_empty() =>
            {
                Ok(Self { body, id, kind, object, environment_id, organization_id, occurred_at, data })
            }
            _ => Err(EventError::Violations(check.violations)),
        }
    }

    /// The body exactly as received.
    #[must_use]
    pub fn body(&self) -> &'a str {
        self.body
    }

    /// `id`: `evt_…`. Consumers de-duplicate on it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `type`: the kind of event.
    #[must_use]
    pub fn event_type(&self) -> &EventType {
        &self.kind
    }

    /// `object`: the kind of thing that the event is about.
    #[must_use]
    pub fn object(&self) -> &ObjectType {
        &self.object
    }

    /// `environment_id`: `env_…`.
    #[must_use]
    pub fn environment_id(&self) -> &str {
        &self.environment_id
    }

    /// `organization_id`: `org_…`, for events about an organization.
    #[must_use]
    pub fn organization_id(&self) -> Option<&str> {
        self.organization_id.as_deref()
    }

    /// `occurred_at`, as an instant.
    #[must_use]
    pub fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at
    }

    /// Where `data` differs from the type that `scalekit_events::data` declares for it. That is no reason to refuse the
    /// event.
    ///
    /// Empty when `data` is absent or the type isn't in the catalogue.
    #[must_use]
    pub fn drift(&self) -> Drift {
        match (self.kind.family(), self.data) {
            (Some(family), Some(data)) => Data::drift(family, data.get()),
            _ => Drift::default(),
        }
    }
}

/// The members that the contract has rules for. Scalekit may send others.
#[derive(Debug, Clone, Copy)]
enum Member {
    SpecVersion,
    Id,
    Type,
    Object,
    EnvironmentId,
    OccurredAt,
    OrganizationId,
    DisplayName,
    Data,
}

impl Member {
    const POINTERS: [&str; 9] = [
        "/spec_version",
        "/id",
        "/type",
        "/object",
        "/environment_id",
        "/occurred_at",
        "/organization_id",
        "/display_name",
        "/data",
    ];
}

/// The members' JSON, and whether a member is repeated: two parsers could read a repeated member in two ways.
#[derive(Default)]
struct Members<'a> {
    values: [Option<&'a RawValue>; Member::POINTERS.len()],
    repeated: [bool; Member::POINTERS.len()],
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some(MemberIndex(member)) = map.next_key()? {
                    if let Some(member) = member {
                        let value = map.next_value()?;
                        members.repeated[member] |= members.values[member].replace(value).is_some();
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// The index of a member, if the contract has rules for it.
struct MemberIndex(Option<usize>);

impl<'de> Deserialize<'de> for MemberIndex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl Visitor<'_> for NameVisitor {
            type Value = MemberIndex;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
            }

            fn visit_str<E>(self, name: &str) -> Result<MemberIndex, E> {
                Ok(MemberIndex(Member::POINTERS.iter().position(|pointer| pointer[1..] == *name)))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// Checks the members one by one and collects the violations.
struct Check<'a> {
    members: Members<'a>,
    violations: Vec<Violation>,
}

impl<'a> Check<'a> {
    fn add_violation(&mut self, member: Member, detail: impl Into<Cow<'static, str>>) {
        self.violations.push(Violation { pointer: Member::POINTERS[member as usize], detail: detail.into() });
    }

    fn value(&mut self, member: Member) -> Option<&'a RawValue> {
        if self.members.repeated[member as usize] {
            self.add_violation(member, "appears more than once");
            return None;
        }
        self.members.values[member as usize]
    }

    fn required(&mut self, member: Member) -> Option<Cow<'a, str>> {
        if self.members.values[member as usize].is_none() {
            self.add_violation(member, "is required");
        }
        self.optional(member)
    }

    fn optional(&mut self, member: Member) -> Option<Cow<'a, str>> {
        let raw = self.value(member)?.get();
        if !raw.starts_with('"') {
            self.add_violation(member, "must be a string");
            return None;
        }
        // The JSON is valid, so this only fails on an escape sequence that isn't a character: half of a surrogate pair.
        let Ok(CowStr(text)) = serde_json::from_str(raw) else {
            self.add_violation(member, "must be a string of Unicode characters");
            return None;
        };
        Some(text)
    }

    fn length(&mut self, member: Member, text: &str, at_most: usize) {
        if !(1..=at_most).contains(&text.chars().count()) {
            self.add_violation(member, format!("must be 1 to {at_most} characters long"));
        }
    }

    fn identifier(&mut self, member: Member, id: Cow<'a, str>, prefix: &str) -> Cow<'a, str> {
        self.length(member, &id, MAX_IDENTIFIER_LENGTH);
        if !id.starts_with(prefix) {
            self.add_violation(member, format!("must start with `{prefix}`"));
        }
        id
    }

    fn spec_version(&mut self) {
        if let Some(version) = self.required(Member::SpecVersion)
            && (version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()))
        {
            self.add_violation(Member::SpecVersion, "must be one or more digits");
        }
    }

    fn event_type(&mut self, unknown: UnknownEvents) -> Option<EventType> {
        let text = self.required(Member::Type)?;
        let Ok(event_type) = EventType::parse(&text) else {
            self.add_violation(
                Member::Type,
                "must be two or more words of `a-z`, `0-9` and `_` joined by `.`, at most 128 characters in all",
            );
            return None;
        };
        if unknown == UnknownEvents::Reject && !event_type.is_known() {
            self.add_violation(Member::Type, format!("`{event_type}` is not in the catalogue of event types"));
        }
        Some(event_type)
    }

    fn object(&mut self, unknown: UnknownEvents) -> Option<ObjectType> {
        let text = self.required(Member::Object)?;
        let Ok(object) = ObjectType::parse(&text) else {
            self.add_violation(Member::Object, "must be 1 to 64 characters of `A-Z`, `a-z`, `0-9` and `_`");
            return None;
        };
        if unknown == UnknownEvents::Reject && !object.is_known() {
            self.add_violation(Member::Object, format!("`{object}` is not in the catalogue of objects"));
        }
        Some(object)
    }

    fn environment_id(&mut self, expected: Option<&str>) -> Option<Cow<'a, str>> {
        let id = self.required(Member::EnvironmentId)?;
        if expected.is_some_and(|expected| expected != id) {
            self.add_violation(Member::EnvironmentId, "must be the id of the environment that this function accepts");
        }
        Some(self.identifier(Member::EnvironmentId, id, ENVIRONMENT_PREFIX))
    }

    fn occurred_at(&mut self) -> Option<DateTime<Utc>> {
        let text = self.required(Member::OccurredAt)?;
        let occurred_at = timestamp::parse(&text);
        if occurred_at.is_none() {
            self.add_violation(Member::OccurredAt, "must be an RFC 3339 date-time");
        }
        occurred_at
    }

    fn display_name(&mut self) {
        if let Some(name) = self.optional(Member::DisplayName) {
            self.length(Member::DisplayName, &name, 200);
        }
    }

    fn data(&mut self) -> Option<&'a RawValue> {
        let data = self.value(Member::Data)?;
        if !data.get().starts_with('{') {
            self.add_violation(Member::Data, "must be an object");
        }
        Some(data)
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Violations(violations) => {
                for (index, Violation { pointer, detail }) in violations.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{pointer} {detail}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for EventError {}
