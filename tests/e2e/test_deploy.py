"""Tests the template as the SAM CLI builds and deploys it, and as a release. The tests act as a sender, as a consumer
and as an operator of the deployed stack. `make acceptance` runs them in an AWS account, too."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import socket
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import figures
from support.cloudformation import DASHBOARD, read_template
from support.deploy import Release, Stack, command, signing_secret
from support.function import envelope
from support.harness import CARGO_LAMBDA, DEVELOPMENT, EVENTS, ROOT, Answer
from support.page import shell
from support.removal import delete_bus
from support.report import Expect
from support.target import PREFIX, Target

PLACEHOLDER = "paste-the-signing-secret-here"
FUNCTION = "scalekit-eventbridge"  # Cargo Lambda names the function after the binary

SAMPLES = {path.stem: path.read_bytes() for path in sorted((EVENTS / "bodies").glob("*.json"))}

deliveries = pytest.mark.acceptance("Deliveries")
measurements = pytest.mark.acceptance("Measurements")
refusals = pytest.mark.acceptance("Refusals")
outages = pytest.mark.acceptance("Outages and queues")
releases = pytest.mark.acceptance("Releases")
shapes_of_stacks = pytest.mark.acceptance("Parameters of the stack")

by_sam = pytest.mark.only("emulator", "the SAM CLI builds the function for this machine; AWS gets the release")


def example(type: str) -> dict[str, Any]:
    """The example event of that type, with a new id, so that no test mistakes another test's event for its own."""
    return json.loads(SAMPLES[type]) | {"id": f"evt_{secrets.token_hex(8)}"}


