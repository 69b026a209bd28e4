"""What is in a binary, and under which licences? Writes the SBOM and the licence texts of the crates in it."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}

# The terms for crates that name a licence, but whose package has no file with its text. Of several licences, it is the
# first one here.
_TERMS = {"Apache-2.0": ROOT / "LICENSE", "MIT": ROOT / "deploy" / "licenses" / "MIT.txt"}

_LICENSE_FILE = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)\b.*", re.IGNORECASE)


@dataclass(frozen=True)
class Program:
    """A binary of a release."""

    name: str
    package: str
    workspace: Path


FUNCTION = Program("scalekit-eventbridge", "scalekit-eventbridge", ROOT)
CLI = Program("scalekit-events", "scalekit-events-cli", ROOT / "cli")


@dataclass
class Crate:
    """A crate that is compiled into a binary."""

    name: str
    version: str
    license: str
    repository: str | None
    directory: Path
    checksum: str | None  # SHA-256 of the package in the registry
    targets: set[str] = field(default_factory=set)
    dependencies: set[str] = field(default_factory=set)

    @property
    def id(self) -> str:
        return f"pkg:cargo/{self.name}@{self.version}"

    def license_texts(self) -> list[str]:
        """The texts of its licences and notices. A crate with several licences has several."""
        files = sorted(it for it in self.directory.iterdir() if it.is_file() and _LICENSE_FILE.fullmatch(it.name))
        texts = [it.read_text(errors="replace").strip() for it in files]
        if all(it.name.lower().startswith(("notice", "copyright")) for it in files):
            names = re.findall(r"[\w.-]+", self.license)
            name = next((it for it in _TERMS if it in names), None)
            if name is None:
                raise SystemExit(f"{self.name} {self.version} has no licence text, and {__file__} has none for it")
            terms = _TERMS[name].read_text().strip()
            if name == "MIT":  # it requires a copyright notice
                terms = f"Copyright (c) the authors of {self.name} ({self.repository})\n\n{terms}"
            texts.append(terms)
        return texts


def crates(program: Program) -> list[Crate]:
    """The crates in the binaries for all targets, the program's own first.

    `cargo tree` resolves the features as a build does. `cargo metadata` would add those of the tests.
    """
    described = json.loads(_cargo(program, "metadata", "--format-version", "1"))
    packages = {(it["name"], it["version"]): it for it in described["packages"]}
    locked = tomllib.loads((program.workspace / "Cargo.lock").read_text())["package"]
    checksums = {(it["name"], it["version"]): it.get("checksum") for it in locked}
    found: dict[tuple[str, str], Crate] = {}
    for target in TARGETS.values():
        parents: list[Crate] = []
        for line in tree(program, target, "--prefix", "depth"):
            match = re.match(r"(\d+)(\S+) v(\S+)", line)
            assert match, line
            depth, key = int(match[1]), (match[2], match[3])
            if key not in found:
                package = packages[key]
                found[key] = Crate(
                    *key,
                    license=re.sub(r" ?/ ?", " OR ", package["license"]),  # the old form of OR
                    repository=package["repository"],
                    directory=Path(package["manifest_path"]).parent,
                    checksum=checksums[key],
                )
            found[key].targets.add(target)
            del parents[depth:]
            if parents:
                parents[-1].dependencies.add(found[key].id)
            parents.append(found[key])
    own = next(iter(found))
    return [found.pop(own), *(found[key] for key in sorted(found))]


def tree(program: Program, target: str, *options: str) -> list[str]:
    """The crates that a build for this target compiles into the binary. Macros and build scripts aren't in it."""
    edges = ("--edges", "normal,no-proc-macro", "--target", target)
    return _cargo(program, "tree", "--package", program.package, *edges, *options).splitlines()


def _cargo(program: Program, *arguments: str) -> str:
    command = ["cargo", *arguments, "--locked"]
    return subprocess.run(command, cwd=program.workspace, check=True, stdout=subprocess.PIPE, text=True).stdout


def sbom(crates: list[Crate]) -> str:
    """The software bill of materials, in CycloneDX's JSON format: https://cyclonedx.org/docs/1.6/json/

    It has neither a serial number nor a time, so that it is the same for each build of a commit.
    """

    def component(crate: Crate, type: str) -> dict[str, Any]:
        described: dict[str, Any] = {
            "type": type,
            "bom-ref": crate.id,
            "name": crate.name,
            "version": crate.version,
            "purl": crate.id,
            "licenses": [{"expression": crate.license}],
        }
        if crate.checksum:
            described["hashes"] = [{"alg": "SHA-256", "content": crate.checksum}]
        if crate.repository:
            described["externalReferences"] = [{"type": "vcs", "url": crate.repository}]
        return described

    own, *others = crates
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(own, "application")},
        "components": [component(it, "library") for it in others],
        "dependencies": [{"ref": it.id, "dependsOn": sorted(it.dependencies)} for it in crates],
    }
    return json.dumps(bom, indent=1) + "\n"


def audit_list(crates: list[Crate], target: str) -> str:
    """The crates in the binary for a target, in the JSON format of cargo-auditable:
    https://github.com/rust-secure-code/cargo-auditable/blob/master/cargo-auditable.schema.json
    """
    compiled = sorted((it for it in crates if target in it.targets), key=lambda it: (it.name, it.version))
    index = {crate.id: position for position, crate in enumerate(compiled)}
    packages = [
        {
            "name": crate.name,
            "version": crate.version,
            "source": "crates.io" if crate.checksum else "local",
            "dependencies": sorted(index[it] for it in crate.dependencies if it in index),
        }
        | ({"root": True} if crate is crates[0] else {})
        for crate in compiled
    ]
    return json.dumps({"packages": packages}, separators=(",", ":"))


def third_party(crates: list[Crate]) -> str:
    """The licence texts of all crates. A text that several crates share is there once."""
    by_text: dict[str, list[Crate]] = {}
    for crate in crates:
        for text in crate.license_texts():
            by_text.setdefault(text, []).append(crate)
    rule = "=" * 80
    parts = [f"The crates that {crates[0].name} is compiled from, and their licences.\n"]
    parts += [f"{it.name} {it.version}: {it.license}" for it in crates]
    for text, users in by_text.items():
        parts.append(f"\n{rule}\n{', '.join(f'{it.name} {it.version}' for it in users)}\n{rule}\n\n{text}")
    return "\n".join(parts) + "\n"
