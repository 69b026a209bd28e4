"""Does the template for a schema registry have the schema of every event type?"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from support.harness import EVENTS, ROOT

TYPES = {file.stem for file in (EVENTS / "bodies").glob("*.json")}


def generate(*arguments: str) -> str:
    script = ROOT / "deploy" / "schemas.py"
    return subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True, text=True).stdout


def schemas(template: str) -> dict[str, dict[str, Any]]:
    """The properties of the schemas, by name."""
    resources = json.loads(template)["Resources"]
    assert resources.pop("Registry")["Type"] == "AWS::EventSchemas::Registry"
    assert {it["Type"] for it in resources.values()} == {"AWS::EventSchemas::Schema"}
    found = {it["Properties"]["SchemaName"]: it["Properties"] for it in resources.values()}
    assert len(found) == len(resources)
    return found


@pytest.mark.parametrize("source", ["scalekit", "auth.example"])
def test_every_type_has_its_schema(source: str) -> None:
    found = schemas(generate(*([] if source == "scalekit" else [source])))
    assert found.keys() == {f"{source}@{type}" for type in TYPES}
    for name, schema in found.items():
        event_type = name.partition("@")[2]
        expected = json.loads((EVENTS / "schemas" / f"{event_type}.openapi.json").read_text())
        event = expected["components"]["schemas"]["AWSEvent"]
        assert event["x-amazon-events-detail-type"] == event_type
        event["x-amazon-events-source"] = source
        assert (schema["Type"], json.loads(schema["Content"])) == ("OpenApi3", expected)


def test_the_template_fits_into_cloudformations_limit() -> None:
    """CloudFormation reads templates of up to 1 MB from S3."""
    assert len(generate().encode()) < 1_000_000
