//! Shows the events of a bus. A temporary rule sends them to a temporary queue with the same name.
//!
//! The queue has tags with its bus and with the time after which it counts as abandoned. While `tail` runs, it keeps moving
//! that time, so that another `tail` removes only what a killed one has left.

use std::{
    error::Error,
    io::{self, Write},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_sdk_eventbridge::{operation::remove_targets::RemoveTargetsError, types::Target};
use aws_sdk_sqs::{
    operation::list_queue_tags::ListQueueTagsError,
    types::{DeleteMessageBatchRequestEntry, Message, QueueAttributeName},
};
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    Outcome,
    aws::{Aws, Explain},
};

/// The beginning of the names of the rule and the queue.
const PREFIX: &str = "scalekit-tail-";

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

/// The pattern that every event matches.
const EVERYTHING: &str = r#"{"source":[{"prefix":""}]}"#;

/// A temporary rule and its queue.
struct Subscription<'a> {
    aws: &'a Aws,
    bus: &'a str,
    name: String,
    queue: String,
}

/// The signals that end the program. Their handlers are installed from the beginning, so none is missed.
struct Stop([Signal; 3]);

impl Stop {
    fn install() -> io::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn received(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! { _ = interrupt.recv() => {} _ = terminate.recv() => {} _ = hangup.recv() => {} }
    }
}

pub(crate) async fn tail(aws: &Aws, bus: &str, pattern: Option<&str>, json: bool) -> Outcome {
    let mut stop = Stop::install()?;
    if let Err(error) = remove_leftovers(aws).await {
        eprintln!("bus: {error}; an earlier tail may have left a rule and a queue");
    }
    let (subscription, created) = Subscription::create(aws, bus, pattern.unwrap_or(EVERYTHING)).await?;
    let shown = match created {
        Ok(()) => {
            eprintln!(
                "Showing the events of {bus} until Ctrl-C. It may take a few seconds before the rule takes effect."
            );
            subscription.show(json, &mut stop).await
        }
        Err(error) => Err(error.into()),
    };
    let removed = remove(aws, bus, &subscription.name, &subscription.queue).await;
    match &removed {
        Ok(()) => eprintln!("Removed the rule and the queue."),
        // This is reported even if showing the events failed, too.
        Err(error) => eprintln!("bus: {error}; the next tail removes the rule and the queue"),
    }
    shown?;
    Ok(removed.is_ok())
}

impl<'a> Subscription<'a> {
    /// Creates the queue, and then the rest. If the rest fails, some of it may exist and has to be removed.
    async fn create(aws: &'a Aws, bus: &'a str, pattern: &str) -> Result<(Self, Result<(), String>), String> {
        let name = format!("{PREFIX}{:016x}", fastrand::u64(..));
        let output = aws
            .queues
            .create_queue()
            .queue_name(&name)
            .attributes(QueueAttributeName::MessageRetentionPeriod, RETENTION);
        let output = output.tags(EXPIRES, expiry()).tags(BUS, bus).send().await.explain("create a queue")?;
        let queue = output.queue_url.ok_or("the new queue has no URL")?;
        let subscription = Self { aws, bus, name, queue };
        let created = subscription.connect(pattern).await;
        Ok((subscription, created))
    }

    async fn connect(&self, pattern: &str) -> Result<(), String> {
        let Self { aws, bus, name, queue } = self;
        let attributes =
            aws.queues.get_queue_attributes().queue_url(queue).attribute_names(QueueAttributeName::QueueArn);
        let attributes = attributes.send().await.explain("read the queue's ARN")?;
        let arn = attributes.attributes().and_then(|all| all.get(&QueueAttributeName::QueueArn));
        let arn = arn.ok_or("the new queue has no ARN")?;
        let rule = aws.events.put_rule().name(name).event_bus_name(*bus).event_pattern(pattern);
        let rule = rule.description("Temporary, for `bus tail`").send().await;
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
        let output = aws.events.put_targets().rule(name).event_bus_name(*bus).targets(target).send().await;
        match output.explain("add the queue to the rule")?.failed_entries() {
            [] => Ok(()),
            [failed, ..] => {
                Err(format!("could not add the queue to the rule: {}", failed.error_message().unwrap_or_default()))
            }
        }
    }

    /// Prints the events until a signal is received, or nobody reads the output anymore.
    async fn show(&self, json: bool, stop: &mut Stop) -> Result<(), Box<dyn Error>> {
        let queues = &self.aws.queues;
        let mut renewed = Instant::now();
        loop {
            let receive =
                queues.receive_message().queue_url(&self.queue).max_number_of_messages(10).wait_time_seconds(20);
            let received = tokio::select! {
                () = stop.received() => return Ok(()),
                received = receive.send() => received.explain("receive events")?,
            };
            for message in received.messages() {
                let body = message.body().unwrap_or_default();
                // A line break is only ever white space in JSON.
                let line = if json { body.replace(['\n', '\r'], " ") } else { row(body) };
                match writeln!(io::stdout(), "{line}") {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    written => written?,
                }
            }
            self.delete(received.messages()).await?;
            if renewed.elapsed() >= RENEWAL {
                let renewal = queues.tag_queue().queue_url(&self.queue).tags(EXPIRES, expiry()).send().await;
                renewal.explain("keep the queue from being removed")?;
                renewed = Instant::now();
            }
        }
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
}

/// An event in one line: its time, type, id, organization and source.
fn row(body: &str) -> String {
    let event: Value = serde_json::from_str(body).unwrap_or_default();
    let detail = &event["detail"];
    [&event["time"], &event["detail-type"], &detail["id"], &detail["organization_id"], &event["source"]]
        .map(|value| value.as_str().unwrap_or("-"))
        .join("  ")
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
            Err(error) if error.as_service_error().is_some_and(ListQueueTagsError::is_queue_does_not_exist) => continue,
            tags => tags.explain("read the tags of a queue")?,
        };
        let tag = |name| tags.tags().and_then(|tags| tags.get(name));
        let expires = tag(EXPIRES).and_then(|time| time.parse::<u64>().ok());
        let name = queue.rsplit('/').next().unwrap_or_default();
        if let (Some(bus), Some(expires)) = (tag(BUS), expires)
            && expires < seconds_now()
        {
            remove(aws, bus, name, queue).await?;
            eprintln!("Removed the rule and the queue {name}, which an earlier tail left.");
        }
    }
    Ok(())
}

/// Removes a rule and its queue. The queue is removed last, because a later `tail` finds the rule by the queue.
async fn remove(aws: &Aws, bus: &str, name: &str, queue: &str) -> Result<(), String> {
    let targets = aws.events.remove_targets().rule(name).event_bus_name(bus).ids("tail").send().await;
    match targets {
        // The rule, or the whole bus, is gone.
        Err(error) if error.as_service_error().is_some_and(RemoveTargetsError::is_resource_not_found_exception) => {}
        targets => {
            targets.explain(&format!("remove the target of the rule {name}"))?;
            let rule = aws.events.delete_rule().name(name).event_bus_name(bus).send().await;
            rule.explain(&format!("delete the rule {name}"))?;
        }
    }
    aws.queues.delete_queue().queue_url(queue).send().await.explain(&format!("delete the queue {name}"))?;
    Ok(())
}
