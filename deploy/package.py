"""Packages template.yaml for those who deploy a release: without the SAM transform, and with the code from a bucket."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

SOURCE = Path(__file__).resolve().parents[1] / "template.yaml"

# The name of each file, and whether its template can create a function URL.
FILES = {"template.json": True, "template-without-function-url.json": False}

# The most bytes of a template that CloudFormation reads from a bucket: its quota is "1 MB". A request contains 51,200 at most.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
MAX_BYTES = 1_000_000

_CODE_PARAMETERS = {
    "CodeBucket": {
        "Description": "The S3 bucket that the function's zip file was uploaded to. It must be in the stack's region.",
        "Type": "String",
        "AllowedPattern": "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
        "ConstraintDescription": "must be the name of a bucket",
    },
    "CodeKey": {
        "Description": (
            "The key of the zip file in that bucket. Keep the version in the key: CloudFormation updates the code only"
            " if the key changes."
        ),
        "Type": "String",
        "MinLength": 1,
        "MaxLength": 1024,
    },
}
_CODE_LABELS = {"CodeBucket": {"default": "Code bucket"}, "CodeKey": {"default": "Object key of the code"}}


def package(*, function_url: bool = True) -> dict[str, Any]:
    """The template after the SAM transform, so that CloudFormation can deploy it without one."""
    template = yaml_parse(SOURCE.read_text())
    template["Parameters"] = _CODE_PARAMETERS | template["Parameters"]
    form = template["Metadata"]["AWS::CloudFormation::Interface"]
    form["ParameterGroups"].insert(0, {"Label": {"default": "Code"}, "Parameters": list(_CODE_PARAMETERS)})
    form["ParameterLabels"] |= _CODE_LABELS
    [function] = [it for it in template["Resources"].values() if it["Type"] == "AWS::Serverless::Function"]
    function["Properties"]["CodeUri"] = {"Bucket": {"Ref": "CodeBucket"}, "Key": {"Ref": "CodeKey"}}
    for setting in ("BuildMethod", "BuildProperties"):
        del function["Metadata"][setting]

    # SAM derives the partition from the region. Any region will do, because no ARN in the template depends on it.
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    # The third argument loads AWS's managed policies, which SAM needs only for a role that it generates. This template
    # defines the role.
    packaged = transform(template, {}, None)
    for resource in packaged["Resources"].values():
        tags = resource["Properties"].get("Tags", [])
        if {"Key": "lambda:createdBy", "Value": "SAM"} in tags:
            tags.remove({"Key": "lambda:createdBy", "Value": "SAM"})
    return packaged if function_url else _without_function_url(packaged)


def _without_function_url(template: dict[str, Any]) -> dict[str, Any]:
    """The template for regions that don't have `AWS::Lambda::Url`: CloudFormation rejects a template with an unknown
    type, even if no such resource is created. In the returned template, the endpoint is an HTTP API or a REST API."""
    without = copy.deepcopy(template)
    without["Parameters"]["Ingress"] |= {
        "Description": (
            "The kind of endpoint that Scalekit posts to. RestApi can have a firewall. This template has no function URL."
        ),
        "Default": "HttpApi",
        "AllowedValues": ["HttpApi", "RestApi"],
    }
    never = "HasFunctionUrl"

    def resolve(value: Any) -> Any:
        if isinstance(value, list):
            return [resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "Fn::If" in value and value["Fn::If"][0] == never:
            return resolve(value["Fn::If"][2])
        return {name: resolve(item) for name, item in value.items()}

    for section in ("Resources", "Outputs"):
        without[section] = resolve({name: it for name, it in without[section].items() if it.get("Condition") != never})
    del without["Conditions"][never]
    return without


def serialize(template: dict[str, Any]) -> str:
    """Indented JSON, so that people can read it, and compare two versions line by line."""
    return json.dumps(template, indent=2) + "\n"


def write(directory: Path) -> list[Path]:
    """Writes the packaged templates, and returns their paths."""
    paths = []
    for name, function_url in FILES.items():
        text = serialize(package(function_url=function_url))
        if len(text.encode()) > MAX_BYTES:
            raise SystemExit(f"{name} has {len(text.encode())} bytes. CloudFormation reads at most {MAX_BYTES} from a bucket.")
        (directory / name).write_text(text)
        paths.append(directory / name)
    return paths
