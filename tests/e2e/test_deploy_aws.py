"""Tests of a deployed stack that only AWS can pass. `make acceptance` runs them. On the emulator they are skipped; their
calls are tested with stubs in test_acceptance.py."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support import aws
from support.cloudformation import Template, read_template
from support.cloudwatch import MetricFilter, Pattern
from support.deploy import Release, Stack, signing_secret
from support.harness import Failure
from support.report import Expect
from support.target import Target
from test_deploy import assert_events_arrive, body, example, problem, quick_retries
from test_policies import ALLOWED, DENIED, expand
from test_template import SITUATIONS

alarms = pytest.mark.acceptance("Alarms")
outages = pytest.mark.acceptance("Outages and queues")
permissions = pytest.mark.acceptance("Permissions")
refusals = pytest.mark.acceptance("Refusals")
releases = pytest.mark.acceptance("Releases")

no_policies = pytest.mark.only("aws", "the emulator enforces no IAM policies")
no_alarms = pytest.mark.only("aws", "the emulator has no alarms on math expressions and no metrics of function URLs")


@contextmanager
def denied_bus(stack: Stack, key: str, expected: tuple[int, str]) -> Iterator[None]:
    """Denies PutEvents to the function, and returns when deliveries get the expected response."""
    with aws.denied(stack.target.client("iam"), stack.resources["FunctionRole"], "events:PutEvents"):
        parked = stack.count("ParkingQueueUrl")

        def is_denied() -> bool:
            seen = problem(stack.deliver(key, body(example("role.updated"))))
            return seen == expected and (seen[0] != 200 or stack.count("ParkingQueueUrl") > parked)

        stack.wait_until(is_denied)
        yield


@outages
@no_policies
def test_an_event_is_parked_while_a_policy_denies_the_bus(stack: Stack, signing_key: str, expect: Expect) -> None:
    with stack.subscription("permission.deleted") as queue, quick_retries(stack):
        event = example("permission.deleted")
        with denied_bus(stack, signing_key, (200, "")):
            expect("the response", stack.deliver(signing_key, body(event)).status, 200)
            expect("the events that arrive meanwhile", stack.receive(queue, 1, within=5), [])
        assert_events_arrive(stack, queue, [event], expect)


@refusals
@no_policies
def test_without_a_parking_queue_a_delivery_is_refused_while_a_policy_denies_the_bus(
    stack: Stack, signing_key: str, expect: Expect
) -> None:
    expected = (500, "misconfigured")
    with stack.function_environment(PARKING_QUEUE_URL=""), denied_bus(stack, signing_key, expected):
        expect("the response", problem(stack.deliver(signing_key, body(example("role.updated")))), expected)


@permissions
@no_policies
def test_the_simulator_of_iam_allows_what_the_function_does_and_nothing_else(target: Target, expect: Expect) -> None:
    """The calls of test_policies.py that the function's role makes."""
    iam = target.client("iam")

    def allowed(call) -> bool:
        template = expand(**call.parameters)
        role = template.resources["FunctionRole"].properties
        resource = call.resource if ":" in call.resource or call.resource == "*" else template.arn(call.resource)
        policies = [policy["PolicyDocument"] for policy in role["Policies"]]
        return aws.is_allowed(iam, policies, call.action, resource, call.context)

    calls = {str(call): call for call in ALLOWED + DENIED if not call.principal}
    seen = {name for name, call in calls.items() if allowed(call)}
    expect("the calls that are allowed", seen, {str(call) for call in ALLOWED if not call.principal})


@alarms
@pytest.mark.only("aws", "the emulator has no TestMetricFilter")
def test_cloudwatch_matches_the_lines_that_the_metric_filters_should_match(target: Target, expect: Expect) -> None:
    """Each filter, with the lines of the function in every situation."""
    logs = target.client("logs")
    lines = [json.dumps(line) for situation, _ in SITUATIONS.values() for line in situation.run()]
    for properties in Template(read_template()).of_type("AWS::Logs::MetricFilter").values():
        filter = MetricFilter(properties)
        expected = {line for line in lines if Pattern(filter.pattern.text).matches(json.loads(line))}
        seen = aws.matching(logs, filter.pattern.text, lines)
        expect(f"the number of lines that {filter.name} counts", len(seen), len(expected))
        assert seen == expected


