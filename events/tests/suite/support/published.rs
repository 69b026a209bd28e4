//! The catalogue as Scalekit publishes it, copied here independently of the crate's own tables. The tests compare the
//! two, so a mistake in one of them makes a test fail.

use serde_json::{Value, json};

/// A family of event types, which share one type of `data`.
pub struct Family {
    pub name: &'static str,
    /// The `object` of its events.
    pub object: &'static str,
    /// The event types, separated by spaces.
    pub event_types: &'static str,
    /// The members of `data`, separated by spaces. Each is `name:kind`, or only `name` if its kind is `string`. A
    /// required member starts with `*`.
    members: &'static str,
    /// The members of `detail` that identify the object, that contain personal data, and that are secrets, each separated
    /// by spaces. Scalekit doesn't publish them in this form: they follow from its descriptions.
    pub key: &'static str,
    pub personal: &'static str,
    pub secret: &'static str,
}

pub const FAMILIES: &[Family] = &[
    Family {
        name: "Organization",
        object: "Organization",
        event_types: "organization.created organization.updated organization.deleted",
        members: "*id:org_ *display_name external_id region_code create_time:date-time update_time:date-time \
                  deleted_at:date-time metadata:object settings:object",
        key: "data.id",
        personal: "",
        secret: "",
    },
    Family {
        name: "OrganizationDomain",
        object: "Organization",
        event_types: "organization.domain_created organization.domain_deleted \
                      organization.domain_dns_verification_success organization.domain_dns_verification_failed",
        members: "*id:dom_ *domain *domain_type *organization_id:org_ *environment_id:env_ txt_record_key \
                  txt_record_secret *verification_status verification_method updated_at:date-time",
        key: "data.id",
        personal: "",
        secret: "data.txt_record_secret",
    },
    Family {
        name: "OrgMembership",
        object: "OrgMembership",
        event_types: "user.signup user.organization_invitation user.organization_membership_created \
                      user.organization_membership_deleted user.organization_membership_updated",
        members: "*organization:object *user:object",
        key: "data.organization.id data.user.id",
        personal: "data.user",
        secret: "",
    },
    Family {
        name: "UserAuth",
        object: "User",
        event_types: "user.login user.logout",
        members: "*user:object *user_session:object",
        key: "data.user_session.session_id",
        personal: "data.user data.user_session",
        secret: "",
    },
    Family {
        name: "Directory",
        object: "Directory",
        event_types: "organization.directory_enabled organization.directory_disabled",
        members: "*id:dir_ *organization_id:org_ directory_type provider enabled:boolean updated_at:date-time",
        key: "data.id",
        personal: "",
        secret: "",
    },
    Family {
        name: "DirectoryUser",
        object: "DirectoryUser",
        event_types: "organization.directory.user_created organization.directory.user_updated \
                      organization.directory.user_deleted",
        members: "*id:diruser_ *organization_id:org_ active:boolean email given_name family_name name \
                  preferred_username dp_id employee_id department cost_center division title user_type phone_number \
                  language locale zoneinfo organization nickname profile groups:array roles:array \
                  custom_attributes:object raw_attributes:object picture address:object",
        key: "data.id",
        personal: "data",
        secret: "",
    },
    Family {
        name: "DirectoryGroup",
        object: "DirectoryGroup",
        event_types: "organization.directory.group_created organization.directory.group_updated \
                      organization.directory.group_deleted",
        members: "*id:dirgroup_ *organization_id:org_ directory_id:dir_ display_name external_id dp_id \
                  raw_attributes:object",
        key: "data.id",
        personal: "data.raw_attributes",
        secret: "",
    },
    Family {
        name: "Connection",
        object: "Connection",
        event_types: "organization.sso_created organization.sso_enabled organization.sso_disabled \
                      organization.sso_deleted",
        members: "*id:conn_ *organization_id:org_ connection_type provider enabled:boolean status",
        key: "data.id",
        personal: "",
        secret: "",
    },
    Family {
        name: "Role",
        object: "Role",
        event_types: "role.created role.updated role.deleted",
        members: "*id *name display_name description extends",
        key: "data.id",
        personal: "",
        secret: "",
    },
    Family {
        name: "Permission",
        object: "Permission",
        event_types: "permission.created permission.updated permission.deleted",
        members: "*id *name description",
        key: "data.id",
        personal: "",
        secret: "",
    },
    Family {
        name: "ConnectedAccount",
        object: "ConnectedAccount",
        event_types: "connected_account.created connected_account.updated connected_account.deleted \
                      connected_account.magic_link_generated connected_account.oauth_tokens_fetched \
                      connected_account.token_refresh_succeeded connected_account.token_refresh_failed \
                      connected_account.oauth_succeeded",
        members: "*id:ca_ *identifier *connection_id:conn_ connection_name *provider authorization_type *status \
                  token_expires_at:date-time last_used_at:date-time",
        key: "data.id",
        personal: "data.identifier",
        secret: "data.magic_link",
    },
    Family {
        name: "ConnectedAccountStatusUpdated",
        object: "ConnectedAccount",
        event_types: "connected_account.status_updated",
        members: "*id:ca_ *identifier *connection_id:conn_ connection_name *provider *authorization_type *status \
                  *old_status",
        key: "data.id",
        personal: "data.identifier",
        secret: "",
    },
];

