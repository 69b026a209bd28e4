"""What the handlers of the pages for consumers must do, in every language: the cases, and the protocol by which a test runs
a handler. A program reads a case from each line, calls the handler with its input, and prints what the handler returned."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.harness import EVENTS, TOOLS, Emulator
from support.page import section

CONSUMERS = TOOLS / "consumers"
NODE = TOOLS / "iam-simulate" / "bin" / "node"

DELIVERED: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_bytes()) for path in sorted((EVENTS / "delivered").iterdir())
}
UNUSUAL: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_bytes()) for path in sorted((EVENTS / "unusual").iterdir())
}
EXAMPLE = "organization.sso_enabled"

# What the handlers log for an event of a type that they handle.
HANDLED = {"organization.sso_enabled": "live", "organization.directory.user_deleted": "removed"}

ERROR = "error"
SUCCESS: dict[str, Any] = {"batchItemFailures": []}

# The programs that run the handlers of the page: see `assert_handles`.
HANDLE_IN_TYPESCRIPT = """
import { createInterface } from "node:readline";
import { batchHandler, handler } from "./handler.ts";

for await (const line of createInterface({ input: process.stdin })) {
  const { entry, input } = JSON.parse(line);
  try {
    const response = await (entry === "event" ? handler : batchHandler)(input);
    console.log(`=> ${JSON.stringify(response ?? null)}`);
  } catch (error) {
    console.error(error);
    console.log("=> error");
  }
}
"""

HANDLE_IN_PYTHON = """
import json, sys, traceback
from handler import batch_handler, handler

for line in sys.stdin:
    case = json.loads(line)
    try:
        response = (handler if case["entry"] == "event" else batch_handler)(case["input"], None)
        print("=>", json.dumps(response))
    except Exception:
        traceback.print_exc()
        print("=> error")
"""

# The order of these times is that of the instants.
TIMES = [
    "2025-10-14T09:29:26.999999999Z",
    "2025-10-14T09:29:27Z",
    "2025-10-14T09:29:27.000000001Z",
    "2025-10-14T09:29:27.098914861Z",
    "2025-10-14T09:29:27.1Z",
    "2025-10-14T09:29:27.5Z",
    "2025-10-14T09:29:27.51Z",
    "2025-10-14T09:29:28Z",
    "2025-10-15T00:00:00Z",
]
SORTABLE = [f"{time[:19]}.{time[20:-1]:0<9}Z" for time in TIMES]
NOT_SORTABLE = ["", "2025-10-14", "2025-10-14T09:29:27"]

# Times and states to store for one object, whether each should be stored, and the item in the end.
STORES = [
    ("2025-10-14T09:29:27Z", False),
    ("2025-10-14T09:29:27Z", True),
    ("2025-10-14T09:29:27.5Z", True),
    ("2025-10-14T09:29:27.4Z", False),
    ("2025-10-14T09:29:26.999999999Z", False),
]
STORED = [True, False, True, False, False]
LATEST = {"id": {"S": "conn_1"}, "occurred_at": {"S": "2025-10-14T09:29:27.500000000Z"}, "enabled": {"BOOL": True}}

# Values of the events that can't be handled, which must not be logged.
PERSONAL = "Lovelace"  # short, because Node.js quotes only the first ten characters of what is not JSON
PERSONAL_NUMBER = 15550100


@dataclass(frozen=True)
class Case:
    """An input of a handler, with the log lines and the result that it should lead to."""

    entry: str  # "event" or "batch"
    input: Any
    result: Any
    log: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.entry}: {json.dumps(self.input)[:500]}"


def changed(type: str = EXAMPLE, *, data: Mapping[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    """An event in which members of its detail, or of its `data`, have other values."""
    event = copy.deepcopy(DELIVERED[type])
    event["detail"] |= members
    event["detail"]["data"] |= data or {}
    return event


def without(name: str, event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != name}


def batch(*bodies: Any) -> dict[str, Any]:
    """A batch of messages with the ids 0, 1, and so on."""
    texts = [body if isinstance(body, str) else json.dumps(body) for body in bodies]
    return {"Records": [{"messageId": str(number), "body": text} for number, text in enumerate(texts)]}


def failures(*ids: int) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": str(id)} for id in ids]}


def _line(event: dict[str, Any]) -> str:
    type = event["detail-type"]
    return f"{HANDLED[type]} {event['detail']['data']['id']}" if type in HANDLED else f"ignored {type}"


LINES = {type: _line(event) for type, event in DELIVERED.items()}
UNKNOWN = changed() | {"detail-type": "organization.sso_paused", "detail": {"new": 1}}


def poison() -> list[dict[str, Any]]:
    """Events of a handled type that can't be handled."""
    null = changed(data={"id": None, "provider": PERSONAL})
    missing = copy.deepcopy(null)
    del missing["detail"]["data"]["id"]
    no_data = copy.deepcopy(null)
    del no_data["detail"]["data"]
    wrong_type = changed(data={"id": {"name": PERSONAL}})
    return [null, missing, no_data, wrong_type]


