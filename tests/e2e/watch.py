"""Runs the function and a local bus, and shows each event that arrives: `make watch`.

These variables change what it does:

  PATTERN   an event pattern. Each event is tested with it
  FORWARD   a URL. Each event that matches is posted there, as EventBridge delivers it
  BATCH     a size. The events are posted in batches of at most this size, as Lambda reads them from an SQS queue
  JSON      print each event that matches as one line of JSON, and everything else to standard error
  LOG       print the lines of the function's log whole, even if they are wider than the terminal
"""

from __future__ import annotations

import json
import os
import secrets
import select
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any, TextIO

from botocore.exceptions import ClientError

from demo import Stack, row, running, say
from forward import BatchConsumer, post
from options import InvalidOption, Options
from support import page
from support.harness import CARGO_LAMBDA, DEVELOPMENT, EVENTS, HOST, ROOT, Failure, prepare_process, signature
from support.terminal import BOLD, FAINT, GOOD, cut_to_terminal, printable, printable_json, styled, without_colours

# `send` posts to this port by default.
PORT = 9000
EXAMPLE = EVENTS / "organization.sso_enabled.json"

Event = dict[str, Any]


def main() -> int:
    prepare_process()
    try:
        options = Options.read(os.environ)
        output = sys.stdout
        with redirect_stdout(sys.stderr if options.prints_json else sys.stdout):
            watch(options, output)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # for example, `head` has printed enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (Failure, InvalidOption) as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


def watch(options: Options, output: TextIO) -> None:
    with running(preferred_port=PORT, reload=True) as stack:
        matches(stack, options.pattern, page.envelope(json.loads(json.loads(EXAMPLE.read_text())["body"])))
        consumer = BatchConsumer(stack.emulator, options.forward, options.batch_size) if options.batch_size else None
        say("Starting the function")
        stack.function.invoke(EXAMPLE)
        stack.subscription.receive(wait=5)
        with stack.function.log.open(errors="replace") as log:
            show_log(log, whole=options.prints_whole_log)
            say(usage(stack))
            arrived: dict[str, Event] = {}
            typed = Input()
            while True:
                events = stack.subscription.receive(wait=1)
                show_log(log, whole=options.prints_whole_log)
                for event in events:
                    matched = matches(stack, options.pattern, event)
                    id = row(event)[1]
                    say("  ".join([arrival(event), *outcome(options, event, matched, again=id in arrived)]))
                    arrived[id] = event
                    if consumer and matched:
                        consumer.add(event)
                    if options.prints_json and matched:
                        print(printable_json(json.dumps(event, ensure_ascii=False)), file=output, flush=True)
                for line in consumer.deliver() if consumer else ():
                    say(line)
                for id in typed.lines():
                    say(send_again(stack, arrived, id))


def matches(stack: Stack, pattern: str, event: Event) -> bool:
    if not pattern:
        return True
    client = stack.emulator.client("events")
    try:
        return client.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"]
    except ClientError as error:
        raise Failure(f"PATTERN is invalid: {error.response['Error']['Message']}") from None


def show_log(log: TextIO, *, whole: bool) -> None:
    """Shows the lines that the function has logged since the last call."""
    for line in log:
        line = without_colours(line.rstrip())
        say(styled(line if whole else cut_to_terminal(line), FAINT))


def arrival(event: Event) -> str:
    type, id, organization = row(event)
    return "  ".join([styled(f"→ {type}", f"{BOLD};{GOOD}"), printable(id), styled(organization, FAINT)])


def outcome(options: Options, event: Event, matched: bool, *, again: bool) -> Iterator[str]:
    """What came of an event that arrived, in words."""
    if again:
        yield "again"
    if options.pattern:
        yield "matches the pattern" if matched else styled("doesn't match the pattern", FAINT)
    if options.forward and matched and not options.batch_size:
        yield f"forwarded: {post(options.forward, event)}"


def send_again(stack: Stack, arrived: dict[str, Event], id: str) -> str:
    """Sends an event to the function again, as Scalekit does when somebody resends it in the dashboard."""
    if id not in arrived:
        return f"No event with the id {printable(id)} has arrived"
    body, webhook_id, now = json.dumps(arrived[id]["detail"]).encode(), f"msg_{secrets.token_hex(13)}", int(time.time())
    headers = {
        "content-type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(DEVELOPMENT["WEBHOOK_SECRET"], webhook_id, now, body),
    }
    try:
        return f"Sent {printable(id)} again: {stack.function.post(body, headers).status}"
    except OSError as error:
        return f"Could not send {printable(id)} again: {error}"


class Input:
    """The lines that somebody types, without waiting for them."""

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno() if sys.stdin else None
        self._text = b""


    def lines(self) -> list[str]:
        if not self._is_readable():
            return []
        read = os.read(self._descriptor, 65536)
        if not read:
            self._descriptor = None
        *lines, self._text = (self._text + read).split(b"\n")
        return [line for line in (line.decode(errors="replace").strip() for line in lines) if line]

    def _is_readable(self) -> bool:
        if self._descriptor is None:
            return False
        # The terminal stops a process that reads from it in the background.
        if os.isatty(self._descriptor) and os.tcgetpgrp(self._descriptor) != os.getpgrp():
            return False
        return bool(select.select([self._descriptor], [], [], 0)[0])


def usage(stack: Stack) -> str:
    function = stack.function
    post = "" if function.port == PORT else f" --post {function.url}"
    notice = f"\nPort {PORT} is in use, so the function listens at another one, which `send` needs.\n" if post else ""
    invoke = f"{CARGO_LAMBDA.relative_to(ROOT)} lambda invoke"
    return f"""{notice}
The function is running at {function.url}, and the emulator with the bus
at {stack.emulator.url}. The function restarts when you edit a file in
src/ or events/src/. To send it an event, run one of these commands in another
terminal, in the project's folder (docs/tools.md: how to install the first one):

  scalekit-events send organization.sso_enabled{post}

  {invoke} \\
    --invoke-address {HOST} --invoke-port {function.port} \\
    --data-file {EXAMPLE.relative_to(ROOT)}

Its log and the events that arrive (→) appear below. To send an event again, type
its id (evt_...) and press Enter. Press Ctrl-C to stop.
"""


if __name__ == "__main__":
    sys.exit(main())
