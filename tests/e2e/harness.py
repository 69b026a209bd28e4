"""What does an end-to-end run stand on? An AWS emulator, a queue behind a rule, and the function itself."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import boto3

ROOT = Path(__file__).resolve().parents[2]
EVENTS = ROOT / "events"
TOOLS = ROOT / ".tools"
CARGO_LAMBDA = TOOLS / "cargo-lambda" / "bin" / "cargo-lambda"

HOST = "127.0.0.1"
BUS = "scalekit"
SOURCE = "scalekit"

# The envelopes in events/ are signed with a published secret at a fixed time, so a local run has to know that secret
# and to accept old timestamps. Here, and not in Cargo.toml: what stands there is deployed too.
DEVELOPMENT = {
    "EVENT_BUS_NAME": BUS,
    "EVENT_SOURCE": SOURCE,
    "WEBHOOK_SECRET": "whsec_c2NhbGVraXQtZXZlbnRicmlkZ2UtZGV2ZWxvcG1lbnQ=",
    "WEBHOOK_TOLERANCE_SECONDS": "315360000",
}

# What a developer may have set that would lead a run astray: to a real account, through a proxy, to other settings.
_FOREIGN = re.compile(r"AWS_.*|.*_PROXY|CARGO_LAMBDA_.*|EVENT_.*|WEBHOOK_.*|UNKNOWN_EVENTS|RUST_LOG", re.IGNORECASE)
_DUMMY_AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}


def prepare_process() -> None:
    """Readies this process, and thereby all that it starts, for a run on this machine alone.

    The developer's own settings are taken out of the environment, and a request to end (`kill`, a closed terminal)
    is turned into what Ctrl-C is, so that no `with` block is left without its clean-up.
    """
    for name in [name for name in os.environ if _FOREIGN.fullmatch(name)]:
        del os.environ[name]
    os.environ.update(_DUMMY_AWS)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` sets it
            signal.signal(number, signal.default_int_handler)


class Failure(Exception):
    """The stack doesn't stand: says what failed, with the end of the log that tells why."""


class Daemon(ABC):
    """A server on a free port, in a process group of its own, that doesn't outlive its `with` block."""

    port: int
    _process: subprocess.Popen[bytes]

    def __init__(self, log: Path) -> None:
        self.log = log

    @abstractmethod
    def _command(self) -> tuple[list[str | Path], dict[str, str]]:
        """What to run to be served on `self.port`, and the variables to set for it."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Is it answering on `self.port`?"""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def last_words(self) -> str:
        """The end of what it wrote, which tells why it failed."""
        lines = self.log.read_text(errors="replace").splitlines()[-30:]
        return "\n  ".join([f"The end of {self.log.name}:", *lines])

    def __enter__(self) -> Self:
        # Between looking for a free port and using it, another process may take it: then we try the next one.
        for _ in range(5):
            self.port = _free_port()
            if self._start():
                return self
        raise Failure(f"{type(self).__name__} did not start. {self.last_words()}")

    def _start(self) -> bool:
        command, variables = self._command()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + 60
            while self._process.poll() is None and time.monotonic() < deadline:
                if self._is_ready():
                    return True
                time.sleep(0.05)
        except BaseException:
            self._stop()
            raise
        self._stop()
        return False

    def __exit__(self, *raised: object) -> None:
        self._stop()

    def _stop(self) -> None:
        # An impatient second Ctrl-C waits until this is done.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            self._signal_group(signal.SIGTERM)
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                pass
            self._signal_group(signal.SIGKILL)
            self._process.wait()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # nobody is left in it; macOS says so with the second


