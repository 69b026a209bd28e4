//! `dead-letters redrive`: moves messages to the parking queue, from where the function forwards them.

use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    process::ExitCode,
};

use aws_sdk_sqs::types::{
    Message, MessageSystemAttributeName, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    SendMessageBatchRequestEntry,
};
use clap::Args;

use super::{
    message::digest,
    scan::{Pace, Scan, report},
    selection::{Found, Selection},
};
use crate::{
    aws::{Aws, Explain},
    terminal::Format,
};

/// The most bytes of the messages in one batch. SQS accepts a few more.
const BATCH_BYTES: usize = 1_000_000;

/// Move messages to the parking queue, from where the function forwards them
///
/// Of copies with the same body, one is moved and the others are deleted.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The dead-letter queue
    queue: String,

    #[command(flatten)]
    selection: Selection,

    /// The parking queue
    #[arg(long, value_name = "QUEUE")]
    to: String,

    /// Move at most N messages a second, so that deliveries keep their share of the bus's quota
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
}

/// A message, and what is the same for its copies.
type Copied<'a> = ((String, [u8; 32]), &'a Message);

/// What has been moved.
#[derive(Default)]
struct Moved {
    bodies: HashSet<(String, [u8; 32])>,
    copies: BTreeMap<String, usize>,
}

pub(super) async fn run(aws: &Aws, arguments: &Arguments, format: Format) -> Result<ExitCode, Box<dyn Error>> {
    let parking_queue = aws.queue_url(&arguments.to).await?;
    let mut scan = Scan::new(aws, &arguments.queue, Some(arguments.rate)).await?;
    // A message that was sent to its own queue would be received again, and deleted as a copy.
    if is_same_queue(&scan.queue, &parking_queue) {
        return Err("--to names the dead-letter queue itself; it should name the parking queue".into());
    }
    let mut found = arguments.selection.found();
    let mut moved = Moved::default();
    let outcome = move_messages(aws, &mut scan, &parking_queue, arguments, &mut found, &mut moved).await;
    let finished = scan.finish().await;
    // These are reported also after an error, because they are no longer in the dead-letter queue.
    report(&moved.copies, "moved to the parking queue", format)?;
    outcome?;
    finished?;
    Ok(if found.report_missing() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn move_messages<'a>(
    aws: &Aws,
    scan: &mut Scan<'_>,
    parking_queue: &str,
    arguments: &'a Arguments,
    found: &mut Found<'a>,
    moved: &mut Moved,
) -> Result<(), String> {
    let mut pace = Pace::new(Some(arguments.rate));
    while let Some(messages) = scan.next().await? {
        let name = |message| Some(((arguments.selection.name(message, found)?, digest(message)), message));
        let selected: Vec<Copied<'_>> = messages.iter().filter_map(name).collect();
        let mut bodies = HashSet::new();
        let new: Vec<Copied<'_>> = selected.iter().filter(|(key, _)| bodies.insert(key)).cloned().collect();
        let new: Vec<_> = new.into_iter().filter(|(key, _)| !moved.bodies.contains(key)).collect();
        let mut outcome = Ok(());
        for batch in batches(&new) {
            let sent = send(aws, parking_queue, batch, moved).await;
            outcome = outcome.and(sent);
            pace.wait(batch.len()).await;
        }
        // Only now, so that each message is in at least one of the queues.
        let done: Vec<_> = selected.iter().filter(|(key, _)| moved.bodies.contains(key)).collect();
        let deleted = scan.delete(&done.iter().map(|(_, message)| *message).collect::<Vec<_>>()).await;
        for ((name, _), _) in done {
            *moved.copies.entry(name.clone()).or_insert(0) += 1;
        }
        deleted.map_err(|error| format!("{error}; it can be in both queues now"))?;
        outcome?;
    }
    Ok(())
}

/// Divides messages into batches that SQS accepts. `scan` never returns more than ten, so only the size matters.
fn batches<'a, 'm>(messages: &'a [Copied<'m>]) -> Vec<&'a [Copied<'m>]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, (_, message)) in messages.iter().enumerate() {
        if index > start && bytes + size(message) > BATCH_BYTES {
            batches.push(&messages[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += size(message);
    }
    if start < messages.len() {
        batches.push(&messages[start..]);
    }
    batches
}

/// The bytes of a message that count for the size of a batch.
fn size(message: &Message) -> usize {
    let attributes = message.message_attributes().into_iter().flatten();
    let attributes = attributes
        .map(|(name, value)| name.len() + value.data_type().len() + value.string_value().unwrap_or_default().len());
    message.body().unwrap_or_default().len() + attributes.sum::<usize>()
}

/// Sends messages as they are: their bodies, attributes and trace headers.
async fn send(aws: &Aws, queue: &str, batch: &[Copied<'_>], moved: &mut Moved) -> Result<(), String> {
    let entries = batch.iter().enumerate().map(|(index, (_, message))| {
        let mut entry = SendMessageBatchRequestEntry::builder().id(index.to_string());
        entry = entry.message_body(message.body().unwrap_or_default());
        for (name, value) in message.message_attributes().into_iter().flatten() {
            entry = entry.message_attributes(name, value.clone());
        }
        let trace = message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::AwsTraceHeader));
        if let Some(trace) = trace {
            let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace).build()?;
            entry = entry.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, value);
        }
        entry.build()
    });
    let entries = entries.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let call = aws.queues.send_message_batch().queue_url(queue).set_entries(Some(entries)).send().await;
    let output = call.explain("send messages to the parking queue")?;
    for sent in output.successful().iter().filter(|sent| !sent.message_id().is_empty()) {
        if let Some((key, _)) = sent.id().parse::<usize>().ok().and_then(|index| batch.get(index)) {
            moved.bodies.insert(key.clone());
        }
    }
    if let [failed, ..] = output.failed() {
        let why = [Some(failed.code()), failed.message()].into_iter().flatten().collect::<Vec<_>>().join(": ");
        return Err(format!("could not send a message to the parking queue: {why}"));
    }
    if batch.iter().any(|(key, _)| !moved.bodies.contains(key)) {
        return Err("SQS didn't confirm that it accepted a message".into());
    }
    Ok(())
}

/// Whether two URLs are of the same queue. The same queue has URLs with different hosts.
fn is_same_queue(a: &str, b: &str) -> bool {
    let account_and_name =
        |url: &str| url.trim_end_matches('/').rsplit('/').take(2).map(str::to_owned).collect::<Vec<_>>();
    account_and_name(a) == account_and_name(b)
}
