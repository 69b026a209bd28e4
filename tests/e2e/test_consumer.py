"""Tests that the example consumer handles each event once. It runs as a Lambda function on the emulator, and the
commands of the page on rules create the rule that invokes it."""

from __future__ import annotations

import io
import json
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from support import page
from support.target import ARCHITECTURE
from support.harness import BUS, EVENTS, ROOT, SOURCE, Emulator, Failure
from support.page import section

FUNCTION = "my-function"
LOG_GROUP = f"/aws/lambda/{FUNCTION}"


def build() -> bytes:
    """Builds the example for this machine, and returns a zip file with its executable, as Lambda requires it."""
    output = subprocess.run(
        ["cargo", "build", "--locked", "--example", "consumer", "--message-format", "json-render-diagnostics"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
    artifacts = [json.loads(line) for line in output.splitlines()]
    [executable] = [one["executable"] for one in artifacts if one.get("executable")]
    entry = zipfile.ZipInfo("bootstrap")
    entry.external_attr = 0o755 << 16
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(entry, Path(executable).read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=1)
    return archive.getvalue()


class Consumer:
    """The deployed example. Tests put events on its bus and read its log."""

    def __init__(self, emulator: Emulator) -> None:
        self._events = emulator.client("events")
        self._logs = emulator.client("logs")
        self._events.create_event_bus(Name=BUS)
        self._logs.create_log_group(logGroupName=LOG_GROUP)
        emulator.client("lambda").create_function(
            FunctionName=FUNCTION,
            Runtime="provided.al2023",
            Architectures=[ARCHITECTURE],
            Handler="bootstrap",
            Role="arn:aws:iam::000000000000:role/consumer",
            Timeout=30,
            Code={"ZipFile": build()},
        )
        [commands] = page.blocks(section("AWS CLI"), "sh")
        page.shell(commands.replace("eu-central-1:123456789012", "us-east-1:000000000000"), emulator.url)

    def put(self, event: dict[str, Any]) -> None:
        entry = {"EventBusName": BUS, "Source": SOURCE, "DetailType": event["type"], "Detail": json.dumps(event)}
        assert self._events.put_events(Entries=[entry])["FailedEntryCount"] == 0

    def log(self) -> list[dict[str, Any]]:
        """The function's own log lines, without those of the Lambda platform."""
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=LOG_GROUP)
        lines = [line for page in pages for event in page["events"] for line in event["message"].splitlines()]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Waits until the function's log has `count` lines, because the bus invokes the function asynchronously."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if len(lines := self.log()) >= count:
                return lines
            time.sleep(0.1)
        raise Failure(f"The consumer wrote {len(self.log())} log lines instead of {count}")


@pytest.fixture(scope="module")
def consumer() -> Iterator[Consumer]:
    # pytest would keep its own temporary directory, with the function in it.
    with (
        TemporaryDirectory(prefix="scalekit-eventbridge-") as directory,
        Emulator(Path(directory)) as emulator,
    ):
        yield Consumer(emulator)


def test_the_consumer_handles_each_event_once(consumer: Consumer) -> None:
    event = json.loads((EVENTS / "bodies" / "organization.sso_enabled.json").read_bytes())
    another = event | {"id": "evt_1"}
    unwanted = json.loads((EVENTS / "bodies" / "organization.sso_disabled.json").read_bytes())

    # Wait after each event. While the function is busy, Lambda would start another process, which shares no memory.
    for count, one in enumerate([event, event, another], start=1):
        consumer.put(unwanted)
        consumer.put(one)
        lines = consumer.wait_for(count)

    taken = [(line["event_id"], line["action"].split()[0]) for line in lines]
    assert taken == [(event["id"], "TellOfConnection"), (event["id"], "DoneBefore"), ("evt_1", "TellOfConnection")]
    assert event["data"]["id"] in lines[0]["action"]
