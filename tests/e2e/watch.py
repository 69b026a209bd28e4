"""Runs the function and a local bus, and shows each event that arrives: `make watch`.

These variables change what it does:

  PATTERN   an event pattern. Each event is tested with it
  FORWARD   a URL. Each event that matches is posted there, as EventBridge delivers it
  JSON      print each event that matches as one line of JSON, and everything else to standard error
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any, Self

from botocore.exceptions import ClientError

from demo import Stack, row, running, say
from support import page
from support.harness import CARGO_LAMBDA, EVENTS, HOST, ROOT, Failure, prepare_process

# `send` posts to this port by default.
PORT = 9000
EXAMPLE = EVENTS / "organization.sso_enabled.json"


@dataclass(frozen=True)
class Options:
    pattern: str
    forward: str
    prints_json: bool

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Self:
        options = cls(
            variables.get("PATTERN", ""), variables.get("FORWARD", ""), variables.get("JSON", "") not in ("", "0")
        )
        if options.pattern:
            try:
                json.loads(options.pattern)
            except ValueError as error:
                raise Failure(f"PATTERN is not JSON: {error}") from None
        if options.forward:
            url = urllib.parse.urlsplit(options.forward)
            if url.scheme not in ("http", "https") or not url.hostname:
                raise Failure(f"FORWARD is {options.forward}. It should be a URL, such as http://{HOST}:3000")
        return options


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
    except Failure as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


def watch(options: Options, output: Any) -> None:
    with running(preferred_port=PORT, reload=True) as stack:
        matches(stack, options.pattern, page.envelope(json.loads(json.loads(EXAMPLE.read_text())["body"])))
        say("Compiling and starting the function")
        stack.function.invoke(EXAMPLE)
        stack.subscription.receive(wait=5)
        say(usage(stack))
        with stack.function.log.open(errors="replace") as log:
            while True:
                arrived = stack.subscription.receive(wait=1)
                for line in log:
                    say(line.rstrip())
                for event in arrived:
                    matched = matches(stack, options.pattern, event)
                    say("→ " + "  ".join([*row(event), *outcome(options, event, matched)]))
                    if options.prints_json and matched:
                        print(json.dumps(event, ensure_ascii=False), file=output, flush=True)


def matches(stack: Stack, pattern: str, event: dict[str, Any]) -> bool:
    if not pattern:
        return True
    client = stack.emulator.client("events")
    try:
        return client.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))["Result"]
    except ClientError as error:
        raise Failure(f"PATTERN is invalid: {error.response['Error']['Message']}") from None


def outcome(options: Options, event: dict[str, Any], matched: bool) -> list[str]:
    """What came of an event that arrived, in words."""
    words = []
    if options.pattern:
        words.append("matches the pattern" if matched else "doesn't match the pattern")
    if options.forward and matched:
        words.append(f"forwarded: {forward(options.forward, event)}")
    return words


def forward(url: str, event: dict[str, Any]) -> str:
    """Posts an event. Returns the status of the response, or the error if no response arrived."""
    request = urllib.request.Request(url, json.dumps(event).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return str(response.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except (OSError, HTTPException) as error:
        return str(error)


def usage(stack: Stack) -> str:
    function = stack.function
    post = "" if function.port == PORT else f" --post {function.url}"
    notice = f"\nPort {PORT} is in use, so the function listens at another one, which `send` needs to know.\n" if post else ""
    invoke = f"{CARGO_LAMBDA.relative_to(ROOT)} lambda invoke --invoke-address {HOST} --invoke-port {function.port}"
    return f"""{notice}
The function is running at {function.url}, and the emulator with the bus at {stack.emulator.url}.
The function restarts when you edit a file in src/ or events/src/. To send it an event, run one of these commands in the
project's folder, in another terminal:

  scalekit-events send organization.sso_enabled{post}

  {invoke} --data-file {EXAMPLE.relative_to(ROOT)}

The function's log and the events that arrive appear below. Press Ctrl-C to stop.
"""


if __name__ == "__main__":
    sys.exit(main())