class Emulator(Daemon):
    """ministack, empty at its start, with all that it writes in `directory`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "emulator.log")
        self._directory = directory

    def _command(self) -> tuple[list[str | Path], dict[str, str]]:
        return [TOOLS / "emulator" / "bin" / "python", "-m", "ministack"], {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": HOST,
            # The functions that it runs inherit this, and so call it, not AWS.
            "AWS_ENDPOINT_URL": self.url,
            "TMPDIR": str(self._directory),
            "STATE_DIR": str(self._directory / "state"),
            "S3_DATA_DIR": str(self._directory / "s3"),
        }

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5):
                return True
        except OSError:
            return False

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.url)


class Subscription:
    """A bus, and a queue behind a rule on it that matches every event of our source."""

    def __init__(self, emulator: Emulator) -> None:
        events = emulator.client("events")
        self._queues = emulator.client("sqs")
        events.create_event_bus(Name=BUS)
        rule = events.put_rule(Name="everything", EventBusName=BUS, EventPattern=json.dumps({"source": [SOURCE]}))
        self._queue = self._queues.create_queue(QueueName="events")["QueueUrl"]
        attributes = self._queues.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        # The emulator delivers without asking. EventBridge doesn't.
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": rule["RuleArn"]}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self._queues.set_queue_attributes(QueueUrl=self._queue, Attributes={"Policy": policy})
        events.put_targets(Rule="everything", EventBusName=BUS, Targets=[{"Id": "queue", "Arn": arn}])

    def receive(self, *, wait: int = 0) -> list[dict[str, Any]]:
        """Drains the queue; when it is empty, waits up to `wait` seconds for a first event."""
        events: list[dict[str, Any]] = []
        while messages := self._queues.receive_message(
            QueueUrl=self._queue, MaxNumberOfMessages=10, WaitTimeSeconds=0 if events else wait
        ).get("Messages"):
            for message in messages:
                self._queues.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
                events.append(json.loads(message["Body"]))
        return events


@dataclass(frozen=True)
class Answer:
    """What the sender of a delivery sees."""

    status: int
    headers: dict[str, str]
    body: str


class Watch(Daemon):
    """The function as `cargo lambda watch` runs it: compiled and started at the first invocation."""

    def __init__(self, emulator: Emulator, log: Path, **variables: str) -> None:
        super().__init__(log)
        self._variables = {"AWS_ENDPOINT_URL": emulator.url} | DEVELOPMENT | variables

    def _command(self) -> tuple[list[str | Path], dict[str, str]]:
        # The function inherits the environment.
        address = ["--invoke-address", HOST, "--invoke-port", str(self.port)]
        return [CARGO_LAMBDA, "lambda", "watch", "--locked", *address], self._variables

    def _is_ready(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def invoke(self, envelope: Path) -> Answer:
        """Hands an envelope to the function with `cargo lambda invoke`, and reads the answer."""
        address = ["--invoke-address", HOST, "--invoke-port", str(self.port)]
        command = [CARGO_LAMBDA, "lambda", "invoke", *address, "--data-file", envelope]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as call:
            try:
                output, errors = self._communicate(call)
            except BaseException:
                call.kill()
                raise
        if call.returncode != 0:
            raise Failure(f"cargo lambda invoke failed for {envelope.name}:\n{errors}\n{self.last_words()}")
        answer = json.loads(output)
        return Answer(answer["statusCode"], answer["headers"], answer["body"])

    def _communicate(self, call: subprocess.Popen[str]) -> tuple[str, str]:
        # Once the function has exited, nobody starts it again, and an invocation would wait for ever.
        deadline = time.monotonic() + 15 * 60  # the function may have to be compiled first
        while time.monotonic() < deadline:
            try:
                return call.communicate(timeout=0.5)
            except subprocess.TimeoutExpired:
                if "command exited code=" in self.log.read_text(errors="replace"):
                    raise Failure(f"The function exited. {self.last_words()}") from None
        raise Failure(f"The function gave no answer. {self.last_words()}")

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Sends a delivery over HTTP, as Scalekit does, for `cargo lambda watch` to put in an envelope."""
        request = urllib.request.Request(self.url, body, dict(headers))
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Answer(response.status, dict(response.headers), response.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read().decode())


def _free_port() -> int:
    """A port that nobody listens on, of a range that outgoing connections aren't given theirs from."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port
