"""What does a template create with these parameters? Evaluates it as CloudFormation would."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from samtranslator.translator.transform import transform

from support.harness import ROOT

TEMPLATE = ROOT / "template.yaml"
DASHBOARD = ROOT / "deploy" / "dashboard.yaml"

ACCOUNT = "123456789012"
REGION = "eu-central-1"
STACK = "scalekit"
STACK_UUID = "11111111-2222-3333-4444-555555555555"


class Loader(yaml.SafeLoader):
    """Reads the short forms of CloudFormation's functions as their long forms."""


def _long_form(loader: Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".", 1) if tag == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _long_form)


def read_template(path: Path = TEMPLATE) -> dict[str, Any]:
    """The template with all functions in their long forms, not evaluated."""
    return yaml.load(path.read_text(), Loader)


class _NoManagedPolicies:
    """SAM would load AWS's managed policies for a role of its own, but the template defines the role."""

    def load(self) -> dict[str, str]:
        raise AssertionError("SAM creates a role")


def expand_template(**parameters: str) -> dict[str, Any]:
    """The template after the SAM transform with these parameters, as CloudFormation receives it."""
    template = read_template()
    template["Resources"]["WebhookFunction"]["Properties"]["CodeUri"] = "s3://bucket/key"  # as `sam package` does
    return transform(template, dict(parameters), _NoManagedPolicies())


# Stands for AWS::NoValue: what has this value is left out.
_NO_VALUE = object()


@dataclass(frozen=True)
class Resource:
    """A resource that the stack has."""

    type: str
    properties: dict[str, Any]


