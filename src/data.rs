//! What is an event about? A type for each [`Family`] of `data`, for consumers: [`Detail::typed_data`] reads one.
//!
//! These are tolerant readers. Optional members may be missing or `null`, which is the same here; members that this
//! version doesn't know are kept in `other`; a text with a value that the catalogue doesn't list is a value too; and ids
//! and times are the vendor's text, whatever it holds. What can't be read is a `data` whose members miss or are of another
//! kind of JSON: that is [`Drift`], and [`Unfit`] says where.
//!
//! The members are those of the vendor's catalogue; below them, those that its payloads show, all of them optional.
//!
//! [`Detail::typed_data`]: crate::detail::Detail::typed_data

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    catalogue::{AccountStatus, AuthorizationType, DomainType, Family, VerificationMethod, VerificationStatus},
    drift::{self, Drift, Kind, Member, Shape},
    timestamp,
};

/// A time as the vendor wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema), schemars(inline, extend("format" = "date-time")))]
#[serde(transparent)]
pub struct Timestamp(String);

impl Timestamp {
    /// The text, in RFC 3339 and to the nanosecond, unless the vendor changed that.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The instant; `None` if the text is no RFC 3339 date-time.
    #[must_use]
    pub fn instant(&self) -> Option<DateTime<Utc>> {
        timestamp::parse(&self.0)
    }
}

/// `data` can't be read as its family's type. It says where, and never shows a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(Drift);

impl Unfit {
    /// Where `data` isn't what the catalogue says.
    #[must_use]
    pub fn drift(&self) -> &Drift {
        &self.0
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not what the catalogue says: {}", self.0)
    }
}

impl std::error::Error for Unfit {}

/// Declares objects: the type that reads one, and the shape by which drift is found.
///
/// A text `as "org_"` is an id with that prefix.
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
                $(#[cfg_attr(feature = "schemas", schemars(extend("pattern" = concat!("^", $required_prefix))))])?
                pub $required: $required_type,
            )+)?
            $($(
                $(#[$optional_doc])*
                $(#[cfg_attr(feature = "schemas", schemars(extend("pattern" = concat!("^", $optional_prefix))))])?
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $optional: Option<$optional_type>,
            )+)?
            /// Members that this version doesn't know.
            #[serde(flatten)]
            pub other: Map<String, Value>,
        }

        impl Shape for $name {
            const KIND: Kind = {
                const MEMBERS: &[Member] = &[
                    $($(Member {
                        name: stringify!($required),
                        required: true,
                        kind: kind!($required_type $(as $required_prefix)?),
                    },)+)?
                    $($(Member {
                        name: stringify!($optional),
                        required: false,
                        kind: kind!($optional_type $(as $optional_prefix)?),
                    },)+)?
                ];
                assert!(MEMBERS.len() <= drift::MAX_MEMBERS);
                Kind::Object(MEMBERS)
            };
        }
    )+};
}

macro_rules! kind {
    ($type:ty) => {
        <$type as Shape>::KIND
    };
    ($type:ty as $prefix:literal) => {
        Kind::Id($prefix)
    };
}

