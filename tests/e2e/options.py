"""Reads and checks the variables of `make watch`. It uses nothing but Python itself, so that `make` can run it before it
installs anything: a wrong option is reported at once."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

EXAMPLE_URL = "http://127.0.0.1:3000/events"

# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
OPERATORS = ("anything-but", "cidr", "equals-ignore-case", "exists", "numeric", "prefix", "suffix", "wildcard")

# The largest batch that Lambda reads from a queue without waiting for more messages:
# https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
MAX_BATCH_SIZE = 10


class InvalidOption(Exception):
    """The message names the variable, the place, and what is expected there."""


@dataclass(frozen=True)
class Options:
    pattern: str
    forward: str
    batch_size: int | None
    prints_json: bool
    prints_whole_log: bool

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Self:
        pattern, forward, batch = (variables.get(name, "").strip() for name in ("PATTERN", "FORWARD", "BATCH"))
        if pattern:
            check_pattern(pattern)
        if forward:
            check_url(forward)
        json, log = (variables.get(name, "") not in ("", "0") for name in ("JSON", "LOG"))
        return cls(pattern, forward, batch_size(batch, forward), json, log)


def check_pattern(text: str) -> None:
    try:
        pattern = json.loads(text)
    except RecursionError:
        raise InvalidOption("PATTERN is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidOption(f"PATTERN is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError as error:  # a number with thousands of digits
        raise InvalidOption(f"PATTERN is not JSON: {error}") from None
    for problem in problems(pattern, ""):
        raise InvalidOption(f"PATTERN is not an event pattern: {problem}")


def problems(value: Any, pointer: str) -> Iterator[str]:
    """What is wrong with a pattern, or with the part of it at a JSON pointer. The emulator checks the operators' values."""
    where = pointer or "the pattern"
    if isinstance(value, dict) and value:
        for name, member in value.items():
            at = f"{pointer}/{name}"
            if name == "$or" and isinstance(member, list) and all(isinstance(one, dict) for one in member):
                for index, alternative in enumerate(member):
                    yield from problems(alternative, f"{at}/{index}")
            elif isinstance(member, list):
                yield from value_problems(member, at)
            else:
                yield from problems(member, at)
    elif isinstance(value, dict):
        yield f"{where} is empty"
    elif not pointer:
        yield 'it should be an object, such as {"detail-type": ["role.created"]}'
    else:
        yield f"{where} is {json.dumps(value)}. The values that match should be in an array: [{json.dumps(value)}]"


def value_problems(values: list[Any], pointer: str) -> Iterator[str]:
    if not values:
        yield f"{pointer} is an empty array, which matches nothing"
    for value in values:
        if isinstance(value, list):
            yield f"{pointer} contains an array. It should contain values and operators"
        elif isinstance(value, dict) and (len(value) != 1 or next(iter(value)) not in OPERATORS):
            expected = ", ".join(OPERATORS)
            yield f"{pointer} contains {json.dumps(value)}. An operator is an object with one of these members: {expected}"


def check_url(text: str) -> None:
    try:
        url = urlsplit(text)
        is_valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        is_valid = is_valid and text.isascii() and text.isprintable() and " " not in text
    except ValueError:
        is_valid = False
    if not is_valid:
        raise InvalidOption(f"FORWARD is {text!r}. It should be a URL with http:// or https://, such as {EXAMPLE_URL}")


def batch_size(text: str, forward: str) -> int | None:
    if not text or text == "0":
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_BATCH_SIZE):
        raise InvalidOption(f"BATCH is {text!r}. It should be the size of a batch, from 1 to {MAX_BATCH_SIZE}")
    if not forward:
        raise InvalidOption(f"BATCH is set without FORWARD, which is the URL of the consumer, such as {EXAMPLE_URL}")
    return int(text)


def main() -> int:
    try:
        Options.read(os.environ)
    except InvalidOption as invalid:
        print(invalid, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
