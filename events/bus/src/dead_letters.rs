//! Reads and redrives the messages of the dead-letter queue: copies of refused deliveries, which usually have the webhook id
//! and the reason in their attributes, and events that the bus didn't accept for 24 hours, which have neither.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    error::Error,
    io::{self, Write},
};

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, SecondsFormat};
use serde_json::Value;

use crate::{
    Outcome,
    aws::{Aws, Explain},
};

/// How long a received message is invisible to others, in seconds, if the program is killed.
const VISIBILITY_SECONDS: i32 = 120;

/// The messages of a queue, each once. A message that isn't deleted becomes visible again at the end.
struct Scan<'a> {
    aws: &'a Aws,
    queue: String,
    seen: HashSet<String>,
    handles: Vec<String>,
}

impl<'a> Scan<'a> {
    async fn new(aws: &'a Aws, queue: &str) -> Result<Self, String> {
        Ok(Self { aws, queue: aws.queue_url(queue).await?, seen: HashSet::new(), handles: Vec::new() })
    }

    /// The next messages. `None` when all were received, or when messages from the beginning are visible again.
    async fn next(&mut self) -> Result<Option<Vec<Message>>, String> {
        let receive = self.aws.queues.receive_message().queue_url(&self.queue).max_number_of_messages(10);
        let receive = receive.visibility_timeout(VISIBILITY_SECONDS).wait_time_seconds(2);
        let receive =
            receive.message_attribute_names("All").message_system_attribute_names(MessageSystemAttributeName::All);
        let mut messages = receive.send().await.explain("receive messages")?.messages.unwrap_or_default();
        self.handles.extend(messages.iter().filter_map(|message| message.receipt_handle.clone()));
        messages.retain(|message| self.seen.insert(message.message_id().unwrap_or_default().to_owned()));
        Ok(Some(messages).filter(|messages| !messages.is_empty()))
    }

    /// Deletes a message.
    async fn delete(&mut self, message: &Message) -> Result<(), String> {
        let handle = message.receipt_handle().unwrap_or_default();
        let deletion = self.aws.queues.delete_message().queue_url(&self.queue).receipt_handle(handle).send().await;
        deletion.explain("delete a message")?;
        self.handles.retain(|it| it != handle);
        Ok(())
    }

    /// Makes the messages visible again.
    async fn release(self) -> Result<(), Box<dyn Error>> {
        for handles in self.handles.chunks(10) {
            let entries = handles.iter().enumerate().map(|(index, handle)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
                entry.receipt_handle(handle).visibility_timeout(0).build()
            });
            let entries = entries.collect::<Result<_, _>>()?;
            let release = self.aws.queues.change_message_visibility_batch().queue_url(&self.queue);
            release.set_entries(Some(entries)).send().await.explain("make the messages visible again")?;
        }
        Ok(())
    }
}

fn attribute<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.message_attributes()?.get(name)?.string_value()
}

/// The body that Scalekit sent.
fn body(message: &Message) -> Cow<'_, [u8]> {
    let text = message.body().unwrap_or_default().as_bytes();
    let is_base64 = attribute(message, "encoding") == Some("base64");
    let decoded = is_base64.then(|| BASE64_STANDARD.decode(text).ok()).flatten();
    decoded.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// A member of the body that is a string. The body of a refused delivery needn't have it.
fn member(message: &Message, name: &str) -> Option<String> {
    let event: Value = serde_json::from_slice(&body(message)).ok()?;
    Some(event[name].as_str()?.to_owned())
}

fn sent(message: &Message) -> Option<String> {
    let sent = message.attributes()?.get(&MessageSystemAttributeName::SentTimestamp)?;
    let time = DateTime::from_timestamp_millis(sent.parse().ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The ids by which a message can be named: the delivery's, the event's and SQS's own.
fn ids(message: &Message) -> [Option<String>; 3] {
    let webhook_id = attribute(message, "webhook-id").map(str::to_owned);
    [webhook_id, member(message, "id"), message.message_id.clone()]
}

/// The wanted ids that name the message.
fn names<'a>(message: &Message, wanted: &[&'a str]) -> Vec<&'a str> {
    let ids = ids(message);
    wanted.iter().copied().filter(|id| ids.iter().flatten().any(|it| it == id)).collect()
}

/// Whether two URLs are of the same queue. The same queue has URLs with different hosts.
fn is_same_queue(a: &str, b: &str) -> bool {
    let account_and_name =
        |url: &str| url.trim_end_matches('/').rsplit('/').take(2).map(str::to_owned).collect::<Vec<_>>();
    account_and_name(a) == account_and_name(b)
}

