//! The event in an authentic body, and the rules that it must follow. All violations are reported at once.
//!
//! An [`Event`] can only be parsed from a [`Verified`] body. What routing, de-duplication and ordering need is essential: an
//! event that deviates from it is always refused. A deviation from anything else that Scalekit publishes is [`Drift`], for
//! which an event is only refused with [`Validation::Strict`].

use std::{borrow::Cow, fmt};

use chrono::{DateTime, Utc};
use scalekit_events::{
    CowStr,
    catalogue::{EventType, ObjectType},
    data::Data,
    drift::{Deviation, Drift},
    timestamp,
};
use serde_json::value::RawValue;

pub use crate::json::Malformed;
use crate::{json, signature::Verified};

/// The maximum length of a Scalekit id, in characters.
const MAX_IDENTIFIER_LENGTH: usize = 32;

/// The maximum length of a display name, in characters.
const MAX_DISPLAY_NAME_LENGTH: usize = 200;

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

/// How closely an event must follow the format that Scalekit publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// The essential members must be valid. Any other deviation is drift: the delivery is authentic, and Scalekit's real
    /// events differ from its documentation.
    Tolerant,
    /// The event must have no drift, and the catalogue must list its `type` and its `object`.
    Strict,
}

/// An authentic event that follows the rules.
#[derive(Debug)]
pub struct Event<'a> {
    body: &'a str,
    id: Cow<'a, str>,
    kind: EventType,
    object: ObjectType,
    environment_id: Cow<'a, str>,
    organization_id: Option<Cow<'a, str>>,
    occurred_at: DateTime<Utc>,
    /// The drift outside of `data`.
    drift: Drift,
    /// The object in `data`, if it has not been compared with the catalogue yet.
    uncompared_data: Option<&'a RawValue>,
}

/// Why an authentic body is not an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventError {
    /// It isn't a JSON object in UTF-8 with at most 1000 levels.
    Malformed(Malformed),
    /// It is a JSON object that breaks at least one rule. The list is never empty. It quotes nothing from the event except,
    /// with [`Validation::Strict`], a well-formed `type` or `object` that the catalogue doesn't list.
    Violations(Vec<Deviation>),
}

impl<'a> Event<'a> {
    /// Parses and validates an authentic body. If `environment_id` is set, an event of another environment is a violation.
    ///
    /// # Errors
    /// [`EventError`]: the place where the body isn't valid JSON, or every violation of the rules.
    pub fn parse(
        verified: &Verified<'a>,
        validation: Validation,
        environment_id: Option<&str>,
    ) -> Result<Self, EventError> {
        let body = json::utf8(verified.body()).map_err(EventError::Malformed)?;
        let members = json::object::<json::Members>(body).map_err(EventError::Malformed)?.into();

        let mut check = Check { members, validation, violations: Vec::new(), drift: Drift::default() };
        check.spec_version();
        let id = check.id();
        let kind = check.event_type();
        let object = check.object();
        let environment_id = check.environment_id(environment_id);
        let occurred_at = check.occurred_at();
        let organization_id = check.organization_id();
        check.display_name();
        let uncompared_data = check.data(kind.as_ref());

        let Check { violations, drift, .. } = check;
        match (id, kind, object, environment_id, occurred_at) {
            (Some(id), Some(kind), Some(object), Some(environment_id), Some(occurred_at)) if violations.is_empty() => {
                Ok(Self {
                    body,
                    id,
                    kind,
                    object,
                    environment_id,
                    organization_id,
                    occurred_at,
                    drift,
                    uncompared_data,
                })
            }
            _ => Err(EventError::Violations(violations)),
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

    /// `organization_id`: `org_…`, for events about an organization. It can be any string if [`Event::drift`] contains it.
    #[must_use]
    pub fn organization_id(&self) -> Option<&str> {
        self.organization_id.as_deref()
    }

    /// `occurred_at`, as an instant.
    #[must_use]
    pub fn occurred_at(&self) -> DateTime<Utc> {
        self.occurred_at
    }

    /// Where the event differs from the format that Scalekit publishes.
    ///
    /// This compares `data` with the catalogue, unless the type isn't in the catalogue. The comparison is not a part of
    /// parsing with [`Validation::Tolerant`], so that it doesn't delay the event.
    #[must_use]
    pub fn drift(&self) -> Drift {
        let mut drift = self.drift.clone();
        if let (Some(family), Some(data)) = (self.kind.family(), self.uncompared_data) {
            drift.extend(Data::drift(family, data.get()));
        }
        drift
    }
}

/// The members that have rules. Scalekit may send others.
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

impl<'a> From<json::Members<'a>> for Members<'a> {
    fn from(all: json::Members<'a>) -> Self {
        let mut members = Self::default();
        for (name, value) in all.0 {
            if let Some(member) = Member::POINTERS.iter().position(|pointer| pointer[1..] == *name) {
                members.repeated[member] |= members.values[member].replace(value).is_some();
            }
        }
        members
    }
}

/// Checks the members one by one, and collects the violations and the drift.
struct Check<'a> {
    members: Members<'a>,
    validation: Validation,
    violations: Vec<Deviation>,
    drift: Drift,
}

impl<'a> Check<'a> {
    /// Reports a deviation for which the event is always refused.
    fn add_violation(&mut self, member: Member, detail: impl Into<Cow<'static, str>>) {
        self.violations.push(deviation(member, detail));
    }

