"""Tests `scalekit-events doctor` on a stack that is deployed to the emulator, first as it is, and then broken in several ways.

The tests of the program in Rust provoke the states that the emulator doesn't have."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from test_deploy import (
    test_a_refused_delivery_goes_to_the_dead_letter_queue_and_a_redrive_forwards_it as is_redriven,
)
from test_deploy import test_a_signed_delivery_reaches_the_target_of_a_rule as reaches_a_rule
from test_deploy import test_an_event_is_parked_while_the_bus_is_unavailable as is_parked

from support import function
from support.deploy import Release, Stack, signing_secret
from support.harness import Emulator, program
from support.report import Expect
from support.target import Target

SECRET = signing_secret()
EVERYTHING = {"source": [{"prefix": ""}]}

# The emulator has no Service Quotas, and nobody is subscribed to the alarm topic.
ALWAYS = {"put-events": "unknown", "alarm-topic": "broken"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doctor")


@pytest.fixture(scope="module")
def emulator(directory: Path) -> Iterator[Emulator]:
    with Emulator(directory) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def release(directory: Path, emulator: Emulator) -> Release:
    return Release.write(Target(endpoint=emulator.url), directory, function.binary().read_bytes())


@pytest.fixture(scope="module")
def stack(release: Release, emulator: Emulator) -> Stack:
    stack = release.deploy("scalekit")
    stack.set_secret(SECRET)
    return stack


Finding = dict[str, Any]


def doctor_of(emulator: Emulator, stack: Stack, *arguments: str | Path, **variables: str) -> dict[str, Finding]:
    """The findings about a stack with a function URL, by link."""
    # The emulator also has function URLs without names of their own.
    url = f"{emulator.url}/_aws/lambda-url/{urlsplit(stack.outputs['WebhookUrl']).netloc.partition('.')[0]}/"
    return doctor(emulator, stack.name, "--url", url, *arguments, **variables)


def doctor(emulator: Emulator, stack: str, *arguments: str | Path, **variables: str) -> dict[str, Finding]:
    """The findings by link. The exit status is that of the worst one."""
    done = subprocess.run(
        [program(), "doctor", stack, "--json", *arguments],
        env=os.environ | {"AWS_ENDPOINT_URL": emulator.url} | variables,
        capture_output=True,
        text=True,
        timeout=180,
    )
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == (1 if "broken" in {it["state"] for it in findings} else 3), done.stderr
    return {it["link"]: it for it in findings}


def doubtful(findings: dict[str, Finding]) -> dict[str, str]:
    """The links that don't hold, and their states."""
    return {link: it["state"] for link, it in findings.items() if it["state"] != "ok"}


def put_rule(emulator: Emulator, name: str, pattern: dict[str, Any], arn: str) -> None:
    events = emulator.client("events")
    events.put_rule(Name=name, EventBusName="scalekit", EventPattern=json.dumps(pattern))
    events.put_targets(Rule=name, EventBusName="scalekit", Targets=[{"Id": "target", "Arn": arn}])


def test_a_deployment_without_consumers(stack: Stack, emulator: Emulator, release: Release) -> None:
    findings = doctor_of(emulator, stack)
    assert doubtful(findings) == ALWAYS | {"code": "skipped", "rules": "warning"}
    assert findings["secret"]["text"].startswith("it is set, for ")
    assert findings["alarm-topic"]["runbook"] == "scalekit-eventbridge/docs/operations.md#alarms"


def test_the_url_of_a_rest_api(release: Release, emulator: Emulator) -> None:
    rest = release.deploy("scalekit-rest", Ingress="RestApi")
    stage = f"{emulator.url}/_aws/execute-api/{rest.resources['RestApi']}/webhooks"
    assert url_finding(emulator, stage)["state"] == "ok"
    refused = url_finding(emulator, f"{stage}/other")
    assert (refused["state"], refused["runbook"]) == ("broken", "scalekit-eventbridge/docs/operations.md#if-requests-dont-reach-the-function")
    assert refused["text"] == "an unsigned POST got 403: the request was refused in front of the function"


def url_finding(emulator: Emulator, url: str) -> Finding:
    return doctor(emulator, "scalekit-rest", "--url", url)["url"]


def test_the_code_is_that_of_the_release(stack: Stack, emulator: Emulator, release: Release, tmp_path: Path) -> None:
    sums = tmp_path / "SHA256SUMS"
    sums.write_bytes(subprocess.check_output(["sha256sum", release.zip.name], cwd=release.zip.parent))
    assert doctor_of(emulator, stack, "--checksums", sums)["code"]["text"] == f"it is that of {release.zip.name}"
    sums.write_text(f"{'0' * 64}  {release.zip.name}\n")
    assert doctor_of(emulator, stack, "--checksums", sums)["code"]["state"] == "broken"


