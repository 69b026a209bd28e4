//! The events that arrive on a bus: a temporary rule sends them to a temporary queue with the same name.
//!
//! The queue has tags with its bus and with the time after which it counts as abandoned. While a program receives events, it
//! keeps moving that time, so that another program removes only what a killed one has left.

use std::{
    error::Error,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, QueueAttributeName};
use serde_json::json;

use crate::{
    aws::{Aws, Explain, is_missing},
    terminal,
};

/// The beginning of the names of the rule and the queue.
pub(crate) const PREFIX: &str = "scalekit-tail-";

/// The tag with the time in seconds after which a queue and its rule count as abandoned.
const EXPIRES: &str = "scalekit-tail-expires";

/// The tag with the bus of the rule.
const BUS: &str = "scalekit-tail-bus";

/// How long a queue is kept after the tag was last set: long enough that clocks which differ by a few minutes do no harm.
const LIFE: Duration = Duration::from_mins(15);

/// How often the tag is set.
const RENEWAL: Duration = Duration::from_mins(1);

/// How long the queue keeps an event, in seconds. An event stays in it only until the next receive.
const RETENTION: &str = "300";

/// A temporary rule and its queue.
pub(crate) struct Subscription<'a> {
    aws: &'a Aws,
    bus: String,
    name: String,
    queue: String,
    renewed: Instant,
}

impl<'a> Subscription<'a> {
    /// Subscribes to the events that match a pattern.
    ///
    /// # Errors
    /// If the rule or the queue can't be created. Then neither stays.
    pub(crate) async fn create(aws: &'a Aws, bus: &str, pattern: &str) -> Result<Self, String> {
        if let Err(error) = remove_leftovers(aws).await {
            terminal::error(&format!("{error}; an earlier run may have left a rule and a queue"));
        }
        let name = format!("{PREFIX}{:016x}", fastrand::u64(..));
        let queue = aws.queues.create_queue().queue_name(&name);
        let queue = queue.attributes(QueueAttributeName::MessageRetentionPeriod, RETENTION);
        let queue = queue.tags(EXPIRES, expiry()).tags(BUS, bus).send().await.explain("create a queue")?;
        let queue = queue.queue_url.ok_or("the new queue has no URL")?;
        let subscription = Self { aws, bus: bus.to_owned(), name, queue, renewed: Instant::now() };
        match subscription.connect(pattern).await {
            Ok(()) => Ok(subscription),
            // A part of the rest may exist.
            Err(error) => Err(match subscription.remove().await {
                Ok(()) => error,
                Err(second) => format!("{error}; {second}"),
            }),
        }
    }