class Template:
    """A template, evaluated for a stack with these parameters and the defaults of all others.

    A function that is not implemented here, an unknown name, or parameters that CloudFormation would not accept raise an
    error.
    """

    def __init__(
        self, template: dict[str, Any], *, stack: str = STACK, uuid: str = STACK_UUID, **parameters: str
    ) -> None:
        self._template = template
        self._stack = stack
        self._pseudo_parameters = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": "aws",
            "AWS::Region": REGION,
            "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}/{uuid}",
            "AWS::StackName": stack,
            "AWS::URLSuffix": "amazonaws.com",
        }
        self._parameters = {
            name: self._parameter(parameter, str(parameters.pop(name) if name in parameters else parameter["Default"]))
            for name, parameter in template["Parameters"].items()
        }
        assert not parameters, f"the template has no parameters {parameters.keys()}"
        for rule in template.get("Rules", {}).values():
            for assertion in rule["Assertions"] if self._condition(rule["RuleCondition"]) else []:
                assert self._condition(assertion["Assert"]), assertion["AssertDescription"]
        self.resources = {
            name: Resource(resource["Type"], self._evaluate(resource.get("Properties", {})))
            for name, resource in template["Resources"].items()
            if self._exists(resource)
        }
        self.outputs: dict[str, str] = {
            name: self._evaluate(output["Value"])
            for name, output in template["Outputs"].items()
            if self._exists(output)
        }

    def arn(self, name: str) -> str:
        """The ARN of a resource."""
        reference, attributes = self._identity(name)
        return attributes.get("Arn", reference)

    def of_type(self, type: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of a type, by their logical ids."""
        return {name: resource.properties for name, resource in self.resources.items() if resource.type == type}

    def _parameter(self, parameter: dict[str, Any], value: str) -> Any:
        values = [item.strip() for item in value.split(",")] if parameter["Type"] == "CommaDelimitedList" else [value]
        for item in values:
            assert "AllowedValues" not in parameter or item in map(str, parameter["AllowedValues"]), item
            assert re.fullmatch(parameter.get("AllowedPattern", ".*"), item), item
            assert "MinValue" not in parameter or parameter["MinValue"] <= int(item) <= parameter["MaxValue"], item
        return values if parameter["Type"] == "CommaDelimitedList" else value

    def _exists(self, item: Mapping[str, Any]) -> bool:
        return "Condition" not in item or self._condition({"Condition": item["Condition"]})

    def _condition(self, condition: dict[str, Any]) -> bool:
        [(function, arguments)] = condition.items()
        match function:
            case "Condition":
                return self._condition(self._template["Conditions"][arguments])
            case "Fn::Equals":
                left, right = (self._evaluate(argument) for argument in arguments)
                return str(left) == str(right)
            case "Fn::EachMemberEquals":
                members, value = (self._evaluate(argument) for argument in arguments)
                return all(member == value for member in members)
            case "Fn::Not":
                [argument] = arguments
                return not self._condition(argument)
            case "Fn::And":
                return all([self._condition(argument) for argument in arguments])
            case "Fn::Or":
                return any([self._condition(argument) for argument in arguments])
        raise AssertionError(f"{function} is not implemented")

    def _evaluate(self, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(self._evaluate, value) if item is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        match list(value.items()):
            case [("Ref", "AWS::NoValue")]:
                return _NO_VALUE
            case [("Ref", name)]:
                return self._reference(name)
            case [("Fn::GetAtt", [name, attribute])]:
                return self._attribute(name, attribute)
            case [("Fn::Sub", text)]:
                return self._substitute(text)
            case [("Fn::Join", [separator, parts])]:
                return separator.join(self._evaluate(parts))
            case [("Fn::Split", [separator, text])]:
                return self._evaluate(text).split(separator)
            case [("Fn::Select", [index, items])]:
                return self._evaluate(items)[int(index)]
            case [("Fn::FindInMap", [name, key, member])]:
                return self._template["Mappings"][name][self._evaluate(key)][member]
            case [("Fn::If", [condition, then, otherwise])]:
                return self._evaluate(then if self._condition({"Condition": condition}) else otherwise)
            case [(name, _)] if name.startswith("Fn::"):
                raise AssertionError(f"{name} is not implemented")
        evaluated = {name: self._evaluate(item) for name, item in value.items()}
        return {name: item for name, item in evaluated.items() if item is not _NO_VALUE}

    def _substitute(self, text: str | list[Any]) -> str:
        text, variables = text if isinstance(text, list) else (text, {})

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in variables:
                return str(self._evaluate(variables[name]))
            resource, _, attribute = name.partition(".")
            return str(self._attribute(resource, attribute) if attribute else self._reference(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)

    def _reference(self, name: str) -> Any:
        if name in self._parameters:
            return self._parameters[name]
        if name in self._pseudo_parameters:
            return self._pseudo_parameters[name]
        return self._identity(name)[0]

    def _attribute(self, name: str, attribute: str) -> str:
        return self._identity(name)[1][attribute]

    def _identity(self, name: str) -> tuple[str, dict[str, str]]:
        """What Ref and GetAtt return for a resource: names and ARNs of the form that AWS gives them."""
        resource = self._template["Resources"][name]
        assert self._exists(resource), f"{name} is referred to, but doesn't exist"
        unique = f"{self._stack}-{name}-1A2B3C4D5E6F"

        def arn(service: str, path: str) -> str:
            return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{path}"

        match resource["Type"]:
            case "AWS::SQS::Queue":
                queue = self._evaluate(resource["Properties"].get("QueueName", unique))
                return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{queue}", {
                    "Arn": arn("sqs", queue),
                    "QueueName": queue,
                }
            case "AWS::Events::EventBus":
                bus = self._evaluate(resource["Properties"]["Name"])
                return bus, {"Arn": arn("events", f"event-bus/{bus}")}
            case "AWS::Events::Archive":
                return unique, {"Arn": arn("events", f"archive/{unique}")}
            case "AWS::SecretsManager::Secret":
                return arn("secretsmanager", f"secret:{name}-AbCdEf"), {
                    "Id": arn("secretsmanager", f"secret:{name}-AbCdEf")
                }
            case "AWS::IAM::Role":
                return unique, {"Arn": f"arn:aws:iam::{ACCOUNT}:role/{unique}"}
            case "AWS::Serverless::Function" | "AWS::Lambda::Function":
                return unique, {"Arn": arn("lambda", f"function:{unique}")}
            case "AWS::Lambda::Url":
                return arn("lambda", f"function:{name}"), {"FunctionUrl": f"https://abc123.lambda-url.{REGION}.on.aws/"}
            case "AWS::ApiGateway::Stage" | "AWS::ApiGatewayV2::Stage":
                return self._evaluate(resource["Properties"]["StageName"]), {}
            case "AWS::ApiGatewayV2::DomainName":
                return self._evaluate(resource["Properties"]["DomainName"]), {
                    "RegionalDomainName": f"d-1a2b3c4d5e.execute-api.{REGION}.amazonaws.com",
                    "RegionalHostedZoneId": "Z1A2B3C4D5E6F7",
                }
            case "AWS::Logs::LogGroup":
                return unique, {"Arn": arn("logs", f"log-group:{unique}:*")}
            case "AWS::SNS::Topic":
                return arn("sns", unique), {}
            case "AWS::SSM::Parameter":
                return unique, {"Value": self._evaluate(resource["Properties"]["Value"])}
            case "AWS::KMS::Key":
                key = "44444444-5555-6666-7777-888888888888"
                return key, {"Arn": arn("kms", f"key/{key}")}
            case "AWS::CloudWatch::Alarm":
                alarm = self._evaluate(resource["Properties"]["AlarmName"])
                return alarm, {"Arn": arn("cloudwatch", f"alarm:{alarm}")}
        return unique, {}