def test_a_sample_of_a_type_that_no_consumer_receives_reaches_the_bus(stack: Stack, emulator: Emulator) -> None:
    queues, events = emulator.client("sqs"), emulator.client("events")
    queue = queues.create_queue(QueueName="mine")["QueueUrl"]
    arn = stack.queue_attributes(queue)["QueueArn"]
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn}
    queues.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({"Statement": [statement]})})
    put_rule(emulator, "mine", {"detail-type": [{"prefix": "connected_account."}, {"prefix": "organization."}]}, arn)

    findings = doctor_of(emulator, stack, "--send")
    assert findings["sample"]["text"].startswith("a signed permission.created reached the bus within ")
    assert doubtful(findings) == ALWAYS | {"code": "skipped"}
    assert findings["rule mine"]["text"] == "its target can receive"
    assert queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]["ApproximateNumberOfMessages"] == "0"
    assert {it["Name"] for it in events.list_rules(EventBusName="scalekit")["Rules"]} == {"mine"}

    # A wrong secret, and a rule that matches everything.
    assert doctor_of(emulator, stack, "--send", WEBHOOK_SECRET=signing_secret())["sample"]["text"] == (
        "a signed permission.created got 401: No signature matches."
    )
    put_rule(emulator, "mine", EVERYTHING, arn)
    assert doctor_of(emulator, stack, "--send")["sample"]["state"] == "skipped"


def test_what_is_broken_is_found(stack: Stack, emulator: Emulator) -> None:
    functions, queues, alarms = (emulator.client(name) for name in ("lambda", "sqs", "cloudwatch"))
    put_rule(emulator, "mine", EVERYTHING, "arn:aws:sqs:us-east-1:000000000000:nowhere")
    [trigger] = functions.list_event_source_mappings(FunctionName=stack.outputs["FunctionName"])["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=trigger["UUID"], Enabled=False)
    queues.send_message(QueueUrl=stack.outputs["ParkingQueueUrl"], MessageBody="{}")
    queues.send_message(QueueUrl=stack.outputs["DeadLetterQueueUrl"], MessageBody="{}")
    alarms.set_alarm_state(AlarmName="scalekit-Slow", StateValue="ALARM", StateReason="it was slow")
    stack.set_secret("whsec_unreadable")
    topic = stack.outputs["AlarmTopicArn"]
    # The emulator confirms the subscription by itself.
    emulator.client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="operator@example.com")

    findings = doctor_of(emulator, stack)
    assert doubtful(findings) == {
        "put-events": "unknown",
        "code": "skipped",
        "trigger": "broken",
        "secret": "broken",
        "rule mine": "broken",
        "parking-queue": "warning",
        "dead-letter-queue": "warning",
        "alarm Slow": "warning",
    }
    assert f"--uuid {trigger['UUID']}" in findings["trigger"]["action"]
    assert "whsec_" not in findings["secret"]["text"].replace("after `whsec_`", "")
    assert findings["alarm Slow"] == {
        "link": "alarm Slow",
        "state": "warning",
        "text": "it is on: it was slow",
        "action": "Follow its section of the runbook",
        "runbook": "scalekit-eventbridge/docs/operations.md#slow",
    }

    emulator.client("events").delete_event_bus(Name="scalekit")
    assert doctor_of(emulator, stack)["bus"]["state"] == "broken"
    functions.delete_function(FunctionName=stack.outputs["FunctionName"])
    findings = doctor_of(emulator, stack)
    assert (findings["function"]["state"], findings["url"]["state"]) == ("broken", "broken")


def store_only(secret: str) -> Callable[[Stack], None]:
    """Without the previous version, which would be accepted for another 24 hours."""

    def store(stack: Stack) -> None:
        stack.set_secret(secret)
        stack.revoke_previous_secret()

    return store


# What is broken, one after the other; the check of the acceptance that fails, and what its report says; and the link that
# doctor finds broken.
BROKEN: list[tuple[str, Callable[[Stack], Any], Callable[[Stack, str, Expect], None], str, str]] = [
    (
        "the dead-letter queue is deleted",
        lambda stack: stack.queues.delete_queue(QueueUrl=stack.outputs["DeadLetterQueueUrl"]),
        *(is_redriven, "NonExistentQueue", "dead-letter-queue"),
    ),
    (
        "the parking queue is deleted",
        lambda stack: stack.queues.delete_queue(QueueUrl=stack.outputs["ParkingQueueUrl"]),
        *(is_parked, "NonExistentQueue", "parking-queue"),
    ),
    ("another secret is stored", store_only(signing_secret()), reaches_a_rule, "expected 200, but saw 401", "sample"),
    ("the secret is unusable", store_only("whsec_unusable"), reaches_a_rule, "expected 200, but saw 503", "secret"),
    (
        "the URL is deleted",
        lambda stack: stack.functions.delete_function_url_config(FunctionName=stack.outputs["FunctionName"]),
        *(reaches_a_rule, "expected 200, but saw 404", "url"),
    ),
    (
        "the bus is deleted",
        lambda stack: stack.target.client("events").delete_event_bus(Name=stack.outputs["EventBusName"]),
        *(reaches_a_rule, "ResourceNotFoundException", "bus"),
    ),
]


def test_the_acceptance_and_doctor_find_the_same_broken_links(emulator: Emulator, release: Release, expect: Expect) -> None:
    stack = release.deploy("broken")
    store_only(SECRET)(stack)
    reaches_a_rule(stack, SECRET, expect)
    assert doubtful(doctor_of(emulator, stack, "--send")).keys() <= ALWAYS.keys() | {"code", "rules"}

    for what, break_it, check, problem, link in BROKEN:
        break_it(stack)
        with pytest.raises(Exception, match=problem):
            check(stack, SECRET, expect)
        findings = doctor_of(emulator, stack, *(("--send",) if link == "sample" else ()), WEBHOOK_SECRET=SECRET)
        assert findings[link]["state"] == "broken", (what, findings)
