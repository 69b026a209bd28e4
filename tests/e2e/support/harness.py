"""Runs what the end-to-end tests need: an AWS emulator, a queue that receives events, and the function itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
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
from functools import cache
from pathlib import Path
from typing import Any, Self

import boto3

ROOT = Path(__file__).resolve().parents[3]
EVENTS = ROOT / "events"
TOOLS = ROOT / ".tools"
CARGO_LAMBDA = TOOLS / "cargo-lambda" / "bin" / "cargo-lambda"

HOST = "127.0.0.1"
BUS = "scalekit"
SOURCE = "scalekit"

# The envelopes in events/ are signed with a published secret at a fixed time, so a local run has to use that secret
# and to accept old timestamps. These settings are not in Cargo.toml, because Cargo Lambda would deploy them.
DEVELOPMENT = {
    "EVENT_BUS_NAME": BUS,
    "EVENT_SOURCE": SOURCE,
    "WEBHOOK_SECRET": "whsec_c2NhbGVraXQtZXZlbnRicmlkZ2UtZGV2ZWxvcG1lbnQ=",
    "WEBHOOK_TOLERANCE_SECONDS": "315360000",
}

# Variables of the developer's own that would change a run: they name a real account, a proxy or other settings.
_FOREIGN = re.compile(r"AWS_.*|.*_PROXY|CARGO_LAMBDA_.*|EVENT_.*|WEBHOOK_.*|UNKNOWN_EVENTS|VALIDATION|ENVIRONMENT_ID|RUST_LOG", re.IGNORECASE)
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
    """Prepares this process, and the processes that it starts, for a run that uses only this machine: it removes the
    developer's own settings from the environment."""
    for name in [name for name in os.environ if _FOREIGN.fullmatch(name)]:
        del os.environ[name]
    os.environ.update(_DUMMY_AWS)
    react_to_signals()


def react_to_signals() -> None:
    """Makes SIGTERM (`kill`) and SIGHUP (a closed terminal) raise `KeyboardInterrupt`, as Ctrl-C does, so that every
    `with` block is cleaned up. A shell that starts a process in the background may make it ignore SIGINT, so its handler
    is installed, too. The process that started this one may have blocked the signals."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores SIGHUP
            signal.signal(number, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def executable(*command: str) -> Path:
    """The one executable that a command of Cargo builds if necessary."""
    built = subprocess.run(
        ["cargo", *command, "--locked", "--message-format", "json-render-diagnostics"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    [path] = [message["executable"] for message in messages if message.get("executable")]
    return Path(path)


@cache
def program() -> Path:
    """The program `scalekit-events`, built by Cargo if necessary."""
    return executable("build", "--manifest-path", "cli/Cargo.toml")


class Failure(Exception):
    """The setup failed. The message says what happened, usually with the end of a log."""


class Daemon(ABC):
    """A server in its own process group, which is stopped at the end of the `with` block.

    It uses the preferred port if that is free, and otherwise any free port.
    """

    port: int
    _process: subprocess.Popen[bytes]

    def __init__(self, log: Path, preferred_port: int | None = None) -> None:
        self.log = log
        self._preferred_port = preferred_port

    @abstractmethod
    def _command(self) -> tuple[list[str | Path], dict[str, str]]:
        """The command that serves on `self.port`, and the environment variables that it needs."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the server accepts requests on `self.port`."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def last_words(self) -> str:
        """The end of the server's log, for the message of a failure."""
        lines = self.log.read_text(errors="replace").splitlines()[-30:]
        return "\n  ".join([f"The end of {self.log.name}:", *lines])

    def __enter__(self) -> Self:
        # Another process may take the free port before the server does. Then the next attempt uses another port.
        for attempt in range(5):
            preferred = self._preferred_port if attempt == 0 else None
            self.port = preferred if preferred and is_free(preferred) else free_port()
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
        # A second Ctrl-C has to wait until the server has stopped.
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
            pass  # the group has no processes left; macOS reports that as a PermissionError


class Emulator(Daemon):
    """ministack, an AWS emulator. It starts empty and writes all its files to `directory`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory / "emulator.log")
        self._directory = directory

    def _command(self) -> tuple[list[str | Path], dict[str, str]]:
        return [TOOLS / "emulator" / "bin" / "python", "-m", "ministack"], {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": HOST,
            # The functions that the emulator runs inherit this variable, so they call the emulator instead of AWS.
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
    """A bus, and a queue that receives every event from our source through a rule on that bus."""

    def __init__(self, emulator: Emulator) -> None:
        events = emulator.client("events")
        self._queues = emulator.client("sqs")
        events.create_event_bus(Name=BUS)
        rule = events.put_rule(Name="everything", EventBusName=BUS, EventPattern=json.dumps({"source": [SOURCE]}))
        self._queue = self._queues.create_queue(QueueName="events")["QueueUrl"]
        attributes = self._queues.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])
        arn = attributes["Attributes"]["QueueArn"]
        # The emulator doesn't check this policy, but EventBridge would.
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
        """Receives and deletes all events. If the queue is empty, waits up to `wait` seconds for the first one."""
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
    """The HTTP response to a delivery."""

    status: int
    headers: dict[str, str]
    body: str


class Watch(Daemon):
    """The function as run by `cargo lambda watch`, which compiles and starts it at the first invocation.

    With `reload`, it compiles and restarts the function when a source file changes. `.cargolambdaignore` lists the others.
    """

    def __init__(
        self, emulator: Emulator, log: Path, *, preferred_port: int | None = None, reload: bool = False, **variables: str
    ) -> None:
        super().__init__(log, preferred_port)
        self._reload = [] if reload else ["--ignore-changes"]
        self._variables = {"AWS_ENDPOINT_URL": emulator.url} | DEVELOPMENT | variables

    def _command(self) -> tuple[list[str | Path], dict[str, str]]:
        # The function inherits the environment.
        address = ["--invoke-address", HOST, "--invoke-port", str(self.port)]
        return [CARGO_LAMBDA, "lambda", "watch", "--locked", *self._reload, *address], self._variables

    def _is_ready(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def invoke(self, envelope: Path) -> Answer:
        """Invokes the function with an envelope, using `cargo lambda invoke`, and returns its response."""
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
        # Nothing restarts a function that has exited, so an invocation would wait for ever.
        deadline = time.monotonic() + 15 * 60  # includes compiling the function
        while time.monotonic() < deadline:
            try:
                return call.communicate(timeout=0.5)
            except subprocess.TimeoutExpired:
                if "command exited code=" in self.log.read_text(errors="replace"):
                    raise Failure(f"The function exited. {self.last_words()}") from None
        raise Failure(f"The function did not respond. {self.last_words()}")

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Sends a delivery over HTTP, as Scalekit does. `cargo lambda watch` converts it to an invocation."""
        request = urllib.request.Request(self.url, body, dict(headers))
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Answer(response.status, dict(response.headers), response.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read().decode())


def signature(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The Standard Webhooks signature. It is implemented here again, independently of the function's own code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def free_port() -> int:
    """A port that nobody listens on, outside the range that the system uses for outgoing connections."""
    while not is_free(port := random.randrange(20_000, 32_000)):
        pass
    return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have just closed don't matter
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
