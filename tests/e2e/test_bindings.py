"""Tests the published schemas. Python bindings are generated from them with the commands of the pages for consumers, and
read every sample, as do the handlers of the pages. The commands for EventBridge's schema registry are run against a fake
registry."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import pytest

from support import consumers, page
from support.consumers import EXAMPLE, LINES, NOT_SORTABLE, SORTABLE as SORTED, TIMES, batch
from support.harness import EVENTS, HOST, TOOLS, Emulator
from support.page import section

SCHEMAS = EVENTS / "schemas"
TYPES = sorted(path.stem for path in (EVENTS / "bodies").iterdir())

# The maximum length of a schema in the registry, in characters, from the model of its API.
CONTENT_SIZE = 100_000

# Reads an event from each line. Writes the event as the model read it, or the fields that it refused.
READER = """
import json, sys
from pydantic import ValidationError
from scalekit_events import ScalekitEvent

for line in sys.stdin:
    try:
        event = ScalekitEvent.model_validate_json(line)
        made = {"event": event.model_dump(by_alias=True, exclude_unset=True, mode="json")}
    except ValidationError as error:
        made = {"refused": [".".join(map(str, each["loc"])) for each in error.errors()]}
    print(json.dumps(made))
"""

SORTABLE = """
import json, sys
from sortable import sortable

for time in json.load(sys.stdin):
    try:
        print(sortable(time))
    except ValueError:
        print("error")
"""

# Stores states and handles batches, and writes what the functions of the page returned.
STORE_AND_HANDLE_ONCE = """
import json, sys
from once import once_handler
from store import store

class Context:
    def get_remaining_time_in_millis(self):
        return 30_000

stores, batches = json.load(sys.stdin)
stored = [store("conn_1", time, {"enabled": enabled}) for time, enabled in stores]
print(json.dumps([stored, [once_handler(batch, Context()) for batch in batches]]))
"""


def event(type: str) -> dict[str, Any]:
    """The event of a type as EventBridge delivers it."""
    return json.loads((EVENTS / "delivered" / f"{type}.json").read_bytes())


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the bindings, which the command of the page generates, and the handlers of the pages."""
    directory = tmp_path_factory.mktemp("bindings")
    (directory / "scalekit.schema.json").symlink_to(EVENTS / "scalekit.schema.json")
    [commands] = page.blocks(section("Generated Python"), "sh")
    install, generate = commands.split("\n", maxsplit=1)
    page.assert_pinned(install)
    page.shell(generate, directory=directory)
    [bindings] = page.blocks(section("Generated Python"), "python")
    handler, _ = page.blocks(section("Python"), "python")
    [sortable] = page.blocks(section("Times that sort"), "python")
    [store] = page.blocks(section("Store in Python"), "python")
    [once] = page.blocks(section("Once in Python"), "python")
    for heading in ("Store in Python", "Once in Python"):
        [install] = page.blocks(section(heading), "sh")
        page.assert_pinned(install.rstrip())
    files = {"scalekit_events": bindings, "handler": handler, "sortable": sortable, "store": store, "once": once}
    for name, code in files.items():
        (directory / f"{name}.py").write_text(code)
    return directory


def python(directory: Path, script: str, standard_input: str = "") -> str:
    """Runs a script that can import the bindings, and returns its output."""
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
    """The result of reading each event with the bindings."""
    lines = "".join(f"{json.dumps(event)}\n" for event in events)
    return [json.loads(line) for line in python(directory, READER, lines).splitlines()]


def test_every_type_has_a_schema_in_both_formats() -> None:
    formats = ("schema", "openapi")
    assert {path.name for path in SCHEMAS.iterdir()} == {f"{type}.{one}.json" for type in TYPES for one in formats}


def test_the_python_bindings_read_and_write_every_sample_unchanged(directory: Path) -> None:
    events = [event(type) for type in TYPES]

    for one, made in zip(events, read(directory, *events), strict=True):
        assert made == {"event": one}, one["detail-type"]


def test_the_python_bindings_accept_the_changes_of_a_later_version(directory: Path) -> None:
    later = event(EXAMPLE)
    later["detail"] |= {"spec_version": "2", "object": "FederatedConnection", "tenant": {"id": 1}}
    later |= {"replay-name": "my-replay", "partition": "aws"}
    later["detail"]["data"] |= {"provider": "SOMETHING_NEW", "status": None, "enabled": None, "scopes": ["openid"]}
    without_data = event(EXAMPLE)
    del without_data["detail"]["data"], without_data["detail"]["organization_id"]

    assert read(directory, later, without_data) == [{"event": later}, {"event": without_data}]


def test_the_python_bindings_refuse_an_event_of_another_type_or_without_a_required_member(directory: Path) -> None:
    another_type = event(EXAMPLE) | {"detail": event("role.created")["detail"]}
    without_id = event(EXAMPLE)
    del without_id["detail"]["id"]
    without_required_data = event(EXAMPLE)
    without_required_data["detail"]["data"]["id"] = None
    unknown_type = event(EXAMPLE) | {"detail-type": "organization.sso_paused"}

    [first, *others] = read(directory, another_type, without_id, without_required_data, unknown_type)
    assert f"{EXAMPLE}.detail.type" in first["refused"]
    refused = [f"{EXAMPLE}.detail.id"], [f"{EXAMPLE}.detail.data.id"], [""]
    assert others == [{"refused": fields} for fields in refused]


def test_the_python_bindings_accept_what_a_real_sender_leaves_out_and_refuse_wrong_json_types(directory: Path) -> None:
    events = [event for _, event, _ in page.deviations()]

    for (description, sent, is_accepted), made in zip(page.deviations(), read(directory, *events), strict=True):
        assert made == {"event": sent} if is_accepted else "refused" in made, description


