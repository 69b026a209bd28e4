//! Which events exist? The vendor's catalogue, in one table: adding a type is one line in it.
//!
//! The vendor grows its list often and every delivery is authenticated, so both lists are open: a
//! well-formed name that isn't listed here is a value too, `Uncatalogued`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A well-formed name that the catalogue doesn't list (yet).
///
/// Only this module makes one, so it is well-formed by construction and never a listed name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Uncatalogued(Box<str>);

/// Why a text is not the name of an event type or of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotWellFormed;

/// Declares an open enumeration: its listed names, and `Uncatalogued` for every other well-formed one.
macro_rules! open_enum {
    (
        $(#[$doc:meta])*
        $name:ident, well formed: $well_formed:ident;
        $($variant:ident = $text:literal,)+
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
            /// Well-formed, but not listed in the vendor's catalogue as this version knows it.
            Uncatalogued(Uncatalogued),
        }

        impl $name {
            /// Every listed value, in the catalogue's order.
            pub const CATALOGUED: &[Self] = &[$(Self::$variant,)+];

            /// Reads a name; one that isn't listed must at least be well-formed.
            ///
            /// # Errors
            /// [`NotWellFormed`] when it is neither listed nor well-formed.
            pub fn parse(text: &str) -> Result<Self, NotWellFormed> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ if $well_formed(text) => Ok(Self::Uncatalogued(Uncatalogued(text.into()))),
                    _ => Err(NotWellFormed),
                }
            }

            /// The name as it stands in the event.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Uncatalogued(Uncatalogued(text)) => text,
                }
            }

            /// Whether the vendor's catalogue lists it.
            #[must_use]
            pub fn is_catalogued(&self) -> bool {
                !matches!(self, Self::Uncatalogued(_))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(|NotWellFormed| {
                    de::Error::custom(concat!("not the name of a Scalekit ", stringify!($name)))
                })
            }
        }
    };
}

/// Declares the table of event types: for each its name, its usual object and the family of its `data`.
macro_rules! catalogue {
    ($($variant:ident = $text:literal, $object:ident, $family:ident;)+) => {
        open_enum! {
            /// What happened: the event's `type`, and the detail-type on the bus.
            EventType, well formed: is_well_formed_type;
            $($variant = $text,)+
        }

        impl EventType {
            /// The object that events of this type are about, if the type is catalogued.
            #[must_use]
            pub fn usual_object(&self) -> Option<ObjectType> {
                match self {
                    $(Self::$variant => Some(ObjectType::$object),)+
                    Self::Uncatalogued(_) => None,
                }
            }

            /// The shape of this type's `data`, if the type is catalogued.
            #[must_use]
            pub fn family(&self) -> Option<Family> {
                match self {
                    $(Self::$variant => Some(Family::$family),)+
                    Self::Uncatalogued(_) => None,
                }
            }
        }
    };
}

