//! Compares the crate's tables with the published catalogue and with the samples.

use std::{collections::BTreeSet, fmt::Debug};

use scalekit_events::{
    catalogue::{EventType, ObjectType},
    data::{AccountStatus, AuthorizationType, DomainType, VerificationMethod, VerificationStatus},
};

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
