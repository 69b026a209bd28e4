"""Extracts sections, code blocks and event patterns from pages, and runs their shell commands."""

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

from support.harness import EVENTS, ROOT, SOURCE, TOOLS

PAGES = sorted(EVENTS.glob("*.md"))
BINDINGS = TOOLS / "bindings" / "bin"
NOWHERE = "http://127.0.0.1:9"

_BLOCK = re.compile(r"^```(\w+)(?:,\w+)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{2,3} (.+)$", re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """The text under each heading, up to the next one of any level."""
    _, *parts = _HEADING.split(text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def section(heading: str, page: Path | None = None) -> str:
    """The text under a heading of this page, or of the pages for consumers, of which only one has the heading."""
    pages = [page] if page else PAGES
    [text] = [found[heading] for found in map(sections, (page.read_text() for page in pages)) if heading in found]
    return text


def blocks(text: str, language: str) -> list[str]:
    return [code for name, code in _BLOCK.findall(text) if name == language]


def envelope(detail: dict[str, Any], source: str = SOURCE) -> dict[str, Any]:
    """The EventBridge event with this detail, as the guide describes it. `TestEventPattern` requires every field."""
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
    """The words of a shell script, without expansions such as `$NAME`."""
    return shlex.split(script.replace("\\\n", ""), comments=True)


def template(text: str) -> dict[str, Any]:
    """A CloudFormation template in YAML, in which each tag such as `!Ref` is replaced by its argument."""
    return yaml.load(text, _CloudFormation)


def cloudformation_patterns(text: str) -> Iterator[Any]:
    """Every `EventPattern` in the YAML blocks of the text, at any depth."""
    for block in blocks(text, "yaml"):
        yield from _members_named("EventPattern", template(block))


def cli_patterns(text: str) -> Iterator[str]:
    """The value of every `--event-pattern` option in the shell blocks of the text."""
    for block in blocks(text, "sh"):
        yield from (pattern for option, pattern in pairwise(words(block)) if option == "--event-pattern")


def inline_patterns(text: str) -> list[Any]:
    """Every event pattern that is inline code in the text."""
    return [json.loads(code) for code in re.findall(r"`(\{[^`\n]+\})`", _BLOCK.sub("", text)) if '"source"' in code]


def shell(script: str, endpoint: str | None = NOWHERE, directory: Path = ROOT, stdin: str = "") -> str:
    """Runs a shell block of a page with the pinned tools. The AWS CLI sends its requests to `endpoint`, or to AWS if that
    is None."""
    variables = {"PATH": os.pathsep.join([str(BINDINGS), os.environ["PATH"]]), "AWS_PAGER": ""}
    if endpoint:
        variables |= {"AWS_ENDPOINT_URL": endpoint, "AWS_MAX_ATTEMPTS": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env=os.environ | variables,
        input=stdin,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def assert_pinned(install: str) -> None:
    """Asserts that a `pip install` command installs the versions that tests/tools/ pins."""
    pins = "".join(file.read_text() for file in (ROOT / "tests" / "tools").glob("*.txt"))
    command, *packages = words(install)[1:]
    assert command == "install" and packages
    for package in packages:
        name = re.sub(r"\[.*\]", "", package)  # without extras, such as `[aws-sdk]`
        assert f"{name} \\\n" in pins, package


def deviations() -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Events with a deviation for which the function doesn't refuse them, and whether consumers accept them."""
    sample = (EVENTS / "delivered" / "organization.directory_enabled.json").read_text()
    for row in json.loads((EVENTS / "tests" / "deviations.json").read_bytes()):
        event = json.loads(sample)
        *parents, name = row["pointer"].split("/")[1:]
        members = event["detail"]
        for parent in parents:
            members = members[parent]
        members.pop(name)
        if "value" in row:
            members[name] = row["value"]
        yield row["description"], event, row["accepted"]


class _CloudFormation(yaml.SafeLoader):
    """Reads YAML with tags such as `!Ref`, and replaces each by its argument."""


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
