"""Does the template, built and deployed by the SAM CLI, make a working receiver? Asked from outside: as a sender, as a
consumer and as an operator."""

from __future__ import annotations

import json
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

from deploy import Sam, Stack, command, signing_secret
from harness import CARGO_LAMBDA, DEVELOPMENT, EVENTS, ROOT, Answer, Emulator

SECRET = signing_secret()
PLACEHOLDER = "paste-the-signing-secret-here"
FUNCTION = "scalekit-eventbridge"  # as Cargo Lambda names it, after the binary


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """For all that a run writes. pytest's own would be left behind."""
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def sam(directory: Path) -> Sam:
    return Sam(directory)


@pytest.fixture(scope="module")
def template(sam: Sam) -> Path:
    return sam.build()


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
    print(deployed.function_log())  # which pytest shows if the test failed


def example(type: str) -> dict[str, Any]:
    """The example event of that type, under an id of its own, so that no test takes another's event for its own."""
    return json.loads((EVENTS / "bodies" / f"{type}.json").read_bytes()) | {"id": f"evt_{secrets.token_hex(8)}"}


def body(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode()


def problem(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["type"].rpartition(":")[2] if answer.body else ""


def test_a_signed_delivery_comes_out_of_a_rule_on_the_bus(stack: Stack) -> None:
    with stack.subscription("organization.sso_enabled") as queue:
        event = example("organization.sso_enabled")

        assert stack.deliver(SECRET, body(event)).status == 200

        [message] = stack.receive(queue, 1)
        received = json.loads(message["Body"])
        assert received["source"] == "scalekit"
        assert received["detail-type"] == "organization.sso_enabled"
        assert received["detail"] == event


def test_a_delivery_that_was_tampered_with_is_refused_and_does_not_arrive(stack: Stack) -> None:
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
    """Shows that nothing is on its way to the queue, by an event that is sent now and arrives alone."""
    event = example(type)
    assert stack.deliver(SECRET, body(event)).status == 200
    received = stack.receive(queue, 1) + stack.receive(queue, 1, within=1)
    assert [json.loads(message["Body"])["detail"]["id"] for message in received] == [event["id"]]


def test_an_event_that_the_bus_does_not_take_is_parked_until_it_does(stack: Stack) -> None:
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


def test_a_refused_delivery_is_kept_and_the_redrive_command_has_it_forwarded(stack: Stack) -> None:
    with stack.subscription("organization.renamed") as queue:
        event = example("organization.updated") | {"type": "organization.renamed"}

        # A function to which that type is a violation; then its upgrade.
        with stack.function_environment(UNKNOWN_EVENTS="reject"):
            assert problem(stack.deliver(SECRET, body(event))) == (400, "contract-violation")
            wait_until(lambda: count(stack, "DeadLetterQueueUrl") == 1)

        redrive(stack)

        [message] = stack.receive(queue, 1)
        assert json.loads(message["Body"])["detail"] == event
        wait_until(lambda: count(stack, "ParkingQueueUrl") == 0)
        assert count(stack, "DeadLetterQueueUrl") == 0


def existing(emulator: Emulator) -> dict[str, str]:
    """A bus and a secret that are there before the stack, by the parameters that name them."""
    emulator.client("events").create_event_bus(Name="existing")
    secret = emulator.client("secretsmanager").create_secret(Name="existing", SecretString=PLACEHOLDER)
    return {
        "ExistingEventBus": "existing",
        "ExistingSecretArn": secret["ARN"],
    }


# What a template is deployed as: its parameters, and the resources that tell it from the others.
SHAPES: dict[str, tuple[Callable[[Emulator], dict[str, str]], set[str]]] = {
    "function-url": (
        lambda _: {"Ingress": "FunctionUrl", "AlarmEmail": "operator@example.com", "SilenceHours": "168"},
        {"FunctionUrl", "FunctionUrlPermission", "FunctionUrlInvokePermission", "AlarmSubscription", "SilenceAlarm"},
    ),
    "http-api": (
        lambda _: {"Ingress": "HttpApi", "ReservedConcurrency": "20"},
        {"HttpApi", "HttpApiIntegration", "HttpApiPermission", "HttpApiRoute", "HttpApiStage"},
    ),
    "existing-bus-and-secret": (existing, {"FunctionUrl", "FunctionUrlPermission", "FunctionUrlInvokePermission"}),
}
NEW_BUS = {"EventBus", "BusDeadLetterQueue", "BusDeadLetterQueuePolicy", "BusDeadLettersAlarm"}
OPTIONAL = {"WebhookSecret", *NEW_BUS}.union(*(own for _, own in SHAPES.values()))


@pytest.fixture(scope="module")
def shapes(sam: Sam, template: Path, emulator: Emulator, deployed: Stack) -> dict[str, Future[Stack]]:
    """Each shape, deployed, with a secret's whole life behind it. Most of that is waiting, so they wait side by side.

    After another stack, which has made the bucket that they share.
    """

    def live(shape: str, parameters: dict[str, str]) -> Stack:
        stack = sam.deploy(emulator, template, shape, **parameters)
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
def test_a_shape_has_what_it_needs_and_nothing_of_another(shape: str, shapes: dict[str, Future[Stack]]) -> None:
    resources = shapes[shape].result().resources.keys()
    expected = SHAPES[shape][1]
    if shape != "existing-bus-and-secret":
        expected = {*expected, "WebhookSecret", *NEW_BUS}
    assert resources & OPTIONAL == expected


def test_an_existing_bus_and_secret_are_left_as_they_were(
    shapes: dict[str, Future[Stack]], emulator: Emulator
) -> None:
    stack = shapes["existing-bus-and-secret"].result()

    stack.delete()

    assert emulator.client("events").describe_event_bus(Name="existing")["Arn"] == stack.outputs["EventBusArn"]
    assert emulator.client("secretsmanager").describe_secret(SecretId="existing")["ARN"] == stack.outputs["SecretArn"]


def count(stack: Stack, output: str) -> int:
    """How many messages a queue holds, those included that the function is at work on or will try again later."""
    attributes = stack.queue_attributes(stack.outputs[output])
    return int(attributes["ApproximateNumberOfMessages"]) + int(attributes["ApproximateNumberOfMessagesNotVisible"])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "it didn't come true in 15 s"
        time.sleep(0.1)


@contextmanager
def unanswered_port() -> Iterator[int]:
    """A port that refuses connections, and is nobody else's meanwhile: bound, but not listened on."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@contextmanager
def quick_retries(stack: Stack) -> Iterator[None]:
    """Has parked events tried again after seconds (more than a try takes) where the template says minutes."""
    queue_url = stack.outputs["ParkingQueueUrl"]
    before = stack.queue_attributes(queue_url)["VisibilityTimeout"]
    stack.queues.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": "10"})
    try:
        yield
    finally:
        stack.queues.set_queue_attributes(QueueUrl=queue_url, Attributes={"VisibilityTimeout": before})


def redrive(stack: Stack) -> None:
    """Does what the stack's redrive command says, message by message: the emulator has no message move tasks."""
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


def test_the_queues_outlast_half_a_day_of_outage(stack: Stack) -> None:
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
    # A message keeps its age when it becomes a dead letter, and a person must have days to find it.
    assert int(dead_letters["MessageRetentionPeriod"]) - tried_for >= 7 * 24 * 60 * 60
    assert int(parking["MessageRetentionPeriod"]) >= int(dead_letters["MessageRetentionPeriod"])


@pytest.mark.usefixtures("template")  # the build of which is what Cargo Lambda deploys
def test_cargo_lambda_deploys_a_function_that_works(stack: Stack, emulator: Emulator) -> None:
    """With Cargo Lambda's own settings, and variables from the command line: none of the project's are deployed."""
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


def test_a_release_outlives_its_panics() -> None:
    """cargo-lambda has every release abort on a panic, unless the profile says otherwise."""
    profiles = tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"]
    assert profiles["release"]["panic"] == "unwind"


def test_what_holds_events_or_the_secret_outlives_the_stack(sam: Sam, template: Path, emulator: Emulator) -> None:
    stack = sam.deploy(emulator, template, "short-lived")
    stack.set_secret(SECRET)
    secrets, buses = emulator.client("secretsmanager"), emulator.client("events")

    stack.delete()

    for output in ("ParkingQueueUrl", "DeadLetterQueueUrl", "BusDeadLetterQueueUrl"):
        assert count(stack, output) == 0  # instead of "the specified queue does not exist"
    assert secrets.get_secret_value(SecretId=stack.outputs["SecretArn"])["SecretString"] == SECRET
    assert buses.describe_event_bus(Name="short-lived")["Arn"] == stack.outputs["EventBusArn"]