catalogue! {
    OrganizationCreated = "organization.created", Organization, Organization;
    OrganizationUpdated = "organization.updated", Organization, Organization;
    OrganizationDeleted = "organization.deleted", Organization, Organization;
    OrganizationDomainCreated = "organization.domain_created", Organization, OrganizationDomain;
    OrganizationDomainDeleted = "organization.domain_deleted", Organization, OrganizationDomain;
    OrganizationDomainDnsVerificationSuccess = "organization.domain_dns_verification_success", Organization, OrganizationDomain;
    OrganizationDomainDnsVerificationFailed = "organization.domain_dns_verification_failed", Organization, OrganizationDomain;
    UserSignup = "user.signup", OrgMembership, OrgMembership;
    UserOrganizationInvitation = "user.organization_invitation", OrgMembership, OrgMembership;
    UserOrganizationMembershipCreated = "user.organization_membership_created", OrgMembership, OrgMembership;
    UserOrganizationMembershipDeleted = "user.organization_membership_deleted", OrgMembership, OrgMembership;
    UserOrganizationMembershipUpdated = "user.organization_membership_updated", OrgMembership, OrgMembership;
    UserLogin = "user.login", User, UserAuth;
    UserLogout = "user.logout", User, UserAuth;
    DirectoryEnabled = "organization.directory_enabled", Directory, Directory;
    DirectoryDisabled = "organization.directory_disabled", Directory, Directory;
    DirectoryUserCreated = "organization.directory.user_created", DirectoryUser, DirectoryUser;
    DirectoryUserUpdated = "organization.directory.user_updated", DirectoryUser, DirectoryUser;
    DirectoryUserDeleted = "organization.directory.user_deleted", DirectoryUser, DirectoryUser;
    DirectoryGroupCreated = "organization.directory.group_created", DirectoryGroup, DirectoryGroup;
    DirectoryGroupUpdated = "organization.directory.group_updated", DirectoryGroup, DirectoryGroup;
    DirectoryGroupDeleted = "organization.directory.group_deleted", DirectoryGroup, DirectoryGroup;
    SsoCreated = "organization.sso_created", Connection, Connection;
    SsoEnabled = "organization.sso_enabled", Connection, Connection;
    SsoDisabled = "organization.sso_disabled", Connection, Connection;
    SsoDeleted = "organization.sso_deleted", Connection, Connection;
    RoleCreated = "role.created", Role, Role;
    RoleUpdated = "role.updated", Role, Role;
    RoleDeleted = "role.deleted", Role, Role;
    PermissionCreated = "permission.created", Permission, Permission;
    PermissionUpdated = "permission.updated", Permission, Permission;
    PermissionDeleted = "permission.deleted", Permission, Permission;
    ConnectedAccountCreated = "connected_account.created", ConnectedAccount, ConnectedAccount;
    ConnectedAccountUpdated = "connected_account.updated", ConnectedAccount, ConnectedAccount;
    ConnectedAccountDeleted = "connected_account.deleted", ConnectedAccount, ConnectedAccount;
    ConnectedAccountMagicLinkGenerated = "connected_account.magic_link_generated", ConnectedAccount, ConnectedAccount;
    ConnectedAccountOauthTokensFetched = "connected_account.oauth_tokens_fetched", ConnectedAccount, ConnectedAccount;
    ConnectedAccountTokenRefreshSucceeded = "connected_account.token_refresh_succeeded", ConnectedAccount, ConnectedAccount;
    ConnectedAccountTokenRefreshFailed = "connected_account.token_refresh_failed", ConnectedAccount, ConnectedAccount;
    ConnectedAccountOauthSucceeded = "connected_account.oauth_succeeded", ConnectedAccount, ConnectedAccount;
    ConnectedAccountStatusUpdated = "connected_account.status_updated", ConnectedAccount, ConnectedAccountStatusUpdated;
}

open_enum! {
    /// What it happened to: the event's `object`.
    ObjectType, well formed: is_well_formed_object;
    Organization = "Organization",
    Connection = "Connection",
    Role = "Role",
    Directory = "Directory",
    DirectoryUser = "DirectoryUser",
    DirectoryGroup = "DirectoryGroup",
    Permission = "Permission",
    OrgMembership = "OrgMembership",
    User = "User",
    ConnectedAccount = "ConnectedAccount",
}

/// The shapes that `data` has: one for several event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// An organization.
    Organization,
    /// A domain of an organization, with the state of its verification.
    OrganizationDomain,
    /// A user in an organization.
    OrgMembership,
    /// A user and the session that began or ended.
    UserAuth,
    /// A directory that provisions users.
    Directory,
    /// A user of a directory.
    DirectoryUser,
    /// A group of a directory.
    DirectoryGroup,
    /// A single sign-on connection.
    Connection,
    /// A role.
    Role,
    /// A permission.
    Permission,
    /// A user's account at a third party.
    ConnectedAccount,
    /// The same, with the status that it had before.
    ConnectedAccountStatusUpdated,
}

