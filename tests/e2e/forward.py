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

# Long enough for a local runtime that has to start the function first.
TIMEOUT_SECONDS = 60

# Short, so that a retry comes soon. A message can't become visible while the consumer handles it, because only this process
# receives messages, one batch after the other.
VISIBILITY_TIMEOUT_SECONDS = 5
MAX_RECEIVE_COUNT = 5

Message = dict[str, Any]


@dataclass(frozen=True)
class Response:
    """The response to an invocation in words, its body, and whether the invocation failed."""

    words: str
    body: bytes = b""
    failed: bool = True

    def __str__(self) -> str:
        return styled(self.words, BAD if self.failed else GOOD)


def post(url: str, value: Any) -> Response:
    """Invokes a consumer with JSON. A local Lambda runtime reports a function's error in the status, a header or the body."""
    request = urllib.request.Request(url, json.dumps(value).encode(), {"Content-Type": "application/json"})
    try:
        with _opened(request) as response:
            status, error, body = response.status, response.headers.get("X-Amz-Function-Error"), response.read()
    except (OSError, HTTPException, ValueError) as failure:  # ValueError: the host is not a valid name
        reason = getattr(failure, "reason", failure)
        return Response(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__)
    result = parsed(body)
    if isinstance(result, dict) and "errorMessage" in result:
        error = result.get("errorType") or error
    if error:
        return Response(f"{status}, function error: {error}")
    return Response(str(status), body, failed=not 200 <= status < 300)


def _opened(request: urllib.request.Request) -> Any:
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as response:
        return response


def parsed(body: bytes) -> Any:
    """The value of a JSON text, `None` if it is empty, or the bytes themselves if they aren't JSON."""
    try:
        return json.loads(body) if body.strip() else None
    except (ValueError, RecursionError):
        return body


def failed_messages(body: bytes, ids: Sequence[str]) -> tuple[set[str], str]:
    """The ids of the messages that failed. If the response has a wrong form, all of them failed, and the second value says why.

    Lambda applies the same conditions: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
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
        """Invokes the consumer with a batch of the visible messages, if there are any. Yields lines that describe the result.
        SQS moves messages to the dead-letter queue when the queue is read, so that is reported here, too."""
        messages = self._sqs.receive_message(
            QueueUrl=self._queue, MaxNumberOfMessages=self._size, MessageSystemAttributeNames=["All"]
        ).get("Messages", [])
        count = int(self._attribute(self._dead_letters, "ApproximateNumberOfMessages"))
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
