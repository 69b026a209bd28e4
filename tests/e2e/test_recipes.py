"""Tests the recipes for TypeScript and Go of the pages for consumers, and that linters and validators accept the documents.
The commands and the examples are those of the pages. `test_bindings.py` tests the recipes for Python, and the crate's tests
those for Rust. `test_packages.py` tests the packages."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support import consumers, page
from support.consumers import CONSUMERS, DELIVERED, EXAMPLE, LINES, NODE, NOT_SORTABLE, SORTABLE as SORTED, TIMES, batch
from support.harness import EVENTS, ROOT, Emulator
from support.page import section

PINNED = json.loads((ROOT / "tests" / "tools" / "consumers" / "package.json").read_bytes())["dependencies"]

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

# The problems of severity error or warning that each linter finds with its recommended rules.
LINT = """
import spectral from "@stoplight/spectral-core";
import parsers from "@stoplight/spectral-parsers";
import rulesets from "@stoplight/spectral-rulesets";
import { createConfig, lintFromString } from "@redocly/openapi-core";
import { readFileSync } from "node:fs";

const { asyncapi, openapi } = JSON.parse(readFileSync(0, "utf8"));
const linter = new spectral.Spectral();
linter.setRuleset(new spectral.Ruleset({ extends: [rulesets.asyncapi] }, { severity: "recommended", source: "/" }));
const found = await linter.run(new spectral.Document(asyncapi, parsers.Json, "asyncapi.json"));
const config = await createConfig({ extends: ["recommended"] });
const redocly = async (source) => (await lintFromString({ source, config })).map((it) => it.ruleId);
console.log(JSON.stringify({
  spectral: found.filter((it) => it.severity < 2).map((it) => it.code),
  redocly: await redocly(asyncapi),
  openapi: await redocly(openapi),
}));
"""

# The number of errors of each event, or what is wrong with the schema, in Ajv's strict mode.
VALIDATE_WITH_AJV = """
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { readFileSync } from "node:fs";

const { schema, events } = JSON.parse(readFileSync(0, "utf8"));
const errors = (schema) => {
  const ajv = addFormats.default(new Ajv.default({ discriminator: true, strict: true, strictTypes: true, allErrors: true }));
  const validate = ajv.compile(schema);
  return events.map((event) => (validate(event) ? 0 : validate.errors.length));
};
const { type: _, ...untyped } = schema;
let message;
try {
  errors(untyped);
} catch (error) {
  message = error.message;
}
console.log(JSON.stringify([errors(schema), message]));
"""

VALIDATE_WITH_ZOD = """
import { readFileSync } from "node:fs";
import { z } from "zod";

const Event = z.fromJSONSchema(JSON.parse(readFileSync("scalekit.schema.json", "utf8")));
const results = JSON.parse(readFileSync(0, "utf8")).map((event) => Event.safeParse(event));
console.log(JSON.stringify(results.map((result) => result.data ?? null)));
"""

SORTABLE = """
import { readFileSync } from "node:fs";
import { sortable } from "./sortable.ts";

const key = (time) => {
  try {
    return sortable(time);
  } catch {
    return null;
  }
};
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(key)));
"""

STORE = """
import { readFileSync } from "node:fs";
import { store } from "./store.ts";

const stored = [];
for (const [time, enabled] of JSON.parse(readFileSync(0, "utf8"))) stored.push(await store("conn_1", time, { enabled }));
console.log(JSON.stringify(stored));
"""

HANDLE_ONCE = """
import { readFileSync } from "node:fs";
import { onceHandler } from "./once.ts";

const context = { getRemainingTimeInMillis: () => 30_000 };
const responses = [];
for (const batch of JSON.parse(readFileSync(0, "utf8"))) responses.push(await onceHandler(batch, context));
console.log(JSON.stringify(responses));
"""

# Writes each event of the standard input again, or handles each case, or makes each time sortable.
GO_MAIN = """package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"example.com/consumer/scalekit"
)

