//! How consumers read events: `Detail`, and `data` as a type.

use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use scalekit_events::{
    catalogue::{EventType, ObjectType},
    data::{AccountStatus, Data, Family, Organization, VerificationStatus},
    detail::Detail,
};
use serde_json::{Value, json};

use crate::support::samples::{Deviation, changes, deviations, eventbridge_event, samples};

fn detail(event: &Value) -> Detail {
    serde_json::from_value(event.clone()).unwrap()
}

/// Reads the `data` of the sample of an event type.
fn sample_data(event_type: &str) -> Data {
    let samples = samples();
    let (_, sample) = samples.iter().find(|(sample_type, _)| sample_type.as_str() == event_type).unwrap();
    detail(sample).typed_data().unwrap().unwrap()
}

/// Removes members that are `null`, at every level.
fn without_null(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), without_null(value)))
            .collect(),
        Value::Array(items) => items.iter().map(without_null).collect(),
        value => value.clone(),
    }
}

/// Asserts that typed data contains everything that is in `data`, except that it doesn't keep `null`.
#[track_caller]
fn assert_complete(typed: &Data, data: &Value, description: &str) {
    assert_eq!(without_null(&serde_json::to_value(typed).unwrap()), without_null(data), "{description}");
}

#[test]
fn an_event_from_eventbridge_is_the_same_when_serialized_again() {
    for (event_type, sample) in samples() {
        let event = eventbridge_event(&sample);
        let read: EventBridgeEvent<Detail> = serde_json::from_str(&event.to_string()).unwrap();
        assert_eq!(read.detail.r#type, event_type);
        assert!(read.detail.occurred_at.instant().is_some(), "{event_type}");
        assert_eq!(serde_json::to_value(&read).unwrap(), event, "{event_type}");
    }
}

#[test]
fn detail_has_the_members_of_the_event() {
    let event = json!({
        "spec_version": "1", "id": "evt_1", "type": "organization.sso_enabled", "object": "Connection",
        "environment_id": "env_1", "occurred_at": "2025-10-14T09:29:27.098914861Z", "organization_id": "org_1",
        "display_name": "SSO", "data": {"id": "conn_1", "provider": null}, "new_member": [1]
    });
    let detail = detail(&event);
    assert_eq!((&detail.r#type, &detail.object), (&EventType::SsoEnabled, &ObjectType::Connection));
    assert_eq!(detail.occurred_at.as_str(), "2025-10-14T09:29:27.098914861Z");
    assert_eq!(detail.occurred_at.instant().unwrap().timestamp_subsec_nanos(), 98_914_861);
    assert_eq!(detail.other["new_member"], json!([1]));
    assert_eq!(serde_json::to_value(&detail).unwrap(), event);
}

#[test]
fn an_event_of_an_unknown_type_has_no_typed_data() {
    let event = json!({
        "spec_version": "2", "id": "evt_1", "type": "passkey.registered", "object": "Passkey",
        "environment_id": "env_1", "occurred_at": "2027-01-01T00:00:00Z", "data": {"id": 1}
    });
    let detail = detail(&event);
    assert_eq!((detail.r#type.as_str(), detail.r#type.is_known()), ("passkey.registered", false));
    assert_eq!(detail.typed_data(), Ok(None));
    assert_eq!(serde_json::to_value(&detail).unwrap(), event);
}

#[test]
fn an_event_without_data_has_no_typed_data() {
    let (_, mut sample) = samples().swap_remove(0);
    sample.as_object_mut().unwrap().remove("data");
    assert_eq!(detail(&sample).typed_data(), Ok(None));
}

#[test]
fn the_data_of_a_sample_is_readable() {
    for (event_type, sample) in samples() {
        let typed = detail(&sample).typed_data().unwrap().unwrap();
        assert_complete(&typed, &sample["data"], event_type.as_str());
    }
}

#[test]
fn the_data_of_a_changed_sample_is_readable_if_its_members_have_the_right_json_types() {
    for (event_type, sample) in samples() {
        for change in changes(&sample) {
            let description = format!("{event_type}: {}", change.description);
            let detail = detail(&change.event);
            assert_eq!(serde_json::to_value(&detail).unwrap(), change.event, "{description}");
            let typed_data = detail.typed_data();
            assert_eq!(typed_data.is_ok(), change.is_readable, "{description}");
            match typed_data {
                Ok(typed) => assert_complete(&typed.unwrap(), &change.event["data"], &description),
                Err(error) => assert_eq!(error.drift().pointers(), change.difference.as_slice(), "{description}"),
            }
        }
    }
}

#[test]
fn a_forwarded_deviation_is_readable_if_its_member_has_the_right_json_type() {
    for Deviation { description, event, pointer, is_accepted } in deviations() {
        let detail = serde_json::from_value::<Detail>(event.clone());
        let is_readable = detail.as_ref().is_ok_and(|detail| detail.typed_data().is_ok());
        assert_eq!(is_readable, is_accepted, "{description}");
        if let Ok(detail) = detail {
            // Only the optional members of the event itself are left out if they are null.
            let is_left_out = event.pointer(&pointer).is_some_and(Value::is_null);
            let expected = if is_left_out { without_null(&event) } else { event };
            assert_eq!(serde_json::to_value(&detail).unwrap(), expected, "{description}");
        }
    }
}

#[test]
fn an_error_reports_every_difference_and_no_values() {
    let data = json!({"id": "org_1", "display_name": {"secret": 1}, "settings": {"features": [{}, {"enabled": "no"}]}});
    let error = Data::read(Family::Organization, data.as_object().unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`data` differs from the catalogue: /data/display_name /data/settings/features/1/enabled"
    );
}

#[test]
fn typed_data_has_the_members_of_the_sample() {
    let Data::Connection(connection) = sample_data("organization.sso_enabled") else { panic!() };
    assert_eq!((connection.id.as_str(), connection.enabled), ("conn_94567862424830277", Some(true)));

    let Data::ConnectedAccountStatusUpdated(account) = sample_data("connected_account.status_updated") else {
        panic!()
    };
    assert_eq!((account.old_status, account.status), (AccountStatus::PendingVerification, AccountStatus::Active));

    let Data::OrganizationDomain(domain) = sample_data("organization.domain_created") else { panic!() };
    assert_eq!((domain.verification_status, domain.verification_method), (VerificationStatus::Pending, None));

    let Data::OrgMembership(membership) = sample_data("user.organization_membership_created") else { panic!() };
    let memberships = membership.user.memberships.unwrap();
    let joined = memberships[0].join_time.as_ref().unwrap();
    assert_eq!(joined.as_str(), "2025-10-23T06:52:04.385Z");
    assert_eq!(joined.instant().unwrap().timestamp_millis(), 1_761_202_324_385);

    let Data::ConnectedAccount(account) = sample_data("connected_account.magic_link_generated") else { panic!() };
    assert_eq!(account.magic_link.as_deref(), Some("https://connect.example.com/magic/example-magic-link-value"));

    let Data::Organization(organization) = sample_data("organization.deleted") else { panic!() };
    let features = organization.settings.unwrap().features.unwrap();
    assert_eq!((features[1].name.as_deref(), features[1].enabled), (Some("dir_sync"), Some(false)));
}

#[test]
fn a_value_that_the_catalogue_does_not_list_is_readable() {
    let data = json!({
        "id": "ca_1", "identifier": "", "connection_id": "conn_1", "provider": "NEW", "authorization_type": "",
        "status": "PAUSED",
    });
    assert!(Data::drift(Family::ConnectedAccount, &data.to_string()).is_empty());
    let Ok(Data::ConnectedAccount(account)) = Data::read(Family::ConnectedAccount, data.as_object().unwrap()) else {
        panic!()
    };
    assert_eq!((account.status.as_str(), account.status.is_known()), ("PAUSED", false));
    assert_eq!(serde_json::to_value(account).unwrap(), data);
}

#[test]
fn a_type_can_be_deserialized_on_its_own() {
    let organization: Organization = serde_json::from_value(json!({"id": "org_1", "display_name": "A"})).unwrap();
    assert_eq!(organization.external_id, None);
}