/// `^[a-z0-9_]+(\.[a-z0-9_]+)+$`, at most 128 characters: EventBridge takes no longer detail-type.
fn is_well_formed_type(text: &str) -> bool {
    let word = |word: &str| !word.is_empty() && word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    text.len() <= 128 && text.contains('.') && text.split('.').all(word)
}

/// 1 to 64 characters of `[A-Za-z0-9_]`.
fn is_well_formed_object(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_listed_once_and_is_itself() {
        let types: BTreeSet<_> = EventType::CATALOGUED.iter().map(EventType::as_str).collect();
        assert_eq!((EventType::CATALOGUED.len(), types.len()), (41, 41));
        for event_type in EventType::CATALOGUED {
            assert_eq!(EventType::parse(event_type.as_str()).as_ref(), Ok(event_type));
            assert!(event_type.is_catalogued() && is_well_formed_type(event_type.as_str()), "{event_type}");
            assert!(event_type.usual_object().is_some_and(|object| object.is_catalogued()), "{event_type}");
            assert!(event_type.family().is_some(), "{event_type}");
        }
        let objects: BTreeSet<_> = ObjectType::CATALOGUED.iter().map(ObjectType::as_str).collect();
        assert_eq!((ObjectType::CATALOGUED.len(), objects.len()), (10, 10));
        for object in ObjectType::CATALOGUED {
            assert_eq!(ObjectType::parse(object.as_str()).as_ref(), Ok(object));
            assert!(object.is_catalogued() && is_well_formed_object(object.as_str()), "{object}");
        }
    }

    #[test]
    fn every_object_is_some_types_usual_one() {
        let usual: BTreeSet<_> =
            EventType::CATALOGUED.iter().filter_map(EventType::usual_object).map(|object| object.to_string()).collect();
        assert_eq!(usual, ObjectType::CATALOGUED.iter().map(ToString::to_string).collect());
    }

    #[test]
    fn an_unlisted_type_is_kept_as_it_is() {
        let longest = format!("a.{}", "x".repeat(126));
        for name in ["a.b", "_._", "0.1.2", "user.logins", "organization.directory.user_created.x", &longest] {
            let event_type = EventType::parse(name).unwrap();
            assert_eq!((event_type.as_str(), event_type.to_string()), (name, name.to_owned()));
            assert_eq!(
                (event_type.is_catalogued(), event_type.usual_object(), event_type.family()),
                (false, None, None)
            );
        }
        let longer = format!("a.{}", "x".repeat(127));
        for name in [
            "", "a", ".", "a.", ".a", "a..b", "A.b", "a-b.c", "a b.c", "a.b\n", "\na.b", "ä.b", "a.b\0", "a/b.c",
            &longer,
        ] {
            assert_eq!(EventType::parse(name), Err(NotWellFormed), "{name:?}");
        }
    }

    #[test]
    fn an_unlisted_object_is_kept_as_it_is() {
        let longest = "x".repeat(64);
        for name in ["a", "_", "0", "user", "Users", "AbC_0", &longest] {
            let object = ObjectType::parse(name).unwrap();
            assert_eq!((object.as_str(), object.is_catalogued()), (name, false));
        }
        let longer = "x".repeat(65);
        for name in ["", "a.b", "a b", "a-b", "User\n", "Üser", "a\0", &longer] {
            assert_eq!(ObjectType::parse(name), Err(NotWellFormed), "{name:?}");
        }
    }

    #[test]
    fn in_json_a_name_is_a_string() {
        let event_type: EventType = serde_json::from_str(r#""user.\u006cogin""#).unwrap();
        assert_eq!(event_type, EventType::UserLogin);
        assert_eq!(serde_json::to_string(&event_type).unwrap(), r#""user.login""#);
        let object: ObjectType = serde_json::from_str(r#""Starship""#).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), r#""Starship""#);
        let error = serde_json::from_str::<EventType>(r#""User""#).unwrap_err().to_string();
        assert!(error.starts_with("not the name of a Scalekit EventType"), "{error}");
    }
}
