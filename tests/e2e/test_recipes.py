"""Tests the recipes for TypeScript and Go of the page on typed consumers, and the AsyncAPI document. The commands and the
examples are those of the page. Of the recipes for Java and C#, only the generated types are tested. `test_bindings.py`
tests the recipes for Python, and the crate's documentation tests the one for Rust."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import page
from support.harness import EVENTS, ROOT, TOOLS
from support.page import section

CONSUMERS = TOOLS / "consumers"
NODE = TOOLS / "iam-simulate" / "bin" / "node"
DELIVERED = {path.stem: json.loads(path.read_bytes()) for path in (EVENTS / "delivered").iterdir()}
EXAMPLE = "organization.sso_enabled"

# The names that npx runs the packages by, where they differ from the names of the packages.
BINARIES = {"json-schema-to-typescript": "json2ts"}

PARSE_ASYNCAPI = """
import { Parser } from "@asyncapi/parser";
import { readFileSync } from "node:fs";

const results = [];
for (const text of JSON.parse(readFileSync(0, "utf8"))) {
  const { document, diagnostics } = await new Parser().parse(text);
  const messages = document?.channels().all().flatMap((channel) => channel.messages().all()) ?? [];
  results.push({
    problems: diagnostics.filter((it) => it.severity < 2).map((it) => it.path.join("/")),
    messages: messages.map((message) => message.name()),
  });
}
console.log(JSON.stringify(results));
"""

VALIDATE_WITH_ZOD = """
import { readFileSync } from "node:fs";
import { z } from "zod";

const Event = z.fromJSONSchema(JSON.parse(readFileSync("scalekit.schema.json", "utf8")));
const results = JSON.parse(readFileSync(0, "utf8")).map((event) => Event.safeParse(event));
console.log(JSON.stringify(results.map((result) => result.data ?? null)));
"""

CALL_HANDLERS = """
import { readFileSync } from "node:fs";
import { handler } from "./handler.ts";
import { handler as validating } from "./validated.ts";
import { z } from "zod";

const event = JSON.parse(readFileSync(0, "utf8"));
const invalid = structuredClone(event);
invalid.detail.data.id = null;
const tree = await validating(invalid).catch((error) => z.treeifyError(error));
const issues = tree.properties.detail.properties.data.properties.id.errors;
console.log(JSON.stringify([await handler(event), await validating(event), issues]));
"""

# Reads an event from each line, and writes it again, or `null` if it can't be read.
GO_MAIN = """package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"example.com/consumer/scalekit"
)

func copy(event []byte) ([]byte, error) {
	var envelope struct { DetailType string `json:"detail-type"` }
	if err := json.Unmarshal(event, &envelope); err != nil {
		return nil, err
	}
	switch envelope.DetailType {
	%s
	}
	return nil, fmt.Errorf("unknown type %%s", envelope.DetailType)
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1 << 20)
	for lines.Scan() {
		event, err := copy(lines.Bytes())
		if err == nil && len(os.Args) > 1 {
			err = handle(lines.Bytes())
		} else if err == nil {
			fmt.Println(string(event))
		}
		if err != nil {
			fmt.Println("null")
		}
	}
}
"""


def run(script: str, directory: Path) -> None:
    """Runs a shell block of the page. `npx` would download the tools that are installed already."""
    pinned = json.loads((ROOT / "tests" / "tools" / "consumers" / "package.json").read_bytes())["dependencies"]

    def installed(match: re.Match[str]) -> str:
        name, version = match.groups()
        assert pinned[name] == version, f"the page names another version of {name} than tests/tools/"
        return BINARIES.get(name, name)

    script, count = re.subn(r"npx (\S+)@(\S+)", installed, script)
    assert count
    path = f"export PATH='{CONSUMERS / 'node_modules' / '.bin'}:{NODE.parent}':\"$PATH\"\n"
    page.shell(path + script, directory=directory)


def node(directory: Path, script: str, standard_input: Any) -> Any:
    """Runs a module that can import the installed packages and the files in a directory."""
    (directory / "script.mjs").write_text(script)
    done = subprocess.run(
        [NODE, "script.mjs"], cwd=directory, input=json.dumps(standard_input), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_null(member) for name, member in value.items() if member is not None}
    return [without_null(item) for item in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A consumer's project, with the copied files and the installed packages."""
    directory = tmp_path_factory.mktemp("recipes")
    for name in ("scalekit.schema.json", "schemas"):
        (directory / name).symlink_to(EVENTS / name)
    (directory / "node_modules").symlink_to(CONSUMERS / "node_modules")
    return directory