/// Lists the messages. Copies of one delivery are one line.
pub(crate) async fn list(aws: &Aws, queue: &str) -> Outcome {
    let mut scan = Scan::new(aws, queue).await?;
    let mut rows: BTreeMap<String, (usize, [String; 4])> = BTreeMap::new();
    while let Some(messages) = scan.next().await? {
        for message in &messages {
            let id = ids(message).into_iter().flatten().next().unwrap_or_default();
            let cells = [
                member(message, "id"),
                member(message, "type"),
                Some(attribute(message, "problem").unwrap_or("not-forwarded").to_owned()),
                sent(message),
            ];
            let row = rows.entry(id).or_insert_with(|| (0, cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()))));
            row.0 += 1;
        }
    }
    scan.release().await?;
    let mut output = io::stdout().lock();
    for (id, (copies, cells)) in rows {
        writeln!(output, "{id}  {copies}×  {}", cells.join("  "))?;
    }
    Ok(true)
}

/// Prints the bodies of the named messages, and their attributes to standard error. Copies of one delivery are shown once.
pub(crate) async fn show(aws: &Aws, queue: &str, wanted: &[&str]) -> Outcome {
    let mut scan = Scan::new(aws, queue).await?;
    let mut found = HashSet::new();
    let mut shown = HashSet::new();
    while let Some(messages) = scan.next().await? {
        for message in &messages {
            let [id, ..] = names(message, wanted)[..] else { continue };
            found.extend(names(message, wanted));
            if !shown.insert((id, body(message).into_owned())) {
                continue;
            }
            let mut attributes: Vec<_> = message.message_attributes().into_iter().flatten().collect();
            attributes.sort_unstable_by_key(|(name, _)| *name);
            eprintln!("message-id: {}", message.message_id().unwrap_or_default());
            eprintln!("sent: {}", sent(message).unwrap_or_default());
            for (name, value) in attributes {
                eprintln!("{name}: {}", value.string_value().unwrap_or_default());
            }
            let mut output = io::stdout().lock();
            output.write_all(&body(message))?;
            writeln!(output)?;
        }
    }
    scan.release().await?;
    Ok(report_missing(wanted, &found))
}

/// Moves the named messages to the parking queue. Of copies with the same body, one is sent and the others are deleted.
pub(crate) async fn redrive(aws: &Aws, queue: &str, to: &str, wanted: &[&str]) -> Outcome {
    let parking_queue = aws.queue_url(to).await?;
    let mut scan = Scan::new(aws, queue).await?;
    // A message that was sent to its own queue would be received again, and deleted as a copy.
    if is_same_queue(&scan.queue, &parking_queue) {
        return Err("--to names the dead-letter queue itself; it should name the parking queue".into());
    }
    let mut found = HashSet::new();
    let mut moved = BTreeMap::new();
    let outcome = move_messages(&mut scan, &parking_queue, wanted, &mut found, &mut moved).await;
    // These are reported also after an error, because they are no longer in the dead-letter queue.
    for ((id, _), copies) in &moved {
        println!("{id}  {copies}×  moved to the parking queue");
    }
    scan.release().await?;
    outcome?;
    Ok(report_missing(wanted, &found))
}

/// Moves the messages, and counts the copies by id and body.
async fn move_messages<'w>(
    scan: &mut Scan<'_>,
    parking_queue: &str,
    wanted: &[&'w str],
    found: &mut HashSet<&'w str>,
    moved: &mut BTreeMap<(&'w str, Vec<u8>), usize>,
) -> Result<(), Box<dyn Error>> {
    while let Some(messages) = scan.next().await? {
        for message in &messages {
            let [id, ..] = names(message, wanted)[..] else { continue };
            found.extend(names(message, wanted));
            let key = (id, body(message).into_owned());
            if !moved.contains_key(&key) {
                send(scan.aws, parking_queue, message).await?;
            }
            *moved.entry(key).or_insert(0) += 1;
            // Only now, so that the message is in at least one of the queues.
            scan.delete(message).await.map_err(|error| format!("{id} is now in both queues: {error}"))?;
        }
    }
    Ok(())
}

/// Sends a message as it is: its body, its attributes and its trace header.
async fn send(aws: &Aws, queue: &str, message: &Message) -> Result<(), Box<dyn Error>> {
    let mut call = aws.queues.send_message().queue_url(queue).message_body(message.body().unwrap_or_default());
    for (name, value) in message.message_attributes().into_iter().flatten() {
        call = call.message_attributes(name, value.clone());
    }
    let trace = message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::AwsTraceHeader));
    if let Some(trace) = trace {
        let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace).build()?;
        call = call.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, value);
    }
    let output = call.send().await.explain("send a message to the parking queue")?;
    if output.message_id().is_none_or(str::is_empty) {
        return Err("SQS didn't confirm that it accepted the message".into());
    }
    Ok(())
}

/// Whether every id was found. Names those that weren't.
fn report_missing(wanted: &[&str], found: &HashSet<&str>) -> bool {
    let missing: Vec<_> = wanted.iter().copied().filter(|id| !found.contains(id)).collect();
    if !missing.is_empty() {
        eprintln!("bus: no message has the id {}", missing.join(" or "));
    }
    missing.is_empty()
}
