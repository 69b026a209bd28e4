//! What waits in the queues, and since when? Is the key that encrypts everything usable?

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;

use super::{deployment::Deployment, finding::Finding, metric::Metric};
use crate::{
    aws::{Explain, Reader, Service, is_missing},
    terminal,
};

/// How far back the age of the oldest message is read. SQS reports it every few minutes.
const WINDOW: Duration = Duration::from_mins(15);

/// A queue, and what a message in it means.
struct Queue {
    link: &'static str,
    output: &'static str,
    meaning: &'static str,
    advice: (&'static str, &'static str),
}

const QUEUES: [Queue; 3] = [
    Queue {
        link: "parking-queue",
        output: "ParkingQueueUrl",
        meaning: "events wait for the bus",
        advice: ("Find out why the bus doesn't accept them; the function retries them", "docs/operations.md#parkedage"),
    },
    Queue {
        link: "dead-letter-queue",
        output: "DeadLetterQueueUrl",
        meaning: "messages need an operator",
        advice: (
            "List them with `scalekit-events dead-letters list`, correct the cause, and redrive or delete them",
            "docs/operations.md#deadletters",
        ),
    },
    Queue {
        link: "bus-dead-letter-queue",
        output: "BusDeadLetterQueueUrl",
        meaning: "events reached no consumer, because the bus couldn't use the key",
        advice: ("Restore the key, and replay these events", "docs/operations.md#busdeadletters"),
    },
];

pub(super) async fn check(deployment: &Deployment<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for queue in QUEUES {
        let url = deployment.output(queue.output);
        if !url.is_empty() {
            findings.push(check_queue(deployment, &queue, url).await);
        }
    }
    let key = deployment.parameter("KmsKeyArn");
    if !key.is_empty() {
        findings.push(check_key(&deployment.reader, key).await);
    }
    findings
}

async fn check_queue(deployment: &Deployment<'_>, queue: &Queue, url: &str) -> Finding {
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    let attributes = deployment.aws.queues.get_queue_attributes().queue_url(url);
    let attributes = match attributes.set_attribute_names(Some(names.to_vec())).send().await {
        Ok(output) => output.attributes.unwrap_or_default(),
        Err(error) if is_missing(&error) => {
            let finding = Finding::broken(queue.link, format!("the queue {url} doesn't exist"));
            return finding.advise("Deploy the stack again", "docs/operations.md#parked-and-dead-lettered-events");
        }
        Err(error) => {
            let error = Err::<(), _>(error).explain("read the queue").err().unwrap_or_default();
            return Finding::unknown(queue.link, "GetQueueAttributes", error);
        }
    };
    let count: u64 = names.iter().filter_map(|name| attributes.get(name)?.parse::<u64>().ok()).sum();
    if count == 0 {
        return Finding::ok(queue.link, "it is empty");
    }
    let since = match oldest(&deployment.reader, url).await {
        Some(age) => format!("; the oldest is {} old", terminal::duration(age)),
        None => String::new(),
    };
    let (action, page) = queue.advice;
    Finding::warning(queue.link, format!("{count} {}{since}", queue.meaning)).advise(action, page)
}

/// The age of the oldest message, if CloudWatch has it.
async fn oldest(reader: &Reader, url: &str) -> Option<Duration> {
    let metric = Metric {
        namespace: "AWS/SQS",
        name: "ApproximateAgeOfOldestMessage",
        dimensions: &[("QueueName", url.rsplit('/').next().unwrap_or_default())],
        statistic: "Maximum",
        period: Duration::from_mins(1),
    };
    Duration::try_from_secs_f64(*metric.values(reader, WINDOW).await.last()?).ok()
}

async fn check_key(reader: &Reader, key: &str) -> Finding {
    match reader.call(Service::Kms, "DescribeKey", json!({"KeyId": key})).await {
        Ok(answer) if answer["KeyMetadata"]["KeyState"] == "Enabled" => Finding::ok("key", "it is enabled"),
        Ok(answer) => {
            let state = answer["KeyMetadata"]["KeyState"].as_str().unwrap_or("unusable").to_owned();
            let finding = Finding::broken(
                "key",
                format!("the key {key} is {state}, and everything that is stored is encrypted with it"),
            );
            finding.advise("Enable the key, or cancel its deletion", "docs/configuration.md#one-kms-key")
        }
        Err(error) if error.is_not_found() => Finding::broken("key", format!("the key {key} doesn't exist"))
            .advise("Deploy the stack with another key", "docs/configuration.md#one-kms-key"),
        Err(error) => Finding::unknown("key", "DescribeKey", error),
    }
}