def body(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def problem(answer: Answer) -> tuple[int, str]:
    """The status and the code of a response. One that isn't the function's has its body in the place of the code."""
    is_ours = '"urn:scalekit-eventbridge:problem:' in answer.body
    return answer.status, json.loads(answer.body)["type"].rpartition(":")[2] if is_ours else answer.body


@deliveries
def test_a_signed_delivery_reaches_the_target_of_a_rule(stack: Stack, signing_key: str, expect: Expect) -> None:
    with stack.subscription("organization.sso_enabled") as queue:
        event = example("organization.sso_enabled")

        expect("the status of the response", stack.deliver(signing_key, body(event)).status, 200)

        messages = stack.receive_events(queue, [event["id"]])
        expect("the events that arrive", messages.keys(), {event["id"]})
        received = json.loads(messages[event["id"]]["Body"])
        expect("the source", received["source"], "scalekit")
        expect("the detail-type", received["detail-type"], "organization.sso_enabled")
        expect("the detail", received["detail"], event)


@deliveries
def test_the_command_of_the_stack_sets_the_secret(stack: Stack, target: Target, signing_key: str, expect: Expect) -> None:
    """The secret was pasted into the command when the stack was deployed."""
    stored = target.client("secretsmanager").get_secret_value(SecretId=stack.outputs["SecretArn"])["SecretString"]
    expect("whether the stored secret is the one that was pasted", stored.strip() == signing_key, True)


@pytest.fixture(scope="module")
def arrived(deployed: Stack, signing_key: str) -> dict[str, dict[str, Any]]:
    """The messages that arrive in a queue, by the event's type, after every sample was delivered."""
    with deployed.subscription_to({"source": ["scalekit"]}) as queue:
        for sample in SAMPLES.values():
            assert deployed.deliver(signing_key, sample).status == 200
        ids = [json.loads(sample)["id"] for sample in SAMPLES.values()]
        messages = deployed.receive_events(queue, ids).values()
    return {json.loads(message["Body"])["detail-type"]: message for message in messages}


def envelopes(arrived: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {type: json.loads(message["Body"]) for type, message in arrived.items()}


@deliveries
def test_every_sample_arrives(arrived: dict[str, dict[str, Any]], expect: Expect) -> None:
    expect("the detail-types", arrived.keys(), SAMPLES.keys())
    for type, received in envelopes(arrived).items():
        assert received["detail"] == json.loads(SAMPLES[type]), type
    expect("the sources", {it["source"] for it in envelopes(arrived).values()}, {"scalekit"})


@deliveries
@pytest.mark.only("aws", "the emulator serializes the detail again")
def test_every_sample_arrives_byte_for_byte(arrived: dict[str, dict[str, Any]], expect: Expect) -> None:
    differing = {type for type, it in arrived.items() if SAMPLES[type].decode() not in it["Body"]}
    expect("the events whose detail has other bytes than the body", differing, set())


@deliveries
@pytest.mark.only("aws", "the emulator ignores the time of an entry")
def test_every_sample_has_the_time_at_which_it_occurred(arrived: dict[str, dict[str, Any]], expect: Expect) -> None:
    seen = {type: it["time"] for type, it in envelopes(arrived).items()}
    expect("the times", seen, {type: f"{it['detail']['occurred_at'][:19]}Z" for type, it in envelopes(arrived).items()})


@deliveries
@pytest.mark.only("aws", "the emulator passes on no trace header")
def test_every_sample_carries_the_trace_of_its_delivery(arrived: dict[str, dict[str, Any]], expect: Expect) -> None:
    untraced = {type for type, it in arrived.items() if "Root=" not in it["Attributes"].get("AWSTraceHeader", "")}
    expect("the events without a trace header", untraced, set())


@deliveries
def test_an_event_of_another_type_does_not_match_the_rule(stack: Stack, signing_key: str, expect: Expect) -> None:
    with stack.subscription("role.created") as queue:
        assert stack.deliver(signing_key, body(example("role.updated"))).status == 200

        assert_only_the_next_arrives(stack, signing_key, queue, "role.created", expect)


def assert_only_the_next_arrives(stack: Stack, key: str, queue: str, type: str, expect: Expect) -> None:
    """Shows that no other event is on its way to the queue: an event that is sent now arrives alone."""
    event = example(type)
    assert stack.deliver(key, body(event)).status == 200
    received = stack.receive(queue, 1) + stack.receive(queue, 1000, within=1)
    expect("the ids that arrive", {json.loads(it["Body"])["detail"]["id"] for it in received}, {event["id"]})


@measurements
def test_the_time_from_a_delivery_to_the_queue_of_a_rule_is_measured(
    stack: Stack, target: Target, signing_key: str, expect: Expect
) -> None:
    count = 200 if target.is_aws else 20
    with stack.subscription("permission.updated") as queue:
        sent: dict[str, float] = {}
        with ThreadPoolExecutor(1) as receiver:
            arrivals = receiver.submit(stack.arrival_times, queue, count)
            for _ in range(count):
                event = example("permission.updated")
                sent[event["id"]] = time.monotonic()
                assert stack.deliver(signing_key, body(event)).status == 200
            latencies = [(arrivals.result()[id] - at) * 1000 for id, at in sent.items()]
    expect("the number of events that arrived", len(latencies), count)
    expect.figure("from the start of a POST to the arrival in the queue", figures.distribution(latencies))


@measurements
def test_the_reports_of_lambda_are_evaluated(stack: Stack, target: Target, expect: Expect) -> None:
    stack.wait_until(lambda: len(figures.invocations(stack.function_log())) >= len(SAMPLES))
    lines = stack.function_log()
    reports = figures.invocations(lines)
    for name, value in figures.of_function(reports).items():
        expect.figure(name, value)
    # CloudWatch Logs counts 26 bytes more for each line.
    log_bytes = sum(len(line.encode()) + 26 for line in lines) / len(reports)
    cost = figures.cost_per_million(reports, log_bytes, target.architecture)
    expect.figure("cost of a million deliveries, at the list prices of us-east-1", f"${cost:.2f}")
    expect("the memory of the function in MB", {it.memory for it in reports}, {128})


# The refusals of docs/answers.md. Each request differs from a valid delivery in one way.


@dataclass(frozen=True)
class Refusal:
    send: Callable[[Stack, str], Answer]
    status: int
    code: str


def with_body(body: bytes) -> Callable[[Stack, str], Answer]:
    """A delivery of this body with a valid signature."""
    return lambda stack, key: stack.deliver(key, body)


def tampered(stack: Stack, key: str) -> Answer:
    event = example("user.signup")
    return stack.deliver(key, body(event), in_its_place=body(event | {"environment_id": "env_1"}))


def with_unreadable_body(stack: Stack, _: str) -> Answer:
    """No HTTP client can send it: Lambda itself encodes bodies in base64."""
    event = envelope("user.signup") | {"body": "%", "isBase64Encoded": True}
    invoked = stack.functions.invoke(FunctionName=stack.outputs["FunctionName"], Payload=json.dumps(event))
    answer = json.loads(invoked["Payload"].read())
    return Answer(answer["statusCode"], answer["headers"], answer["body"])


SIGNATURE_HEADERS = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
REFUSALS = {
    "the request can't be read": Refusal(with_unreadable_body, 400, "malformed-request"),
    "GET": Refusal(lambda stack, _: stack.request("GET", None, {}), 405, "method-not-allowed"),
    "no signature": Refusal(lambda stack, _: stack.request("POST", b"{}", {}), 401, "invalid-signature"),
    "a malformed signature": Refusal(
        lambda stack, _: stack.request("POST", b"{}", SIGNATURE_HEADERS), 401, "invalid-signature"
    ),
    "a changed body": Refusal(tampered, 401, "invalid-signature"),
    "another key": Refusal(
        lambda stack, _: stack.deliver(signing_secret(), body(example("user.signup"))), 401, "invalid-signature"
    ),
    "an old timestamp": Refusal(
        lambda stack, key: stack.deliver(key, body(example("user.signup")), at=1_000_000_000), 401, "stale-timestamp"
    ),
    "a body that is too large": Refusal(
        with_body(body(example("user.signup") | {"data": {"padding": "x" * 1_047_552}})), 413, "content-too-large"
    ),
    "a body that isn't JSON": Refusal(with_body(b'{"id":'), 400, "malformed-json"),
    "a body that is too deep": Refusal(with_body(b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"), 400, "malformed-json"),
    "an event without an id": Refusal(with_body(b'{"type":"user.signup"}'), 400, "contract-violation"),
    "an event that the bus rejects": Refusal(
        with_body(body(example("user.signup") | {"data": {"number": 2**63}})), 422, "refused-by-bus"
    ),
}
REFUSALS_BY_AWS_ONLY = {"an event that the bus rejects": "the emulator's bus rejects no event"}


@refusals
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.only("aws", REFUSALS_BY_AWS_ONLY[name]))
        if name in REFUSALS_BY_AWS_ONLY
        else name
        for name in REFUSALS
    ],
)
def test_a_delivery_is_refused(name: str, stack: Stack, signing_key: str, expect: Expect) -> None:
    refusal = REFUSALS[name]
    expect("the response", problem(refusal.send(stack, signing_key)), (refusal.status, refusal.code))


@refusals
def test_a_refused_delivery_is_not_forwarded(stack: Stack, signing_key: str, expect: Expect) -> None:
    with stack.subscription("user.signup") as queue:
        expect("the response", problem(tampered(stack, signing_key)), (401, "invalid-signature"))

        assert_only_the_next_arrives(stack, signing_key, queue, "user.signup", expect)


@refusals
def test_without_a_parking_queue_an_event_is_refused_while_the_bus_is_unavailable(
    stack: Stack, signing_key: str, expect: Expect
) -> None:
    with unreachable_bus(stack, PARKING_QUEUE_URL=""):
        seen = problem(stack.deliver(signing_key, body(example("permission.created"))))
    expect("the response", seen, (503, "bus-unavailable"))


@outages
def test_an_event_is_parked_while_the_bus_is_unavailable(stack: Stack, signing_key: str, expect: Expect) -> None:
    with stack.subscription("permission.created") as queue, quick_retries(stack):
        events = [example("permission.created") for _ in range(3)]

        with unreachable_bus(stack):
            with ThreadPoolExecutor(len(events)) as senders:
                answers = list(senders.map(lambda event: stack.deliver(signing_key, body(event)), events))
            expect("the responses", [answer.status for answer in answers], [200, 200, 200])
            stack.wait_until(lambda: stack.count("ParkingQueueUrl") == 3)
            expect("the events that arrive meanwhile", stack.receive(queue, 1, within=1), [])

        assert_events_arrive(stack, queue, events, expect)


def assert_events_arrive(stack: Stack, queue: str, events: list[dict[str, Any]], expect: Expect) -> None:
    """These parked events arrive unchanged, and the parking queue is empty afterwards."""
    within = stack.target.patience + 20
    messages = stack.receive_events(queue, [event["id"] for event in events], within=within)
    details = {id: json.loads(message["Body"])["detail"] for id, message in messages.items()}
    expect("the events that arrive afterwards", details, {event["id"]: event for event in events})
    stack.wait_until(lambda: stack.count("ParkingQueueUrl") == 0)


@outages
def test_a_refused_delivery_goes_to_the_dead_letter_queue_and_a_redrive_forwards_it(
    stack: Stack, signing_key: str, expect: Expect
) -> None:
    drain_dead_letters(stack)
    with stack.subscription("organization.updated") as queue:
        event = example("organization.updated")

        # The function refuses this environment only while it has this setting.
        with stack.function_environment(ENVIRONMENT_ID="env_1"):
            expect("the response", problem(stack.deliver(signing_key, body(event))), (400, "contract-violation"))
            stack.wait_until(lambda: stack.count("DeadLetterQueueUrl") == 1)

        redrive(stack)

        assert_events_arrive(stack, queue, [event], expect)
        stack.wait_until(lambda: stack.count("DeadLetterQueueUrl") == 0)


def drain_dead_letters(stack: Stack) -> None:
    """Removes the copies of the deliveries that other tests had refused."""
    while stack.receive(stack.outputs["DeadLetterQueueUrl"], 1, within=1):
        pass


@releases
def test_the_dashboard_is_deployed_by_the_command_of_the_stack(
    stack: Stack, target: Target, directory: Path, expect: Expect
) -> None:
    script = stack.outputs["DashboardCommand"]
    if not target.is_aws:
        supported = directory / "dashboard.json"
        supported.write_text(json.dumps(target.supported(read_template(DASHBOARD))))
        path = str(DASHBOARD.relative_to(ROOT))
        assert script.count(path) == 1
        script = script.replace(path, str(supported))
    shell(script, target.endpoint)

    cloudwatch = target.client("cloudwatch")
    dashboard = cloudwatch.get_dashboard(DashboardName=f"{stack.name}-{target.region}")
    text = dashboard["DashboardBody"]
    assert json.loads(text)["widgets"]
    queues = [stack.outputs[output].rpartition("/")[2] for output in ("ParkingQueueUrl", "DeadLetterQueueUrl")]
    for name in (stack.outputs["FunctionName"], stack.outputs["LogGroupName"], *queues):
        assert name in text
    arns = re.findall(r'"(arn:aws:cloudwatch:[^"]+)"', text)
    shown = {arn.rpartition(":")[2].removeprefix(f"{stack.name}-") for arn in arns}
    shown -= {name.removesuffix("Alarm") for name in target.unsupported_resources}
    pages = cloudwatch.get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{stack.name}-")
    alarms = {it["AlarmName"].removeprefix(f"{stack.name}-") for page in pages for it in page["MetricAlarms"]}
    expect("the alarms on the dashboard", shown, alarms)


@releases
def test_a_release_is_upgraded_and_rolled_back_with_events_parked_in_between(
    released: Release, directory: Path, binary: bytes, target: Target, signing_key: str, expect: Expect
) -> None:
    next_release = Release.write(target, directory, binary, version="9.9.9")
    name = target.name("upgraded")
    stack = released.deploy(name, WebhookToleranceSeconds="200")
    stack.set_secret(signing_key)
    before = stack.resources
    kept = {name: value for name, value in stack.outputs.items() if name != "Version"}
    expect("the first version", stack.outputs["Version"], released.version)

    def parked_until(deployed: Callable[[str], Stack], queue: str) -> Stack:
        """Parks an event, and has the version that is deployed then forward it."""
        event = example("organization.created")
        with unanswered_endpoint() as endpoint:
            variables = stack.configuration()["Environment"]["Variables"]
            unavailable = {"AWS_ENDPOINT_URL_EVENTBRIDGE": endpoint}
            stack.update_function(before["WebhookFunction"], Environment={"Variables": variables | unavailable})
            stack.wait_until(lambda: stack.deliver(signing_key, body(event)).status == 200)
            stack.wait_until(lambda: stack.count("ParkingQueueUrl") >= 1)
            updated = deployed(name)
            # CloudFormation only restores the settings that differ between the templates, so the test does that.
            updated.update_function(before["WebhookFunction"], Environment={"Variables": variables})
        assert_events_arrive(updated, queue, [event], expect)
        return updated

    with stack.subscription("organization.created") as queue, quick_retries(stack):
        old = stack.configuration()
        checksum = hashlib.sha256(released.zip.read_bytes()).digest()
        expect("the checksum of the code that runs", old["CodeSha256"], base64.b64encode(checksum).decode())
        upgraded = parked_until(lambda name: next_release.upgrade(name, monitoring_minutes=0), queue)
        new = upgraded.configuration()
        expect("the version after the upgrade", upgraded.outputs["Version"], "9.9.9")
        assert upgraded.outputs == kept | {"Version": "9.9.9"}
        assert upgraded.resources == before
        assert new["CodeSha256"] != old["CodeSha256"]
        assert new["Environment"]["Variables"]["WEBHOOK_TOLERANCE_SECONDS"] == "200"

        back = parked_until(released.go_back, queue)
        expect("the version afterwards", back.outputs["Version"], released.version)
        assert back.outputs == kept | {"Version": released.version}
        assert back.resources == before
        assert back.configuration()["CodeSha256"] == old["CodeSha256"]
        event = example("organization.created")
        assert back.deliver(signing_key, body(event)).status == 200
        assert event["id"] in back.receive_events(queue, [event["id"]])


def existing(target: Target) -> dict[str, str]:
    """Creates a bus and a secret, and returns the parameters that name them."""
    name = target.name("existing")
    target.client("events").create_event_bus(Name=name, Tags=target.tag_list())
    secret = target.client("secretsmanager").create_secret(
        Name=name, SecretString=PLACEHOLDER, Tags=target.tag_list()
    )
    return {"ExistingEventBus": name, "ExistingSecretArn": secret["ARN"], "FloodThreshold": "0"}


def organization(target: Target) -> dict[str, str]:
    """Creates what an organization prescribes, and returns the parameters that name it."""
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    boundary = target.client("iam").create_policy(
        Path=f"/{PREFIX}/", PolicyName=target.name("boundary"), PolicyDocument=json.dumps(policy)
    )
    key_policy = (ROOT / "deploy" / "key-policy.json").read_text()
    for placeholder, value in {
        "PARTITION": "aws",
        "ACCOUNT": target.account,
        "REGION": target.region,
        "STACK": target.name("organization"),
    }.items():
        key_policy = key_policy.replace(placeholder, value)
    tags = [{"TagKey": key, "TagValue": value} for key, value in target.tags.items()]
    return {
        "KmsKeyArn": target.client("kms").create_key(Policy=key_policy, Tags=tags)["KeyMetadata"]["Arn"],
        "PermissionsBoundaryArn": boundary["Policy"]["Arn"],
        "RolePath": "/teams/identity/",
        "AlarmTopicArn": target.client("sns").create_topic(Name=target.name("alarms"), Tags=target.tag_list())["TopicArn"],
        "EnvironmentId": example("user.login")["environment_id"],
        "BusLogLevel": "INFO",
    }


def with_function_url(target: Target) -> dict[str, str]:
    """AWS would send an e-mail to the address."""
    email = {} if target.is_aws else {"AlarmEmail": "operator@example.com"}
    return {"Ingress": "FunctionUrl", "SilenceHours": "168"} | email


def with_http_api(target: Target) -> dict[str, str]:
    """Many accounts on AWS don't have enough concurrency to reserve some."""
    concurrency = {} if target.is_aws else {"ReservedConcurrency": "20"}
    return {"QueueWriterArns": f"arn:aws:iam::{target.account}:role/operators/*"} | concurrency | domain(target, "http")


def with_rest_api(target: Target) -> dict[str, str]:
    """The list has all addresses, because the address that this machine has on AWS is unknown."""
    return {"Ingress": "RestApi", "AllowedSourceIps": "0.0.0.0/1, 128.0.0.0/1"} | domain(target, "rest")


def domain(target: Target, name: str) -> dict[str, str]:
    """A domain name and its certificate exist on the emulator alone."""
    certificate = f"arn:aws:acm:{target.region}:{target.account}:certificate/11111111-2222-3333-4444-555555555555"
    own = {"DomainName": f"{name}.example.com", "CertificateArn": certificate, "BasePath": "webhooks/scalekit"}
    return {} if target.is_aws else own


# The shapes of the stack that are tested, each with its parameters and with those resources that not every shape has.
FUNCTION_URL = {"FunctionUrl", "FunctionUrlPermission", "FunctionUrlInvokePermission"}
DOMAIN = {"Domain", "DomainMapping"}
API = {*DOMAIN, "ApiLogs", "ApiRefusedMetric", "ApiErrorMetric", "ApiDeniedMetric", "ApiErrorsAlarm"}
HTTP_API = {"HttpApi", "HttpApiIntegration", "HttpApiPermission", "HttpApiRoute", "HttpApiStage", *API}
REST_API = {"RestApi", "RestApiRestrictedDeploymentA", "RestApiPermission", "RestApiStage", *API}
SHAPES: dict[str, tuple[Callable[[Target], dict[str, str]], set[str]]] = {
    "function-url": (with_function_url, {*FUNCTION_URL, "AlarmSubscription", "SilenceAlarm", "FloodAlarm"}),
    "http-api": (with_http_api, {*HTTP_API, "QueuePolicy", "FloodAlarm"}),
    "rest-api": (with_rest_api, {*REST_API, "FloodAlarm"}),
    # The emulator doesn't support policies of buses, so no other account may have rules here.
    "organization": (
        organization,
        {*FUNCTION_URL, "FloodAlarm", "BusDeadLetterQueue", "BusDeadLetterQueuePolicy", "BusDeadLettersAlarm"},
    ),
    "existing-bus-and-secret": (existing, FUNCTION_URL),
    # AWS only: the emulator runs the architecture of this machine.
    "other-architecture": (lambda _: {}, {*FUNCTION_URL, "FloodAlarm"}),
}
NEW = {"WebhookSecret", "EventBus"}
OWN_TOPIC = {"AlarmTopic", "AlarmTopicPolicy", "AlarmKey"}
OPTIONAL = NEW.union(OWN_TOPIC, *(own for _, own in SHAPES.values()))

each_shape = pytest.mark.parametrize(
    "shape",
    [
        pytest.param(shape, marks=pytest.mark.only("aws", "the emulator runs only binaries for this machine"))
        if shape == "other-architecture"
        else shape
        for shape in SHAPES
    ],
)


Responses = dict[str, tuple[int, str]]
Shapes = dict[str, Future[tuple[Stack, Responses]]]


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    """Deploys stacks while other tests run, because most of that time is spent waiting."""
    pool = ThreadPoolExecutor(len(SHAPES) + 1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def shapes(pool: ThreadPoolExecutor, released: Release, target: Target) -> Shapes:
    """A stack of each shape, deployed from a release, and the responses to its deliveries while its secret was set, rotated
    and revoked."""

    def live(shape: str, parameters: dict[str, str]) -> tuple[Stack, Responses]:
        template = "template-without-function-url.json" if shape == "http-api" else "template.json"
        release = other_architecture(released) if shape == "other-architecture" else released
        stack = release.deploy(target.name(shape), template=template, **parameters)
        return stack, have_a_secret_set_and_rotated_and_revoked(stack)

    assert target.bucket  # is created before several threads use it
    shapes = [shape for shape in SHAPES if target.is_aws or shape != "other-architecture"]
    return {shape: pool.submit(live, shape, SHAPES[shape][0](target)) for shape in shapes}


@pytest.fixture(scope="module")
def deleted_bus(pool: ThreadPoolExecutor, released: Release, target: Target) -> Future[Responses]:
    """The responses to deliveries while the bus was deleted, and after it was created again."""

    def live() -> Responses:
        bus = target.name("deleted")
        target.client("events").create_event_bus(Name=bus, Tags=target.tag_list())
        return have_the_bus_deleted_and_created_again(released.deploy(target.name("no-bus"), ExistingEventBus=bus))

    assert target.bucket
    return pool.submit(live)


@pytest.fixture(scope="module", autouse=True)
def in_the_background(request: pytest.FixtureRequest) -> None:
    """Starts these deployments before the first test, if a test needs them."""
    needed = {name for item in request.session.items for name in getattr(item, "fixturenames", ())}
    for fixture in {"shapes", "deleted_bus"} & needed:
        request.getfixturevalue(fixture)


def other_architecture(released: Release) -> Release:
    [other] = {"arm64", "x86_64"} - {released.architecture}
    return Release(released.target, released.directory, other)


def have_a_secret_set_and_rotated_and_revoked(stack: Stack) -> Responses:
    """The responses to deliveries, of which those with 200 have arrived."""
    old, new = signing_secret(), signing_secret()
    seen: Responses = {}
    sent: list[str] = []

    def send(secret: str) -> tuple[int, str]:
        event = example("user.login")
        answer = problem(stack.deliver(secret, body(event)))
        sent.extend([event["id"]] if answer == (200, "") else [])
        return answer

    with stack.subscription("user.login") as queue:
        seen["before a secret is set"] = send(old)
        assert stack.receive(queue, 1, within=1) == []

        stack.set_secret(old)
        stack.wait_until(lambda: send(old) == (200, ""))
        seen["with the secret"] = send(old)

        stack.set_secret(new)
        stack.wait_until(lambda: send(new) == (200, ""))
        seen["with the new secret, after a rotation"] = send(new)
        seen["with the old secret, after a rotation"] = send(old)

        stack.revoke_previous_secret()
        stack.wait_until(lambda: send(old) == (401, "invalid-signature"))
        seen["with the old secret, after it was revoked"] = send(old)
        seen["with the new secret, after that"] = send(new)
        assert stack.receive_events(queue, sent).keys() >= set(sent)
    return seen


def have_the_bus_deleted_and_created_again(stack: Stack) -> Responses:
    """The responses to deliveries. The first one is parked, and both are forwarded."""
    events, bus = stack.target.client("events"), stack.outputs["EventBusName"]
    key = signing_secret()
    stack.set_secret(key)

    with quick_retries(stack):
        delete_bus(events, bus, stack.outputs["EventBusArn"])
        # Each environment looks for the bus when it starts, and then every 5 minutes.
        stack.replace_environments()
        deleted = problem(stack.deliver(key, body(example("role.deleted"))))
        stack.wait_until(lambda: stack.count("ParkingQueueUrl") == 1)

        events.create_event_bus(Name=bus, Tags=stack.target.tag_list())
        with stack.subscription("role.created") as queue:
            event = example("role.created")
            created = problem(stack.deliver(key, body(event)))
            assert event["id"] in stack.receive_events(queue, [event["id"]])
        stack.wait_until(lambda: stack.count("ParkingQueueUrl") == 0)
    return {"while the bus is deleted": deleted, "with the bus again": created}


@shapes_of_stacks
@each_shape
def test_a_secret_is_set_rotated_and_revoked_without_a_deployment(shape: str, shapes: Shapes, expect: Expect) -> None:
    _, seen = shapes[shape].result()
    expected = {
        "before a secret is set": (503, "secret-unavailable"),
        "with the secret": (200, ""),
        "with the new secret, after a rotation": (200, ""),
        "with the old secret, after a rotation": (200, ""),
        "with the old secret, after it was revoked": (401, "invalid-signature"),
        "with the new secret, after that": (200, ""),
    }
    for when, response in expected.items():
        expect(f"the response {when}", seen[when], response)


@shapes_of_stacks
@each_shape
def test_each_shape_has_exactly_its_optional_resources(
    shape: str, shapes: Shapes, target: Target, expect: Expect
) -> None:
    resources = shapes[shape].result()[0].resources.keys()
    expected = SHAPES[shape][1] - target.unsupported_resources
    if target.is_aws:
        expected = expected - {"AlarmSubscription"} - DOMAIN
    if shape != "existing-bus-and-secret":
        expected = expected | NEW
    if shape != "organization":
        expected = expected | OWN_TOPIC
    expect("the optional resources", resources & OPTIONAL, expected)


@shapes_of_stacks
@pytest.mark.parametrize("shape", ["http-api", "rest-api"])
def test_an_api_accepts_its_url_with_and_without_a_slash(shape: str, shapes: Shapes, expect: Expect) -> None:
    stack, _ = shapes[shape].result()
    key, url = signing_secret(), stack.outputs["WebhookUrl"].rstrip("/")
    stack.set_secret(key)
    stack.wait_until(lambda: stack.deliver(key, body(example("user.login"))).status == 200)
    api = stack.resources["RestApi" if shape == "rest-api" else "HttpApi"]
    path = "/webhooks" if shape == "rest-api" else ""
    default = f"https://{api}.execute-api.{stack.target.region}.amazonaws.com{path}"
    # The HTTP API takes every path. On AWS, the route "POST /" doesn't match a mapped path without a slash. The emulator's
    # does, but it doesn't match another path.
    others = [f"{default}/a/path", f"{url}/a/path"] if shape == "http-api" else []
    for each in (url, f"{url}/", default, f"{default}/", *others):
        answer = problem(stack.deliver(key, body(example("user.login")), url=each))
        expect(f"the response at {each.replace(api, 'API')}", answer, (200, ""))


@shapes_of_stacks
def test_a_rest_api_refuses_everything_else_itself(shapes: Shapes, expect: Expect) -> None:
    stack, _ = shapes["rest-api"].result()
    url = stack.outputs["WebhookUrl"]
    expect("the status of a GET", stack.request("GET", None, {}).status, 403)
    expect("the status of another path", stack.request("POST", b"{}", {}, f"{url}/other").status, 403)


@shapes_of_stacks
def test_the_rules_of_an_organization_reach_the_resources(shapes: Shapes, target: Target) -> None:
    stack, _ = shapes["organization"].result()
    # The emulator keeps neither the key of a function nor the boundary of a role.
    secret = target.client("secretsmanager").describe_secret(SecretId=stack.outputs["SecretArn"])
    assert secret["KmsKeyId"].startswith("arn:aws:kms:")
    for output in ("ParkingQueueUrl", "DeadLetterQueueUrl"):
        assert stack.queue_attributes(stack.outputs[output])["KmsMasterKeyId"] == secret["KmsKeyId"]

    role = target.client("iam").get_role(RoleName=stack.resources["FunctionRole"])["Role"]
    assert role["Path"] == "/teams/identity/"

    alarms = target.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{stack.name}-")["MetricAlarms"]
    assert {action for alarm in alarms for action in alarm["AlarmActions"]} == {stack.outputs["AlarmTopicArn"]}
    assert f"{stack.name}-BusDeadLetters" in {alarm["AlarmName"] for alarm in alarms}

    # An event of another environment is refused, although it is authentic.
    secret = signing_secret()
    stack.set_secret(secret)
    foreign = example("user.login") | {"environment_id": "env_1"}
    stack.wait_until(lambda: stack.deliver(secret, body(example("user.login"))).status == 200)
    assert problem(stack.deliver(secret, body(foreign))) == (400, "contract-violation")


@shapes_of_stacks
def test_the_tags_of_the_stack_are_on_its_resources(stack: Stack) -> None:
    tags = stack.queues.list_queue_tags(QueueUrl=stack.outputs["ParkingQueueUrl"])["Tags"]
    assert tags["team"] == "identity"
    function = stack.functions.list_tags(Resource=stack.configuration()["FunctionArn"])["Tags"]
    assert function["team"] == "identity"


@shapes_of_stacks
def test_other_stacks_can_read_the_bus(stack: Stack, target: Target, expect: Expect) -> None:
    path = f"/scalekit-eventbridge/{stack.name}"
    parameters = target.client("ssm").get_parameters_by_path(Path=path)["Parameters"]
    expect(
        "the parameters",
        {it["Name"].rpartition("/")[2]: it["Value"] for it in parameters},
        {"event-bus-name": stack.outputs["EventBusName"], "event-bus-arn": stack.outputs["EventBusArn"]},
    )


@outages
def test_events_are_parked_while_the_bus_is_deleted(deleted_bus: Future[Responses], expect: Expect) -> None:
    seen = deleted_bus.result()
    expect("the response while there is no bus", seen["while the bus is deleted"], (200, ""))
    expect("the response after the bus was created again", seen["with the bus again"], (200, ""))


@shapes_of_stacks
def test_an_existing_bus_and_secret_remain_when_the_stack_is_deleted(shapes: Shapes, target: Target) -> None:
    stack, _ = shapes["existing-bus-and-secret"].result()

    stack.delete()

    events, secrets = target.client("events"), target.client("secretsmanager")
    assert events.describe_event_bus(Name=target.name("existing"))["Arn"] == stack.outputs["EventBusArn"]
    assert secrets.describe_secret(SecretId=target.name("existing"))["ARN"] == stack.outputs["SecretArn"]


@contextmanager
def unanswered_endpoint() -> Iterator[str]:
    """A URL on the machine of the function that refuses connections. On this machine, the port is bound, so that no other
    process gets it, but nothing listens on it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


@contextmanager
def unreachable_bus(stack: Stack, **variables: str) -> Iterator[None]:
    with unanswered_endpoint() as endpoint:
        with stack.function_environment(AWS_ENDPOINT_URL_EVENTBRIDGE=endpoint, **variables):
            yield


@contextmanager
def quick_retries(stack: Stack) -> Iterator[None]:
    """Makes SQS retry parked events after 10 seconds instead of minutes. An attempt takes less than that."""
    queue_url = stack.outputs["ParkingQueueUrl"]
    before = stack.queue_attributes(queue_url)["VisibilityTimeout"]
    stack.queues.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": "10"})
    try:
        yield
    finally:
        stack.queues.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": before})


def redrive(stack: Stack) -> None:
    """Moves a message with the stack's redrive command. The emulator doesn't support message move tasks, so there the
    test moves it between the queues that the command names."""
    options = command(stack.outputs["RedriveCommand"], "aws sqs start-message-move-task")
    assert options.keys() == {"--region", "--source-arn", "--destination-arn"}
    if stack.target.is_aws:
        shell(stack.outputs["RedriveCommand"], None)
        return
    queues = {
        option: stack.queues.get_queue_url(QueueName=options[option].rpartition(":")[2])["QueueUrl"]
        for option in ("--source-arn", "--destination-arn")
    }
    [message] = stack.receive(queues["--source-arn"], 1)
    stack.queues.send_message(
        QueueUrl=queues["--destination-arn"],
        MessageBody=message["Body"],
        MessageAttributes=message.get("MessageAttributes", {}),
    )


@outages
def test_the_queues_keep_events_through_an_outage_of_half_a_day(stack: Stack, expect: Expect) -> None:
    function = stack.configuration()
    [trigger] = stack.functions.list_event_source_mappings(FunctionName=stack.resources["WebhookFunction"])[
        "EventSourceMappings"
    ]
    parking = stack.queue_attributes(stack.outputs["ParkingQueueUrl"])
    dead_letters = stack.queue_attributes(stack.outputs["DeadLetterQueueUrl"])
    policy = json.loads(parking["RedrivePolicy"])
    visibility = int(parking["VisibilityTimeout"])
    tried_for = visibility * int(policy["maxReceiveCount"])

    assert trigger["EventSourceArn"] == parking["QueueArn"]
    expect("the response types of the trigger", trigger["FunctionResponseTypes"], ["ReportBatchItemFailures"])
    assert policy["deadLetterTargetArn"] == dead_letters["QueueArn"]
    assert visibility >= 6 * function["Timeout"]
    assert tried_for >= 12 * 60 * 60
    # A message keeps its age when SQS moves it to the dead-letter queue, and an operator needs days to act.
    assert int(dead_letters["MessageRetentionPeriod"]) - tried_for >= 7 * 24 * 60 * 60
    assert int(parking["MessageRetentionPeriod"]) >= int(dead_letters["MessageRetentionPeriod"])


@releases
@by_sam
@pytest.mark.usefixtures("template")  # this fixture builds the function that Cargo Lambda deploys
def test_cargo_lambda_deploys_a_working_function(stack: Stack, target: Target) -> None:
    """The function gets the environment variables of the command line, and no others from this project."""
    variables = {
        "EVENT_BUS_NAME": stack.outputs["EventBusName"],
        "WEBHOOK_SECRET": DEVELOPMENT["WEBHOOK_SECRET"],
        "WEBHOOK_TOLERANCE_SECONDS": DEVELOPMENT["WEBHOOK_TOLERANCE_SECONDS"],
    }
    role = target.client("iam").get_role(RoleName=stack.resources["FunctionRole"])["Role"]["Arn"]
    settings = ("--enable-function-url", "--iam-role", role)
    cargo_lambda(
        *("deploy", "--endpoint-url", target.endpoint, *settings),
        *(option for name, value in variables.items() for option in ("--env-var", f"{name}={value}")),
    )

    function = stack.functions.get_function_configuration(FunctionName=FUNCTION)
    assert function["Environment"]["Variables"] == variables
    like = stack.configuration()
    for setting in ("Runtime", "Handler", "MemorySize", "Timeout", "TracingConfig", "Role", "Architectures"):
        assert function[setting] == like[setting]
    assert stack.functions.get_function_url_config(FunctionName=FUNCTION)["AuthType"] == "NONE"

    with stack.subscription("connected_account.created") as queue:
        envelope = EVENTS / "connected_account.created.json"
        answer = cargo_lambda("invoke", "--remote", "--endpoint-url", target.endpoint, "--data-file", envelope, FUNCTION)
        assert json.loads(answer)["statusCode"] == 200
        [message] = stack.receive(queue, 1)
        assert json.loads(message["Body"])["detail"] == json.loads(SAMPLES["connected_account.created"])
    # The stack doesn't have these.
    stack.functions.delete_function(FunctionName=FUNCTION)
    target.client("logs").delete_log_group(logGroupName=f"/aws/lambda/{FUNCTION}")


def cargo_lambda(*arguments: str | Path) -> str:
    done = subprocess.run([CARGO_LAMBDA, "lambda", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_release_unwinds_on_a_panic() -> None:
    """Cargo Lambda makes a release abort on a panic unless the Cargo profile sets `panic`."""
    profiles = tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"]
    assert profiles["release"]["panic"] == "unwind"


def test_a_release_is_built_from_the_lock_file() -> None:
    """The SAM CLI can't pass `--locked` to Cargo Lambda, so the setting has to be in Cargo.toml."""
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    assert package["metadata"]["lambda"]["build"]["locked"] is True


@shapes_of_stacks
def test_a_deleted_stack_leaves_its_queues_bus_and_secret(
    released: Release, target: Target, signing_key: str, expect: Expect
) -> None:
    stack = released.deploy(target.name("short-lived"))
    stack.set_secret(signing_key)
    secrets, buses = target.client("secretsmanager"), target.client("events")

    stack.delete()

    for output in ("ParkingQueueUrl", "DeadLetterQueueUrl"):
        expect(f"the messages in {output}", stack.count(output), 0)  # fails if the queue doesn't exist
    secret = secrets.get_secret_value(SecretId=stack.outputs["SecretArn"])["SecretString"]
    assert secret == signing_key
    assert buses.describe_event_bus(Name=stack.name)["Arn"] == stack.outputs["EventBusArn"]