pub const DOMAIN_TYPES: &str = "ORGANIZATION_DOMAIN ALLOWED_EMAIL_DOMAIN";
pub const VERIFICATION_STATUSES: &str = "PENDING VERIFIED FAILED AUTO_VERIFIED";
pub const VERIFICATION_METHODS: &str = "ADMIN DNS NOT_APPLICABLE";
pub const AUTHORIZATION_TYPES: &str = "OAUTH API_KEY BASIC_AUTH BEARER_TOKEN CUSTOM BASIC OAUTH_M2M TRELLO_OAUTH1 \
                                       GOOGLE_DWD TRUSTED_IDP SMART_FHIR NO_AUTH";
pub const ACCOUNT_STATUSES: &str = "ACTIVE EXPIRED PENDING_AUTH PENDING_VERIFICATION DISCONNECTED";

/// A member of `data`.
pub struct Member {
    pub name: &'static str,
    pub required: bool,
    /// `string`, `date-time`, `boolean`, `object`, `array`, or the prefix of an ID.
    pub kind: &'static str,
}

const DATE_TIME: &str = "2025-10-14T09:29:27Z";

/// Returns the family of an event type.
pub fn family(event_type: &str) -> &'static Family {
    let has_type = |family: &&Family| family.event_types.split(' ').any(|name| name == event_type);
    FAMILIES.iter().find(has_type).unwrap_or_else(|| panic!("{event_type} is not in the published catalogue"))
}

impl Family {
    pub fn members(&self) -> impl Iterator<Item = Member> {
        self.members.split(' ').map(|member| {
            let (name, kind) = member.split_once(':').unwrap_or((member, "string"));
            let required = name.starts_with('*');
            Member { name: name.trim_start_matches('*'), required, kind }
        })
    }
}

impl Member {
    /// Returns values to try: the catalogue allows some of them and forbids the others.
    pub fn values(&self) -> Vec<Value> {
        let mut values =
            vec![json!(null), json!(1.5), json!(true), json!("text"), json!(DATE_TIME), json!({}), json!([])];
        if self.is_id() {
            values.extend([json!(format!("{}1", self.kind)), json!(format!("x{}1", self.kind))]);
        }
        values
    }

    /// Whether the catalogue allows a value, which must be one of the [`values`](Self::values).
    pub fn allows(&self, value: &Value) -> bool {
        match self.kind {
            _ if value.is_null() => !self.required,
            "date-time" => value == DATE_TIME,
            prefix if self.is_id() => value.as_str().is_some_and(|id| id.starts_with(prefix)),
            _ => self.allows_json_type(value),
        }
    }

    /// Whether the catalogue allows the JSON type of a value. An ID or a time can be any string.
    pub fn allows_json_type(&self, value: &Value) -> bool {
        match self.kind {
            _ if value.is_null() => !self.required,
            "boolean" => value.is_boolean(),
            "object" => value.is_object(),
            "array" => value.is_array(),
            _ => value.is_string(),
        }
    }

    pub fn is_id(&self) -> bool {
        self.kind.ends_with('_')
    }
}
