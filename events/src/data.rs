//! Typed `data`: one type for each [`Family`] of event types. [`Detail::typed_data`] reads it.
//!
//! The types are tolerant, so that a consumer keeps working when Scalekit extends its events:
//!
//! - An optional member that is missing or `null` is `None`.
//! - Members that a type doesn't declare are kept in its `other`.
//! - A value that the catalogue doesn't list is `Unknown`.
//! - IDs and times are kept as Scalekit wrote them, without validation.
//!
//! `data` can't be read if a required member is missing or `null`, or if a member has the wrong JSON type.
//! [`DataError`] then reports where.
//!
//! The catalogue defines the members of each family. It doesn't define the members of nested objects, such as `User`.
//! Those are taken from Scalekit's sample payloads, and so are `magic_link` and a directory user's `directory_id`, which
//! the catalogue leaves out. All of these members are optional.
//!
//! [`Detail::typed_data`]: crate::detail::Detail::typed_data

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    drift::Drift,
    open_enum::open_enum,
    shape::{HasShape, Member, Shape, has_shape},
    timestamp::Timestamp,
};

/// The error for `data` that can't be read as the type of its family. It contains no values of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataError(Drift);

impl DataError {
    /// The drift of `data`.
    #[must_use]
    pub fn drift(&self) -> &Drift {
        &self.0
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`data` differs from the catalogue: {}", self.0)
    }
}

impl std::error::Error for DataError {}

/// Declares [`Family`] and [`Data`] with a variant for each family. A variant of `Data` has the type of the same name.
///
/// Members are named by their path in `detail`. `key`, `personal` and `secret` are described at the methods of `Family`.
macro_rules! families {
    ($(
        $family:ident {
            key: [$($key:literal),+]
            $(, personal: [$($personal:literal),+])?
            $(, secret: [$($secret:literal),+])?
        }
    )+) => {
        /// A family of event types, which share one type of `data`.
        ///
        /// [`EventType::family`](crate::catalogue::EventType::family) returns the family of an event type.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Family {
            $(#[doc = concat!("`data` is a [`struct@", stringify!($family), "`].")] $family,)+
        }

        impl Family {
            /// Every family, in the order of the catalogue.
            pub const ALL: &[Self] = &[$(Self::$family,)+];

            /// The name of the family, which is that of the type of `data`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$family => stringify!($family),)+
                }
            }

            /// The members that identify the object that an event is about, such as `data.id`.
            ///
            /// Events with the same values of these members are the history of one object.
            #[must_use]
            pub fn key(self) -> &'static [&'static str] {
                match self {
                    $(Self::$family => &[$($key),+],)+
                }
            }

            /// The members that contain personal data. Only the ids in them that Scalekit assigns may be logged.
            #[must_use]
            pub fn personal(self) -> &'static [&'static str] {
                match self {
                    $(Self::$family => &[$($($personal),+)?],)+
                }
            }

            /// The members that contain secrets: whoever has one can act with it.
            #[must_use]
            pub fn secret(self) -> &'static [&'static str] {
                match self {
                    $(Self::$family => &[$($($secret),+)?],)+
                }
            }
        }

        /// The `data` of an event, as the type of its family.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        #[non_exhaustive]
        pub enum Data {
            $(#[doc = concat!("The `data` of [`Family::", stringify!($family), "`].")] $family(Box<$family>),)+
        }

        impl Data {
            /// Reads `data` as the type of its family.
            ///
            /// # Errors
            /// [`DataError`] if a required member is missing or `null`, or if a member has the wrong JSON type.
            pub fn read(family: Family, data: &Map<String, Value>) -> Result<Self, DataError> {
                let result = match family {
                    $(Family::$family => $family::deserialize(data).map(|data| Self::$family(Box::new(data))),)+
                };
                // serde's error is dropped because its message contains values of the event.
                result.map_err(|_| DataError(Self::drift(family, &Value::Object(data.clone()).to_string())))
            }

            /// Compares `data`, which must be valid JSON, with the catalogue.
            ///
            /// The module [`drift`](crate::drift) describes what counts as drift.
            #[must_use]
            pub fn drift(family: Family, data: &str) -> Drift {
                let shape = match family {
                    $(Family::$family => $family::SHAPE,)+
                };
                Drift::find(shape, data)
            }

            /// Adds the schema of the family's type to the generator's definitions, and returns a reference to it that also
            /// accepts `null`.
            #[cfg(feature = "schemas")]
            pub(crate) fn json_schema(family: Family, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                match family {
                    $(Family::$family => generator.subschema_for::<Option<$family>>(),)+
                }
            }
        }
    };
}

