"""Tests the packages for consumers that `make release` builds: each is installed into an empty project, without a network, and
runs the handlers of the pages."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_string
from pathlib import Path
from typing import Any

import event_packages
import pytest
from event_packages import CRATE_FILE, NPM_FILE, VERSION, WHEEL_FILE

from support import consumers, page
from support.consumers import CONSUMERS, DELIVERED, EXAMPLE, LINES, NODE
from support.harness import EVENTS, ROOT
from support.page import section

NOTHING = {"npm_config_offline": "true", "PIP_NO_INDEX": "1", "VERSION": VERSION}

# What `parse` returns or throws for each event of the standard input. Ajv is an independent validator.
PARSE_IN_JAVASCRIPT = """
import { readFileSync } from "node:fs";
import { EVENT_TYPES, InvalidEventError, parse } from "scalekit-events";

const parsed = (event) => {
  try {
    return { event: parse(event, EVENT_TYPES) ?? null };
  } catch (error) {
    if (!(error instanceof InvalidEventError) || error.message !== error.problems.join("; ")) throw error;
    return { problems: error.problems };
  }
};
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(parsed)));
"""
VALIDATE_WITH_AJV = """
import Ajv from "ajv/dist/2020.js";
import { readFileSync } from "node:fs";

const { schema, events } = JSON.parse(readFileSync(0, "utf8"));
const validate = new Ajv.default({ discriminator: true, validateFormats: false }).compile(schema);
console.log(JSON.stringify(events.map((event) => validate(event))));
"""
PARSE_IN_PYTHON = """
import json, sys
from scalekit_events import EVENT_MODELS, InvalidEventError, parse

def parsed(event):
    try:
        model = parse(event, EVENT_MODELS.values())
        return {"event": model and model.model_dump(by_alias=True, exclude_unset=True, mode="json")}
    except InvalidEventError as error:
        assert str(error) == "; ".join(error.problems) and not error.__context__
        return {"problems": error.problems}

print(json.dumps([parsed(event) for event in json.load(sys.stdin)]))
"""


# Runs the Rust handlers of the page: see `consumers.assert_handles`.
HANDLE_IN_RUST = """
#[allow(dead_code)]
mod handlers;

use lambda_runtime::Error;
use serde_json::Value;

fn call(case: &Value) -> Result<Value, Error> {
    let input = case["input"].to_string();
    if case["entry"] == "event" {
        handlers::handle_event(serde_json::from_str(&input)?)?;
        return Ok(Value::Null);
    }
    Ok(serde_json::to_value(handlers::handle_batch(serde_json::from_str(&input)?))?)
}

fn main() {
    for line in std::io::stdin().lines() {
        match call(&serde_json::from_str(&line.unwrap()).unwrap()) {
            Ok(response) => println!("=> {response}"),
            Err(error) => {
                eprintln!("{error}");
                println!("=> error");
            }
        }
    }
}
"""


@pytest.fixture(scope="module")
def built(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the packages."""
    if given := pytestconfig.getoption("--packages"):
        return (ROOT / given).resolve()
    directory = tmp_path_factory.mktemp("packages")
    event_packages.write(directory)
    return directory