func copy(event []byte) (any, error) {
	var envelope struct { DetailType string `json:"detail-type"` }
	if err := json.Unmarshal(event, &envelope); err != nil {
		return nil, err
	}
	switch envelope.DetailType {
	%s
	}
	return nil, fmt.Errorf("unknown type %%s", envelope.DetailType)
}

func handle(line []byte) (any, error) {
	var input struct {
		Entry string
		Input json.RawMessage
	}
	if err := json.Unmarshal(line, &input); err != nil {
		panic(err)
	}
	if input.Entry == "event" {
		return nil, consume(input.Input)
	}
	var batch batch
	if err := json.Unmarshal(input.Input, &batch); err != nil {
		return nil, err
	}
	return consumeBatch(batch)
}

func main() {
	call := map[string]func([]byte) (any, error){
		"copy": copy,
		"handle": handle,
		"sortable": func(line []byte) (any, error) { return sortable(string(line)) },
	}[os.Args[1]]
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1 << 20)
	for lines.Scan() {
		if result, err := call(lines.Bytes()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			fmt.Println("=> error")
		} else if text, err := json.Marshal(result); err != nil {
			panic(err)
		} else {
			fmt.Println("=>", string(text))
		}
	}
}
"""


def run(script: str, directory: Path) -> None:
    """Runs a shell block of the page. `npx` would download the tools that are installed already."""
    def installed(match: re.Match[str]) -> str:
        name, version = match.groups()
        assert PINNED[name] == version, f"the page names another version of {name} than tests/tools/"
        return BINARIES.get(name, name)

    script, count = re.subn(r"npx (\S+)@(\S+)", installed, script)
    assert count
    path = f"export PATH='{CONSUMERS / 'node_modules' / '.bin'}:{NODE.parent}':\"$PATH\"\n"
    page.shell(path + script, directory=directory)


def assert_installed(install: str) -> None:
    """Asserts that an `npm install` command installs the versions that tests/tools/ pins."""
    command, subcommand, *packages = page.words(install)
    assert (command, subcommand) == ("npm", "install") and packages
    for package in packages:
        name, _, version = package.rpartition("@")
        assert PINNED[name] == version, package


def node_lines(directory: Path, script: str, standard_input: Any, variables: Mapping[str, str] = {}) -> list[str]:
    """Runs a module that can import the installed packages and the files in a directory, and returns its output."""
    (directory / "script.mjs").write_text(script)
    done = subprocess.run(
        [NODE, "script.mjs"],
        cwd=directory,
        env=os.environ | variables,
        input=json.dumps(standard_input),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def node(directory: Path, script: str, standard_input: Any, variables: Mapping[str, str] = {}) -> Any:
    [line] = node_lines(directory, script, standard_input, variables)
    return json.loads(line)


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
    broken = json.loads(text)
    broken["components"]["messages"] = {EXAMPLE: {"payload": {"$ref": "#/components/schemas/Missing"}}}
    broken["channels"]["eventBus"]["messages"] = {EXAMPLE: {"$ref": f"#/components/messages/{EXAMPLE}"}}
    broken["components"]["schemas"] = {}
    parsed, parsed_broken = node(directory, PARSE_ASYNCAPI, [text, json.dumps(broken)])
    assert parsed["problems"] == []
    assert sorted(parsed["messages"]) == sorted(DELIVERED)
    assert parsed_broken["problems"], "the parser should find a reference to a schema that is missing"


def test_linters_accept_the_documents(directory: Path) -> None:
    documents = {"asyncapi": "asyncapi.json", "openapi": "schemas/organization.directory.user_created.openapi.json"}
    texts = {name: (EVENTS / path).read_text() for name, path in documents.items()}
    found = node(directory, LINT, texts)
    # The project has no address for questions about a deployed bus. A schema of the registry has the form that
    # EventBridge's schema discovery produces.
    assert found == {
        "spectral": ["asyncapi-info-contact-properties"],
        "redocly": [],
        "openapi": ["no-empty-servers", "info-license", "no-unused-components"],
    }


def test_ajv_accepts_the_schema_in_strict_mode_and_reports_one_error_for_one_mistake(directory: Path) -> None:
    schema = json.loads((EVENTS / "scalekit.schema.json").read_bytes())
    mistakes = [consumers.changed(occurred_at=None), DELIVERED[EXAMPLE] | {"detail-type": "organization.sso_paused"}]
    events = [*DELIVERED.values(), *mistakes]
    errors, without_type = node(directory, VALIDATE_WITH_AJV, {"schema": schema, "events": events})
    assert errors == [*(0 for _ in DELIVERED), *(1 for _ in mistakes)]
    assert 'missing type "object" for keyword "discriminator"' in without_type


@pytest.fixture(scope="module")
def typescript(directory: Path) -> Path:
    """The project with the declarations and the handlers of the pages."""
    generate, some = page.blocks(section("Generated TypeScript"), "sh")
    install, declarations = generate.split("\n", maxsplit=1)
    assert_installed(install)
    run(declarations, directory)
    run(some, directory)
    [parse] = page.blocks(section("Generated TypeScript"), "ts")
    handler, _ = page.blocks(section("TypeScript"), "ts")
    handler = handler.replace('from "scalekit-events"', 'from "./parse.ts"')
    [sortable] = page.blocks(section("Times that sort"), "ts")
    [store] = page.blocks(section("Store in TypeScript"), "ts")
    [once] = page.blocks(section("Once in TypeScript"), "ts")
    for heading in ("Store in TypeScript", "Once in TypeScript"):
        [install] = page.blocks(section(heading), "sh")
        assert_installed(install)
    (directory / "package.json").write_text('{"type": "module"}')
    files = {"parse": parse, "handler": handler, "sortable": sortable, "store": store, "once": once}
    for name, code in files.items():
        (directory / f"{name}.ts").write_text(code)
    return directory


def test_the_typescript_declarations_accept_every_event_and_no_wrong_json_types(typescript: Path) -> None:
    events = "".join(f"export const e{i}: ScalekitEvent = {json.dumps(it)};\n" for i, it in enumerate(DELIVERED.values()))
    (typescript / "events.ts").write_text(f'import type {{ ScalekitEvent }} from "./scalekit";\n{events}')
    (typescript / "wrong.ts").write_text(
        'import type { OrganizationSsoEnabledEvent } from "./types/organization.sso_enabled.schema";\n'
        "export const name = (event: OrganizationSsoEnabledEvent): number | undefined => event.detail.data?.id;\n"
    )
    lines = ['import type { ScalekitEvent } from "./scalekit";']
    for number, (description, event, is_accepted) in enumerate(page.deviations()):
        # The directive is an error itself if the line after it has none.
        lines.append(f"// {description}" if is_accepted else f"// @ts-expect-error {description}")
        lines.append(f"export const e{number}: ScalekitEvent = {json.dumps(event)};")
    (typescript / "deviations.ts").write_text("\n".join(lines))
    handler = (typescript / "handler.ts").read_text()
    one_more = handler.replace("const HANDLED = [", 'const HANDLED = ["role.created", ')
    (typescript / "one-more.ts").write_text(one_more)
    files = ["handler", "sortable", "store", "once", "events", "deviations", "wrong", "one-more"]
    errors = consumers.type_check(typescript, *(f"{name}.ts" for name in files), types="node")
    # A value of another type, and a handled type that has no case.
    assert errors == [("one-more.ts", "TS1360"), ("wrong.ts", "TS2322")]


def test_the_typescript_handlers_handle_ignore_and_refuse_events(typescript: Path) -> None:
    (typescript / "handle.mjs").write_text(consumers.HANDLE_IN_TYPESCRIPT)
    consumers.assert_handles([NODE, "handle.mjs"], typescript, os.environ)


def test_the_typescript_times_sort(typescript: Path) -> None:
    assert node(typescript, SORTABLE, [*TIMES, *NOT_SORTABLE]) == [*SORTED, *(None for _ in NOT_SORTABLE)]


def test_the_typescript_handler_ignores_duplicates_and_older_events(typescript: Path, tmp_path: Path) -> None:
    poison, again = consumers.changed(id="evt_1", data={"id": None}), consumers.changed(id="evt_1")
    batches = [batch(DELIVERED[EXAMPLE]), batch(DELIVERED[EXAMPLE], poison, "{}"), batch(again), batch(again)]
    with Emulator(tmp_path) as emulator:
        consumers.create_tables(emulator)
        variables = {"AWS_ENDPOINT_URL": emulator.url, "AWS_LAMBDA_FUNCTION_NAME": "my-function"}
        stored = node(typescript, STORE, consumers.STORES, variables)
        *log, responses = node_lines(typescript, HANDLE_ONCE, batches, variables)
        latest = emulator.client("dynamodb").get_item(TableName="latest", Key={"id": {"S": "conn_1"}})["Item"]
    assert (stored, latest) == (consumers.STORED, consumers.LATEST)
    assert log == [LINES[EXAMPLE]] * 2
    failed = [sorted(it["itemIdentifier"] for it in one["batchItemFailures"]) for one in json.loads(responses)]
    assert failed == [[], ["1", "2"], [], []]


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


@pytest.fixture(scope="module")
def go(directory: Path) -> Path:
    """The compiled program with the structs, the handlers and the function of the pages."""
    [generate] = page.blocks(section("Go"), "sh")
    [handler] = page.blocks(section("Go"), "go")
    [sortable] = page.blocks(section("Times that sort"), "go")
    run(generate, directory)
    functions = re.findall(r"func (Unmarshal(\w+)Event)\(", (directory / "scalekit" / "scalekit.go").read_text())
    by_title = {title.lower(): function for function, title in functions}
    assert len(by_title) == len(DELIVERED)
    cases = [
        f'case "{type}":\nreturn scalekit.{by_title[re.sub("[._]", "", type)]}(event)\n' for type in DELIVERED
    ]
    (directory / "main.go").write_text(GO_MAIN % "".join(cases))
    (directory / "handler.go").write_text(handler)
    (directory / "sortable.go").write_text(sortable)
    (directory / "go.mod").write_text("module example.com/consumer\ngo 1.27\n")
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
    return directory / "consumer"


def test_the_go_structs_read_and_write_every_event(go: Path) -> None:
    lines = "".join(f"{json.dumps(event)}\n" for event in DELIVERED.values())
    copied = subprocess.run([go, "copy"], input=lines, capture_output=True, text=True, check=True).stdout
    written = [json.loads(line.removeprefix("=> ")) for line in copied.splitlines()]
    assert without_null(written) == without_null([*DELIVERED.values()])


def test_the_go_structs_accept_what_a_real_sender_leaves_out_and_refuse_wrong_json_types(go: Path) -> None:
    rows = [*page.deviations()]
    lines = "".join(f"{json.dumps(event)}\n" for _, event, _ in rows)
    copied = subprocess.run([go, "copy"], input=lines, capture_output=True, text=True, check=True).stdout
    for (description, event, is_accepted), line in zip(rows, copied.splitlines(), strict=True):
        result = line.removeprefix("=> ")
        read = None if result == "error" else without_null(json.loads(result))
        assert read == (without_null(event) if is_accepted else None), description


def test_the_go_handlers_handle_ignore_and_refuse_events(go: Path) -> None:
    consumers.assert_handles([go, "handle"], go.parent, os.environ)


def test_the_go_times_sort(go: Path) -> None:
    lines = "".join(f"{time}\n" for time in [*TIMES, *NOT_SORTABLE])
    sorted = subprocess.run([go, "sortable"], input=lines, capture_output=True, text=True, check=True).stdout
    assert sorted.splitlines() == [*(f'=> "{time}"' for time in SORTED), *("=> error" for _ in NOT_SORTABLE)]


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