# The alarms that nothing here provokes, and why.
UNPROVOKED = {
    "ParkedLong": "takes half an hour",
    "Slow": "needs a slow bus and a slow queue",
}
# These are on for an hour.
LONG = {"Drift"}


@alarms
@no_alarms
@pytest.mark.minutes(40)
def test_alarms_go_off_and_return(released: Release, target: Target, expect: Expect) -> None:
    stack = released.deploy(target.name("alarms"), FloodThreshold="20")
    key, started = signing_secret(), datetime.now(UTC)
    function = stack.resources["WebhookFunction"]
    cloudwatch = target.client("cloudwatch")
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack.name}-")
    names = {it["AlarmName"].removeprefix(f"{stack.name}-") for page in pages for it in page["MetricAlarms"]}

    def states(alarm: str) -> list[str]:
        return aws.alarm_states(cloudwatch, f"{stack.name}-{alarm}", started)

    # SecretTrouble, ForwardingFailed and NothingForwarded, because there is no secret yet.
    for _ in range(6):
        assert problem(stack.deliver(key, body(example("user.login")))) == (503, "secret-unavailable")
    stack.wait_until(lambda: "ALARM" in states("NothingForwarded"), within=900)
    stack.set_secret(key)
    stack.wait_until(lambda: stack.deliver(key, body(example("user.login"))).status == 200)

    provoke_by_deliveries(stack, key)
    # Errors
    stack.functions.invoke(FunctionName=function, Payload=b'{"what":"is this?"}')
    # Faults
    with stack.function_environment(WEBHOOK_TOLERANCE_SECONDS="perhaps"):
        stack.deliver(key, body(example("user.login")))
    # Throttles and NotInvoked: refused requests in more than one period of 5 minutes.
    with aws.without_concurrency(stack.functions, function):
        expect("the status without concurrency", stack.deliver(key, body(example("user.login"))).status, 429)
        time.sleep(30)
    with aws.without_url_permissions(stack.functions, function):
        stack.wait_until(lambda: stack.deliver(key, body(example("user.login"))).status == 403)
        for _ in range(8):
            stack.deliver(key, body(example("user.login")))
            time.sleep(60)
    # ParkedAge
    with aws.denied(target.client("iam"), stack.resources["FunctionRole"], "events:PutEvents"):
        time.sleep(30)
        stack.deliver(key, body(example("user.login")))
        stack.wait_until(lambda: "ALARM" in states("ParkedAge"), within=900)

    provoked = names - UNPROVOKED.keys()
    with suppress(AssertionError):
        stack.wait_until(lambda: all("ALARM" in states(name) for name in provoked), within=900)
    expect("the alarms that went off", {name for name in names if "ALARM" in states(name)} | UNPROVOKED.keys(), names)

    stack.queues.purge_queue(QueueUrl=stack.outputs["DeadLetterQueueUrl"])
    returning = provoked - LONG
    with suppress(AssertionError):
        stack.wait_until(lambda: all(states(name)[-1:] == ["OK"] for name in returning), within=1800)
    expect("the alarms that returned to OK", {name for name in returning if states(name)[-1:] == ["OK"]}, returning)


@alarms
@pytest.mark.only("aws", "the emulator writes no access log and doesn't throttle")
@pytest.mark.parametrize(("ingress", "statuses"), [("HttpApi", {500, 503}), ("RestApi", {500})])
def test_the_access_log_of_an_api_tells_who_answered(
    ingress: str, statuses: set[int], released: Release, target: Target, expect: Expect
) -> None:
    stack, key = released.deploy(target.name(f"log-{ingress.lower()}"), Ingress=ingress), signing_secret()

    def status() -> int:
        return stack.deliver(key, body(example("user.login"))).status

    stack.set_secret(key)
    stack.wait_until(lambda: status() == 200)
    with aws.without_concurrency(stack.functions, stack.resources["WebhookFunction"]):
        stack.wait_until(lambda: status() != 200)
        throttled = status()
    expect("the status without concurrency is as documented", throttled in statuses, True)

    def response_types(status: int) -> set[str]:
        return {line["response_type"] for line in stack.access_log() if line["status"] == str(status)}

    stack.wait_until(lambda: bool(response_types(200) and response_types(throttled)), within=600)
    expect("the response type of the function's response", response_types(200), {"-"})
    expect("whether the API's own response has a response type", "-" not in response_types(throttled), True)


