//! The catalogue: the event types and the object names that Scalekit publishes.
//!
//! Scalekit adds to the catalogue often. [`EventType`] and [`ObjectType`] therefore also accept names that the
//! catalogue doesn't list yet, as `Unknown`.

use crate::{data::Family, open_enum::open_enum};

/// Declares [`EventType`] from a table with an entry for each event type: its variant, name, object and family, and when it
/// occurs.
macro_rules! event_types {
    ($($variant:ident = $name:literal, $object:ident, $family:ident, $occurs:literal;)+) => {
        open_enum! {
            /// What happened: the `type` of an event, which is also its detail-type on the bus.
            ///
            /// A name is well-formed if it matches `^[a-z0-9_]+(\.[a-z0-9_]+)+$` and has at most 128 characters, which
            /// is EventBridge's limit for a detail-type.
            EventType, well_formed: is_well_formed_type;
            $(#[doc = $occurs] $variant = $name,)+
        }

        impl EventType {
            /// A sentence that says when events of this type occur; `None` if the type is unknown.
            #[must_use]
            pub fn description(&self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some($occurs),)+
                    Self::Unknown(_) => None,
                }
            }

            /// The object that events of this type are usually about; `None` if the type is unknown.
            ///
            /// An event can have a different `object`, because the webhook function doesn't check that the two fit
            /// together.
            #[must_use]
            pub fn usual_object(&self) -> Option<ObjectType> {
                match self {
                    $(Self::$variant => Some(ObjectType::$object),)+
                    Self::Unknown(_) => None,
                }
            }

            /// The family, which determines the type of `data`; `None` if the event type is unknown.
            #[must_use]
            pub fn family(&self) -> Option<Family> {
                match self {
                    $(Self::$variant => Some(Family::$family),)+
                    Self::Unknown(_) => None,
                }
            }
        }
    };
}

// To add an event type:
//
// 1. Add its entry to this table. If its object is new, add it to `ObjectType` below. If its family is new, declare it in
//    `events/src/data.rs`.
// 2. Add the type to `events/tests/suite/support/published.rs`, the independent copy that the tests compare this table with.
// 3. Add a sample of the event as `events/bodies/<type>.json`.
// 4. Run `make events schemas`. It writes the signed delivery of the sample (`events/<type>.json`), the event as EventBridge
//    delivers it (`events/delivered/<type>.json`), the schemas and the page `events/catalogue.md`.
// 5. Add the type to the rule for events outside the catalogue in `events/rules.md`.
event_types! {
    OrganizationCreated = "organization.created", Organization, Organization,
        "An organization was created.";
    OrganizationUpdated = "organization.updated", Organization, Organization,
        "The name, the metadata, the external ID or the settings of an organization changed.";
    OrganizationDeleted = "organization.deleted", Organization, Organization,
        "An organization was deleted.";
    OrganizationDomainCreated = "organization.domain_created", Organization, OrganizationDomain,
        "A domain was added to an organization, to prove its ownership or to allow its email addresses.";
    OrganizationDomainDeleted = "organization.domain_deleted", Organization, OrganizationDomain,
        "A domain was removed from an organization.";
    OrganizationDomainDnsVerificationSuccess = "organization.domain_dns_verification_success", Organization, OrganizationDomain,
        "The DNS record that proves the ownership of a domain was found.";
    OrganizationDomainDnsVerificationFailed = "organization.domain_dns_verification_failed", Organization, OrganizationDomain,
        "The time to prove the ownership of a domain ended, and its DNS record was not found.";
    UserSignup = "user.signup", OrgMembership, OrgMembership,
        "Somebody signed up and thereby created an organization.";
    UserOrganizationInvitation = "user.organization_invitation", OrgMembership, OrgMembership,
        "Somebody was invited to an organization.";
    UserOrganizationMembershipCreated = "user.organization_membership_created", OrgMembership, OrgMembership,
        "Somebody joined an organization.";
    UserOrganizationMembershipDeleted = "user.organization_membership_deleted", OrgMembership, OrgMembership,
        "A membership in an organization ended.";
    UserOrganizationMembershipUpdated = "user.organization_membership_updated", OrgMembership, OrgMembership,
        "A membership in an organization changed, for example its roles.";
    UserLogin = "user.login", User, UserAuth,
        "Somebody logged in, and a session began.";
    UserLogout = "user.logout", User, UserAuth,
        "A session ended.";
    DirectoryEnabled = "organization.directory_enabled", Directory, Directory,
        "The synchronization of a directory was turned on.";
    DirectoryDisabled = "organization.directory_disabled", Directory, Directory,
        "The synchronization of a directory was turned off.";
    DirectoryUserCreated = "organization.directory.user_created", DirectoryUser, DirectoryUser,
        "The identity provider added a user to a directory.";
    DirectoryUserUpdated = "organization.directory.user_updated", DirectoryUser, DirectoryUser,
        "The attributes or the groups of a directory user changed, or the user was activated or deactivated (`active`).";
    DirectoryUserDeleted = "organization.directory.user_deleted", DirectoryUser, DirectoryUser,
        "A user was removed from a directory.";
    DirectoryGroupCreated = "organization.directory.group_created", DirectoryGroup, DirectoryGroup,
        "A group was added to a directory.";
    DirectoryGroupUpdated = "organization.directory.group_updated", DirectoryGroup, DirectoryGroup,
        "A group of a directory changed.";
    DirectoryGroupDeleted = "organization.directory.group_deleted", DirectoryGroup, DirectoryGroup,
        "A group was removed from a directory.";
    SsoCreated = "organization.sso_created", Connection, Connection,
        "A single sign-on connection was created. It can't be used yet.";
    SsoEnabled = "organization.sso_enabled", Connection, Connection,
        "A single sign-on connection went live.";
    SsoDisabled = "organization.sso_disabled", Connection, Connection,
        "A single sign-on connection was turned off.";
    SsoDeleted = "organization.sso_deleted", Connection, Connection,
        "A single sign-on connection was deleted.";
    RoleCreated = "role.created", Role, Role,
        "A role was added to the environment.";
    RoleUpdated = "role.updated", Role, Role,
        "A role of the environment changed.";
    RoleDeleted = "role.deleted", Role, Role,
        "A role was removed from the environment.";
    PermissionCreated = "permission.created", Permission, Permission,
        "A permission was added to the environment.";
    PermissionUpdated = "permission.updated", Permission, Permission,
        "A permission of the environment changed.";
    PermissionDeleted = "permission.deleted", Permission, Permission,
        "A permission was removed from the environment.";
    ConnectedAccountCreated = "connected_account.created", ConnectedAccount, ConnectedAccount,
        "A user's account at a third-party service was connected.";
    ConnectedAccountUpdated = "connected_account.updated", ConnectedAccount, ConnectedAccount,
        "The settings of a connected account changed.";
    ConnectedAccountDeleted = "connected_account.deleted", ConnectedAccount, ConnectedAccount,
        "A connected account was removed.";
    ConnectedAccountMagicLinkGenerated = "connected_account.magic_link_generated", ConnectedAccount, ConnectedAccount,
        "A link was created with which the user authorizes the account.";
    ConnectedAccountOauthTokensFetched = "connected_account.oauth_tokens_fetched", ConnectedAccount, ConnectedAccount,
        "The tokens of a connected account were fetched.";
    ConnectedAccountTokenRefreshSucceeded = "connected_account.token_refresh_succeeded", ConnectedAccount, ConnectedAccount,
        "The tokens of a connected account were renewed.";
    ConnectedAccountTokenRefreshFailed = "connected_account.token_refresh_failed", ConnectedAccount, ConnectedAccount,
        "The tokens of a connected account could not be renewed. Usually, the user has to authorize the account again.";
    ConnectedAccountOauthSucceeded = "connected_account.oauth_succeeded", ConnectedAccount, ConnectedAccount,
        "The user authorized the account.";
    ConnectedAccountStatusUpdated = "connected_account.status_updated", ConnectedAccount, ConnectedAccountStatusUpdated,
        "The status of a connected account changed from `old_status` to `status`. This doesn't occur when it is created.";
}

