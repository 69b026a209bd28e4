//! The contract's section 2, said a second time: as a JSON Schema, for another library to judge events by.

use std::{collections::BTreeSet, sync::LazyLock};

use jsonschema::{Validator, error::ValidationErrorKind};
use scalekit_eventbridge::event::UnknownEvents;
use serde_json::{Value, json};

/// The contract's section 3: the family of `data`, the object, and the types, in a line each.
pub const CATALOGUE: &[(&str, &str, &str)] = &[
    ("Organization", "Organization", "organization.created organization.updated organization.deleted"),
    (
        "OrganizationDomain",
        "Organization",
        "organization.domain_created organization.domain_deleted organization.domain_dns_verification_success \
         organization.domain_dns_verification_failed",
    ),
    (
        "OrgMembership",
        "OrgMembership",
        "user.signup user.organization_invitation user.organization_membership_created \
         user.organization_membership_deleted user.organization_membership_updated",
    ),
    ("UserAuth", "User", "user.login user.logout"),
    ("Directory", "Directory", "organization.directory_enabled organization.directory_disabled"),
    (
        "DirectoryUser",
        "DirectoryUser",
        "organization.directory.user_created organization.directory.user_updated organization.directory.user_deleted",
    ),
    (
        "DirectoryGroup",
        "DirectoryGroup",
        "organization.directory.group_created organization.directory.group_updated \
         organization.directory.group_deleted",
    ),
    (
        "Connection",
        "Connection",
        "organization.sso_created organization.sso_enabled organization.sso_disabled organization.sso_deleted",
    ),
    ("Role", "Role", "role.created role.updated role.deleted"),
    ("Permission", "Permission", "permission.created permission.updated permission.deleted"),
    (
        "ConnectedAccount",
        "ConnectedAccount",
        "connected_account.created connected_account.updated connected_account.deleted \
         connected_account.magic_link_generated connected_account.oauth_tokens_fetched \
         connected_account.token_refresh_succeeded connected_account.token_refresh_failed \
         connected_account.oauth_succeeded",
    ),
    ("ConnectedAccountStatusUpdated", "ConnectedAccount", "connected_account.status_updated"),
];

/// The members that the contract has rules for.
pub const MEMBERS: [&str; 9] = [
    "spec_version",
    "id",
    "type",
    "object",
    "environment_id",
    "occurred_at",
    "organization_id",
    "display_name",
    "data",
];

/// Every event type of the catalogue.
pub fn types() -> Vec<&'static str> {
    CATALOGUE.iter().flat_map(|(_, _, types)| types.split_whitespace()).collect()
}

/// Every object of the catalogue.
pub fn objects() -> BTreeSet<&'static str> {
    CATALOGUE.iter().map(|(_, object, _)| *object).collect()
}

static OPEN: LazyLock<Validator> = LazyLock::new(|| {
    validator(
        &json!({"type": "string", "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)+$", "maxLength": 128}),
        &json!({"type": "string", "pattern": "^[A-Za-z0-9_]{1,64}$"}),
    )
});

static CLOSED: LazyLock<Validator> =
    LazyLock::new(|| validator(&json!({"enum": types()}), &json!({"enum": objects()})));

fn validator(event_type: &Value, object: &Value) -> Validator {
    let identifier = |pattern| json!({"type": "string", "minLength": 1, "maxLength": 32, "pattern": pattern});
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["spec_version", "id", "type", "object", "environment_id", "occurred_at"],
        "properties": {
            "spec_version": {"type": "string", "pattern": "^[0-9]+$"},
            "id": identifier("^evt_"),
            "type": event_type,
            "object": object,
            "environment_id": identifier("^env_"),
            "occurred_at": {"type": "string", "format": "date-time"},
            "organization_id": identifier("^org_"),
            "display_name": {"type": "string", "minLength": 1, "maxLength": 200},
            "data": {"type": "object"},
        },
    });
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

/// The pointers of all members at fault; a missing member's is its own, as if it were there.
pub fn faults(event: &Value, unknown: UnknownEvents) -> BTreeSet<String> {
    let validator = match unknown {
        UnknownEvents::Forward => &OPEN,
        UnknownEvents::Reject => &CLOSED,
    };
    let pointer = |error: jsonschema::ValidationError<'_>| match error.kind() {
        ValidationErrorKind::Required { property } => format!("/{}", property.as_str().unwrap()),
        _ => error.instance_path().to_string(),
    };
    validator.iter_errors(event).map(pointer).collect()
}

/// What the schema's library says of a date-time.
pub fn is_date_time(text: &str) -> bool {
    static DATE_TIME: LazyLock<Validator> = LazyLock::new(|| {
        let schema = json!({"format": "date-time"});
        jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
    });
    DATE_TIME.is_valid(&json!(text))
}