def provoke_by_deliveries(stack: Stack, key: str) -> None:
    # WrongSignatures and Flood
    for _ in range(25):
        assert problem(stack.deliver(signing_secret(), body(example("user.login")))) == (401, "invalid-signature")
    # StaleTimestamps
    assert problem(stack.deliver(key, body(example("user.login")), at=1_000_000_000)) == (401, "stale-timestamp")
    # AuthenticRefused and DeadLetters
    violating = example("user.login") | {"spec_version": 1}
    assert problem(stack.deliver(key, body(violating))) == (400, "contract-violation")
    # RefusedCopyFailed: SQS stores at most 1 MiB.
    large = example("user.login") | {"data": {"padding": "x" * 1_100_000}}
    assert problem(stack.deliver(key, body(large))) == (413, "content-too-large")
    # Drift
    assert stack.deliver(key, body(example("role.created") | {"data": {"id": 1}})).status == 200


@releases
@pytest.mark.only("aws", "the emulator ignores rollback triggers")
@pytest.mark.minutes(20)
def test_an_upgrade_is_rolled_back_if_an_alarm_goes_off(
    released: Release, directory: Path, binary: bytes, target: Target, signing_key: str, expect: Expect
) -> None:
    name = target.name("rolled-back")
    stack = released.deploy(name)
    stack.set_secret(signing_key)
    stack.wait_until(lambda: stack.deliver(signing_key, body(example("user.login"))).status == 200)
    next_release = Release.write(target, directory, binary, version="9.9.8")

    with ThreadPoolExecutor(1) as pool:
        upgrade = pool.submit(next_release.upgrade, name)
        # CloudFormation watches the alarms from the update's start until 15 minutes after it.
        violating = example("user.login") | {"spec_version": 1}
        while not upgrade.done():
            stack.deliver(signing_key, body(violating))
            time.sleep(30)
        with suppress(Failure):  # the update doesn't complete
            upgrade.result()

    cloudformation = target.client("cloudformation")
    stack.wait_until(lambda: "PROGRESS" not in aws.stack_status(cloudformation, name), within=900)
    expect("the status of the stack", aws.stack_status(cloudformation, name), "UPDATE_ROLLBACK_COMPLETE")
    expect("the version", Stack(target, name).outputs["Version"], released.version)
    accepted = stack.deliver(signing_key, body(example("user.login"))).status
    expect("the response to a delivery", accepted, 200)


@outages
@pytest.mark.only("aws", "the emulator has no archives of a template and no replays")
@pytest.mark.minutes(20)
def test_the_archive_replays_an_event(stack: Stack, target: Target, signing_key: str, expect: Expect) -> None:
    with stack.subscription("role.deleted") as queue:
        now = datetime.now(UTC)
        event = example("role.deleted") | {"occurred_at": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
        assert stack.deliver(signing_key, body(event)).status == 200
        assert event["id"] in stack.receive_events(queue, [event["id"]])

        time.sleep(12 * 60)  # events reach the archive with a delay of about 10 minutes
        [rule] = target.client("events").list_rules(
            EventBusName=stack.outputs["EventBusName"], NamePrefix=target.name("subscription")
        )["Rules"]
        state = aws.replay(
            target.client("events"),
            name=target.name("replay"),
            archive=stack.outputs["EventArchiveArn"],
            bus=stack.outputs["EventBusArn"],
            rule=rule["Arn"],
            start=now - timedelta(minutes=5),
            end=now + timedelta(minutes=5),
        )
        expect("the state of the replay", state, "COMPLETED")

        messages = stack.receive_events(queue, [event["id"]])
        expect("the events that arrive again", messages.keys(), {event["id"]})
        replayed = json.loads(messages[event["id"]]["Body"])
        expect("the name of the replay", replayed["replay-name"], target.name("replay"))
        expect("the detail", replayed["detail"], event)