    /// Reports a deviation for which the event is only refused by [`Validation::Strict`].
    fn add_drift(&mut self, member: Member, detail: impl Into<Cow<'static, str>>) {
        match self.validation {
            Validation::Tolerant => self.drift.extend([deviation(member, detail)]),
            Validation::Strict => self.add_violation(member, detail),
        }
    }

    fn value(&mut self, member: Member) -> Option<&'a RawValue> {
        if self.members.repeated[member as usize] {
            self.add_violation(member, "appears more than once");
            return None;
        }
        self.members.values[member as usize]
    }

    /// The string in an essential member, which is a violation if it is missing or isn't a string.
    fn essential(&mut self, member: Member) -> Option<Cow<'a, str>> {
        if self.members.values[member as usize].is_none() {
            self.add_violation(member, "is required");
        }
        match CowStr::read(self.value(member)?.get()) {
            Ok(CowStr(text)) => Some(text),
            Err(rule) => {
                self.add_violation(member, rule);
                None
            }
        }
    }

    /// The string in an informational member, which is drift if it isn't a string.
    fn informational(&mut self, member: Member) -> Option<Cow<'a, str>> {
        match CowStr::read(self.value(member)?.get()) {
            Ok(CowStr(text)) => Some(text),
            Err(rule) => {
                self.add_drift(member, rule);
                None
            }
        }
    }

    /// The prefix of an essential id is essential, too. Its length is not.
    fn essential_id(&mut self, member: Member, id: &str, prefix: &str) {
        if !id.starts_with(prefix) {
            self.add_violation(member, format!("must start with `{prefix}`"));
        }
        self.length(member, id, MAX_IDENTIFIER_LENGTH);
    }

    fn length(&mut self, member: Member, text: &str, at_most: usize) {
        if !(1..=at_most).contains(&text.chars().count()) {
            self.add_drift(member, format!("must be 1 to {at_most} characters long"));
        }
    }

    fn id(&mut self) -> Option<Cow<'a, str>> {
        let id = self.essential(Member::Id)?;
        self.essential_id(Member::Id, &id, "evt_");
        Some(id)
    }

    fn spec_version(&mut self) {
        if let Some(version) = self.essential(Member::SpecVersion)
            && (version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()))
        {
            self.add_violation(Member::SpecVersion, "must be one or more digits");
        }
    }

    fn event_type(&mut self) -> Option<EventType> {
        let text = self.essential(Member::Type)?;
        let Ok(event_type) = EventType::parse(&text) else {
            self.add_violation(
                Member::Type,
                "must be two or more words of `a-z`, `0-9` and `_` joined by `.`, at most 128 characters in all",
            );
            return None;
        };
        if self.validation == Validation::Strict && !event_type.is_known() {
            self.add_violation(Member::Type, format!("`{event_type}` is not in the catalogue of event types"));
        }
        Some(event_type)
    }

    fn object(&mut self) -> Option<ObjectType> {
        let text = self.essential(Member::Object)?;
        let Ok(object) = ObjectType::parse(&text) else {
            self.add_violation(Member::Object, "must be 1 to 64 characters of `A-Z`, `a-z`, `0-9` and `_`");
            return None;
        };
        if self.validation == Validation::Strict && !object.is_known() {
            self.add_violation(Member::Object, format!("`{object}` is not in the catalogue of objects"));
        }
        Some(object)
    }

    fn environment_id(&mut self, expected: Option<&str>) -> Option<Cow<'a, str>> {
        let id = self.essential(Member::EnvironmentId)?;
        if expected.is_some_and(|expected| expected != id) {
            self.add_violation(Member::EnvironmentId, "must be the id of the environment that this function accepts");
        }
        self.essential_id(Member::EnvironmentId, &id, ENVIRONMENT_PREFIX);
        Some(id)
    }

    fn occurred_at(&mut self) -> Option<DateTime<Utc>> {
        let text = self.essential(Member::OccurredAt)?;
        let occurred_at = timestamp::parse(&text);
        if occurred_at.is_none() {
            self.add_violation(Member::OccurredAt, "must be an RFC 3339 date-time");
        }
        occurred_at
    }

    fn organization_id(&mut self) -> Option<Cow<'a, str>> {
        let id = self.informational(Member::OrganizationId)?;
        if !id.starts_with("org_") {
            self.add_drift(Member::OrganizationId, "must start with `org_`");
        }
        self.length(Member::OrganizationId, &id, MAX_IDENTIFIER_LENGTH);
        Some(id)
    }

    fn display_name(&mut self) {
        if let Some(name) = self.informational(Member::DisplayName) {
            self.length(Member::DisplayName, &name, MAX_DISPLAY_NAME_LENGTH);
        }
    }

    /// Returns the object in `data`, unless it has been compared with the catalogue already.
    fn data(&mut self, kind: Option<&EventType>) -> Option<&'a RawValue> {
        let data = self.value(Member::Data)?;
        if !data.get().starts_with('{') {
            self.add_drift(Member::Data, "must be an object");
            return None;
        }
        match (self.validation, kind.and_then(EventType::family)) {
            (Validation::Strict, Some(family)) => {
                self.violations.extend(Data::drift(family, data.get()));
                None
            }
            _ => Some(data),
        }
    }
}

fn deviation(member: Member, detail: impl Into<Cow<'static, str>>) -> Deviation {
    Deviation { pointer: Member::POINTERS[member as usize].into(), detail: detail.into() }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Violations(violations) => {
                for (index, Deviation { pointer, detail }) in violations.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "; " };
                    write!(f, "{separator}{pointer} {detail}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for EventError {}