open_enum! {
    /// The kind of object that an event is about: its `object`.
    ///
    /// A name is well-formed if it has 1 to 64 characters from `A-Z`, `a-z`, `0-9` and `_`.
    ObjectType, well_formed: is_well_formed_object;
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

fn is_well_formed_type(name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    name.len() <= 128 && name.contains('.') && name.split('.').all(is_word)
}

fn is_well_formed_object(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_is_well_formed_and_parses_to_its_variant() {
        for event_type in EventType::KNOWN {
            assert_eq!(EventType::parse(event_type.as_str()).as_ref(), Ok(event_type));
            assert!(event_type.is_known() && is_well_formed_type(event_type.as_str()), "{event_type}");
        }
        for object in ObjectType::KNOWN {
            assert_eq!(ObjectType::parse(object.as_str()).as_ref(), Ok(object));
            assert!(object.is_known() && is_well_formed_object(object.as_str()), "{object}");
        }
    }

    #[test]
    fn an_unknown_event_type_must_be_well_formed() {
        let longest = format!("a.{}", "x".repeat(126));
        for name in ["a.b", "_._", "0.1.2", "user.logins", "organization.directory.user_created.x", &longest] {
            let event_type = EventType::parse(name).unwrap();
            assert_eq!((event_type.as_str(), event_type.to_string()), (name, name.to_owned()));
            assert_eq!((event_type.is_known(), event_type.usual_object(), event_type.family()), (false, None, None));
        }
        let too_long = format!("a.{}", "x".repeat(127));
        for name in [
            "", "a", ".", "a.", ".a", "a..b", "A.b", "a-b.c", "a b.c", "a.b\n", "\na.b", "ä.b", "a.b\0", "a/b.c",
            &too_long,
        ] {
            assert_eq!(EventType::parse(name).unwrap_err().to_string(), "not a well-formed EventType", "{name:?}");
        }
    }

    #[test]
    fn an_unknown_object_must_be_well_formed() {
        let longest = "x".repeat(64);
        for name in ["a", "_", "0", "user", "Users", "AbC_0", &longest] {
            let object = ObjectType::parse(name).unwrap();
            assert_eq!((object.as_str(), object.is_known()), (name, false));
        }
        let too_long = "x".repeat(65);
        for name in ["", "a.b", "a b", "a-b", "User\n", "Üser", "a\0", &too_long] {
            assert_eq!(ObjectType::parse(name).unwrap_err().to_string(), "not a well-formed ObjectType", "{name:?}");
        }
    }

    #[test]
    fn a_name_is_a_string_in_json() {
        let event_type: EventType = serde_json::from_str(r#""user.\u006cogin""#).unwrap();
        assert_eq!(event_type, EventType::UserLogin);
        assert_eq!(serde_json::to_string(&event_type).unwrap(), r#""user.login""#);
        let object: ObjectType = serde_json::from_str(r#""Starship""#).unwrap();
        assert_eq!(serde_json::to_string(&object).unwrap(), r#""Starship""#);
        let error = serde_json::from_str::<EventType>(r#""User""#).unwrap_err();
        assert_eq!(error.to_string(), "not a well-formed EventType");
    }
}
