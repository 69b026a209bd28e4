//! Receives the messages of a queue, each once. SQS can't search, so every command receives all of them.

use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    io,
    time::Duration,
};

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
    QueueAttributeName,
};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::{
    aws::{Aws, Explain},
    stop::Stop,
    terminal::{Format, Progress, plain},
};

/// How long a received message is invisible to others if the program is killed: this long, and the time that it may take to
/// receive all of them.
const VISIBILITY_SECONDS: u64 = 120;

/// The longest time that SQS accepts.
const MAX_VISIBILITY_SECONDS: u64 = 43_200;

/// The messages that can be received in a second. It is more in practice.
const MESSAGES_PER_SECOND: u64 = 20;

/// The most entries of a batch.
const BATCH: usize = 10;

/// The messages of a queue. A message that isn't deleted becomes visible again at the end.
pub(super) struct Scan<'a> {
    aws: &'a Aws,
    pub(super) queue: String,
    visibility: i32,
    seen: HashSet<String>,
    handles: Vec<String>,
    progress: Progress,
    stop: Stop,
    is_stopped: bool,
}

impl<'a> Scan<'a> {
    /// `rate` is the number of messages that the command handles in a second.
    pub(super) async fn new(aws: &'a Aws, queue: &str, rate: Option<u32>) -> Result<Self, Box<dyn Error>> {
        let queue = aws.queue_url(queue).await?;
        let total = size(aws, &queue).await;
        let pace = rate.map_or(MESSAGES_PER_SECOND, |rate| MESSAGES_PER_SECOND.min(rate.into()));
        let visibility = (VISIBILITY_SECONDS + total / pace).min(MAX_VISIBILITY_SECONDS);
        Ok(Self {
            aws,
            queue,
            visibility: visibility.try_into()?,
            seen: HashSet::new(),
            handles: Vec::new(),
            progress: Progress::new("messages", total),
            stop: Stop::install()?,
            is_stopped: false,
        })
    }

    /// The next messages, at most 10. `None` when all were received, when messages from the beginning are visible again, or
    /// after a signal.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Message>>, String> {
        let receive = self.aws.queues.receive_message().queue_url(&self.queue).max_number_of_messages(10);
        let receive = receive.visibility_timeout(self.visibility).wait_time_seconds(2);
        let receive =
            receive.message_attribute_names("All").message_system_attribute_names(MessageSystemAttributeName::All);
        let received = tokio::select! {
            biased;
            () = self.stop.received() => {
                self.is_stopped = true;
                return Ok(None);
            }
            received = receive.send() => received,
        };
        let mut messages = received.explain("receive messages")?.messages.unwrap_or_default();
        self.handles.extend(messages.iter().filter_map(|message| message.receipt_handle.clone()));
        messages.retain(|message| self.seen.insert(message.message_id().unwrap_or_default().to_owned()));
        self.progress.add(messages.len());
        Ok(Some(messages).filter(|messages| !messages.is_empty()))
    }

    /// Deletes some of the last messages.
    pub(super) async fn delete(&mut self, messages: &[&Message]) -> Result<(), String> {
        for messages in messages.chunks(BATCH) {
            let entries = messages.iter().enumerate().map(|(index, message)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
                entry.set_receipt_handle(message.receipt_handle.clone()).build()
            });
            let entries = entries.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
            let deletion = self.aws.queues.delete_message_batch().queue_url(&self.queue).set_entries(Some(entries));
            let deletion = deletion.send().await.explain("delete messages")?;
            for deleted in deletion.successful() {
                let message = deleted.id().parse::<usize>().ok().and_then(|index| messages.get(index));
                self.handles.retain(|handle| message.is_none_or(|it| it.receipt_handle() != Some(handle)));
            }
            if let [failed, ..] = deletion.failed() {
                let why = [Some(failed.code()), failed.message()].into_iter().flatten().collect::<Vec<_>>().join(": ");
                return Err(format!("could not delete a message: {why}"));
            }
        }
        Ok(())
    }

    /// Makes the messages visible again.
    ///
    /// # Errors
    /// If that fails, or if the command was interrupted before it had received all messages.
    pub(super) async fn finish(self) -> Result<(), Box<dyn Error>> {
        for handles in self.handles.chunks(BATCH) {
            let entries = handles.iter().enumerate().map(|(index, handle)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
                entry.receipt_handle(handle).visibility_timeout(0).build()
            });
            let entries = entries.collect::<Result<_, _>>()?;
            let release = self.aws.queues.change_message_visibility_batch().queue_url(&self.queue);
            release.set_entries(Some(entries)).send().await.explain("make the messages visible again")?;
        }
        if self.is_stopped {
            return Err("interrupted before all messages were received".into());
        }
        Ok(())
    }
}

/// The number of messages, approximately. 0 if the caller isn't allowed to read it.
pub(super) async fn size(aws: &Aws, queue: &str) -> u64 {
    let names =
        [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible];
    let attributes = aws.queues.get_queue_attributes().queue_url(queue).set_attribute_names(Some(names.to_vec()));
    let attributes = attributes.send().await.ok().and_then(|output| output.attributes).unwrap_or_default();
    names.iter().filter_map(|name| attributes.get(name)?.parse::<u64>().ok()).sum()
}

/// Keeps a command to a number of messages in a second.
#[derive(Debug)]
pub(super) struct Pace {
    rate: Option<u32>,
    started: Instant,
    count: u32,
}

impl Pace {
    pub(super) fn new(rate: Option<u32>) -> Self {
        Self { rate, started: Instant::now(), count: 0 }
    }

    /// Waits until this many more messages may have been handled.
    pub(super) async fn wait(&mut self, messages: usize) {
        self.count = self.count.saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
        if let Some(rate) = self.rate {
            sleep_until(self.started + Duration::from_secs(1) * self.count / rate).await;
        }
    }
}

/// Reports messages that are no longer in the queue, by name and number of copies.
pub(super) fn report(done: &BTreeMap<String, usize>, what: &str, format: Format) -> io::Result<()> {
    for (name, copies) in done {
        format.print(
            &[plain(name.as_str()), plain(format!("{copies}×").as_str()), plain(what)],
            &json!({"id": name, "copies": copies, "outcome": what}),
        )?;
    }
    Ok(())
}
