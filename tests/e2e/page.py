"""What does the consumers' page say? Its sections, code blocks and event patterns, for tests that try them."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from harness import EVENTS, ROOT, SOURCE, TOOLS

PAGE = EVENTS / "README.md"
BINDINGS = TOOLS / "bindings" / "bin"
NOWHERE = "http://127.0.0.1:9"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """The text under each heading, up to the next one of any level."""
    _, *parts = _HEADING.split(text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def section(heading: str) -> str:
    return sections(PAGE.read_text())[heading]


def blocks(text: str, language: str) -> list[str]:
    return [code for name, code in _BLOCK.findall(text) if name == language]


def envelope(detail: dict[str, Any], source: str = SOURCE) -> dict[str, Any]:
    """An event as the page describes it, and with all that AWS's `TestEventPattern` demands."""
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "source": source,
        "detail-type": detail["type"],
        "account": "123456789012",
        "time": f"{detail['occurred_at'][:19]}Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": detail,
    }


def words(script: str) -> list[str]:
    """The script as the shell takes it apart, but for what it would put in the place of `$`."""
    return shlex.split(script.replace("\\\n", ""), comments=True)


def cloudformation_patterns(text: str) -> Iterator[Any]:
    """Every `EventPattern` in the text's YAML, however deep it lies."""
    for block in blocks(text, "yaml"):
        yield from _members_named("EventPattern", yaml.load(block, _CloudFormation))


def cli_patterns(text: str) -> Iterator[str]:
    """Every `--event-pattern` in the text's shell blocks, as the shell hands it to the command."""
    for block in blocks(text, "sh"):
        yield from (pattern for option, pattern in pairwise(words(block)) if option == "--event-pattern")


def inline_patterns(text: str) -> list[Any]:
    """Every pattern that stands in the text between backticks."""
    return [json.loads(code) for code in re.findall(r"`(\{[^`\n]+\})`", _BLOCK.sub("", text)) if '"source"' in code]


def shell(script: str, endpoint: str = NOWHERE, directory: Path = ROOT) -> str:
    """Runs a block of the page as it stands, with the tools that it names as pinned, and AWS at `endpoint`."""
    variables = {
        "PATH": os.pathsep.join([str(BINDINGS), os.environ["PATH"]]),
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_PAGER": "",
        "AWS_MAX_ATTEMPTS": "1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


class _CloudFormation(yaml.SafeLoader):
    """Reads YAML with `!Ref` and the like, whose arguments are all that matters here."""


def _argument(loader: yaml.SafeLoader, _tag: str, node: yaml.Node) -> Any:
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else loader.construct_sequence(node)


_CloudFormation.add_multi_constructor("!", _argument)


def _members_named(name: str, value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key == name:
                yield member
            else:
                yield from _members_named(name, member)
    elif isinstance(value, list):
        for member in value:
            yield from _members_named(name, member)