def test_the_python_bindings_declare_types(directory: Path) -> None:
    """The types of optional members don't become `Any`."""
    printed = python(
        directory,
        "from scalekit_events import OrganizationSsoEnabled as Detail\n"
        "for name in ('organization_id', 'display_name', 'data'):\n"
        "    print(str(Detail.model_fields[name].annotation).replace('scalekit_models.', ''))",
    )
    assert printed.splitlines() == ["str | None", "str | None", "Connection | None"]


def test_the_python_handlers_handle_ignore_and_refuse_events(directory: Path) -> None:
    consumers.assert_handles([page.BINDINGS / "python", "-c", consumers.HANDLE_IN_PYTHON], directory, os.environ)


def test_the_python_times_sort(directory: Path) -> None:
    printed = python(directory, SORTABLE, json.dumps([*TIMES, *NOT_SORTABLE]))
    assert printed.splitlines() == [*SORTED, *("error" for _ in NOT_SORTABLE)]


def test_the_python_handler_ignores_duplicates_and_older_events(directory: Path, tmp_path: Path) -> None:
    poison, again = consumers.changed(id="evt_1", data={"id": None}), consumers.changed(id="evt_1")
    good = event(EXAMPLE)
    batches = [batch(good), batch(good | {"id": "another"}, poison, "{}"), batch(again), batch(again)]
    [create_latest] = page.blocks(section("Keeping the latest state"), "sh")
    [create_handled] = page.blocks(section("Doing something once"), "sh")

    with Emulator(tmp_path) as emulator:
        page.shell(create_latest, emulator.url)
        page.shell(create_handled, emulator.url)
        [powertools] = (TOOLS / "consumers" / "lib").glob("python*/site-packages")
        variables = {
            "AWS_ENDPOINT_URL": emulator.url,
            "AWS_LAMBDA_FUNCTION_NAME": "my-function",
            # boto3 and pydantic come from the emulator's environment.
            "PYTHONPATH": os.pathsep.join([str(powertools), str(directory)]),
        }
        done = subprocess.run(
            [TOOLS / "emulator" / "bin" / "python", "-c", STORE_AND_HANDLE_ONCE],
            env=os.environ | variables,
            input=json.dumps([consumers.STORES, batches]),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        tables = emulator.client("dynamodb")
        latest = tables.get_item(TableName="latest", Key={"id": {"S": "conn_1"}})["Item"]
        by_the_command = tables.get_item(TableName="latest", Key={"id": {"S": good["detail"]["data"]["id"]}})["Item"]
        [first, _] = tables.scan(TableName="handled-events")["Items"]
        expires = tables.describe_time_to_live(TableName="handled-events")["TimeToLiveDescription"]

    *log, results = done.stdout.splitlines()
    stored, responses = json.loads(results)
    assert (stored, latest) == (consumers.STORED, consumers.LATEST)
    assert by_the_command["occurred_at"] == {"S": good["detail"]["occurred_at"]}
    assert log == [LINES[EXAMPLE]] * 2, "a duplicate should be ignored, and a failed event be handled when it comes again"
    assert responses == [consumers.failures(*ids) for ids in ((), (1, 2), (), ())]
    assert expires["AttributeName"] == "expiration"
    assert int(first["expiration"]["N"]) - time.time() > 14 * 24 * 60 * 60


class Registry(ThreadingHTTPServer):
    """A fake of EventBridge's schema registry, which accepts and records every request."""

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
        answer = b'{"Status": "CREATE_COMPLETE"}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Suppresses the server's log, because `calls` has the requests."""


@contextmanager
def registry() -> Iterator[Registry]:
    with Registry() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def test_the_commands_of_the_guide_upload_the_schemas_to_a_registry(tmp_path: Path) -> None:
    """Uploads only two of the schemas, because the AWS CLI starts anew for each and is slow to start."""
    types = [EXAMPLE, "role.created"]
    (tmp_path / "events" / "schemas").mkdir(parents=True)
    for type in types:
        for file in SCHEMAS.glob(f"{type}.*"):
            (tmp_path / "events" / "schemas" / file.name).symlink_to(file)

    with registry() as server:
        for commands in page.blocks(section("Schema registry"), "sh"):
            page.shell(commands, server.url, tmp_path)

    contents = {type: (SCHEMAS / f"{type}.openapi.json").read_text() for type in types}
    bindings = f"scalekit/schemas/name/scalekit@{EXAMPLE}/language/TypeScript3"
    created, *put = server.calls
    assert created == ("POST", "scalekit", {})
    for _, _, call in put:
        call.pop("ClientTokenId", None)  # a random value from the AWS CLI
    assert put == [
        *(
            (method, f"scalekit/schemas/name/scalekit@{type}", {"Type": "OpenApi3", "Content": contents[type]})
            for method in ("POST", "PUT")
            for type in types
        ),
        ("POST", bindings, {}),
        ("GET", bindings, {}),
        ("GET", f"{bindings}/source", {}),
    ]


@pytest.mark.parametrize("type", TYPES)
def test_each_schema_meets_the_requirements_of_the_registry(type: str) -> None:
    text = (SCHEMAS / f"{type}.openapi.json").read_text()
    document = json.loads(text)
    envelope = document["components"]["schemas"]["AWSEvent"]

    assert len(text) <= CONTENT_SIZE
    assert document["openapi"].startswith("3.0.")
    assert envelope["x-amazon-events-source"] == "scalekit"
    assert envelope["x-amazon-events-detail-type"] == type