/// Declares a struct for each JSON object in `data`, and the shape of the object.
///
/// `String as "org_"` declares an ID with the prefix `org_`.
macro_rules! objects {
    ($(
        $(#[$doc:meta])*
        $name:ident {
            $(required { $($(#[$required_doc:meta])* $required:ident: $required_type:ty $(as $required_prefix:literal)?,)+ })?
            $(optional { $($(#[$optional_doc:meta])* $optional:ident: $optional_type:ty $(as $optional_prefix:literal)?,)+ })?
        }
    )+) => {$(
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "schemas", derive(schemars::JsonSchema))]
        #[non_exhaustive]
        $(#[$doc])*
        pub struct $name {
            $($(
                $(#[$required_doc])*
                pub $required: $required_type,
            )+)?
            $($(
                $(#[$optional_doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $optional: Option<$optional_type>,
            )+)?
            /// Members that this type doesn't declare.
            #[serde(flatten)]
            pub other: Map<String, Value>,
        }

        impl HasShape for $name {
            const SHAPE: Shape = Shape::Object(&[
                $($(Member {
                    name: stringify!($required),
                    required: true,
                    shape: shape!($required_type $(as $required_prefix)?),
                },)+)?
                $($(Member {
                    name: stringify!($optional),
                    required: false,
                    shape: shape!($optional_type $(as $optional_prefix)?),
                },)+)?
            ]);
        }
    )+};
}

macro_rules! shape {
    ($type:ty) => {
        <$type as HasShape>::SHAPE
    };
    ($type:ty as $prefix:literal) => {
        Shape::Id($prefix)
    };
}

families! {
    Organization { key: ["data.id"] }
    OrganizationDomain { key: ["data.id"], secret: ["data.txt_record_secret"] }
    OrgMembership { key: ["data.organization.id", "data.user.id"], personal: ["data.user"] }
    UserAuth { key: ["data.user_session.session_id"], personal: ["data.user", "data.user_session"] }
    Directory { key: ["data.id"] }
    DirectoryUser { key: ["data.id"], personal: ["data"] }
    DirectoryGroup { key: ["data.id"], personal: ["data.raw_attributes"] }
    Connection { key: ["data.id"] }
    Role { key: ["data.id"] }
    Permission { key: ["data.id"] }
    ConnectedAccount { key: ["data.id"], personal: ["data.identifier"], secret: ["data.magic_link"] }
    ConnectedAccountStatusUpdated { key: ["data.id"], personal: ["data.identifier"] }
}

objects! {
    /// An organization.
    Organization {
        required {
            /// The ID of the organization: `org_…`.
            id: String as "org_",
            /// The name shown to people.
            display_name: String,
        }
        optional {
            /// Your application's ID for the organization.
            external_id: String,
            /// The region where the organization's data is stored. May be empty.
            region_code: String,
            /// When the organization was created.
            create_time: Timestamp,
            /// When the organization was last changed.
            update_time: Timestamp,
            /// When the organization was deleted.
            deleted_at: Timestamp,
            /// Your application's metadata for the organization.
            metadata: Map<String, Value>,
            /// The settings of the organization.
            settings: OrganizationSettings,
        }
    }

    /// The settings of an organization.
    OrganizationSettings {
        optional {
            /// The features that can be enabled for the organization.
            features: Vec<Feature>,
        }
    }

    /// A feature that can be enabled for an organization.
    Feature {
        optional {
            /// The name of the feature, such as `sso`.
            name: String,
            /// Whether the feature is enabled.
            enabled: bool,
        }
    }

    /// A domain of an organization, with the status of its verification.
    OrganizationDomain {
        required {
            /// The ID of the domain: `dom_…`.
            id: String as "dom_",
            /// The domain name.
            domain: String,
            /// What the domain is used for.
            domain_type: DomainType,
            /// The ID of the organization that the domain belongs to: `org_…`.
            organization_id: String as "org_",
            /// The ID of the environment: `env_…`.
            environment_id: String as "env_",
            /// The status of the domain's verification.
            verification_status: VerificationStatus,
        }
        optional {
            /// The name of the DNS TXT record that verifies the domain.
            txt_record_key: String,
            /// The value that the DNS TXT record must have. It is a secret, so don't log it.
            txt_record_secret: String,
            /// How the domain is verified.
            verification_method: VerificationMethod,
            /// When the domain was last changed.
            updated_at: Timestamp,
        }
    }

    /// A user's membership in an organization.
    OrgMembership {
        required {
            /// The organization.
            organization: MemberOrganization,
            /// The user.
            user: User,
        }
    }

    /// The organization of a membership.
    MemberOrganization {
        optional {
            /// The ID of the organization: `org_…`.
            id: String,
            /// The name shown to people.
            display_name: String,
            /// Your application's ID for the organization.
            external_id: String,
            /// The region where the organization's data is stored. May be empty.
            region_code: String,
            /// When the organization was created.
            create_time: Timestamp,
            /// When the organization was last changed.
            update_time: Timestamp,
            /// Your application's metadata for the organization.
            metadata: Map<String, Value>,
        }
    }

    /// A user and the session that began or ended.
    UserAuth {
        required {
            /// The user.
            user: User,
            /// The session.
            user_session: UserSession,
        }
    }

    /// A user.
    User {
        optional {
            /// The ID of the user: `usr_…`.
            id: String,
            /// The user's email address.
            email: String,
            /// Your application's ID for the user.
            external_id: String,
            /// The ID of the environment: `env_…`.
            environment_id: String,
            /// When the user was created.
            create_time: Timestamp,
            /// When the user was last changed.
            update_time: Timestamp,
            /// When the user last logged in.
            last_login_time: Timestamp,
            /// The user's profile.
            user_profile: UserProfile,
            /// The user's memberships, one for each organization.
            memberships: Vec<Membership>,
            /// Your application's metadata for the user.
            metadata: Map<String, Value>,
        }
    }

    /// The profile of a user.
    UserProfile {
        optional {
            /// The user's first names.
            given_name: String,
            /// The user's last names.
            family_name: String,
            /// The user's full name.
            name: String,
            /// The user's language and region, such as `de-DE`.
            locale: String,
            /// The user's phone number.
            phone_number: String,
            /// Whether the email address is verified.
            email_verified: bool,
        }
    }

    /// One of a user's memberships.
    Membership {
        optional {
            /// The ID of the organization: `org_…`.
            organization_id: String,
            /// The status of the membership, such as `ACTIVE` or `PENDING_INVITE`.
            membership_status: String,
            /// When the user joined the organization.
            join_time: Timestamp,
            /// The user's roles in the organization.
            roles: Vec<Value>,
        }
    }

    /// A user's session.
    UserSession {
        optional {
            /// The ID of the session: `ses_…`.
            session_id: String,
            /// The ID of the user: `usr_…`.
            user_id: String,
            /// The ID of the organization: `org_…`.
            organization_id: String,
            /// The status of the session, such as `ACTIVE` or `LOGGED_OUT`.
            status: String,
            /// How the user logged in, such as `SSO`.
            authentication_method: String,
            /// The ID of the connection that the user logged in with: `conn_…`.
            connection_id: String,
            /// When the session began.
            created_at: Timestamp,
            /// When the session was last used.
            last_active_at: Timestamp,
            /// When the session expires.
            expires_at: Timestamp,
            /// The device that the user logged in from.
            device: Map<String, Value>,
        }
    }

    /// A directory that provisions users.
    Directory {
        required {
            /// The ID of the directory: `dir_…`.
            id: String as "dir_",
            /// The ID of the organization that the directory belongs to: `org_…`.
            organization_id: String as "org_",
        }
        optional {
            /// The protocol of the directory, such as `SCIM`.
            directory_type: String,
            /// The directory provider, such as `OKTA`.
            provider: String,
            /// Whether the directory is enabled.
            enabled: bool,
            /// When the directory was last changed.
            updated_at: Timestamp,
        }
    }

    /// A user of a directory.
    DirectoryUser {
        required {
            /// The ID of the directory user: `diruser_…`.
            id: String as "diruser_",
            /// The ID of the organization that the directory belongs to: `org_…`.
            organization_id: String as "org_",
        }
        optional {
            /// The ID of the directory: `dir_…`.
            directory_id: String as "dir_",
            /// Whether the user is active in the directory.
            active: bool,
            /// The user's email address.
            email: String,
            /// The user's first names.
            given_name: String,
            /// The user's last names.
            family_name: String,
            /// The user's full name.
            name: String,
            /// The name that the user logs in with.
            preferred_username: String,
            /// The directory provider's ID for the user.
            dp_id: String,
            /// The employer's ID for the user.
            employee_id: String,
            /// The user's department.
            department: String,
            /// The user's cost center.
            cost_center: String,
            /// The user's division.
            division: String,
            /// The user's job title.
            title: String,
            /// The kind of user, such as `Employee`.
            user_type: String,
            /// The user's phone number.
            phone_number: String,
            /// The user's language, such as `de`.
            language: String,
            /// The user's language and region, such as `de-DE`.
            locale: String,
            /// The user's time zone, such as `Europe/Berlin`.
            zoneinfo: String,
            /// The name of the user's organization in the directory.
            organization: String,
            /// The user's nickname.
            nickname: String,
            /// The URL of the user's profile page.
            profile: String,
            /// The groups that the user belongs to.
            groups: Vec<Value>,
            /// The user's roles.
            roles: Vec<Value>,
            /// The custom attributes that are mapped from the directory.
            custom_attributes: Map<String, Value>,
            /// The attributes as the directory sent them.
            raw_attributes: Map<String, Value>,
            /// The URL of a picture of the user.
            picture: String,
            /// The user's postal address.
            address: Address,
        }
    }

    /// A postal address.
    Address {
        optional {
            /// The street and the house number.
            street_address: String,
            /// The city or town.
            locality: String,
            /// The state or province.
            region: String,
            /// The postal code.
            postal_code: String,
            /// The country.
            country: String,
        }
    }

    /// A group of a directory.
    DirectoryGroup {
        required {
            /// The ID of the directory group: `dirgroup_…`.
            id: String as "dirgroup_",
            /// The ID of the organization that the directory belongs to: `org_…`.
            organization_id: String as "org_",
        }
        optional {
            /// The ID of the directory: `dir_…`.
            directory_id: String as "dir_",
            /// The name shown to people.
            display_name: String,
            /// The external ID of the group in the directory.
            external_id: String,
            /// The directory provider's ID for the group.
            dp_id: String,
            /// The attributes as the directory sent them.
            raw_attributes: Map<String, Value>,
        }
    }

    /// A single sign-on connection.
    Connection {
        required {
            /// The ID of the connection: `conn_…`.
            id: String as "conn_",
            /// The ID of the organization that the connection belongs to: `org_…`.
            organization_id: String as "org_",
        }
        optional {
            /// The protocol of the connection, such as `OIDC` or `SAML`.
            connection_type: String,
            /// The identity provider, such as `OKTA`.
            provider: String,
            /// Whether users can log in with the connection.
            enabled: bool,
            /// The status of the connection's configuration, such as `DRAFT` or `COMPLETED`.
            status: String,
        }
    }

    /// A role.
    Role {
        required {
            /// The ID of the role: `role_…`.
            id: String,
            /// The name that identifies the role in code.
            name: String,
        }
        optional {
            /// The name shown to people.
            display_name: String,
            /// What the role is for.
            description: String,
            /// The name of the role whose permissions this role inherits.
            extends: String,
        }
    }

    /// A permission.
    Permission {
        required {
            /// The ID of the permission: `perm_…`.
            id: String,
            /// The name that identifies the permission in code.
            name: String,
        }
        optional {
            /// What the permission allows.
            description: String,
        }
    }

    /// A user's account with a third-party service.
    ConnectedAccount {
        required {
            /// The ID of the connected account: `ca_…`.
            id: String as "ca_",
            /// Your application's identifier for the user who owns the account.
            identifier: String,
            /// The ID of the connection to the service: `conn_…`.
            connection_id: String as "conn_",
            /// The third-party service, such as `GOOGLECALENDAR`.
            provider: String,
            /// The status of the account.
            status: AccountStatus,
        }
        optional {
            /// The name of the connection.
            connection_name: String,
            /// How Scalekit is authorized to use the account.
            authorization_type: AuthorizationType,
            /// When the account's token expires.
            token_expires_at: Timestamp,
            /// When the account was last used.
            last_used_at: Timestamp,
            /// The link with which the user authorizes the account. It is a secret, so don't log it. Only
            /// `connected_account.magic_link_generated` has it.
            magic_link: String,
        }
    }

    /// A user's account with a third-party service, with its new and its previous status.
    // The schemas use the name `ConnectedAccountStatusUpdated` for the event.
    #[cfg_attr(feature = "schemas", schemars(rename = "ConnectedAccountStatusUpdate"))]
    ConnectedAccountStatusUpdated {
        required {
            /// The ID of the connected account: `ca_…`.
            id: String as "ca_",
            /// Your application's identifier for the user who owns the account.
            identifier: String,
            /// The ID of the connection to the service: `conn_…`.
            connection_id: String as "conn_",
            /// The third-party service, such as `GOOGLECALENDAR`.
            provider: String,
            /// How Scalekit is authorized to use the account.
            authorization_type: AuthorizationType,
            /// The new status of the account.
            status: AccountStatus,
            /// The previous status of the account.
            old_status: AccountStatus,
        }
        optional {
            /// The name of the connection.
            connection_name: String,
        }
    }
}

has_shape!(
    Shape::String => DomainType, VerificationStatus, VerificationMethod, AuthorizationType, AccountStatus
);

open_enum! {
    /// What a domain of an organization is used for.
    DomainType, well_formed: is_any_string;
    OrganizationDomain = "ORGANIZATION_DOMAIN",
    AllowedEmailDomain = "ALLOWED_EMAIL_DOMAIN",
}

open_enum! {
    /// The status of a domain's verification.
    VerificationStatus, well_formed: is_any_string;
    Pending = "PENDING",
    Verified = "VERIFIED",
    Failed = "FAILED",
    AutoVerified = "AUTO_VERIFIED",
}

open_enum! {
    /// How a domain is verified.
    VerificationMethod, well_formed: is_any_string;
    Admin = "ADMIN",
    Dns = "DNS",
    NotApplicable = "NOT_APPLICABLE",
}

open_enum! {
    /// How Scalekit is authorized to use a connected account.
    AuthorizationType, well_formed: is_any_string;
    Oauth = "OAUTH",
    ApiKey = "API_KEY",
    BasicAuth = "BASIC_AUTH",
    BearerToken = "BEARER_TOKEN",
    Custom = "CUSTOM",
    Basic = "BASIC",
    OauthM2m = "OAUTH_M2M",
    TrelloOauth1 = "TRELLO_OAUTH1",
    GoogleDwd = "GOOGLE_DWD",
    TrustedIdp = "TRUSTED_IDP",
    SmartFhir = "SMART_FHIR",
    NoAuth = "NO_AUTH",
}

open_enum! {
    /// The status of a connected account.
    AccountStatus, well_formed: is_any_string;
    Active = "ACTIVE",
    Expired = "EXPIRED",
    PendingAuth = "PENDING_AUTH",
    PendingVerification = "PENDING_VERIFICATION",
    Disconnected = "DISCONNECTED",
}

/// Every string is well-formed as a value in `data`.
fn is_any_string(_: &str) -> bool {
    true
}