def run(*command: str | Path, directory: Path, standard_input: Any = None, variables: dict[str, str] = {}) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | variables,
        input=json.dumps(standard_input),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def javascript(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has nothing but the package for npm and the files of the page."""
    directory = tmp_path_factory.mktemp("javascript")
    (directory / NPM_FILE).symlink_to(built / NPM_FILE)
    (directory / "package.json").write_text('{"type": "module"}')
    [install] = page.blocks(section("TypeScript"), "sh")
    path = os.pathsep.join([str(NODE.parent), os.environ["PATH"]])
    variables = NOTHING | {"PATH": path, "npm_config_cache": str(directory / "cache")}
    run("bash", "-euc", install, directory=directory, variables=variables)
    handler, test = page.blocks(section("TypeScript"), "ts")
    [readme] = page.blocks((EVENTS / "npm" / "README.md").read_text(), "ts")
    one_more = handler.replace("const HANDLED = [", 'const HANDLED = ["role.created", ')
    for name, code in {"handler": handler, "test": test, "readme": readme, "one-more": one_more}.items():
        (directory / f"{name}.ts").write_text(code)
    (directory / "handle.mjs").write_text(consumers.HANDLE_IN_TYPESCRIPT)
    (directory / "parse.mjs").write_text(PARSE_IN_JAVASCRIPT)
    return directory


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has nothing but the wheel, the files of the page, and pydantic, which comes from the pinned tools."""
    directory = tmp_path_factory.mktemp("python")
    (directory / WHEEL_FILE).symlink_to(built / WHEEL_FILE)
    [install] = page.blocks(section("Python"), "sh")
    variables = NOTHING | {"PIP_TARGET": str(directory), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    variables["PATH"] = os.pathsep.join([str(page.BINDINGS), os.environ["PATH"]])
    run("bash", "-euc", f"{install.rstrip()} --no-deps", directory=directory, variables=variables)
    handler, test = page.blocks(section("Python"), "python")
    [readme] = page.blocks((EVENTS / "python" / "README.md").read_text(), "python")
    for name, code in {"handler": handler, "call": test, "readme": readme}.items():
        (directory / f"{name}.py").write_text(code)
    return directory


def run_python(directory: Path, script: str, standard_input: Any = None) -> str:
    return run(page.BINDINGS / "python", "-c", script, directory=directory, standard_input=standard_input)


def parse_in_javascript(directory: Path, events: list[Any]) -> list[dict[str, Any]]:
    return json.loads(run(NODE, "parse.mjs", directory=directory, standard_input=events))


def parse_in_python(directory: Path, events: list[Any]) -> list[dict[str, Any]]:
    return json.loads(run_python(directory, PARSE_IN_PYTHON, events))


PARSERS = pytest.mark.parametrize(
    ("language", "parse"), [("javascript", parse_in_javascript), ("python", parse_in_python)], ids=["javascript", "python"]
)


@PARSERS
def test_a_package_parses_every_sample_and_keeps_it_unchanged(
    request: pytest.FixtureRequest, language: str, parse: Any
) -> None:
    later = consumers.changed(spec_version="2", tenant={"id": 1}, data={"provider": "NEW", "new": [1], "enabled": None})
    events = [*DELIVERED.values(), later | {"replay-name": "my-replay"}]
    assert len(DELIVERED) == 41
    assert parse(request.getfixturevalue(language), events) == [{"event": event} for event in events]


@PARSERS
def test_a_package_ignores_other_types_and_refuses_what_is_no_event(
    request: pytest.FixtureRequest, language: str, parse: Any
) -> None:
    no_events = [None, 7, [], {}, {"detail-type": None}, consumers.batch(DELIVERED[EXAMPLE])]
    ignored, *refused = parse(request.getfixturevalue(language), [consumers.UNKNOWN, *no_events])
    assert ignored == {"event": None}
    assert [len(it["problems"]) for it in refused] == [1] * len(no_events)


@PARSERS
def test_a_package_accepts_what_a_real_sender_leaves_out_and_refuses_wrong_json_types(
    request: pytest.FixtureRequest, language: str, parse: Any
) -> None:
    rows = [*page.deviations()]
    results = parse(request.getfixturevalue(language), [event for _, event, _ in rows])
    for (description, event, is_accepted), result in zip(rows, results, strict=True):
        assert result == {"event": event} if is_accepted else result["problems"], description


@PARSERS
def test_a_problem_names_the_member_without_its_value(request: pytest.FixtureRequest, language: str, parse: Any) -> None:
    results = parse(request.getfixturevalue(language), consumers.poison())
    assert [[problem.split()[0].rstrip(":") for problem in it.get("problems", [])] for it in results] == [
        ["/detail/data/id"],
        ["/detail/data/id"],
        [],  # no data, which is optional
        ["/detail/data/id"],
    ]
    assert consumers.PERSONAL not in json.dumps([it.get("problems") for it in results])


def test_the_messages_of_pydantic_contain_no_values(python: Path) -> None:
    script = """
import json, sys
from pydantic import ValidationError
from scalekit_events import EVENT_MODELS, ScalekitEvent

event = json.load(sys.stdin)
for model in (EVENT_MODELS[event["detail-type"]], ScalekitEvent):
    try:
        model.model_validate(event)
    except ValidationError as error:
        print(error)
"""
    printed = run_python(python, script, consumers.changed(data={"id": {"name": consumers.PERSONAL}}))
    assert printed.count("detail.data.id") == 2
    assert consumers.PERSONAL not in printed


def mutations(value: Any) -> Iterator[Any]:
    """The value with each member left out, and with a value of each JSON type in its place, at any depth."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        if isinstance(value, dict):
            yield {name: it for name, it in value.items() if name != key}
        for other in [None, True, 7, "", "other", [], [7], {}, *mutations(member)]:
            changed = copy.copy(value)
            changed[key] = other
            yield changed


def test_the_validation_in_javascript_agrees_with_ajv(javascript: Path) -> None:
    events = [
        each for type, event in DELIVERED.items() for each in mutations(event) if each.get("detail-type") == type
    ]
    script = javascript / "ajv.mjs"
    script.write_text(VALIDATE_WITH_AJV.replace('"ajv/', f'"{CONSUMERS}/node_modules/ajv/'))
    schema = json.loads((EVENTS / "scalekit.schema.json").read_bytes())
    expected = json.loads(run(NODE, script, directory=javascript, standard_input={"schema": schema, "events": events}))
    assert expected.count(True) > 1_000 and expected.count(False) > 1_000
    for event, is_valid, result in zip(events, expected, parse_in_javascript(javascript, events), strict=True):
        assert ("event" in result) == is_valid, (event, result)


def test_the_typescript_handlers_run_with_the_package(javascript: Path) -> None:
    consumers.assert_handles([NODE, "handle.mjs"], javascript, os.environ)
    assert run(NODE, "test.ts", directory=javascript) == f"{LINES[EXAMPLE]}\n"
    # A handled type that has no case.
    files = ["handler.ts", "test.ts", "readme.ts", "one-more.ts"]
    assert consumers.type_check(javascript, *files) == [("one-more.ts", "TS1360")]


def test_the_python_handlers_run_with_the_package(python: Path) -> None:
    consumers.assert_handles([page.BINDINGS / "python", "-c", consumers.HANDLE_IN_PYTHON], python, os.environ)
    assert run_python(python, "import call") == f"{LINES[EXAMPLE]}\n"


def test_the_typescript_declarations_refuse_mistakes(javascript: Path) -> None:
    mistakes = {
        "ignored": ('parse(event, ["user.login"]).detail', "TS2532"),
        "no-type": ('parse(event, ["other"])', "TS2322"),
        "wrong-type": ('parse(event, ["user.login"])?.detail.id satisfies number | undefined', "TS1360"),
    }
    for name, (expression, _) in mistakes.items():
        code = f'import {{ parse }} from "scalekit-events";\nexport const it = (event: unknown) => {expression};\n'
        (javascript / f"{name}.ts").write_text(code)
    errors = consumers.type_check(javascript, *(f"{name}.ts" for name in mistakes))
    assert errors == sorted((f"{name}.ts", code) for name, (_, code) in mistakes.items())


def test_the_rust_handlers_run_with_the_package(built: Path, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--packages"):
        pytest.skip("`make release` tests it, because it takes minutes to compile; the crate's own tests run the same handlers")
    [unpack] = page.blocks(section("Rust"), "sh")
    [dependencies] = page.blocks(section("Rust"), "toml")
    [handlers] = page.blocks(section("Rust"), "rust")
    (tmp_path / CRATE_FILE).symlink_to(built / CRATE_FILE)
    run("bash", "-euc", unpack, directory=tmp_path, variables=NOTHING)
    package = '[package]\nname = "consumer"\nversion = "0.1.0"\nedition = "2024"\n\n[workspace]\n\n'
    (tmp_path / "Cargo.toml").write_text(package + dependencies.replace("VERSION", VERSION))
    (tmp_path / "Cargo.lock").write_bytes((ROOT / "Cargo.lock").read_bytes())
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.rs").write_text(HANDLE_IN_RUST)
    (tmp_path / "src" / "handlers.rs").write_text(handlers)
    run("cargo", "build", "--quiet", "--target-dir", ROOT / "target" / "crate", directory=tmp_path)
    consumers.assert_handles([ROOT / "target" / "crate" / "debug" / "consumer"], tmp_path, os.environ)


def test_the_examples_of_the_readmes_run(javascript: Path, python: Path) -> None:
    events = [DELIVERED[EXAMPLE], consumers.UNKNOWN]
    expected = f"{LINES[EXAMPLE]}\nignored {consumers.UNKNOWN['detail-type']}\n"
    script = f'import {{ handler }} from "./readme.ts";\nfor (const event of {json.dumps(events)}) await handler(event);\n'
    assert run(NODE, "--input-type=module", "-e", script, directory=javascript) == expected
    script = "import json, sys, readme\nfor event in json.load(sys.stdin): readme.handler(event, None)"
    assert run_python(python, script, events) == expected


def test_every_package_is_the_same_each_time_and_comes_with_its_licence(built: Path, tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        paths = event_packages.write(tmp_path)
    finally:
        os.umask(umask)
    for path in paths:
        assert path.read_bytes() == (built / path.name).read_bytes(), path.name
        if path.name == WHEEL_FILE:
            with zipfile.ZipFile(path) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
        else:
            with tarfile.open(path) as archive:
                files = {it.name: archive.extractfile(it).read() for it in archive if it.isfile()}  # type: ignore[union-attr]
        [licence] = [content for name, content in files.items() if Path(name).name == "LICENSE"]
        assert licence == (ROOT / "LICENSE").read_bytes()
        for content in files.values():
            assert str(ROOT).encode() not in content


def test_the_packages_have_the_name_the_version_and_the_dependencies_of_the_page(built: Path) -> None:
    with tarfile.open(built / NPM_FILE) as archive:
        npm = json.load(archive.extractfile("package/package.json"))  # type: ignore[arg-type]
    with zipfile.ZipFile(built / WHEEL_FILE) as archive:
        wheel = message_from_string(archive.read(f"scalekit_events-{VERSION}.dist-info/METADATA").decode())
    with tarfile.open(built / CRATE_FILE) as archive:
        crate = tomllib.load(archive.extractfile(f"scalekit-events-{VERSION}/Cargo.toml"))  # type: ignore[arg-type]
    release = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]
    names = {(npm["name"], npm["version"]), (wheel["Name"], wheel["Version"])}
    names.add((crate["package"]["name"], crate["package"]["version"]))
    assert names == {("scalekit-events", release)}
    assert "dependencies" not in npm
    assert wheel.get_all("Requires-Dist") == ["pydantic>=2.7,<3"] and "pydantic 2.7" in section("Packages and generated types")
    assert crate["package"].get("publish", True)
    assert [name for name, it in crate["dependencies"].items() if "path" in it] == []