def test_the_asyncapi_document_is_valid_and_has_a_message_for_each_type(directory: Path) -> None:
    text = (EVENTS / "asyncapi.json").read_text()
    broken = text.replace('"#/components/schemas/Connection"', '"#/components/schemas/Missing"')
    parsed, parsed_broken = node(directory, PARSE_ASYNCAPI, [text, broken])
    assert parsed["problems"] == []
    assert sorted(parsed["messages"]) == sorted(DELIVERED)
    assert parsed_broken["problems"], "the parser should find a reference to a schema that is missing"


@pytest.fixture(scope="module")
def typescript(directory: Path) -> Path:
    """The project with the declarations and the two handlers of the page."""
    [declarations, some] = page.blocks(section("TypeScript"), "sh")
    run(declarations, directory)
    run(some, directory)
    handler, call = page.blocks(section("TypeScript"), "ts")
    [validated] = page.blocks(section("Validation with zod"), "ts")
    (directory / "delivered").symlink_to(EVENTS / "delivered")
    (directory / "handler.ts").write_text(handler)
    (directory / "call.ts").write_text(call)
    (directory / "validated.ts").write_text(validated)
    return directory


def type_check(directory: Path, *files: str) -> str:
    """What TypeScript prints about the files: their errors."""
    options = "--noEmit --strict --module esnext --moduleResolution bundler"
    assert options.removeprefix("--noEmit ") in section("Validation with zod")
    tsc = CONSUMERS / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run([NODE, tsc, *options.split(), *files], cwd=directory, capture_output=True, text=True)
    return done.stdout


def test_the_typescript_declarations_accept_every_event(typescript: Path) -> None:
    events = "".join(f"export const e{i}: ScalekitEvent = {json.dumps(it)};\n" for i, it in enumerate(DELIVERED.values()))
    (typescript / "events.ts").write_text(f'import type {{ ScalekitEvent }} from "./scalekit";\n{events}')
    (typescript / "wrong.ts").write_text(
        'import type { OrganizationSsoEnabledEvent } from "./types/organization.sso_enabled.schema";\n'
        'export const name = (event: OrganizationSsoEnabledEvent): number | undefined => event.detail.data?.id;\n'
    )
    printed = type_check(typescript, "handler.ts", "validated.ts", "events.ts", "wrong.ts")
    errors = re.findall(r"^(\S+)\(\d+,\d+\): error (TS\d+)", printed, re.MULTILINE)
    assert errors == [("wrong.ts", "TS2322")], printed


def test_the_typescript_declarations_accept_what_a_real_sender_leaves_out_and_no_wrong_json_types(
    typescript: Path,
) -> None:
    lines = ['import type { ScalekitEvent } from "./scalekit";']
    for number, (description, event, is_accepted) in enumerate(page.deviations()):
        # The directive is an error itself if the line after it has none.
        lines.append(f"// {description}" if is_accepted else f"// @ts-expect-error {description}")
        lines.append(f"export const e{number}: ScalekitEvent = {json.dumps(event)};")
    (typescript / "deviations.ts").write_text("\n".join(lines))
    assert type_check(typescript, "deviations.ts") == ""


def test_the_typescript_handlers_run(typescript: Path) -> None:
    data = DELIVERED[EXAMPLE]["detail"]["data"]
    expected = f"{data['id']} of {data['provider']}"
    issue = "Invalid input: expected string, received null"
    assert node(typescript, CALL_HANDLERS, DELIVERED[EXAMPLE]) == [expected, expected, [issue]]
    called = subprocess.run([NODE, "call.ts"], cwd=typescript, capture_output=True, text=True, check=True)
    assert called.stdout == f"{expected}\n"


