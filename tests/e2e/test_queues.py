"""Can a queue be filled past the permissions on `sqs:SendMessage`? By default, any queue of the account may name another
one as its dead-letter queue, and SQS then moves messages into that. Reads every template and example of the project."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import package
import pytest
import yaml

from support import cdk, page
from support.cloudformation import ACCOUNT, REGION, Loader, Template, read_template
from support.harness import EVENTS, ROOT, TOOLS

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(EVENTS.glob("*.md"))]

# Nobody's dead-letter queue: only principals that its policy and IAM allow can send to it.
DENY_ALL = {"redrivePermission": "denyAll"}


def queues(resources: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: it.get("Properties", {}) for name, it in resources.items() if it["Type"] == "AWS::SQS::Queue"}


def policies(resources: dict[str, Any]) -> dict[str, Any]:
    return {name: properties.get("RedriveAllowPolicy") for name, properties in queues(resources).items()}


def test_only_the_parking_queue_has_a_dead_letter_queue() -> None:
    """The key adds the dead-letter queue of the bus. EventBridge sends to it with `sqs:SendMessage`."""
    template = Template(read_template(), KmsKeyArn=KEY)
    found = template.of_type("AWS::SQS::Queue")
    parking = template.arn("ParkingQueue")
    assert {name: it["RedriveAllowPolicy"] for name, it in found.items()} == {
        "ParkingQueue": DENY_ALL,
        "DeadLetterQueue": {"redrivePermission": "byQueue", "sourceQueueArns": [parking]},
        "BusDeadLetterQueue": DENY_ALL,
    }
    assert {name for name, it in found.items() if "RedrivePolicy" in it} == {"ParkingQueue"}
    assert found["ParkingQueue"]["RedrivePolicy"]["deadLetterTargetArn"] == template.arn("DeadLetterQueue")


@pytest.mark.parametrize("function_url", package.FILES.values(), ids=package.FILES)
def test_a_release_has_the_same_policies(function_url: bool) -> None:
    packaged = package.package(function_url=function_url)
    assert policies(packaged["Resources"]) == policies(read_template()["Resources"])


def test_the_other_templates_have_no_queue() -> None:
    templates = sorted((ROOT / "deploy").glob("*.yaml"))
    assert templates
    for template in templates:
        assert not queues(read_template(template)["Resources"]), template


def test_no_queue_of_an_example_template_is_a_dead_letter_queue_of_another() -> None:
    found = {}
    for path in PAGES:
        for block in page.blocks(path.read_text(), "yaml"):
            resources = (yaml.load(block, Loader) or {}).get("Resources", {})
            assert not [it for it in queues(resources).values() if "RedrivePolicy" in it]
            found |= policies(resources)
    assert found == {"Queue": DENY_ALL, "Undelivered": DENY_ALL}


def test_no_queue_of_an_example_for_terraform_is_a_dead_letter_queue_of_another() -> None:
    blocks = [block for path in PAGES for block in page.blocks(path.read_text(), "hcl")]
    blocks += [path.read_text() for path in sorted((ROOT / "deploy" / "terraform").glob("*.tf"))]
    parse = "import hcl2, json, sys; print(json.dumps([hcl2.loads(text) for text in json.load(sys.stdin)]))"
    parser = [TOOLS / "checkov" / "bin" / "python", "-c", parse]
    parsed = subprocess.run(parser, input=json.dumps(blocks), capture_output=True, text=True, check=True).stdout
    found = {
        name: it
        for block in json.loads(parsed)
        for resource in block.get("resource", [])
        for name, it in resource.get("aws_sqs_queue", {}).items()
    }
    assert found.keys() == {"queue", "undelivered"}
    for name, queue in found.items():
        [policy] = queue["redrive_allow_policy"]
        assert re.fullmatch(r"\$\{jsonencode\(\{'redrivePermission': 'denyAll'\}\)\}", policy), (name, policy)
        assert "redrive_policy" not in queue


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        yield Path(directory)


def test_no_queue_of_an_example_for_the_cdk_is_a_dead_letter_queue_of_another(directory: Path) -> None:
    [example] = [block for path in PAGES for block in page.blocks(path.read_text(), "ts") if "new Queue(" in block]
    app = directory / "app"
    app.mkdir()
    (app / "package.json").write_text('{"type": "module"}')
    start = 'import { App } from "aws-cdk-lib";\nnew ConnectionLive(new App(), "example");\n'
    (app / "app.ts").write_text(example + start)
    cdk.synthesize(app, directory / "output", command=["node", "app.ts"])
    synthesized = cdk.template(directory / "output", "example")["Resources"]
    assert list(policies(synthesized).values()) == [DENY_ALL, DENY_ALL]
    assert not [it for it in queues(synthesized).values() if "RedrivePolicy" in it]