    async fn connect(&self, pattern: &str) -> Result<(), String> {
        let Self { aws, bus, name, queue, .. } = self;
        let attributes =
            aws.queues.get_queue_attributes().queue_url(queue).attribute_names(QueueAttributeName::QueueArn);
        let attributes = attributes.send().await.explain("read the queue's ARN")?;
        let arn = attributes.attributes().and_then(|all| all.get(&QueueAttributeName::QueueArn));
        let arn = arn.ok_or("the new queue has no ARN")?;
        let rule = aws.events.put_rule().name(name).event_bus_name(bus).event_pattern(pattern);
        let rule = rule.description("Temporary, for `scalekit-events`").send().await;
        let rule = rule.explain(&format!("create a rule on the bus {bus}"))?;
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": rule.rule_arn()}},
        }]});
        let allow = aws.queues.set_queue_attributes().queue_url(queue);
        let allow = allow.attributes(QueueAttributeName::Policy, policy.to_string()).send().await;
        allow.explain("let the rule send to the queue")?;
        let target = Target::builder().id("tail").arn(arn).build().map_err(|error| error.to_string())?;
        let output = aws.events.put_targets().rule(name).event_bus_name(bus).targets(target).send().await;
        match output.explain("add the queue to the rule")?.failed_entries() {
            [] => Ok(()),
            [failed, ..] => {
                Err(format!("could not add the queue to the rule: {}", failed.error_message().unwrap_or_default()))
            }
        }
    }

    /// Waits up to 20 seconds for the next events, as EventBridge delivers them. Receives them only once.
    ///
    /// # Errors
    /// If the queue can't be read.
    pub(crate) async fn receive(&mut self) -> Result<Vec<String>, Box<dyn Error>> {
        let queues = &self.aws.queues;
        let receive = queues.receive_message().queue_url(&self.queue).max_number_of_messages(10).wait_time_seconds(20);
        let messages = receive.send().await.explain("receive events")?.messages.unwrap_or_default();
        self.delete(&messages).await?;
        if self.renewed.elapsed() >= RENEWAL {
            let renewal = queues.tag_queue().queue_url(&self.queue).tags(EXPIRES, expiry()).send().await;
            renewal.explain("keep the queue from being removed")?;
            self.renewed = Instant::now();
        }
        Ok(messages.into_iter().filter_map(|message| message.body).collect())
    }

    async fn delete(&self, messages: &[Message]) -> Result<(), Box<dyn Error>> {
        if messages.is_empty() {
            return Ok(());
        }
        let entries = messages.iter().enumerate().map(|(index, message)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(index.to_string());
            entry.set_receipt_handle(message.receipt_handle.clone()).build()
        });
        let entries = entries.collect::<Result<_, _>>()?;
        let deletion = self.aws.queues.delete_message_batch().queue_url(&self.queue).set_entries(Some(entries));
        deletion.send().await.explain("delete the events from the queue")?;
        Ok(())
    }

    /// Removes the rule and the queue.
    ///
    /// # Errors
    /// If one of them stays. The next subscription in the account and region removes it.
    pub(crate) async fn remove(self) -> Result<(), String> {
        let removed = remove(self.aws, &self.bus, &self.name, &self.queue).await;
        removed.map_err(|error| format!("{error}; the next tail removes the rule and the queue {}", self.name))
    }
}

/// The time at which a queue counts as abandoned if it isn't renewed before.
fn expiry() -> String {
    (seconds_now() + LIFE.as_secs()).to_string()
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Removes the rules and queues of killed programs.
async fn remove_leftovers(aws: &Aws) -> Result<(), String> {
    let found = aws.queues.list_queues().queue_name_prefix(PREFIX).send().await.explain("list queues")?;
    for queue in found.queue_urls() {
        let tags = match aws.queues.list_queue_tags().queue_url(queue).send().await {
            // Another program has removed the queue in the meantime.
            Err(error) if is_missing(&error) => continue,
            tags => tags.explain("read the tags of a queue")?,
        };
        let tag = |name| tags.tags().and_then(|tags| tags.get(name));
        let expires = tag(EXPIRES).and_then(|time| time.parse::<u64>().ok());
        let name = queue.rsplit('/').next().unwrap_or_default();
        if let (Some(bus), Some(expires)) = (tag(BUS), expires)
            && expires < seconds_now()
        {
            remove(aws, bus, name, queue).await?;
            terminal::note(&format!("Removed the rule and the queue {name}, which an earlier run left."));
        }
    }
    Ok(())
}

/// Removes a rule and its queue. The queue is removed last, because a later program finds the rule by the queue.
async fn remove(aws: &Aws, bus: &str, name: &str, queue: &str) -> Result<(), String> {
    let targets = aws.events.remove_targets().rule(name).event_bus_name(bus).ids("tail").send().await;
    match targets {
        // The rule, or the whole bus, is gone.
        Err(error) if is_missing(&error) => {}
        targets => {
            targets.explain(&format!("remove the target of the rule {name}"))?;
            let rule = aws.events.delete_rule().name(name).event_bus_name(bus).send().await;
            rule.explain(&format!("delete the rule {name}"))?;
        }
    }
    aws.queues.delete_queue().queue_url(queue).send().await.explain(&format!("delete the queue {name}"))?;
    Ok(())
}
