"""Does every event make it from a signed delivery to a queue? Sends all of events/ through the real function.

With `--play`, leaves everything running instead, for deliveries sent by hand.
"""

from __future__ import annotations

import argparse
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

from harness import CARGO_LAMBDA, EVENTS, HOST, ROOT, Emulator, Failure, Subscription, Watch, prepare_process

COLUMNS = ("file", "status", "detail-type", "id", "organization")
EXAMPLE = EVENTS / "organization.sso_enabled.json"


@dataclass(frozen=True)
class Sent:
    """A delivery and what came of it."""

    envelope: Path
    status: int
    arrived: list[dict[str, Any]]

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(json.loads(self.envelope.read_text())["body"])


@dataclass(frozen=True)
class Stack:
    """All that an event passes through."""

    function: Watch
    subscription: Subscription


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--play", action="store_true", help="leave everything running until Ctrl-C")
    prepare_process()
    try:
        return play() if parser.parse_args(arguments).play else demo()
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1


def demo() -> int:
    started = time.monotonic()
    with running() as stack:
        envelopes = sorted(EVENTS.glob("*.json"))
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
        verdict = "they differ" if problems else "every event once, with the detail that was sent"
        say(f"{len(sent)} sent, {answered} answered 200, {arrived} arrived: {verdict}.")
        if problems:
            raise Failure(stack.function.last_words())
    say(f"Cleaned up, after {time.monotonic() - started:.1f} s in all.")
    return 0


def play() -> int:
    with running() as stack:
        stack.function.invoke(EXAMPLE)
        say(usage(stack.function))
        with stack.function.log.open(errors="replace") as log:
            while True:
                arrived = stack.subscription.receive(wait=1)
                for line in log:
                    say(line.rstrip())
                for event in arrived:
                    say(f"→ arrived in the queue: {'  '.join(row(event))}")


@contextmanager
def running() -> Iterator[Stack]:
    """The emulator, a queue behind a rule on its bus, and the function."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scalekit-eventbridge-")))
        say("Starting the emulator")
        emulator = stack.enter_context(Emulator(directory))
        subscription = Subscription(emulator)
        say(f"Bus, rule and queue are set up at {emulator.url}")
        function = stack.enter_context(Watch(emulator, directory / "function.log"))
        say(f"cargo lambda watch listens at {function.url}")
        yield Stack(function, subscription)


def send(stack: Stack, envelopes: Sequence[Path]) -> Iterator[Sent]:
    """Sends one after the other, and after each takes what is in the queue."""
    for envelope in envelopes:
        answer = stack.function.invoke(envelope)
        yield Sent(envelope, answer.status, stack.subscription.receive(wait=2 if answer.status == 200 else 0))


def differences(sent: Sequence[Sent], late: Sequence[dict[str, Any]] = ()) -> list[str]:
    """Compares what was sent with what arrived; `late` are arrivals that can't be told to belong to a delivery."""
    problems = [f"{one.envelope.name} was answered {one.status}" for one in sent if one.status != 200]
    if not sent:
        problems.append("nothing was sent")
    arrived = [event for one in sent for event in one.arrived] + list(late)
    expected = {one.event["id"]: one.event for one in sent}
    if len(expected) < len(sent):
        problems.append("two of the deliveries have the same id")
    count = Counter(event["detail"].get("id") for event in arrived)
    problems += [f"{one.event['id']} never arrived" for one in sent if one.status == 200 and not count[one.event["id"]]]
    problems += [f"{id} arrived {times} times" for id, times in count.items() if times > 1]
    problems += [f"{id} arrived and was never sent" for id in count if id not in expected]
    for event in arrived:
        original = expected.get(event["detail"].get("id"))
        if original and canonical(event["detail"]) != canonical(original):
            problems.append(f"{original['id']} arrived with another detail")
        if original and event["detail-type"] != original["type"]:
            problems.append(f"{original['id']} arrived as {event['detail-type']}")
    return problems


def canonical(value: Any) -> str:
    """JSON that differs when values do: Python finds 1, 1.0 and True equal."""
    return json.dumps(value, sort_keys=True)


def row(event: dict[str, Any]) -> tuple[str, str, str]:
    detail = event["detail"]
    return event["detail-type"], detail["id"], detail.get("organization_id", "-")


class Table:
    """One line for each delivery, in columns as wide as their contents, or as the terminal lets them be."""

    def __init__(self, envelopes: Sequence[Path]) -> None:
        bodies = [json.loads(json.loads(envelope.read_text())["body"]) for envelope in envelopes]
        rows = [
            (envelope.name, "200", *row({"detail-type": body["type"], "detail": body}))
            for envelope, body in zip(envelopes, bodies, strict=True)
        ]
        self._widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
        room = shutil.get_terminal_size((1000, 24)).columns - 2 * len(COLUMNS)
        # What can be told from the rest of the line gives way first.
        for column, least in ((0, 20), (4, 12), (3, 12), (2, 20)):
            excess = max(0, sum(self._widths) - room)
            self._widths[column] = max(least, self._widths[column] - excess)
        self._print(*COLUMNS)

    def print(self, sent: Sent) -> None:
        for arrived in sent.arrived:
            self._print(sent.envelope.name, str(sent.status), *row(arrived))
        if not sent.arrived:
            self._print(sent.envelope.name, str(sent.status), "nothing arrived", "", "")

    def _print(self, *cells: str) -> None:
        line = (shortened(cell, width).ljust(width) for cell, width in zip(cells, self._widths, strict=True))
        print("  " + "  ".join(line).rstrip(), flush=True)


def shortened(text: str, width: int) -> str:
    """The text, or as much of its beginning and its end as fits."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head):]}"


def usage(function: Watch) -> str:
    envelope = json.loads(EXAMPLE.read_text())
    headers = [
        f" \\\n    -H '{name}: {value}'"
        for name, value in envelope["headers"].items()
        if name.lower().startswith("webhook-") or name.lower() == "content-type"
    ]
    body = (EVENTS / "bodies" / EXAMPLE.name).relative_to(ROOT)
    invoke = f"{CARGO_LAMBDA.relative_to(ROOT)} lambda invoke --invoke-address {HOST} --invoke-port {function.port}"
    return f"""
Running; edit src/ and it restarts. Try, from the project's folder, in another terminal:

  {invoke} --data-file {EXAMPLE.relative_to(ROOT)}

  curl -i {function.url} --data-binary @{body}{''.join(headers)}

  cargo run --example send -- {body} --post {function.url}

The function's log, and what comes out of the queue, follow. Ctrl-C ends it.
"""


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
