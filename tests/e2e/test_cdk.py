"""Does the CDK example create what it describes? Synthesizes it, as `cdk deploy` does first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import package
import pytest
import release

from support.harness import ROOT, TOOLS

EXAMPLE = ROOT / "deploy" / "cdk"
CDK = TOOLS / "cdk"


@pytest.fixture(scope="module")
def synthesized() -> Iterator[Path]:
    """The cloud assembly of the example, for a release without the real binary."""
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        app, files, output = (Path(directory) / name for name in ("app", "release", "output"))
        files.mkdir()
        package.write(files)
        release.write_zip(files / release.zip_name("arm64"), b"binary", "licences")
        # Node looks for `node_modules` beside app.ts, so the example is copied.
        shutil.copytree(EXAMPLE, app)
        (app / "node_modules").symlink_to(CDK / "node_modules")
        variables = {
            "PATH": os.pathsep.join([str(CDK / "bin"), os.environ["PATH"]]),
            "CDK_OUTDIR": str(output),
            "CDK_CONTEXT_JSON": json.dumps({"release": str(files), "boundary": "limits"}),
        }
        command = json.loads((EXAMPLE / "cdk.json").read_text())["app"].split()
        done = subprocess.run(command, cwd=app, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        yield output


@pytest.fixture(scope="module")
def template(synthesized: Path) -> dict[str, Any]:
    return json.loads((synthesized / "scalekit.template.json").read_text())


def of_type(template: dict[str, Any], type: str) -> list[dict[str, Any]]:
    return [it["Properties"] for it in template["Resources"].values() if it["Type"] == type]


def test_the_stack_has_everything_of_the_release(template: dict[str, Any]) -> None:
    packaged = package.package()
    for section in ("Resources", "Outputs", "Conditions"):
        assert packaged[section].keys() <= template[section].keys()
    assert template["Resources"]["ParkingQueue"] == packaged["Resources"]["ParkingQueue"]


def test_the_code_is_the_uploaded_zip_file(synthesized: Path, template: dict[str, Any]) -> None:
    [function] = of_type(template, "AWS::Lambda::Function")
    assets = json.loads((synthesized / "scalekit.assets.json").read_text())["files"]
    [uploaded] = [it for it in assets.values() if it["source"]["path"].endswith(".zip")]
    [destination] = uploaded["destinations"].values()
    assert function["Code"]["S3Key"] == destination["objectKey"]
    assert function["Architectures"] == ["arm64"]


def test_the_rule_is_on_the_bus(template: dict[str, Any]) -> None:
    [rule] = of_type(template, "AWS::Events::Rule")
    assert rule["EventBusName"] == template["Outputs"]["EventBusName"]["Value"]
    assert rule["EventPattern"]["source"] == [package.package()["Parameters"]["EventSource"]["Default"]]


def test_every_role_has_the_permissions_boundary(template: dict[str, Any]) -> None:
    roles = of_type(template, "AWS::IAM::Role")
    assert roles
    for role in roles:
        assert "policy/limits" in json.dumps(role["PermissionsBoundary"])
