"""Does the CDK example create what it describes? Synthesizes it, as `cdk deploy` does first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import package
import pytest
import release

from support import cdk
from support.harness import ROOT

EXAMPLE = ROOT / "deploy" / "cdk"


@pytest.fixture(scope="module")
def synthesized() -> Iterator[Path]:
    """The cloud assembly of the example, for a release without the real binary."""
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        app, files, output = (Path(directory) / name for name in ("app", "release", "output"))
        files.mkdir()
        package.write(files)
        release.write_program(files / release.zip_name("arm64"), b"binary", "licences")
        # `node_modules` is linked beside app.ts, so the example is copied.
        shutil.copytree(EXAMPLE, app)
        command = json.loads((EXAMPLE / "cdk.json").read_text())["app"].split()
        cdk.synthesize(app, output, command=command, context={"release": str(files), "boundary": "limits"})
        yield output


@pytest.fixture(scope="module")
def template(synthesized: Path) -> dict[str, Any]:
    return cdk.template(synthesized, "scalekit")


def of_type(template: dict[str, Any], type: str) -> list[dict[str, Any]]:
    return [it["Properties"] for it in template["Resources"].values() if it["Type"] == type]


def test_the_stack_has_everything_of_the_release(template: dict[str, Any]) -> None:
    packaged = package.package()
    for section in ("Resources", "Outputs", "Conditions", "Mappings", "Rules"):
        assert packaged[section].keys() <= template[section].keys()
    for name in ("ParkingQueue", "DeadLetterQueue"):
        assert template["Resources"][name] == packaged["Resources"][name]
    policies = [it["Resources"]["FunctionRole"]["Properties"]["Policies"] for it in (template, packaged)]
    assert policies[0] == policies[1]


def test_every_queue_says_whose_dead_letter_queue_it_is(template: dict[str, Any]) -> None:
    permissions = [it["RedriveAllowPolicy"]["redrivePermission"] for it in of_type(template, "AWS::SQS::Queue")]
    # The queues of the release (the last one exists only with a key), and that of the rule.
    assert sorted(permissions) == ["byQueue", "denyAll", "denyAll", "denyAll"]


def test_the_template_is_uploaded_to_a_bucket(synthesized: Path) -> None:
    """It is too large for a request to CloudFormation."""
    [stack] = [it for it in json.loads((synthesized / "manifest.json").read_text())["artifacts"].values()
               if it["type"] == "aws:cloudformation:stack"]
    assert stack["properties"]["stackTemplateAssetObjectUrl"].startswith("s3://")


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
