"""Prints a CloudFormation template that fills an EventBridge schema registry with the schemas in events/schemas/.

    python3 deploy/schemas.py [SOURCE] > schemas.json

SOURCE is the source of the events on the bus, "scalekit" by default.
"""

import json
import re
import sys
from pathlib import Path

SCHEMAS = Path(__file__).resolve().parent.parent / "events" / "schemas"
SUFFIX = ".openapi.json"


def template(source: str) -> dict:
    registry = {"Type": "AWS::EventSchemas::Registry", "Properties": {"RegistryName": {"Ref": "RegistryName"}}}
    resources = {"Registry": registry}
    for file in sorted(SCHEMAS.glob(f"*{SUFFIX}")):
        event_type = file.name.removesuffix(SUFFIX)
        resources["".join(word.capitalize() for word in re.split(r"[._]", event_type))] = {
            "Type": "AWS::EventSchemas::Schema",
            "Properties": {
                "RegistryName": {"Fn::GetAtt": ["Registry", "RegistryName"]},
                # The registry's convention, by which EventBridge finds the schema of an event.
                "SchemaName": f"{source}@{event_type}",
                "Type": "OpenApi3",
                "Content": json.dumps(content(file, source), ensure_ascii=False, separators=(",", ":")),
            },
        }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The schemas of Scalekit's events",
        "Parameters": {
            "RegistryName": {
                "Description": "The name of the schema registry.",
                "Type": "String",
                "Default": "scalekit",
                "AllowedPattern": "^[A-Za-z0-9._-]{1,64}$",
                "ConstraintDescription": "must be 1 to 64 letters, digits, and any of . _ and -",
            }
        },
        "Resources": resources,
    }


def content(file: Path, source: str) -> dict:
    document = json.loads(file.read_text(encoding="utf-8"))
    document["components"]["schemas"]["AWSEvent"]["x-amazon-events-source"] = source
    return document


if __name__ == "__main__":
    print(json.dumps(template(*(sys.argv[1:] or ["scalekit"])), ensure_ascii=False, indent=1))
