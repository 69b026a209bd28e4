//! One call of `PutEvents`, and what its response proves.
//!
//! A successful call proves nothing by itself: it can contain failed entries. Only this module makes an [`EventId`], and it
//! does so only for an entry without an error, in a response that is consistent.

use std::fmt;

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};

use crate::aws::{AwsError, ErrorClass};

/// EventBridge's id of an event that it accepted, for a bus that isn't known to be missing: the proof that the bus has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId(String);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The outcome of a call.
#[derive(Debug)]
pub struct Outcome {
    /// The result of each entry, in their order, or the error of the whole call.
    pub results: Result<Vec<Result<EventId, AwsError>>, AwsError>,
    /// Why the bus seems to be failing: the whole call was throttled or failed with a temporary error, or an entry was
    /// throttled or failed inside EventBridge. All other errors are about one entry, or about the deployment.
    pub bus_failure: Option<AwsError>,
}

/// Makes one call.
pub async fn put_events(client: &Client, entries: Vec<PutEventsRequestEntry>) -> Outcome {
    let count = entries.len();
    let output = client.put_events().set_entries(Some(entries)).send().await;
    let checked = output.map_err(|error| AwsError::from_sdk("PutEvents", &error)).and_then(|output| {
        let answered = output.entries().len();
        let message = || format!("PutEvents: {count} entries were sent, but the response has {answered}");
        if answered == count { Ok(output) } else { Err(AwsError::transient(message())) }
    });
    match checked {
        Ok(output) => read(output.entries(), output.failed_entry_count()),
        Err(error) => Outcome { bus_failure: error.class.is_temporary().then(|| error.clone()), results: Err(error) },
    }
}

fn read(entries: &[PutEventsResultEntry], failed_entry_count: i32) -> Outcome {
    let mut results: Vec<_> = entries.iter().map(read_entry).collect();
    let failed = results.iter().filter(|result| result.is_err()).count();
    if usize::try_from(failed_entry_count) != Ok(failed) {
        // The response contradicts itself: trust only the failures in it.
        let reason = format!("PutEvents: FailedEntryCount is {failed_entry_count}, but {failed} failed");
        let succeeded = results.iter_mut().filter(|result| result.is_ok());
        succeeded.for_each(|result| *result = Err(AwsError::transient(reason.clone())));
    }
    let is_about_bus = |code| code == "InternalFailure" || ErrorClass::from_code(code) == ErrorClass::Throttled;
    let mut failed = entries.iter().filter(|entry| entry.error_code().is_some_and(is_about_bus));
    let bus_failure = failed.next().and_then(|entry| read_entry(entry).err());
    Outcome { results: Ok(results), bus_failure }
}

fn read_entry(entry: &PutEventsResultEntry) -> Result<EventId, AwsError> {
    match (entry.error_code(), entry.event_id()) {
        (Some(code), _) => Err(AwsError::from_code("PutEvents: the entry failed", code)),
        (None, Some(id)) if !id.is_empty() => Ok(EventId(id.to_owned())),
        (None, _) => Err(AwsError::transient("PutEvents: neither an error code nor an event id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: Option<&str>, code: Option<&str>) -> PutEventsResultEntry {
        let id = id.map(str::to_owned);
        PutEventsResultEntry::builder().set_event_id(id).set_error_code(code.map(str::to_owned)).build()
    }

    #[test]
    fn only_an_id_without_an_error_proves_that_the_bus_has_an_event() {
        for (id, code, expected) in [
            (Some("1"), None, true),
            (Some("1"), Some("InternalFailure"), false),
            (Some(""), None, false),
            (None, None, false),
        ] {
            let outcome = read(&[entry(id, code)], i32::from(code.is_some()));
            assert_eq!(outcome.results.unwrap()[0].is_ok(), expected, "{id:?}, {code:?}");
        }
    }

    #[test]
    fn the_bus_is_failing_if_an_entry_was_throttled_or_failed_inside_eventbridge() {
        for (code, expected) in [
            ("InternalFailure", true),
            ("ThrottlingException", true),
            ("MalformedDetail", false),
            ("NeverHeardOf", false),
        ] {
            let outcome = read(&[entry(Some("1"), None), entry(None, Some(code))], 1);
            assert_eq!(outcome.bus_failure.is_some(), expected, "{code}");
        }
    }
}
