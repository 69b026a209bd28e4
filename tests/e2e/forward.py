"""Sends events to a consumer: one at a time, or in batches as Lambda reads them from an SQS queue."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from demo import row
from support.harness import Emulator
from support.terminal import BAD, FAINT, GOOD, printable, printable_json, styled

# A consumer has as long as a function behind a queue usually has.
TIMEOUT_SECONDS = 60

# Few seconds, so that nobody waits long for a retry. While a consumer runs, nothing else receives its messages.
VISIBILITY_TIMEOUT_SECONDS = 5
MAX_RECEIVE_COUNT = 5

Message = dict[str, Any]


@dataclass(frozen=True)
class Response:
    """The response to an invocation: its status, what else is to be said about it, and whether the invocation failed."""

    words: str
    body: bytes = b""
    failed: bool = True

    def __str__(self) -> str:
        return styled(self.words, BAD if self.failed else GOOD)


def post(url: str, value: Any) -> Response:
    """Invokes a consumer with JSON. A local Lambda runtime responds with 200 to an invocation that failed, too, and tells in a
    header or in the body that it did."""
    request = urllib.request.Request(url, json.dumps(value).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            status, headers, body = str(response.status), response.headers, response.read()
    except urllib.error.HTTPError as error:
        return Response(str(error.code))
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        return Response(getattr(reason, "strerror", None) or str(reason) or type(error).__name__)
    result = parsed(body)
    error = result.get("errorType") if isinstance(result, dict) and "errorMessage" in result else None
    if error := error or headers.get("X-Amz-Function-Error"):
        return Response(f"{status}, but the function failed: {error}")
    return Response(status, body, failed=False)


def parsed(body: bytes) -> Any:
    """The value of a JSON text, `None` if it is empty, or the bytes themselves if they aren't JSON."""
    try:
        return json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        return body


def failed_messages(body: bytes, ids: Sequence[str]) -> tuple[set[str], str]:
    """The ids of the messages that a consumer reports as failed, and why these are all of them if it reports in a wrong form.

    This is the way of Lambda: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """
    result = parsed(body)
    if result is None:
        return set(), ""
    if not isinstance(result, dict):
        return set(ids), "the response should be an object with batchItemFailures"
    failures = result.get("batchItemFailures") or []
    if not isinstance(failures, list):
        return set(ids), "batchItemFailures should be an array"
    failed = [failure.get("itemIdentifier") if isinstance(failure, dict) else None for failure in failures]
    if any(id not in ids for id in failed):
        return set(ids), "each itemIdentifier should be the messageId of a message in the batch"
    return set(failed), ""


class BatchConsumer:
    """A consumer behind a queue that has a dead-letter queue. Both queues are in the emulator."""

    def __init__(self, emulator: Emulator, url: str, size: int) -> None:
        self._sqs = emulator.client("sqs")
        self._url = url
        self._size = size
        self._dead_letters = self._sqs.create_queue(QueueName="consumer-dead-letters")["QueueUrl"]
        self._dead_letter_count = 0
        policy = {"deadLetterTargetArn": self._arn(self._dead_letters), "maxReceiveCount": MAX_RECEIVE_COUNT}
        attributes = {"VisibilityTimeout": str(VISIBILITY_TIMEOUT_SECONDS), "RedrivePolicy": json.dumps(policy)}
        self._queue = self._sqs.create_queue(QueueName="consumer", Attributes=attributes)["QueueUrl"]
        self._queue_arn = self._arn(self._queue)

    def _arn(self, queue: str) -> str:
        return self._attribute(queue, "QueueArn")

    def _attribute(self, queue: str, name: str) -> str:
        return self._sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"][name]

    def add(self, event: dict[str, Any]) -> None:
        self._sqs.send_message(QueueUrl=self._queue, MessageBody=printable_json(json.dumps(event, ensure_ascii=False)))

    def deliver(self) -> Iterator[str]:
        """Invokes the consumer with the messages that are in the queue and visible, at most one batch of them. Tells what came
        of it, and whether SQS has moved messages to the dead-letter queue, which it does at that time."""
        messages = self._sqs.receive_message(
            QueueUrl=self._queue, MaxNumberOfMessages=self._size, MessageSystemAttributeNames=["All"]
        ).get("Messages", [])
        if count := int(self._attribute(self._dead_letters, "ApproximateNumberOfMessages")):
            if count > self._dead_letter_count:
                yield styled(f"✗ the dead-letter queue has {count} {'event' if count == 1 else 'events'}", BAD)
        self._dead_letter_count = count
        if messages:
            yield from self._invoke(messages)

    def _invoke(self, messages: list[Message]) -> Iterator[str]:
        response = post(self._url, {"Records": [self._record(message) for message in messages]})
        ids = [message["MessageId"] for message in messages]
        failed, why = (set(ids), "") if response.failed else failed_messages(response.body, ids)
        for message in messages:
            if message["MessageId"] not in failed:
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        counts = [f"{len(ids) - len(failed)} succeeded", f"{len(failed)} failed"]
        yield "  ".join([
            f"⇒ batch of {len(ids)}",
            str(response),
            styled(", ".join(counts), BAD if failed else GOOD),
            *([printable(why)] if why else []),
        ])
        for message in messages:
            if message["MessageId"] in failed:
                attempt = int(message["Attributes"]["ApproximateReceiveCount"])
                then = "again in" if attempt < MAX_RECEIVE_COUNT else "to the dead-letter queue in"
                cells = [*row(json.loads(message["Body"]))[:2], f"attempt {attempt} of {MAX_RECEIVE_COUNT}"]
                yield styled("✗ " + "  ".join(cells), BAD) + styled(f"  {then} {VISIBILITY_TIMEOUT_SECONDS} s", FAINT)

    def _record(self, message: Message) -> dict[str, Any]:
        """A message as Lambda hands it to a function: https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self._queue_arn,
            "awsRegion": self._queue_arn.split(":")[3],
        }
