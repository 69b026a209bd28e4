"""What does the real function log, send to AWS and respond? Runs its binary against a Runtime API and AWS endpoints in
this process."""

from __future__ import annotations

import json
import os
import queue
import secrets
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from support.cloudformation import ACCOUNT, REGION
from support.harness import DEVELOPMENT, EVENTS, HOST, executable, signature

Event = dict[str, Any]
Line = dict[str, Any]
Reply = tuple[int, dict[str, Any]]

SECRET = DEVELOPMENT["WEBHOOK_SECRET"]
SECRET_ARN = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:scalekit-AbCdEf"
PARKING_QUEUE = "parking"
DEAD_LETTER_QUEUE = "dead-letters"

DENIED: Reply = (403, {"__type": "AccessDeniedException", "message": "not allowed"})
NOT_FOUND: Reply = (400, {"__type": "ResourceNotFoundException", "message": "there is no such resource"})
TOO_LONG: Reply = (400, {"__type": "InvalidParameterValue", "message": "the message is longer than allowed"})

# The limit of SQS for a message, its attributes included.
MAX_MESSAGE_BYTES = 1024 * 1024


@cache
def binary() -> Path:
    """The binary of the function, built by Cargo if necessary."""
    return executable("build", "--bin", "scalekit-eventbridge")


def envelope(name: str) -> Event:
    """A sample of events/, as a function URL sends it."""
    return json.loads((EVENTS / f"{name}.json").read_bytes())


def signed(body: bytes, *, secret: str = SECRET, at: float | None = None, **headers: str) -> Event:
    """A delivery of this body, signed at a time, which is now by default."""
    webhook_id, timestamp = f"msg_{secrets.token_hex(13)}", int(time.time() if at is None else at)
    return with_headers(
        envelope("role.created") | {"body": body.decode(), "isBase64Encoded": False},
        {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secret, webhook_id, timestamp, body),
        }
        | headers,
    )


def with_headers(event: Event, headers: Mapping[str, str]) -> Event:
    return event | {"headers": event["headers"] | headers}


@dataclass(frozen=True)
class Message:
    """A message in a queue."""

    id: str
    body: str
    attributes: dict[str, Any] = field(default_factory=dict)


def batch(messages: list[Message]) -> Event:
    """What Lambda invokes the function with for messages of the parking queue."""
    return {
        "Records": [
            {
                "messageId": message.id,
                "receiptHandle": "handle",
                "body": message.body,
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {
                    name: {
                        "stringValue": attribute["StringValue"],
                        "dataType": attribute["DataType"],
                        "stringListValues": [],
                        "binaryListValues": [],
                    }
                    for name, attribute in message.attributes.items()
                },
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{PARKING_QUEUE}",
                "awsRegion": REGION,
            }
            for message in messages
        ]
    }


@dataclass
class Aws:
    """The AWS services that the function calls. Everything succeeds, except for the calls in `replies`."""

    secret: str = SECRET
    # Replies by the name of the call, or by the version stage for GetSecretValue.
    replies: dict[str, Reply] = field(default_factory=dict)
    # The messages that the queues accepted, by the name of the queue.
    messages: dict[str, list[Message]] = field(default_factory=lambda: {PARKING_QUEUE: [], DEAD_LETTER_QUEUE: []})
    # The access key that the container's credentials endpoint hands out, if the function uses that.
    access_key: str = "test"

    def call(self, name: str, request: dict[str, Any]) -> Reply:
        reply = self.replies.get(request["VersionStage"] if name == "GetSecretValue" else name)
        return reply or getattr(self, f"_{name}")(request)

    def _PutEvents(self, request: dict[str, Any]) -> Reply:
        return 200, {"FailedEntryCount": 0, "Entries": [{"EventId": secrets.token_hex(16)} for _ in request["Entries"]]}

    def _DescribeEventBus(self, request: dict[str, Any]) -> Reply:
        return 200, {"Name": request["Name"]}

    def _GetSecretValue(self, request: dict[str, Any]) -> Reply:
        if request["VersionStage"] == "AWSPREVIOUS":
            return NOT_FOUND
        return 200, {"SecretString": self.secret, "CreatedDate": time.time()}

    def _SendMessage(self, request: dict[str, Any]) -> Reply:
        attributes = request.get("MessageAttributes", {})
        parts = [request["MessageBody"]]
        parts += [part for name, value in attributes.items() for part in (name, *value.values())]
        if sum(len(part.encode()) for part in parts) > MAX_MESSAGE_BYTES:
            return TOO_LONG
        message = Message(secrets.token_hex(16), request["MessageBody"], attributes)
        self.messages[request["QueueUrl"].rpartition("/")[2]].append(message)
        return 200, {"MessageId": message.id}

    def credentials(self) -> dict[str, str]:
        """Keys that expire at once, so that the SDK asks for others before each call."""
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
        return {"AccessKeyId": self.access_key, "SecretAccessKey": "test", "Token": "test", "Expiration": expires}


