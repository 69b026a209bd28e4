"""Are the published schemas of use? Python's bindings are generated from them as the consumers' page says, and read
every sample; and the page's commands for EventBridge's schema registry are run against what pretends to be it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import pytest

import page
from harness import EVENTS, HOST
from page import section

SCHEMAS = EVENTS / "schemas"
TYPES = sorted(path.stem for path in (EVENTS / "bodies").iterdir())
EXAMPLE = "organization.sso_enabled"

# The registry's limit, in characters, from its API's model.
CONTENT_SIZE = 100_000

# Reads [module, class, event] from each line and writes what the model made of the event, or what it refused.
READER = """
import importlib, json, sys
from pydantic import ValidationError

for line in sys.stdin:
    module, name, event = json.loads(line)
    model = getattr(importlib.import_module(f"scalekit_events.{module}"), name)
    try:
        made = {"event": model.model_validate(event).model_dump(by_alias=True, exclude_unset=True, mode="json")}
    except ValidationError as error:
        made = {"refused": [".".join(map(str, each["loc"])) for each in error.errors()]}
    print(json.dumps(made))
"""


def schema(type: str) -> dict[str, Any]:
    return json.loads((SCHEMAS / f"{type}.schema.json").read_bytes())


def event(type: str) -> dict[str, Any]:
    """The sample as EventBridge hands it over."""
    return page.envelope(json.loads((EVENTS / "bodies" / f"{type}.json").read_bytes()))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's Python commands have been run, for all types instead of some."""
    directory = tmp_path_factory.mktemp("bindings")
    (directory / "events").symlink_to(EVENTS)
    [commands] = page.blocks(section("Python"), "sh")
    assert "organization.sso_*" in commands
    page.shell(commands.replace("organization.sso_*", "*"), directory=directory)
    return directory


def python(directory: Path, script: str, standard_input: str = "") -> str:
    """Runs a script where the bindings can be imported."""
    done = subprocess.run(
        [page.BINDINGS / "python", "-c", script],
        cwd=directory,
        env=os.environ,
        input=standard_input,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read(directory: Path, *events: dict[str, Any]) -> list[dict[str, Any]]:
    """What the bindings make of each event."""
    calls = [
        [f"{event['detail-type'].replace('.', '_')}_schema", schema(event["detail-type"])["title"], event]
        for event in events
    ]
    lines = "".join(f"{json.dumps(call)}\n" for call in calls)
    return [json.loads(line) for line in python(directory, READER, lines).splitlines()]


def test_every_type_has_its_schemas() -> None:
    formats = ("schema", "openapi")
    assert {path.name for path in SCHEMAS.iterdir()} == {f"{type}.{one}.json" for type in TYPES for one in formats}


def test_generated_python_reads_every_sample_and_gives_it_back(directory: Path) -> None:
    events = [event(type) for type in TYPES]

    for one, made in zip(events, read(directory, *events), strict=True):
        assert made == {"event": one}, one["detail-type"]


def test_generated_python_takes_what_a_later_version_may_bring(directory: Path) -> None:
    later = event(EXAMPLE)
    later["detail"] |= {"spec_version": "2", "object": "FederatedConnection", "tenant": {"id": 1}}
    later["detail"]["data"] |= {"provider": "SOMETHING_NEW", "status": None, "enabled": None, "scopes": ["openid"]}
    without_data = event(EXAMPLE)
    del without_data["detail"]["data"], without_data["detail"]["organization_id"]

    assert read(directory, later, without_data) == [{"event": later}, {"event": without_data}]


def test_generated_python_refuses_what_is_no_such_event(directory: Path) -> None:
    another_type = event(EXAMPLE) | {"detail": event("role.created")["detail"]}
    without_id = event(EXAMPLE)
    del without_id["detail"]["id"]

    [first, second] = read(directory, another_type, without_id)
    assert "detail.type" in first["refused"]
    assert second["refused"] == ["detail.id"]


def test_the_python_of_the_page_runs(directory: Path) -> None:
    [handler] = page.blocks(section("Python"), "python")
    call = f"import json\n{handler}\nprint(json.dumps(handler(json.loads(input()), None)))"

    sample = event(EXAMPLE)
    printed = python(directory, call, json.dumps(sample))
    data = sample["detail"]["data"]
    assert json.loads(printed) == [sample["detail"]["id"], data["id"], data["provider"]]


class Registry(ThreadingHTTPServer):
    """Answers as EventBridge's schema registry would if all were well, and remembers what was asked."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Call)
        self.calls: list[tuple[str, str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}"


class _Call(BaseHTTPRequestHandler):
    server: Registry

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = unquote(self.path).removeprefix("/v1/registries/name/")
        self.server.calls.append((self.command, path, json.loads(body or "{}")))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_POST = do_PUT = answer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing: what was asked is remembered."""


@contextmanager
def registry() -> Iterator[Registry]:
    with Registry() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def test_the_commands_put_schemas_into_a_registry(tmp_path: Path) -> None:
    """With two schemas: for all of them, the AWS CLI would have to start a hundred times."""
    types = [EXAMPLE, "role.created"]
    (tmp_path / "events" / "schemas").mkdir(parents=True)
    for type in types:
        for file in SCHEMAS.glob(f"{type}.*"):
            (tmp_path / "events" / "schemas" / file.name).symlink_to(file)

    with registry() as server:
        for commands in page.blocks(section("Schemas"), "sh"):
            page.shell(commands, server.url, tmp_path)

    contents = {type: (SCHEMAS / f"{type}.openapi.json").read_text() for type in types}
    bindings = f"scalekit/schemas/name/scalekit@{EXAMPLE}/language/TypeScript3"
    created, *put = server.calls
    assert created == ("POST", "scalekit", {})
    for _, _, call in put:
        call.pop("ClientTokenId", None)  # made up by the CLI
    assert put == [
        *(
            (method, f"scalekit/schemas/name/scalekit@{type}", {"Type": "OpenApi3", "Content": contents[type]})
            for method in ("POST", "PUT")
            for type in types
        ),
        ("POST", bindings, {}),
        ("GET", f"{bindings}/source", {}),
    ]


@pytest.mark.parametrize("type", TYPES)
def test_a_schema_is_one_that_the_registry_takes(type: str) -> None:
    text = (SCHEMAS / f"{type}.openapi.json").read_text()
    document = json.loads(text)
    envelope = document["components"]["schemas"]["AWSEvent"]

    assert len(text) <= CONTENT_SIZE
    assert document["openapi"].startswith("3.0.")
    assert envelope["x-amazon-events-source"] == "scalekit"
    assert envelope["x-amazon-events-detail-type"] == type
