"""Can a queue be filled past the permissions on `sqs:SendMessage`? By default, any queue of the account may name another
one as its dead-letter queue, and SQS then moves messages into that. Reads every template of the project. The queues of the
examples for consumers are tested in `test_rules.py`."""

from __future__ import annotations

from typing import Any

import package
import pytest

from support.cloudformation import ACCOUNT, REGION, Template, read_template
from support.harness import ROOT

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"

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