/// Declares [`Data`]: a variant for each family, which holds the type of the same name.
macro_rules! families {
    ($($family:ident),+ $(,)?) => {
        /// An event's `data`, by the family of the event's type.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
        #[serde(untagged)]
        #[non_exhaustive]
        pub enum Data {
            $(#[doc = concat!("Of [`Family::", stringify!($family), "`].")] $family(Box<$family>),)+
        }

        impl Data {
            /// Reads `data` as what its family says.
            ///
            /// # Errors
            /// [`Unfit`] when it can't be.
            pub fn read(family: Family, data: &Map<String, Value>) -> Result<Self, Unfit> {
                let read = match family {
                    $(Family::$family => $family::deserialize(data).map(|data| Self::$family(Box::new(data))),)+
                };
                // serde's error would show values.
                read.map_err(|_| Unfit(Drift::of(family, &Value::Object(data.clone()).to_string())))
            }

            /// The schema of `data` of this family, by reference to the generator's definitions.
            #[cfg(feature = "schemas")]
            pub fn json_schema(family: Family, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                match family {
                    $(Family::$family => generator.subschema_for::<$family>(),)+
                }
            }
        }

        /// What `data` of this family should be.
        pub(crate) fn shape(family: Family) -> Kind {
            match family {
                $(Family::$family => $family::KIND,)+
            }
        }
    };
}

families! {
    Organization, OrganizationDomain, OrgMembership, UserAuth, Directory, DirectoryUser, DirectoryGroup, Connection, Role,
    Permission, ConnectedAccount, ConnectedAccountStatusUpdated,
}

objects! {
    /// An organization.
    Organization {
        required {
            /// `org_…`
            id: String as "org_",
            /// Its name for people.
            display_name: String,
        }
        optional {
            /// What you call it.
            external_id: String,
            /// Where its data lives; may be empty.
            region_code: String,
            /// When it was created.
            create_time: Timestamp,
            /// When it was last changed.
            update_time: Timestamp,
            /// When it was deleted.
            deleted_at: Timestamp,
            /// What you attached to it.
            metadata: Map<String, Value>,
            /// Its settings.
            settings: OrganizationSettings,
        }
    }

    /// The settings of an organization.
    OrganizationSettings {
        optional {
            /// The features that can be switched for it.
            features: Vec<Feature>,
        }
    }

    /// A feature that can be switched for an organization.
    Feature {
        optional {
            /// Its name, such as `sso`.
            name: String,
            /// Whether it is on.
            enabled: bool,
        }
    }

    /// A domain of an organization, with the state of its verification.
    OrganizationDomain {
        required {
            /// `dom_…`
            id: String as "dom_",
            /// The domain's name.
            domain: String,
            /// What it is for.
            domain_type: DomainType,
            /// `org_…`: whose it is.
            organization_id: String as "org_",
            /// `env_…`
            environment_id: String as "env_",
            /// How far its verification is.
            verification_status: VerificationStatus,
        }
        optional {
            /// The name of the DNS record that verifies it.
            txt_record_key: String,
            /// What that record should hold.
            txt_record_secret: String,
            /// How it is verified.
            verification_method: VerificationMethod,
            /// When it was last changed.
            updated_at: Timestamp,
        }
    }

    /// A user in an organization.
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
            /// `org_…`
            id: String,
            /// Its name for people.
            display_name: String,
            /// What you call it.
            external_id: String,
            /// Where its data lives; may be empty.
            region_code: String,
            /// When it was created.
            create_time: Timestamp,
            /// When it was last changed.
            update_time: Timestamp,
            /// What you attached to it.
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
            /// `usr_…`
            id: String,
            /// The user's address for e-mail.
            email: String,
            /// What you call the user.
            external_id: String,
            /// `env_…`
            environment_id: String,
            /// When the user was created.
            create_time: Timestamp,
            /// When the user was last changed.
            update_time: Timestamp,
            /// When the user last logged in.
            last_login_time: Timestamp,
            /// Who the user is.
            user_profile: UserProfile,
            /// The organizations that the user is in.
            memberships: Vec<Membership>,
            /// What you attached to the user.
            metadata: Map<String, Value>,
        }
    }

    /// Who a user is.
    UserProfile {
        optional {
            /// First names.
            given_name: String,
            /// Last names.
            family_name: String,
            /// The whole name.
            name: String,
            /// Language and region, such as `de-DE`.
            locale: String,
            /// A number to call.
            phone_number: String,
            /// Whether the address for e-mail is known to be the user's.
            email_verified: bool,
        }
    }

    /// A user's place in one organization.
    Membership {
        optional {
            /// `org_…`
            organization_id: String,
            /// Such as `ACTIVE` or `PENDING_INVITE`.
            membership_status: String,
            /// When the user joined.
            join_time: Timestamp,
            /// The roles that the user has in it.
            roles: Vec<Value>,
        }
    }

    /// A session.
    UserSession {
        optional {
            /// `ses_…`
            session_id: String,
            /// `usr_…`
            user_id: String,
            /// `org_…`
            organization_id: String,
            /// Such as `ACTIVE` or `LOGGED_OUT`.
            status: String,
            /// How the user logged in, such as `SSO`.
            authentication_method: String,
            /// `conn_…`: the connection that the user logged in with.
            connection_id: String,
            /// When it began.
            created_at: Timestamp,
            /// When it was last used.
            last_active_at: Timestamp,
            /// When it ends.
            expires_at: Timestamp,
            /// Where it runs.
            device: Map<String, Value>,
        }
    }

    /// A directory that provisions users.
    Directory {
        required {
            /// `dir_…`
            id: String as "dir_",
            /// `org_…`: whose it is.
            organization_id: String as "org_",
        }
        optional {
            /// Such as `SCIM`.
            directory_type: String,
            /// Such as `OKTA`.
            provider: String,
            /// Whether it is on.
            enabled: bool,
            /// When it was last changed.
            updated_at: Timestamp,
        }
    }

    /// A user of a directory.
    DirectoryUser {
        required {
            /// `diruser_…`
            id: String as "diruser_",
            /// `org_…`: whose directory it is.
            organization_id: String as "org_",
        }
        optional {
            /// Whether the directory has the user as active.
            active: bool,
            /// An address for e-mail.
            email: String,
            /// First names.
            given_name: String,
            /// Last names.
            family_name: String,
            /// The whole name.
            name: String,
            /// What the user logs in as.
            preferred_username: String,
            /// The directory provider's id of the user.
            dp_id: String,
            /// The employer's id of the user.
            employee_id: String,
            /// The department.
            department: String,
            /// The cost center.
            cost_center: String,
            /// The division.
            division: String,
            /// What the user's job is called.
            title: String,
            /// Such as `Employee`.
            user_type: String,
            /// A number to call.
            phone_number: String,
            /// The user's language.
            language: String,
            /// Language and region, such as `de-DE`.
            locale: String,
            /// A time zone, such as `Europe/Berlin`.
            zoneinfo: String,
            /// What the directory has as the user's organization.
            organization: String,
            /// What the user is called by friends.
            nickname: String,
            /// The address of a page about the user.
            profile: String,
            /// The groups that the user is in.
            groups: Vec<Value>,
            /// The roles that the user has.
            roles: Vec<Value>,
            /// What you told the vendor to take over from the directory.
            custom_attributes: Map<String, Value>,
            /// What the directory sent.
            raw_attributes: Map<String, Value>,
            /// The address of a picture.
            picture: String,
            /// Where the user lives or works.
            address: Address,
        }
    }

    /// A postal address.
    Address {
        optional {
            /// Street and number.
            street_address: String,
            /// The town.
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
            /// `dirgroup_…`
            id: String as "dirgroup_",
            /// `org_…`: whose directory it is.
            organization_id: String as "org_",
        }
        optional {
            /// `dir_…`: the directory that it is in.
            directory_id: String as "dir_",
            /// Its name for people.
            display_name: String,
            /// What the directory calls it.
            external_id: String,
            /// The directory provider's id of the group.
            dp_id: String,
            /// What the directory sent.
            raw_attributes: Map<String, Value>,
        }
    }

    /// A single sign-on connection.
    Connection {
        required {
            /// `conn_…`
            id: String as "conn_",
            /// `org_…`: whose it is.
            organization_id: String as "org_",
        }
        optional {
            /// Such as `OIDC` or `SAML`.
            connection_type: String,
            /// Such as `OKTA`.
            provider: String,
            /// Whether users can log in with it.
            enabled: bool,
            /// Such as `DRAFT` or `COMPLETED`.
            status: String,
        }
    }

    /// A role.
    Role {
        required {
            /// `role_…`
            id: String,
            /// What programs call it.
            name: String,
        }
        optional {
            /// What people call it.
            display_name: String,
            /// What it is for.
            description: String,
            /// The name of the role whose permissions it has too.
            extends: String,
        }
    }

    /// A permission.
    Permission {
        required {
            /// `perm_…`
            id: String,
            /// What programs call it.
            name: String,
        }
        optional {
            /// What it is for.
            description: String,
        }
    }

    /// A user's account at a third party.
    ConnectedAccount {
        required {
            /// `ca_…`
            id: String as "ca_",
            /// What you call the account's owner.
            identifier: String,
            /// `conn_…`: the connection to the third party.
            connection_id: String as "conn_",
            /// Such as `GOOGLECALENDAR`.
            provider: String,
            /// What state the account is in.
            status: AccountStatus,
        }
        optional {
            /// The connection's name.
            connection_name: String,
            /// How the account authorizes.
            authorization_type: AuthorizationType,
            /// When its token expires.
            token_expires_at: Timestamp,
            /// When it was last used.
            last_used_at: Timestamp,
        }
    }

    /// A user's account at a third party, with the status that it had before.
    // In a schema, what is named like the event's type is the event.
    #[cfg_attr(feature = "schemas", schemars(rename = "ConnectedAccountStatusUpdate"))]
    ConnectedAccountStatusUpdated {
        required {
            /// `ca_…`
            id: String as "ca_",
            /// What you call the account's owner.
            identifier: String,
            /// `conn_…`: the connection to the third party.
            connection_id: String as "conn_",
            /// Such as `GOOGLECALENDAR`.
            provider: String,
            /// How the account authorizes.
            authorization_type: AuthorizationType,
            /// What state the account is in.
            status: AccountStatus,
            /// What state it was in before.
            old_status: AccountStatus,
        }
        optional {
            /// The connection's name.
            connection_name: String,
        }
    }
}
