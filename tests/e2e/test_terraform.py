"""Has the Terraform module an input for each parameter of the template? No AWS provider is available to the tests, so
they read the module with checkov's parser."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import package
import pytest

from support.harness import ROOT, TOOLS

MODULE = ROOT / "deploy" / "terraform"
PARAMETERS = {name: it for name, it in package.package()["Parameters"].items() if not name.startswith("Code")}
TYPES = {"String": "string", "Number": "number", "CommaDelimitedList": "list(string)"}

_READ = """
import json, pathlib, sys
import hcl2
json.dump({path.name: hcl2.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*.tf")}, sys.stdout)
"""


@pytest.fixture(scope="module")
def module() -> dict[str, Any]:
    read = subprocess.run(
        [TOOLS / "checkov" / "bin" / "python", "-c", _READ, MODULE], stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(read.stdout)


def variable(parameter: str) -> str:
    """The name of a parameter in Terraform's spelling."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", parameter).lower()


def test_every_parameter_is_an_optional_input(module: dict[str, Any]) -> None:
    variables = {name: it for block in module["variables.tf"]["variable"] for name, it in block.items()}
    required = {name for name, it in variables.items() if "default" not in it}
    assert required == {"bucket", "zip", "zip_sha256", "template"}
    inputs = {name: it for name, it in variables.items() if name not in required | {"stack_name", "tags"}}
    assert inputs.keys() == {variable(name) for name in PARAMETERS}
    for name, parameter in PARAMETERS.items():
        declared = inputs[variable(name)]
        assert declared["type"] == [f"${{{TYPES[parameter['Type']]}}}"], name
        assert declared["default"] == [None], name
        assert declared["description"] == [f"The template's parameter {name}."]


def test_every_input_is_passed_as_its_parameter(module: dict[str, Any]) -> None:
    [block] = module["main.tf"]["locals"]
    [passed] = block["parameters"]
    assert passed.keys() == PARAMETERS.keys()
    for name, value in passed.items():
        used = set(re.findall(r"\bvar\.(\w+)", value))
        assert used == {variable(name)}, name


def test_the_stack_has_the_tags(module: dict[str, Any]) -> None:
    [stack] = [it["aws_cloudformation_stack"] for it in module["main.tf"]["resource"] if "aws_cloudformation_stack" in it]
    assert stack["scalekit"]["tags"] == ["${var.tags}"]


def test_the_checksum_is_compared_before_the_upload(module: dict[str, Any]) -> None:
    uploads = [it["aws_s3_object"] for it in module["main.tf"]["resource"] if "aws_s3_object" in it]
    [upload] = [it["code"] for it in uploads if "code" in it]
    [lifecycle] = upload["lifecycle"]
    [precondition] = lifecycle["precondition"]
    assert precondition["condition"] == ["${filesha256(var.zip) == var.zip_sha256}"]
    assert "var.zip_sha256" in upload["key"][0]


def test_the_template_is_uploaded_to_the_bucket(module: dict[str, Any]) -> None:
    """It is too large for a request to CloudFormation."""
    resources = {name: it for block in module["main.tf"]["resource"] for one in block.values() for name, it in one.items()}
    assert resources["template"]["source"] == ["${var.template}"]
    assert resources["template"]["bucket"] == resources["code"]["bucket"] == ["${var.bucket}"]
    [url] = resources["scalekit"]["template_url"]
    assert url.endswith("/${aws_s3_object.template.key}")
    assert "template_body" not in resources["scalekit"]
