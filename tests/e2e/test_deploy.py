"""Tests the template as the SAM CLI builds and deploys it, and as a release. The tests act as a sender, as a consumer
and as an operator of the deployed stack."""

from __future__ import annotations

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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from support.deploy import Release, Sam, Stack, command, signing_secret
from support.harness import CARGO_LAMBDA, DEVELOPMENT, EVENTS, ROOT, Answer, Emulator
from support.page import shell

SECRET = signing_secret()
PLACEHOLDER = "paste-the-signing-secret-here"
FUNCTION = "scalekit-eventbridge"  # Cargo Lambda names the function after the binary


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory for everything that a run writes. pytest would keep its own directories."""
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def sam(directory: Path) -> Sam:
    return Sam(directory)


@pytest.fixture(scope="module")
def template(sam: Sam) -> Path:
    return sam.build()


@pytest.fixture(scope="module")
def binary(template: Path) -> Path:
    """The function that the SAM CLI has built."""
    return template.parent / "WebhookFunction" / "bootstrap"


@pytest.fixture(scope="module")
def released(directory: Path, binary: Path) -> Release:
    return Release(directory, binary)


@pytest.fixture(scope="module")
def emulator(directory: Path) -> Iterator[Emulator]:
    with Emulator(directory) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def deployed(sam: Sam, template: Path, emulator: Emulator) -> Stack:
    stack = sam.deploy(emulator, template, "scalekit")
    stack.set_secret(SECRET)
    return stack


@pytest.fixture
def stack(deployed: Stack) -> Iterator[Stack]:
    yield deployed
    print(deployed.function_log())  # pytest shows it if the test fails


def example(type: str) -> dict[str, Any]:
    """The example event of that type, with a new id, so that no test mistakes another test's event for its own."""
    return json.loads((EVENTS / "bodies" / f"{type}.json").read_bytes()) | {"id": f"evt_{secrets.token_hex(8)}"}