def wrong_types() -> list[dict[str, Any]]:
    """Events of a handled type with a wrong JSON type outside of `data`'s members."""
    no_object = changed()
    no_object["detail"]["data"] = PERSONAL
    return [no_object, changed(display_name=PERSONAL_NUMBER), changed() | {"detail": PERSONAL}]


def cases() -> list[Case]:
    good, line = DELIVERED[EXAMPLE], LINES[EXAMPLE]
    each_type = [Case("event", event, None, [LINES[type]]) for type, event in DELIVERED.items()]
    unusual = [
        Case("event", event, ERROR) if name == "without-id" else Case("event", event, None, [_line(event)])
        for name, event in UNUSUAL.items()
    ]
    later = changed(spec_version="2", tenant={"id": 1}, data={"provider": "NEW", "new": [1], "enabled": None})
    return [
        *each_type,
        *unusual,
        Case("batch", batch(*DELIVERED.values()), SUCCESS, list(LINES.values())),
        Case("event", UNKNOWN, None, ["ignored organization.sso_paused"]),
        Case("batch", batch(UNKNOWN, good), SUCCESS, ["ignored organization.sso_paused", line]),
        Case("event", later | {"replay-name": "my-replay"}, None, [line]),
        *(Case("event", event, ERROR) for event in [*poison(), *wrong_types()]),
        *(Case("batch", batch(good, event, good), failures(1), [line, line]) for event in [*poison(), *wrong_types()]),
        Case("batch", batch(f"{PERSONAL} is not JSON", good, "", "{}", json.dumps(PERSONAL)), failures(0, 2, 3, 4), [line]),
        Case("batch", batch(), SUCCESS),
        # The wrong shape is an error, not an event that is ignored.
        Case("event", batch(good), ERROR),
        Case("event", {}, ERROR),
        Case("batch", good, ERROR),
        Case("batch", {}, ERROR),
        Case("batch", batch(batch(good), good), failures(0), [line]),
    ]


def assert_handles(command: list[str | Path], directory: Path, variables: Mapping[str, str]) -> None:
    """Runs a program with every case, and asserts what its handlers log and return.

    For each case, the program prints the handler's log and a line with `=> ` and the response in JSON, or `=> error`.
    """
    given = cases()
    lines = "".join(json.dumps({"entry": case.entry, "input": case.input}) + "\n" for case in given)
    done = subprocess.run(command, cwd=directory, env=variables, input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    log: list[str] = []
    results = []
    for line in done.stdout.splitlines():
        if line.startswith("=> "):
            result = line.removeprefix("=> ")
            results.append((log, result if result == ERROR else json.loads(result)))
            log = []
        elif not line.startswith("failed "):
            log.append(line)
    for case, (log, result) in zip(given, results, strict=True):
        assert (log, result) == (case.log, case.result), case
    logged = done.stdout + done.stderr
    for value in (PERSONAL, str(PERSONAL_NUMBER)):
        assert value not in logged, f"the handlers should log no values of an event: {lines_with(value, logged)}"


def lines_with(value: str, text: str) -> list[str]:
    return [line for line in text.splitlines() if value in line]


def create_tables(emulator: Emulator) -> None:
    """Creates the tables of the page, as its commands do."""
    for name in ("latest", "handled-events"):
        emulator.client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )


def type_check(directory: Path, *files: str, types: str = "") -> list[tuple[str, str]]:
    """The errors that TypeScript finds with the options of the page: for each one, the file and the code."""
    options = "--strict --module esnext --moduleResolution bundler"
    assert options in section("TypeScript")
    tsc = CONSUMERS / "node_modules" / "typescript" / "bin" / "tsc"
    command = [NODE, tsc, *options.split(), "--noEmit", "--ignoreConfig", "--allowImportingTsExtensions"]
    done = subprocess.run([*command, "--types", types, *files], cwd=directory, capture_output=True, text=True)
    errors = re.findall(r"^(\S+)\(\d+,\d+\): error (TS\d+)", done.stdout, re.MULTILINE)
    assert errors or done.returncode == 0, done.stdout
    return sorted(errors)
