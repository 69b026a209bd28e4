//! Compares the crate's tables with the published catalogue and with the samples.

use std::{collections::BTreeSet, fmt::Debug};

use scalekit_events::{
    catalogue::{EventType, ObjectType},
    data::{AccountStatus, AuthorizationType, DomainType, Family, VerificationMethod, VerificationStatus},
};
use serde_json::Value;

use crate::support::{published, samples::samples};

/// Asserts that a table of the crate has the same values as the published catalogue, and each of them once.
#[track_caller]
fn assert_same<T: Ord + Debug>(mut table: Vec<T>, published: BTreeSet<T>) {
    table.sort();
    assert_eq!(table, published.into_iter().collect::<Vec<_>>());
}

#[test]
fn event_types_objects_and_families_match_the_published_catalogue() {
    let table = EventType::KNOWN
        .iter()
        .map(|event_type| {
            let (object, family) = (event_type.usual_object().unwrap(), event_type.family().unwrap());
            (event_type.to_string(), object.to_string(), format!("{family:?}"))
        })
        .collect();
    let published = published::FAMILIES
        .iter()
        .flat_map(|family| {
            let row = |name: &str| (name.to_owned(), family.object.to_owned(), family.name.to_owned());
            family.event_types.split(' ').map(row)
        })
        .collect();
    assert_same(table, published);
}

#[test]
fn object_names_match_the_published_catalogue() {
    let table = ObjectType::KNOWN.iter().map(ObjectType::as_str).collect();
    assert_same(table, published::FAMILIES.iter().map(|family| family.object).collect());
}

#[test]
fn values_in_data_match_the_published_catalogue() {
    macro_rules! assert_same_values {
        ($($name:ident: $published:expr;)+) => {$(
            assert_same($name::KNOWN.iter().map($name::as_str).collect(), $published.split(' ').collect());
            for value in $name::KNOWN {
                assert_eq!($name::parse(value.as_str()).as_ref(), Ok(value));
            }
        )+};
    }
    assert_same_values! {
        DomainType: published::DOMAIN_TYPES;
        VerificationStatus: published::VERIFICATION_STATUSES;
        VerificationMethod: published::VERIFICATION_METHODS;
        AuthorizationType: published::AUTHORIZATION_TYPES;
        AccountStatus: published::ACCOUNT_STATUSES;
    }
}

#[test]
fn every_event_type_has_a_sample() {
    let samples = samples();
    for (event_type, sample) in &samples {
        assert_eq!(sample["type"], event_type.as_str());
        assert_eq!(sample["object"], event_type.usual_object().unwrap().as_str(), "{event_type}");
    }
    let event_types = samples.iter().map(|(event_type, _)| event_type.as_str()).collect();
    assert_same(event_types, EventType::KNOWN.iter().map(EventType::as_str).collect());
}

#[test]
fn keys_personal_data_and_secrets_match_the_published_catalogue() {
    let rows = |[key, personal, secret]: [&[&str]; 3]| [key.join(" "), personal.join(" "), secret.join(" ")];
    let table = Family::ALL
        .iter()
        .map(|family| (family.name().to_owned(), rows([family.key(), family.personal(), family.secret()])))
        .collect();
    let published = published::FAMILIES
        .iter()
        .map(|it| (it.name.to_owned(), [it.key, it.personal, it.secret].map(str::to_owned)))
        .collect();
    assert_same(table, published);
}

#[test]
fn every_sample_has_the_members_of_its_key() {
    for (event_type, sample) in samples() {
        for path in event_type.family().unwrap().key() {
            let id = sample.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_str);
            assert!(id.is_some_and(|id| id.contains('_')), "{event_type} has no {path}");
        }
    }
}

#[test]
fn addresses_of_people_are_only_in_the_members_with_personal_data() {
    for (event_type, mut sample) in samples() {
        for path in event_type.family().unwrap().personal() {
            if let Some(member) = sample.pointer_mut(&format!("/{}", path.replace('.', "/"))) {
                *member = Value::Null;
            }
        }
        assert!(!sample.to_string().contains('@'), "{event_type}: {sample}");
    }
}

#[test]
fn a_description_is_a_sentence_that_no_other_event_type_has() {
    let descriptions: BTreeSet<_> = EventType::KNOWN.iter().map(|it| it.description().unwrap()).collect();
    assert_eq!(descriptions.len(), EventType::KNOWN.len());
    for text in descriptions {
        assert!(text.starts_with(char::is_uppercase) && text.ends_with('.'), "{text}");
    }
}