def test_zod_reads_and_writes_every_event_unchanged(directory: Path) -> None:
    later = json.loads(json.dumps(DELIVERED[EXAMPLE])) | {"replay-name": "my-replay", "new": [1]}
    later["detail"]["data"] |= {"provider": None, "new": {"a": None}}
    unknown = DELIVERED[EXAMPLE] | {"detail-type": "organization.sso_paused"}
    events = [*DELIVERED.values(), later]
    assert node(directory, VALIDATE_WITH_ZOD, [*events, unknown]) == [*events, None]


def test_zod_accepts_what_a_real_sender_leaves_out_and_refuses_wrong_json_types(directory: Path) -> None:
    rows = [*page.deviations()]
    results = node(directory, VALIDATE_WITH_ZOD, [event for _, event, _ in rows])
    for (description, event, is_accepted), result in zip(rows, results, strict=True):
        assert result == (event if is_accepted else None), description


def test_the_go_structs_read_and_write_every_event(directory: Path) -> None:
    [generate] = page.blocks(section("Go"), "sh")
    [handler] = page.blocks(section("Go"), "go")
    run(generate, directory)
    functions = re.findall(r"func (Unmarshal(\w+)Event)\(", (directory / "scalekit" / "scalekit.go").read_text())
    by_title = {title.lower(): function for function, title in functions}
    assert len(by_title) == len(DELIVERED)
    cases = [
        f'case "{type}":\nevent, err := scalekit.{by_title[re.sub("[._]", "", type)]}(event)\n'
        "if err != nil {\nreturn nil, err\n}\nreturn event.Marshal()\n"
        for type in DELIVERED
    ]
    (directory / "main.go").write_text(GO_MAIN % "".join(cases))
    (directory / "handler.go").write_text(handler)
    (directory / "go.mod").write_text("module example.com/consumer\n")
    variables = {
        "HOME": str(directory),
        "GOCACHE": str(CONSUMERS / ".go-cache"),
        "GOENV": "off",
        "GOPROXY": "off",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "'-gcflags=all=-N -l'",  # compiles the standard library faster
    }
    build = [CONSUMERS / "bin" / "go", "build", "-o", "consumer", "."]
    built = subprocess.run(build, cwd=directory, env=os.environ | variables, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr

    def consumer(*arguments: str, events: list[Any]) -> str:
        lines = "".join(f"{json.dumps(event)}\n" for event in events)
        command = [directory / "consumer", *arguments]
        return subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout

    written = [json.loads(line) for line in consumer(events=[*DELIVERED.values()]).splitlines()]
    assert without_null(written) == without_null([*DELIVERED.values()])
    rows = [*page.deviations()]
    written = [json.loads(line) for line in consumer(events=[event for _, event, _ in rows]).splitlines()]
    for (description, event, is_accepted), result in zip(rows, written, strict=True):
        assert without_null(result) == (without_null(event) if is_accepted else None), description
    detail = DELIVERED[EXAMPLE]["detail"]
    printed = consumer("handle", events=[DELIVERED[EXAMPLE]])
    assert printed == f"{detail['id']} {detail['data']['id']} {detail['data']['provider']}\n"


def test_the_java_and_csharp_classes_declare_types(directory: Path) -> None:
    """The types of optional members don't become `Object` or `object`."""
    for language in ("Java", "C#"):
        [generate] = page.blocks(section(language), "sh")
        run(generate, directory)
    java = (directory / "com" / "example" / "scalekit" / "OrganizationDirectoryEnabled.java").read_text()
    fields = dict(reversed(field) for field in re.findall(r"private (\S+) (\w+);", java))
    assert [fields[name] for name in ("organizationID", "displayName", "data")] == ["String", "String", "Directory"]
    csharp = (directory / "Scalekit.cs").read_text().split("class OrganizationDirectoryEnabled\n")[1]
    properties = dict(reversed(it) for it in re.findall(r"public (\S+) (\w+) {", csharp.split("class ")[0]))
    assert [properties[name] for name in ("OrganizationId", "DisplayName", "Data")] == ["string", "string", "Directory"]
