//! What consumers read: the typed `data` of every sample, what serializing gives back, and where `data` drifts.

use aws_lambda_events::event::eventbridge::EventBridgeEvent;
use scalekit_eventbridge::{
    catalogue::{AccountStatus, EventType, Family, VerificationStatus},
    data::{Data, Organization},
    detail::Detail,
    drift::{Drift, MAX_SURPRISES},
};
use serde_json::{Value, json};

mod samples;
use samples::{Change, bodies, changes};

fn detail(event: &Value) -> Detail {
    serde_json::from_value(event.clone()).unwrap()
}

/// The sample's `data`, typed.
fn data(event_type: &str) -> Data {
    let event_type = EventType::parse(event_type).unwrap();
    let bodies = bodies();
    let (_, body) = bodies.iter().find(|(sample, _)| *sample == event_type).unwrap();
    detail(body).typed_data().unwrap().unwrap()
}

fn drift(family: Family, data: &str) -> Vec<String> {
    Drift::of(family, data).pointers().to_vec()
}

/// Without the members that are `null`, at any level.
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

#[test]
fn eventbridge_s_event_reads_into_detail_and_gives_back_what_came_in() {
    for (event_type, body) in bodies() {
        let event = json!({
            "version": "0",
            "id": "00000000-0000-4000-8000-000000000000",
            "detail-type": event_type,
            "source": "scalekit",
            "account": "123456789012",
            "time": "2025-10-14T09:29:27Z",
            "region": "eu-central-1",
            "resources": [],
            "detail": body,
        });
        let read: EventBridgeEvent<Detail> = serde_json::from_str(&event.to_string()).unwrap();
        assert_eq!(read.detail.r#type, event_type);
        assert!(read.detail.instant().is_some());
        assert_eq!(serde_json::to_value(&read).unwrap(), event, "{event_type}");
    }
}

#[test]
fn every_sample_is_what_the_catalogue_says() {
    for (event_type, body) in bodies() {
        let typed = detail(&body).typed_data().unwrap().unwrap();
        assert_eq!(drift(event_type.family().unwrap(), &body["data"].to_string()), [""; 0], "{event_type}");
        // Typed, `null` is absent; everything else is there, members that the catalogue doesn't have too.
        assert_eq!(without_null(&serde_json::to_value(&typed).unwrap()), without_null(&body["data"]), "{event_type}");
    }
}

#[test]
fn a_change_drifts_where_it_should_and_is_given_back_whatever_it_is() {
    let mut count = 0;
    for (event_type, body) in bodies() {
        for Change { what, event, drift } in changes(&event_type, &body) {
            let detail = detail(&event);
            assert_eq!(serde_json::to_value(&detail).unwrap(), event, "{event_type}: {what}");
            let found = Drift::of(event_type.family().unwrap(), &event["data"].to_string());
            assert_eq!(found.pointers(), drift.as_slice(), "{event_type}: {what}");
            match detail.typed_data() {
                Ok(typed) => {
                    let typed = serde_json::to_value(typed.unwrap()).unwrap();
                    assert_eq!(without_null(&typed), without_null(&event["data"]), "{event_type}: {what}");
                }
                Err(unfit) => assert_eq!(unfit.drift(), &found, "{event_type}: {what}"),
            }
            count += 1;
        }
    }
    assert!(count > 1000, "{count} changes");
}

#[test]
fn typed_members() {
    let Data::Connection(connection) = data("organization.sso_enabled") else { panic!() };
    assert_eq!((connection.id.as_str(), connection.enabled), ("conn_94567862424830277", Some(true)));

    let Data::ConnectedAccountStatusUpdated(account) = data("connected_account.status_updated") else { panic!() };
    assert_eq!((account.old_status, account.status), (AccountStatus::PendingVerification, AccountStatus::Active));

    let Data::OrganizationDomain(domain) = data("organization.domain_created") else { panic!() };
    assert_eq!((domain.verification_status, domain.verification_method), (VerificationStatus::Pending, None));

    let Data::OrgMembership(membership) = data("user.organization_membership_created") else { panic!() };
    let memberships = membership.user.memberships.unwrap();
    let joined = memberships[0].join_time.as_ref().unwrap();
    assert_eq!(joined.as_str(), "2025-10-23T06:52:04.385Z");
    assert_eq!(joined.instant().unwrap().timestamp_millis(), 1_761_202_324_385);

    let Data::ConnectedAccount(account) = data("connected_account.magic_link_generated") else { panic!() };
    assert_eq!(account.other["magic_link"], "https://connect.example.com/magic/example-magic-link-value");

    let Data::Organization(organization) = data("organization.deleted") else { panic!() };
    let features = organization.settings.unwrap().features.unwrap();
    assert_eq!((features[1].name.as_deref(), features[1].enabled), (Some("dir_sync"), Some(false)));
}

#[test]
fn values_that_the_catalogue_does_not_list() {
    let data = json!({
        "id": "ca_1", "identifier": "", "connection_id": "conn_1", "provider": "NEW", "authorization_type": "",
        "status": "PAUSED",
    });
    assert_eq!(drift(Family::ConnectedAccount, &data.to_string()), [""; 0]);
    let Ok(Data::ConnectedAccount(account)) = Data::read(Family::ConnectedAccount, data.as_object().unwrap()) else {
        panic!()
    };
    assert_eq!((account.status.as_str(), account.status.is_catalogued()), ("PAUSED", false));
    assert_eq!(serde_json::to_value(account).unwrap(), data);
}

#[test]
fn what_can_not_be_read_says_where_and_shows_nothing() {
    let data = json!({"id": "org_1", "display_name": {"secret": 1}, "settings": {"features": [{}, {"enabled": "no"}]}});
    let unfit = Data::read(Family::Organization, data.as_object().unwrap()).unwrap_err();
    assert_eq!(unfit.to_string(), "not what the catalogue says: /data/display_name /data/settings/features/1/enabled");
}

#[test]
fn no_data_and_no_catalogued_type_are_nothing_to_read() {
    let (_, mut body) = bodies().swap_remove(0);
    body.as_object_mut().unwrap().remove("data");
    assert_eq!(detail(&body).typed_data(), Ok(None));
    body["type"] = json!("passkey.registered");
    body["data"] = json!({"id": 1});
    assert_eq!(detail(&body).typed_data(), Ok(None));
}

#[test]
fn where_data_drifts() {
    for (what, data, pointers) in [
        ("nothing in it", "{}", &["/data/id", "/data/organization_id"][..]),
        ("white space", " {\n \"id\" : \"conn_1\" ,\t\"organization_id\": \"org_1\" }", &[]),
        ("in the order found", r#"{"enabled":1,"id":2}"#, &["/data/enabled", "/data/id", "/data/organization_id"]),
        ("a member twice", r#"{"id":"conn_1","organization_id":"org_1","id":"conn_1"}"#, &["/data/id"]),
        (
            "another one twice",
            r#"{"id":"conn_1","organization_id":"org_1","status":"","status":""}"#,
            &["/data/status"],
        ),
        ("a member's name in escapes", r#"{"\u0069d":1,"organization_id":"org_1"}"#, &["/data/id"]),
        ("a name that is no text", r#"{"\ud800":1,"id":"conn_1","organization_id":"org_1"}"#, &[]),
        ("half of a surrogate pair", r#"{"id":"conn_1\ud800","organization_id":"org_1"}"#, &["/data/id"]),
        ("a number out of range", r#"{"id":"conn_1","organization_id":"org_1","enabled":1e999}"#, &["/data/enabled"]),
        ("the same in a new member", r#"{"id":"conn_1","organization_id":"org_1","new":1e999}"#, &[]),
        ("the prefix in escapes", r#"{"id":"\u0063onn_1","organization_id":"org_1"}"#, &[]),
        ("an empty id", r#"{"id":"","organization_id":"org_1"}"#, &["/data/id"]),
    ] {
        assert_eq!(drift(Family::Connection, data), pointers, "{what}");
    }
    let data = r#"{"organization": {}, "user": {"memberships": [{}, null, {"join_time": "soon"}]}}"#;
    let pointers = ["/data/user/memberships/1", "/data/user/memberships/2/join_time"];
    assert_eq!(drift(Family::OrgMembership, data), pointers);
}

#[test]
fn no_more_than_so_many_surprises_are_told() {
    let data = json!({"organization": {}, "user": {"memberships": vec![Value::Null; 100_000]}}).to_string();
    assert_eq!(drift(Family::OrgMembership, &data).len(), MAX_SURPRISES);
}

#[test]
fn depth_is_no_matter() {
    let deep = "[".repeat(400_000) + &"]".repeat(400_000);
    let data =
        format!(r#"{{"id":"org_1","display_name":"","metadata":{{"a":{deep}}},"new":{deep},"settings":{deep}}}"#);
    assert_eq!(drift(Family::Organization, &data), ["/data/settings"]);
    let data = format!(r#"{{"organization":{deep},"user":{{"memberships":[{{"roles":{deep}}}]}}}}"#);
    assert_eq!(drift(Family::OrgMembership, &data), ["/data/organization"]);
}

#[test]
fn types_are_readable_by_themselves() {
    let organization: Organization = serde_json::from_value(json!({"id": "org_1", "display_name": "A"})).unwrap();
    assert_eq!(organization.external_id, None);
}
