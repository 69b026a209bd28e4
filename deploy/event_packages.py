"""Builds the packages of the events for consumers: one for npm, one for PyPI, and one for crates.io. They are made from the
same schemas, and have the version of the release.

    .tools/emulator/bin/python deploy/event_packages.py DIRECTORY

The generators are those that tests/tools/ pins. Each file is the same, byte for byte, for each build of a commit.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from archive import write_zip

ROOT = Path(__file__).resolve().parents[1]
EVENTS = ROOT / "events"
SCHEMA = EVENTS / "scalekit.schema.json"
SAMPLES = ("delivered", "unusual")

_MANIFEST = tomllib.loads((EVENTS / "Cargo.toml").read_text())["package"]
NAME, VERSION, REPOSITORY = _MANIFEST["name"], _MANIFEST["version"], _MANIFEST.get("repository")
LICENSE = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["license"]

MODULE = NAME.replace("-", "_")
NPM_FILE = f"{NAME}-{VERSION}.tgz"
WHEEL_FILE = f"{MODULE}-{VERSION}-py3-none-any.whl"
CRATE_FILE = f"{NAME}-{VERSION}.crate"

_TOOLS = ROOT / ".tools"
_NODE = _TOOLS / "iam-simulate" / "bin"
_GENERATE_TYPESCRIPT = _TOOLS / "consumers" / "node_modules" / ".bin" / "json2ts"
_GENERATE_PYTHON = _TOOLS / "bindings" / "bin" / "datamodel-codegen"

# The keywords that events/npm/index.js checks, and those that need no check. `discriminator` and `oneOf` are at the root,
# and `parse` does what they describe.
_CHECKED = {"$ref", "anyOf", "enum", "items", "pattern", "properties", "required", "type"}
_NOT_CHECKED = {"description", "title", "examples", "format"}


def write(directory: Path) -> list[Path]:
    """Writes the packages to a directory, and returns their paths."""
    return [npm(directory), wheel(directory), crate(directory)]


def npm(directory: Path) -> Path:
    """Writes the package for npm, whose files get fixed times from `npm pack`, but not fixed permissions."""
    with TemporaryDirectory() as temporary:
        package = Path(temporary)
        manifest = json.loads((EVENTS / "npm" / "package.json").read_bytes())
        manifest |= {"version": VERSION, "license": LICENSE}
        if REPOSITORY:
            manifest["repository"] = {"type": "git", "url": f"git+{REPOSITORY}.git"}
        (package / "package.json").write_text(json.dumps(manifest, indent=2) + "\n")
        for file in (ROOT / "LICENSE", *(EVENTS / "npm" / name for name in ("README.md", "index.d.ts", "index.js"))):
            shutil.copyfile(file, package / file.name)
        (package / "schemas.js").write_text(_schemas_js())
        _run_node(_GENERATE_TYPESCRIPT, "--input", SCHEMA, "--output", package / "events.d.ts", "--bannerComment", "")
        shutil.copyfile(SCHEMA, package / SCHEMA.name)
        _copy_samples(package)
        for path in package.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        _run_node(_NODE / "npm", "pack", package, "--pack-destination", directory, "--ignore-scripts", "--silent")
    return directory / NPM_FILE


def _schemas_js() -> str:
    """The schemas as a module, without what isn't checked, and with the name of each event type's schema."""
    schema = json.loads(SCHEMA.read_bytes())
    definitions = {name: _without_annotations(each) for name, each in schema["$defs"].items()}
    events = [_definition(each["$ref"]) for each in schema["oneOf"]]
    names = {definitions[name]["properties"]["detail-type"]["enum"][0]: name for name in events}
    values = {"definitions": definitions, "names": names}
    return "".join(f"export const {name} = {_json(value)};\n" for name, value in values.items())


def _without_annotations(schema: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        match keyword:
            case "properties":
                kept[keyword] = {name: _without_annotations(member) for name, member in value.items()}
            case "items":
                kept[keyword] = _without_annotations(value)
            case "anyOf":
                kept[keyword] = [_without_annotations(each) for each in value]
            case "$ref":
                kept[keyword] = _definition(value)
            case "additionalProperties" if value is True:
                pass
            case _ if keyword in _CHECKED:
                kept[keyword] = value
            case _ if keyword not in _NOT_CHECKED:
                sys.exit(f"events/npm/index.js doesn't check the keyword {keyword}, which the schemas contain")
    return kept


def _definition(reference: str) -> str:
    return reference.removeprefix("#/$defs/")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _run_node(*command: str | Path) -> None:
    path = os.pathsep.join([str(_NODE), os.environ["PATH"]])
    subprocess.run(command, env=os.environ | {"PATH": path}, stdout=subprocess.DEVNULL, check=True)


def wheel(directory: Path) -> Path:
    """Writes the wheel: https://packaging.python.org/en/latest/specifications/binary-distribution-format/"""
    with TemporaryDirectory() as temporary:
        package = Path(temporary) / MODULE
        shutil.copytree(EVENTS / "python" / MODULE, package, ignore=shutil.ignore_patterns("__pycache__"))
        (package / "models.py").write_text(_models_py(package))
        (package / "py.typed").touch()
        shutil.copyfile(SCHEMA, package / SCHEMA.name)
        _copy_samples(package)
        paths = sorted(it for it in package.rglob("*") if it.is_file())
        files = {str(path.relative_to(temporary)): path.read_bytes() for path in paths}

    information = f"{MODULE}-{VERSION}.dist-info"
    files[f"{information}/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    files[f"{information}/METADATA"] = _metadata().encode()
    files[f"{information}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: event_packages.py\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = [f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items()]
    files[f"{information}/RECORD"] = "".join([*record, f"{information}/RECORD,,\n"]).encode()
    write_zip(directory / WHEEL_FILE, files)
    return directory / WHEEL_FILE


def _models_py(package: Path) -> str:
    """The generated models, with the list of their names, and with the settings of `_model.py` also in the model that has the
    events of all types: it has another base class."""
    generated = package / "models.py"
    command = [
        _GENERATE_PYTHON, "--input", SCHEMA, "--output", generated, "--input-file-type", "jsonschema",
        "--output-model-type", "pydantic_v2.BaseModel", "--target-python-version", "3.11", "--formatters", "builtin",
        "--disable-timestamp", "--use-annotated", "--enum-field-as-literal", "all", "--type-mappings", "date-time=string",
        "--use-schema-description", "--base-class", f"{MODULE}._model.Model",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    text = generated.read_text()
    names = [it.name for it in ast.parse(text).body if isinstance(it, ast.ClassDef)]
    text, count = re.subn(r"^    root: ", "    model_config = Model.model_config\n    root: ", text, flags=re.MULTILINE)
    assert count == 1
    return f"{text}\n\n__all__ = {json.dumps(names, indent=4)}\n"


def _metadata() -> str:
    """https://packaging.python.org/en/latest/specifications/core-metadata/"""
    fields = {
        "Metadata-Version": "2.4",
        "Name": NAME,
        "Version": VERSION,
        "Summary": "Scalekit's events as EventBridge delivers them: pydantic models and sample events",
        "Keywords": "scalekit,eventbridge,webhook,events,pydantic",
        "License-Expression": LICENSE,
        "License-File": "LICENSE",
        "Requires-Python": ">=3.11",
        "Requires-Dist": "pydantic>=2.7,<3",
        **({"Project-URL": f"Repository, {REPOSITORY}"} if REPOSITORY else {}),
        "Description-Content-Type": "text/markdown",
    }
    header = "".join(f"{name}: {value}\n" for name, value in fields.items())
    return header + "\n" + (EVENTS / "python" / "README.md").read_text()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


def _copy_samples(package: Path) -> None:
    for folder in SAMPLES:
        shutil.copytree(EVENTS / folder, package / folder)


def crate(directory: Path) -> Path:
    """Writes the package for crates.io, whose files get fixed times from Cargo. `--allow-dirty` allows a build of changes that
    aren't committed yet; they are in the package."""
    target = ROOT / "target" / "crate"
    command = ["cargo", "package", "--package", NAME, "--locked", "--no-verify", "--allow-dirty", "--quiet"]
    subprocess.run([*command, "--target-dir", target], cwd=ROOT, check=True)
    return Path(shutil.copyfile(target / "package" / CRATE_FILE, directory / CRATE_FILE))


if __name__ == "__main__":
    print(*write(Path(*sys.argv[1:])), sep="\n")