@dataclass(frozen=True)
class Invocation:
    """What came of an invocation."""

    # What the function responded, or None if it reported an error or exited.
    response: dict[str, Any] | None
    lines: list[Line]
    duration_ms: float


class Function:
    """The function as a process. It has no response for an invocation after its process has exited."""

    def __init__(
        self,
        aws: Aws,
        variables: Mapping[str, str | None] | None = None,
        command: Sequence[str | Path] | None = None,
    ) -> None:
        self._server = _Server(aws)
        self._command = command or [binary()]
        url = f"http://{HOST}:{self._server.server_port}"
        self._variables: dict[str, str | None] = {
            **{name: value for name, value in DEVELOPMENT.items() if name != "WEBHOOK_SECRET"},
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": REGION,
            "AWS_LAMBDA_RUNTIME_API": url.removeprefix("http://"),
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_LOG_LEVEL": "INFO",
            "AWS_LAMBDA_FUNCTION_NAME": "scalekit",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/credentials",
            "WEBHOOK_SECRET_ARN": SECRET_ARN,
            "PARKING_QUEUE_URL": f"{url}/{ACCOUNT}/{PARKING_QUEUE}",
            "DEAD_LETTER_QUEUE_URL": f"{url}/{ACCOUNT}/{DEAD_LETTER_QUEUE}",
            **(variables or {}),
        }

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        environment = {name: value for name, value in os.environ.items() if name not in self._variables}
        environment |= {name: value for name, value in self._variables.items() if value is not None}
        self._process = subprocess.Popen(self._command, env=environment, stdout=subprocess.PIPE)
        assert self._process.stdout
        os.set_blocking(self._process.stdout.fileno(), False)
        self._output = b""
        self._wait_for(self._server.polls)
        self.first_lines = self._lines()
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.kill()
        self._process.wait()
        self._server.events.put(None)
        self._server.shutdown()
        self._server.server_close()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def invoke(self, event: Any) -> Invocation:
        """Hands an event to the function, and returns when it asks for the next one or has exited."""
        if not self.is_running:
            return Invocation(None, [], 0)
        started = time.monotonic()
        self._server.events.put(event)
        is_response, response = self._wait_for(self._server.replies) or (False, None)
        duration_ms = (time.monotonic() - started) * 1000
        self._wait_for(self._server.polls)
        return Invocation(response if is_response else None, self._lines(), duration_ms)

    def _wait_for(self, source: queue.Queue[Any]) -> Any:
        """The next item, or None if the process exits without one."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            was_running = self.is_running
            try:
                return source.get(timeout=0.05)
            except queue.Empty:
                if not was_running:
                    return None
        raise AssertionError("the function did nothing for 30 s")

    def _lines(self) -> list[Line]:
        """What the function has logged since the last call. It writes its lines before it responds."""
        assert self._process.stdout
        while chunk := self._process.stdout.read():
            self._output += chunk
        complete, _, self._output = self._output.rpartition(b"\n")
        return [json.loads(line) for line in complete.splitlines()]


class _Server(ThreadingHTTPServer):
    """The Runtime API and the AWS endpoints."""

    daemon_threads = True

    def __init__(self, aws: Aws) -> None:
        super().__init__((HOST, 0), _Handler)
        self.aws = aws
        self.events: queue.Queue[Any] = queue.Queue()
        self.polls: queue.Queue[bool] = queue.Queue()
        self.replies: queue.Queue[tuple[bool, Any]] = queue.Queue()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/credentials":
            self._respond(200, self.server.aws.credentials())
            return
        assert self.path.endswith("/runtime/invocation/next"), self.path
        self.server.polls.put(True)
        event = self.server.events.get()
        if event is None:
            self.close_connection = True
            return
        self._respond(200, event, {
            "Lambda-Runtime-Aws-Request-Id": secrets.token_hex(16),
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 10_000),
            "Lambda-Runtime-Invoked-Function-Arn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:scalekit",
        })

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if call := self.headers.get("X-Amz-Target"):
            self._respond(*self.server.aws.call(call.rpartition(".")[2], json.loads(body)))
        else:
            self._respond(202, {})
            if "/runtime/invocation/" in self.path:
                self.server.replies.put((self.path.endswith("/response"), json.loads(body)))

    def _respond(self, status: int, value: Any, headers: Mapping[str, str] = {}) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
