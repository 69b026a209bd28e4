"""Is a release what template.yaml and Cargo.lock describe? Tests what `make release` writes besides the binaries."""

from __future__ import annotations

import io
import json
import re
import stat
import subprocess
import tomllib
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import dependencies
import package
import pytest
import release
import yaml
from dependencies import CLI, FUNCTION, Crate, Program

from support.cloudformation import read_template
from support.harness import ROOT, TOOLS

SOURCE = read_template()
CODE = {"CodeBucket", "CodeKey"}


@pytest.fixture(scope="module", params=package.FILES, ids=lambda name: name.removesuffix(".json"))
def packaged(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A packaged template as it is in the release."""
    return json.loads(package.serialize(package.package(function_url=package.FILES[request.param])))


@pytest.fixture(scope="module")
def without_function_url() -> dict[str, Any]:
    return package.package(function_url=False)


@pytest.fixture(scope="module", params=[FUNCTION, CLI], ids=lambda program: program.name)
def program(request: pytest.FixtureRequest) -> Program:
    return request.param


@pytest.fixture(scope="module")
def crates(program: Program) -> list[Crate]:
    return dependencies.crates(program)


def locked(program: Program) -> dict[tuple[str, str], dict[str, Any]]:
    """The packages in the lock file of a program's workspace."""
    packages = tomllib.loads((program.workspace / "Cargo.lock").read_text())["package"]
    return {(it["name"], it["version"]): it for it in packages}


def test_the_function_is_the_only_binary_of_its_workspace() -> None:
    """`cargo lambda watch` and `cargo lambda deploy` take every binary of a workspace for a function."""
    command = ["cargo", "metadata", "--no-deps", "--locked", "--format-version", "1"]
    described = json.loads(subprocess.check_output(command, cwd=ROOT, text=True))
    targets = [target for package in described["packages"] for target in package["targets"]]
    assert [target["name"] for target in targets if "bin" in target["kind"]] == [FUNCTION.name]


def test_dependabot_updates_everything_that_has_a_lock_file() -> None:
    """The links in tests/tools are to folders that are updated anyway."""
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    updated = {it["package-ecosystem"]: set(it.get("directories", [it.get("directory")])) for it in updates}
    for ecosystem, patterns in {
        "cargo": ["Cargo.lock", "*/Cargo.lock"],
        "npm": ["deploy/*/package-lock.json", "tests/tools/*/package-lock.json"],
    }.items():
        folders = {it.resolve().parent.relative_to(ROOT) for pattern in patterns for it in ROOT.glob(pattern)}
        assert updated[ecosystem] == {f"/{it}".removesuffix(".") for it in folders}


def test_both_programs_have_the_version_of_the_release() -> None:
    for program in (FUNCTION, CLI):
        assert (program.package, release.VERSION) in locked(program)


def test_both_programs_have_the_same_versions_of_the_same_crates() -> None:
    """Otherwise, some crates would be compiled twice, and an advisory could concern one of the programs alone."""
    ours, theirs = locked(FUNCTION), locked(CLI)
    names = {name for name, _ in ours} & {name for name, _ in theirs}
    assert len(names) > 100
    assert {it for it in theirs if it[0] in names} <= ours.keys()


def test_the_template_has_the_version_of_the_function() -> None:
    assert SOURCE["Resources"]["WebhookFunction"]["Properties"]["Tags"]["scalekit-eventbridge:version"] == release.VERSION
    assert SOURCE["Outputs"]["Version"]["Value"] == release.VERSION


def test_the_packaged_template_has_everything_of_the_source() -> None:
    packaged = package.package()
    assert packaged["Parameters"].keys() == SOURCE["Parameters"].keys() | CODE
    # SAM makes the queue's trigger a resource of its own.
    assert packaged["Resources"].keys() == SOURCE["Resources"].keys() | {"WebhookFunctionParked"}
    for section in ("Conditions", "Mappings", "Outputs", "Rules"):
        assert packaged[section] == SOURCE[section]
    for name in SOURCE["Parameters"]:
        assert packaged["Parameters"][name] == SOURCE["Parameters"][name]
    for name, resource in SOURCE["Resources"].items():
        if not resource["Type"].startswith("AWS::Serverless::"):
            assert packaged["Resources"][name] == resource


def test_the_template_without_function_urls_differs_in_nothing_else(without_function_url: dict[str, Any]) -> None:
    packaged = package.package()
    removed = {name for name, it in packaged["Resources"].items() if it.get("Condition") == "HasFunctionUrl"}
    types = {packaged["Resources"][name]["Type"] for name in removed}
    assert types == {"AWS::Lambda::Url", "AWS::Lambda::Permission"}
    assert without_function_url["Resources"].keys() == packaged["Resources"].keys() - removed
    assert without_function_url["Outputs"].keys() == packaged["Outputs"].keys()
    differing = {
        name: parameter
        for name, parameter in without_function_url["Parameters"].items()
        if parameter != packaged["Parameters"][name]
    }
    assert differing.keys() == {"Ingress"}
    assert (differing["Ingress"]["Default"], differing["Ingress"]["AllowedValues"]) == ("HttpApi", ["HttpApi", "RestApi"])
    assert without_function_url["Parameters"].keys() == packaged["Parameters"].keys()
    assert "FunctionUrl" not in json.dumps([without_function_url["Resources"], without_function_url["Outputs"]])
    assert without_function_url["Conditions"].keys() == packaged["Conditions"].keys() - {"HasFunctionUrl"}
    for name, rule in packaged["Rules"].items():
        assert without_function_url["Rules"][name] == rule


def test_a_packaged_template_needs_no_transform_and_takes_its_code_from_the_parameters(
    packaged: dict[str, Any],
) -> None:
    assert "Transform" not in packaged
    assert not [it["Type"] for it in packaged["Resources"].values() if it["Type"].startswith("AWS::Serverless::")]
    [function] = [it for it in packaged["Resources"].values() if it["Type"] == "AWS::Lambda::Function"]
    assert function["Properties"]["Code"] == {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": {"Ref": "CodeKey"}}
    assert {name for name, it in packaged["Parameters"].items() if "Default" not in it} == CODE


def test_a_packaged_template_names_no_region_or_partition(packaged: dict[str, Any]) -> None:
    """SAM's transform runs on the machine that makes the release, which may be in any region."""
    assert not re.search(r"\barn:aws[a-z-]*:|\b[a-z]{2}-[a-z]+-\d\b", json.dumps(packaged["Resources"]))


def test_the_packaged_templates_are_correct_where_they_can_be_deployed(tmp_path: Path) -> None:
    """cfn-lint reports a resource type that a region doesn't have. GovCloud has no function URLs."""

    def lint(template: Path, region: str) -> str:
        checked = subprocess.run(
            [TOOLS / "sam" / "bin" / "cfn-lint", "--regions", region, "--", template],
            capture_output=True,
            text=True,
        )
        return checked.stdout + checked.stderr

    template, without_function_url = package.write(tmp_path)
    assert lint(template, "us-east-1") == ""
    assert lint(without_function_url, "us-gov-west-1") == ""


def test_the_bill_of_materials_lists_what_is_compiled_into_the_binary(program: Program, crates: list[Crate]) -> None:
    bom = json.loads(dependencies.sbom(crates))
    components = {(it["name"], it["version"]) for it in bom["components"]}
    expected: set[tuple[str, str]] = set()
    for target in dependencies.TARGETS.values():
        for line in dependencies.tree(program, target, "--prefix", "none", "--format", "{p}"):
            name, version = line.split()[:2]
            expected.add((name, version.removeprefix("v")))
    own = (program.package, release.VERSION)
    assert components | {own} == expected
    assert own not in components
    assert {"ring", "aws-sdk-sqs", "lambda_http" if program == FUNCTION else "clap"} <= {name for name, _ in components}
    # A macro, and a crate that only the tests use.
    assert not {"serde_derive", "proptest"} & {name for name, _ in components}

    packages = locked(program)
    for component in bom["components"]:
        hashes = [it["content"] for it in component.get("hashes", [])]
        checksum = packages[component["name"], component["version"]].get("checksum")
        assert hashes == ([checksum] if checksum else []), component["name"]


def test_the_bill_of_materials_has_the_edges_of_the_lock_file(program: Program, crates: list[Crate]) -> None:
    packages = locked(program)
    edges = {crate.name: {it.rpartition("/")[2].split("@")[0] for it in crate.dependencies} for crate in crates}
    for crate in crates:
        # The lock file also has the dependencies of tests, of build scripts and of other systems.
        possible = {it.split()[0] for it in packages[crate.name, crate.version].get("dependencies", [])}
        assert {it.rpartition("/")[2].split("@")[0] for it in crate.dependencies} <= possible, crate.name
    assert {"aws-sdk-sqs", "lambda_http" if program == FUNCTION else "clap"} <= edges[program.package]
    assert "ring" in edges["rustls"]
    assert program.package not in set().union(*edges.values())


def test_the_bill_of_materials_follows_the_schema_of_cyclonedx(crates: list[Crate]) -> None:
    """checkov's environment has CycloneDX's own library."""
    validate = (
        "import sys; from cyclonedx.schema import SchemaVersion;"
        "from cyclonedx.validation.json import JsonStrictValidator;"
        "sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()))"
    )
    checked = subprocess.run(
        [TOOLS / "checkov" / "bin" / "python", "-c", validate],
        input=dependencies.sbom(crates),
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


def test_every_crate_comes_with_its_licence(crates: list[Crate]) -> None:
    text = dependencies.third_party(crates)
    for crate in crates:
        assert f"\n{crate.name} {crate.version}: {crate.license}\n" in text
        texts = crate.license_texts()
        assert texts, crate.name
        for licence in texts:
            assert licence in text, crate.name
        # Some files only name the licences. Each licence has conditions or a permission.
        assert any(re.search(r"permi(ssion|tted)", licence) for licence in texts), crate.name
    # A text that several crates share is there once.
    sections = [it.strip() for it in text.split("=" * 80)]
    assert sections.count((ROOT / "LICENSE").read_text().strip()) == 1


def test_the_zip_file_is_the_same_each_time(tmp_path: Path) -> None:
    release.write_program(tmp_path / "1.zip", b"binary", "licences")
    release.write_program(tmp_path / "2.zip", b"binary", "licences")
    content = (tmp_path / "1.zip").read_bytes()
    assert content == (tmp_path / "2.zip").read_bytes()

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        assert [it.filename for it in entries] == ["bootstrap", "LICENSE", "THIRD-PARTY.txt"]
        assert Counter(it.date_time for it in entries) == {(1980, 1, 1, 0, 0, 0): 3}
        modes = [it.external_attr >> 16 for it in entries]
        assert [stat.filemode(mode) for mode in modes] == ["-rwxr-xr-x", "-rw-r--r--", "-rw-r--r--"]
        assert archive.read("bootstrap") == b"binary"
