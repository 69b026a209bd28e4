"""Sends every sample in events/ through the real function, and shows which events arrive in a queue: `make demo`."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.harness import EVENTS, Emulator, Failure, Subscription, Watch, prepare_process

COLUMNS = ("file", "status", "detail-type", "id", "organization")


@dataclass(frozen=True)
class Sent:
    """A delivery that was sent, the status of its response, and the events that arrived."""

    envelope: Path
    status: int
    arrived: list[dict[str, Any]]

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(json.loads(self.envelope.read_text())["body"])


@dataclass(frozen=True)
class Stack:
    """The running function, and the emulator with the queue that receives its events."""

    emulator: Emulator
    function: Watch
    subscription: Subscription


def main() -> int:
    prepare_process()
    try:
        return demo()
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1


def demo() -> int:
    started = time.monotonic()
    with running() as stack:
        envelopes = sorted(EVENTS / body.name for body in (EVENTS / "bodies").iterdir())
        say(f"Sending {len(envelopes)} signed deliveries with cargo lambda invoke\n")
        table = Table(envelopes)
        sent = []
        for one in send(stack, envelopes):
            table.print(one)
            sent.append(one)
        late = stack.subscription.receive(wait=1)
        problems = differences(sent, late)
        say("")
        for problem in problems:
            say(f"  ✗ {problem}")
        answered = sum(one.status == 200 for one in sent)
        arrived = sum(len(one.arrived) for one in sent) + len(late)
        verdict = "These are not the events that were sent" if problems else "Every event arrived once, unchanged"
        say(f"{len(sent)} deliveries sent, {answered} answered with 200, {arrived} events arrived. {verdict}.")
        if problems:
            raise Failure(stack.function.last_words())
    say(f"Everything is cleaned up. The demo took {time.monotonic() - started:.1f} s.")
    return 0


@contextmanager
def running(*, preferred_port: int | None = None, reload: bool = False) -> Iterator[Stack]:
    """Starts the emulator, with a bus, a rule and a queue, and the function. Stops both at the end of the block."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scalekit-eventbridge-")))
        say("Starting the emulator")
        emulator = stack.enter_context(Emulator(directory))
        subscription = Subscription(emulator)
        say(f"Created an event bus, a rule and a queue in the emulator at {emulator.url}")
        function = stack.enter_context(
            Watch(emulator, directory / "function.log", preferred_port=preferred_port, reload=reload)
        )
        say(f"cargo lambda watch is listening at {function.url}")
        yield Stack(emulator, function, subscription)


def send(stack: Stack, envelopes: Sequence[Path]) -> Iterator[Sent]:
    """Sends the deliveries one after the other, and empties the queue after each."""
    for envelope in envelopes:
        answer = stack.function.invoke(envelope)
        yield Sent(envelope, answer.status, stack.subscription.receive(wait=2 if answer.status == 200 else 0))


def differences(sent: Sequence[Sent], late: Sequence[dict[str, Any]] = ()) -> list[str]:
    """Lists the differences between the events that were sent and those that arrived.

    `late` holds the events that arrived after the last delivery, which could belong to any of them.
    """
    problems = [f"{one.envelope.name} was answered with {one.status}" for one in sent if one.status != 200]
    if not sent:
        problems.append("no delivery was sent")
    arrived = [event for one in sent for event in one.arrived] + list(late)
    expected = {one.event["id"]: one.event for one in sent}
    if len(expected) < len(sent):
        problems.append("two of the deliveries have the same id")
    count = Counter(event["detail"].get("id") for event in arrived)
    problems += [f"{one.event['id']} never arrived" for one in sent if one.status == 200 and not count[one.event["id"]]]
    problems += [f"{id} arrived {times} times" for id, times in count.items() if times > 1]
    problems += [f"{id} arrived but was never sent" for id in count if id not in expected]
    for event in arrived:
        original = expected.get(event["detail"].get("id"))
        if original and canonical(event["detail"]) != canonical(original):
            problems.append(f"{original['id']} arrived with a different detail")
        if original and event["detail-type"] != original["type"]:
            problems.append(f"{original['id']} arrived with the detail-type {event['detail-type']}")
    return problems


def canonical(value: Any) -> str:
    """JSON text that differs for different values. Python itself considers 1, 1.0 and True equal."""
    return json.dumps(value, sort_keys=True)


def row(event: dict[str, Any]) -> tuple[str, str, str]:
    """The cells of an event's last three columns."""
    detail = event["detail"]
    return event["detail-type"], str(detail.get("id") or "-"), str(detail.get("organization_id") or "-")


class Table:
    """A table with a line for each delivery. The columns fit their contents, or are narrowed to fit the terminal."""

    def __init__(self, envelopes: Sequence[Path]) -> None:
        bodies = [json.loads(json.loads(envelope.read_text())["body"]) for envelope in envelopes]
        rows = [
            (envelope.name, "200", *row({"detail-type": body["type"], "detail": body}))
            for envelope, body in zip(envelopes, bodies, strict=True)
        ]
        self._widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
        room = shutil.get_terminal_size((1000, 24)).columns - 2 * len(COLUMNS)
        # Narrow the file name first, because it repeats the detail-type.
        for column, least in ((0, 20), (4, 12), (3, 12), (2, 20)):
            excess = max(0, sum(self._widths) - room)
            self._widths[column] = max(least, self._widths[column] - excess)
        self._print(*COLUMNS)

    def print(self, sent: Sent) -> None:
        for arrived in sent.arrived:
            self._print(sent.envelope.name, str(sent.status), *row(arrived))
        if not sent.arrived:
            self._print(sent.envelope.name, str(sent.status), "no event arrived", "", "")

    def _print(self, *cells: str) -> None:
        line = (shortened(cell, width).ljust(width) for cell, width in zip(cells, self._widths, strict=True))
        print("  " + "  ".join(line).rstrip(), flush=True)


def shortened(text: str, width: int) -> str:
    """The text, with its middle left out if it is longer than `width`."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head):]}"


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