def body(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def problem(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["type"].rpartition(":")[2] if answer.body else ""


def test_a_signed_delivery_reaches_the_target_of_a_rule(stack: Stack) -> None:
    with stack.subscription("organization.sso_enabled") as queue:
        event = example("organization.sso_enabled")

        assert stack.deliver(SECRET, body(event)).status == 200

        [message] = stack.receive(queue, 1)
        received = json.loads(message["Body"])
        assert received["source"] == "scalekit"
        assert received["detail-type"] == "organization.sso_enabled"
        assert received["detail"] == event


def test_a_tampered_delivery_is_refused_and_not_forwarded(stack: Stack) -> None:
    with stack.subscription("user.signup") as queue:
        event = example("user.signup")
        tampered = event | {"environment_id": "env_1"}

        assert problem(stack.deliver(SECRET, body(event), in_its_place=body(tampered))) == (401, "invalid-signature")
        assert problem(stack.deliver(signing_secret(), body(event))) == (401, "invalid-signature")

        assert_only_the_next_arrives(stack, queue, "user.signup")


def test_an_event_of_another_type_does_not_match_the_rule(stack: Stack) -> None:
    with stack.subscription("role.created") as queue:
        assert stack.deliver(SECRET, body(example("role.updated"))).status == 200

        assert_only_the_next_arrives(stack, queue, "role.created")


def assert_only_the_next_arrives(stack: Stack, queue: str, type: str) -> None:
    """Shows that no other event is on its way to the queue: an event that is sent now arrives alone."""
    event = example(type)
    assert stack.deliver(SECRET, body(event)).status == 200
    received = stack.receive(queue, 1) + stack.receive(queue, 1, within=1)
    assert [json.loads(message["Body"])["detail"]["id"] for message in received] == [event["id"]]


def test_an_event_is_parked_while_the_bus_is_unavailable(stack: Stack) -> None:
    with stack.subscription("permission.created") as queue, quick_retries(stack), unanswered_port() as port:
        events = [example("permission.created") for _ in range(3)]

        with stack.function_environment(AWS_ENDPOINT_URL_EVENTBRIDGE=f"http://127.0.0.1:{port}"):
            with ThreadPoolExecutor(len(events)) as senders:
                answers = list(senders.map(lambda event: stack.deliver(SECRET, body(event)), events))
            assert [answer.status for answer in answers] == [200, 200, 200]
            assert count(stack, "ParkingQueueUrl") == 3
            assert stack.receive(queue, 1, within=1) == []

        received = [json.loads(message["Body"]) for message in stack.receive(queue, 3, within=30)]
        assert {event["source"] for event in received} == {"scalekit"}
        details = {event["detail"]["id"]: event["detail"] for event in received}
        assert details == {event["id"]: event for event in events}
        wait_until(lambda: count(stack, "ParkingQueueUrl") == 0)


def test_a_refused_delivery_goes_to_the_dead_letter_queue_and_a_redrive_forwards_it(stack: Stack) -> None:
    with stack.subscription("organization.renamed") as queue:
        event = example("organization.updated") | {"type": "organization.renamed"}

        # The function refuses this unknown type only while it has this setting.
        with stack.function_environment(VALIDATION="strict"):
            assert problem(stack.deliver(SECRET, body(event))) == (400, "contract-violation")
            wait_until(lambda: count(stack, "DeadLetterQueueUrl") == 1)

        redrive(stack)

        [message] = stack.receive(queue, 1)
        assert json.loads(message["Body"])["detail"] == event
        wait_until(lambda: count(stack, "ParkingQueueUrl") == 0)
        assert count(stack, "DeadLetterQueueUrl") == 0


def test_the_dashboard_is_deployed_by_the_command_of_the_stack(stack: Stack, emulator: Emulator) -> None:
    shell(stack.outputs["DashboardCommand"], emulator.url)

    dashboard = emulator.client("cloudwatch").get_dashboard(DashboardName="scalekit-us-east-1")
    text = dashboard["DashboardBody"]
    assert json.loads(text)["widgets"]
    queues = [stack.outputs[output].rpartition("/")[2] for output in ("ParkingQueueUrl", "DeadLetterQueueUrl")]
    for name in (stack.outputs["FunctionName"], stack.outputs["LogGroupName"], *queues):
        assert name in text
    alarms = emulator.client("cloudwatch").describe_alarms(AlarmNamePrefix="scalekit-")["MetricAlarms"]
    assert {alarm["AlarmArn"] for alarm in alarms} == set(re.findall(r'"(arn:aws:cloudwatch:[^"]+)"', text))


def test_a_release_is_upgraded_and_rolled_back_with_events_parked_in_between(
    released: Release, directory: Path, binary: Path, emulator: Emulator
) -> None:
    next_release = Release(directory, binary, version="9.9.9")
    stack = released.deploy(emulator, "upgraded", WebhookToleranceSeconds="200")
    stack.set_secret(SECRET)
    before = stack.resources
    kept = {name: value for name, value in stack.outputs.items() if name != "Version"}
    assert stack.outputs["Version"] == released.version

    def parked_until(deployed: Callable[[Emulator, str], Stack], queue: str) -> Stack:
        """Parks an event, and has the version that is deployed then forward it."""
        event = example("organization.created")
        with unanswered_port() as port:
            variables = configuration(stack)["Environment"]["Variables"]
            unavailable = {"AWS_ENDPOINT_URL_EVENTBRIDGE": f"http://127.0.0.1:{port}"}
            stack.update_function(before["WebhookFunction"], Environment={"Variables": variables | unavailable})
            assert stack.deliver(SECRET, body(event)).status == 200
            assert count(stack, "ParkingQueueUrl") == 1
            updated = deployed(emulator, "upgraded")
            # CloudFormation only restores the settings that differ between the templates, so the test does that.
            updated.update_function(before["WebhookFunction"], Environment={"Variables": variables})
        [message] = updated.receive(queue, 1, within=30)
        assert json.loads(message["Body"])["detail"] == event
        return updated

    with stack.subscription("organization.created") as queue, quick_retries(stack):
        old = configuration(stack)
        upgraded = parked_until(next_release.upgrade, queue)
        new = configuration(upgraded)
        assert upgraded.outputs == kept | {"Version": "9.9.9"}
        assert upgraded.resources == before
        assert new["CodeSha256"] != old["CodeSha256"]
        assert new["Environment"]["Variables"]["WEBHOOK_TOLERANCE_SECONDS"] == "200"

        back = parked_until(released.go_back, queue)
        assert back.outputs == kept | {"Version": released.version}
        assert back.resources == before
        assert configuration(back)["CodeSha256"] == old["CodeSha256"]
        assert back.deliver(SECRET, body(example("organization.created"))).status == 200
        assert len(back.receive(queue, 1)) == 1


def configuration(stack: Stack) -> dict[str, Any]:
    return stack.functions.get_function_configuration(FunctionName=stack.resources["WebhookFunction"])


def existing(emulator: Emulator) -> dict[str, str]:
    """Creates a bus and a secret, and returns the parameters that name them."""
    emulator.client("events").create_event_bus(Name="existing")
    secret = emulator.client("secretsmanager").create_secret(Name="existing", SecretString=PLACEHOLDER)
    return {
        "ExistingEventBus": "existing",
        "ExistingSecretArn": secret["ARN"],
    }


def organization(emulator: Emulator) -> dict[str, str]:
    """Creates what an organization prescribes, and returns the parameters that name it."""
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    boundary = emulator.client("iam").create_policy(PolicyName="boundary", PolicyDocument=json.dumps(policy))
    return {
        "KmsKeyArn": emulator.client("kms").create_key()["KeyMetadata"]["Arn"],
        "PermissionsBoundaryArn": boundary["Policy"]["Arn"],
        "RolePath": "/teams/identity/",
        "AlarmTopicArn": emulator.client("sns").create_topic(Name="alarms")["TopicArn"],
        "EnvironmentId": example("user.login")["environment_id"],
        "BusLogLevel": "INFO",
    }


# The shapes of the stack that are tested, each with its parameters and with those resources that not every shape has.
FUNCTION_URL = {"FunctionUrl", "FunctionUrlPermission", "FunctionUrlInvokePermission"}
HTTP_API = {"HttpApi", "HttpApiIntegration", "HttpApiPermission", "HttpApiRoute", "HttpApiStage"}
OPERATORS = "arn:aws:iam::000000000000:role/operators/*"
SHAPES: dict[str, tuple[Callable[[Emulator], dict[str, str]], set[str]]] = {
    "function-url": (
        lambda _: {"Ingress": "FunctionUrl", "AlarmEmail": "operator@example.com", "SilenceHours": "168"},
        {*FUNCTION_URL, "AlarmSubscription", "SilenceAlarm", "FloodAlarm"},
    ),
    "http-api": (
        lambda _: {"ReservedConcurrency": "20", "QueueWriterArns": OPERATORS},
        {*HTTP_API, "QueuePolicy", "FloodAlarm"},
    ),
    # The emulator doesn't support policies of buses, so no other account may have rules here.
    "organization": (
        organization,
        {*FUNCTION_URL, "FloodAlarm", "BusDeadLetterQueue", "BusDeadLetterQueuePolicy", "BusDeadLettersAlarm"},
    ),
    "existing-bus-and-secret": (lambda emulator: existing(emulator) | {"FloodThreshold": "0"}, FUNCTION_URL),
}
NEW = {"WebhookSecret", "EventBus"}
OWN_TOPIC = {"AlarmTopic", "AlarmTopicPolicy", "AlarmKey"}
OPTIONAL = NEW.union(OWN_TOPIC, *(own for _, own in SHAPES.values()))


@pytest.fixture(scope="module")
def shapes(released: Release, emulator: Emulator) -> dict[str, Future[Stack]]:
    """A stack of each shape, deployed from a release, whose secret has been set, rotated and revoked. Most of that time
    is spent waiting, so the stacks are deployed in parallel."""

    def live(shape: str, parameters: dict[str, str]) -> Stack:
        template = "template-without-function-url.json" if shape == "http-api" else "template.json"
        stack = released.deploy(emulator, shape, template=template, **parameters)
        have_a_secret_set_and_rotated_and_revoked(stack)
        return stack

    with ThreadPoolExecutor(len(SHAPES)) as pool:
        return {shape: pool.submit(live, shape, parameters(emulator)) for shape, (parameters, _) in SHAPES.items()}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_secret_is_set_rotated_and_revoked_without_a_deployment(
    shape: str, shapes: dict[str, Future[Stack]]
) -> None:
    shapes[shape].result()


def have_a_secret_set_and_rotated_and_revoked(stack: Stack) -> None:
    old, new = signing_secret(), signing_secret()

    def answer(secret: str) -> tuple[int, str]:
        return problem(stack.deliver(secret, body(example("user.login"))))

    with stack.subscription("user.login") as queue:
        assert answer(old) == (503, "secret-unavailable")
        assert stack.receive(queue, 1, within=1) == []

        stack.set_secret(old)
        wait_until(lambda: answer(old) == (200, ""))
        assert len(stack.receive(queue, 1)) == 1

        stack.set_secret(new)
        wait_until(lambda: answer(new) == (200, ""))
        assert answer(old) == (200, "")

        stack.revoke_previous_secret()
        assert answer(old) == (401, "invalid-signature")
        assert answer(new) == (200, "")
        assert len(stack.receive(queue, 3)) == 3


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_has_exactly_its_optional_resources(shape: str, shapes: dict[str, Future[Stack]]) -> None:
    resources = shapes[shape].result().resources.keys()
    expected = SHAPES[shape][1]
    if shape != "existing-bus-and-secret":
        expected = expected | NEW
    if shape != "organization":
        expected = expected | OWN_TOPIC
    assert resources & OPTIONAL == expected


def test_the_rules_of_an_organization_reach_the_resources(
    shapes: dict[str, Future[Stack]], emulator: Emulator
) -> None:
    stack = shapes["organization"].result()
    # The emulator keeps neither the key of a function nor the boundary of a role.
    secret = emulator.client("secretsmanager").describe_secret(SecretId=stack.outputs["SecretArn"])
    assert secret["KmsKeyId"].startswith("arn:aws:kms:")
    for output in ("ParkingQueueUrl", "DeadLetterQueueUrl"):
        assert stack.queue_attributes(stack.outputs[output])["KmsMasterKeyId"] == secret["KmsKeyId"]

    role = emulator.client("iam").get_role(RoleName=stack.resources["FunctionRole"])["Role"]
    assert role["Path"] == "/teams/identity/"

    alarms = emulator.client("cloudwatch").describe_alarms(AlarmNamePrefix="organization-")["MetricAlarms"]
    assert {action for alarm in alarms for action in alarm["AlarmActions"]} == {stack.outputs["AlarmTopicArn"]}
    assert "organization-BusDeadLetters" in {alarm["AlarmName"] for alarm in alarms}

    # An event of another environment is refused, although it is authentic.
    secret = signing_secret()
    stack.set_secret(secret)
    foreign = example("user.login") | {"environment_id": "env_1"}
    wait_until(lambda: stack.deliver(secret, body(example("user.login"))).status == 200)
    assert problem(stack.deliver(secret, body(foreign))) == (400, "contract-violation")


def test_the_tags_of_the_stack_are_on_its_resources(stack: Stack, emulator: Emulator) -> None:
    tags = stack.queues.list_queue_tags(QueueUrl=stack.outputs["ParkingQueueUrl"])["Tags"]
    assert tags["team"] == "identity"
    function = emulator.client("lambda").list_tags(Resource=stack.functions.get_function_configuration(
        FunctionName=stack.outputs["FunctionName"])["FunctionArn"])["Tags"]
    assert function["team"] == "identity"


def test_other_stacks_can_read_the_bus(stack: Stack, emulator: Emulator) -> None:
    parameters = emulator.client("ssm").get_parameters_by_path(Path="/scalekit-eventbridge/scalekit")["Parameters"]
    assert {it["Name"].rpartition("/")[2]: it["Value"] for it in parameters} == {
        "event-bus-name": stack.outputs["EventBusName"],
        "event-bus-arn": stack.outputs["EventBusArn"],
    }


def test_an_existing_bus_and_secret_remain_when_the_stack_is_deleted(
    shapes: dict[str, Future[Stack]], emulator: Emulator
) -> None:
    stack = shapes["existing-bus-and-secret"].result()

    stack.delete()

    assert emulator.client("events").describe_event_bus(Name="existing")["Arn"] == stack.outputs["EventBusArn"]
    assert emulator.client("secretsmanager").describe_secret(SecretId="existing")["ARN"] == stack.outputs["SecretArn"]


def count(stack: Stack, output: str) -> int:
    """The number of messages in a queue, including messages in flight, which are invisible until the next attempt."""
    attributes = stack.queue_attributes(stack.outputs[output])
    return int(attributes["ApproximateNumberOfMessages"]) + int(attributes["ApproximateNumberOfMessagesNotVisible"])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in 15 s"
        time.sleep(0.1)


@contextmanager
def unanswered_port() -> Iterator[int]:
    """A port that refuses connections. It is bound, so that no other process gets it, but nothing listens on it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


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
    """Moves a message as the stack's redrive command would. The emulator doesn't support message move tasks."""
    options = command(stack.outputs["RedriveCommand"], "aws sqs start-message-move-task")
    assert options.keys() == {"--region", "--source-arn", "--destination-arn"}
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


def test_the_queues_keep_events_through_an_outage_of_half_a_day(stack: Stack) -> None:
    function = stack.functions.get_function_configuration(FunctionName=stack.resources["WebhookFunction"])
    [trigger] = stack.functions.list_event_source_mappings(FunctionName=stack.resources["WebhookFunction"])[
        "EventSourceMappings"
    ]
    parking = stack.queue_attributes(stack.outputs["ParkingQueueUrl"])
    dead_letters = stack.queue_attributes(stack.outputs["DeadLetterQueueUrl"])
    policy = json.loads(parking["RedrivePolicy"])
    visibility = int(parking["VisibilityTimeout"])
    tried_for = visibility * int(policy["maxReceiveCount"])

    assert trigger["EventSourceArn"] == parking["QueueArn"]
    assert trigger["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert policy["deadLetterTargetArn"] == dead_letters["QueueArn"]
    assert visibility >= 6 * function["Timeout"]
    assert tried_for >= 12 * 60 * 60
    # A message keeps its age when SQS moves it to the dead-letter queue, and an operator needs days to act.
    assert int(dead_letters["MessageRetentionPeriod"]) - tried_for >= 7 * 24 * 60 * 60
    assert int(parking["MessageRetentionPeriod"]) >= int(dead_letters["MessageRetentionPeriod"])


@pytest.mark.usefixtures("template")  # this fixture builds the function that Cargo Lambda deploys
def test_cargo_lambda_deploys_a_working_function(stack: Stack, emulator: Emulator) -> None:
    """The function gets the environment variables of the command line, and no others from this project."""
    variables = {
        "EVENT_BUS_NAME": stack.outputs["EventBusName"],
        "WEBHOOK_SECRET": DEVELOPMENT["WEBHOOK_SECRET"],
        "WEBHOOK_TOLERANCE_SECONDS": DEVELOPMENT["WEBHOOK_TOLERANCE_SECONDS"],
    }
    role = emulator.client("iam").get_role(RoleName=stack.resources["FunctionRole"])["Role"]["Arn"]
    settings = ("--enable-function-url", "--iam-role", role)
    cargo_lambda(
        *("deploy", "--endpoint-url", emulator.url, *settings),
        *(option for name, value in variables.items() for option in ("--env-var", f"{name}={value}")),
    )

    function = stack.functions.get_function_configuration(FunctionName=FUNCTION)
    assert function["Environment"]["Variables"] == variables
    like = stack.functions.get_function_configuration(FunctionName=stack.outputs["FunctionName"])
    for setting in ("Runtime", "Handler", "MemorySize", "Timeout", "TracingConfig", "Role", "Architectures"):
        assert function[setting] == like[setting]
    assert stack.functions.get_function_url_config(FunctionName=FUNCTION)["AuthType"] == "NONE"

    with stack.subscription("connected_account.created") as queue:
        envelope = EVENTS / "connected_account.created.json"
        answer = cargo_lambda("invoke", "--remote", "--endpoint-url", emulator.url, "--data-file", envelope, FUNCTION)
        assert json.loads(answer)["statusCode"] == 200
        [message] = stack.receive(queue, 1)
        assert json.loads(message["Body"])["detail"] == json.loads((EVENTS / "bodies" / envelope.name).read_bytes())


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


def test_a_deleted_stack_leaves_its_queues_bus_and_secret(sam: Sam, template: Path, emulator: Emulator) -> None:
    stack = sam.deploy(emulator, template, "short-lived")
    stack.set_secret(SECRET)
    secrets, buses = emulator.client("secretsmanager"), emulator.client("events")

    stack.delete()

    for output in ("ParkingQueueUrl", "DeadLetterQueueUrl"):
        assert count(stack, output) == 0  # fails if the queue doesn't exist
    assert secrets.get_secret_value(SecretId=stack.outputs["SecretArn"])["SecretString"] == SECRET
    assert buses.describe_event_bus(Name="short-lived")["Arn"] == stack.outputs["EventBusArn"]
