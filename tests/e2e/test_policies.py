"""Does the template allow every call that the function makes, and nothing else? A policy simulator evaluates the
policies of the expanded template."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from support.cloudformation import ACCOUNT, REGION, Template, expand_template
from support.harness import TOOLS

SIMULATOR = TOOLS / "iam-simulate"
SIMULATE = """
import { text } from "node:stream/consumers";
import { runSimulation } from "@cloud-copilot/iam-simulate";
const simulations = JSON.parse(await text(process.stdin));
console.log(JSON.stringify(await Promise.all(simulations.map((simulation) => runSimulation(simulation, {})))));
"""

OPERATOR = f"arn:aws:iam::{ACCOUNT}:role/operators/on-call"
CI_USER = f"arn:aws:iam::{ACCOUNT}:user/ci"
STRANGER = f"arn:aws:iam::{ACCOUNT}:role/stranger"
ROOT_USER = f"arn:aws:iam::{ACCOUNT}:root"

SECRET = f"arn:aws:secretsmanager:us-west-2:{ACCOUNT}:secret:signing/scalekit"
KEY = f"arn:aws:kms:us-west-2:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"

# The default policy of a KMS key: the account's IAM policies decide.
KEY_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": ROOT_USER}, "Action": "kms:*", "Resource": "*"}],
}

# The parameters that the calls below depend on.
NEW = {"EventSource": "auth.example"}
EXISTING = {
    "ExistingEventBus": "shared",
    "ExistingSecretArn": f"{SECRET}-AbCdEf",
    "ExistingSecretKeyArn": KEY,
    "Tracing": "PassThrough",
}
PARTIAL_ARN = {"ExistingSecretArn": SECRET}
RESTRICTED = {"QueueWriterArns": f"arn:aws:iam::{ACCOUNT}:role/operators/*, {CI_USER}"}


@cache
def expand(**parameters: str) -> Template:
    return Template(expand_template(**parameters), **parameters)


@dataclass(frozen=True)
class Call:
    """A call to AWS."""

    description: str
    action: str
    # An ARN, or the logical id of a resource of the stack.
    resource: str
    context: Mapping[str, str | list[str]] = field(default_factory=dict)
    # The function's role if it is empty. Others may do everything that no policy denies.
    principal: str = ""
    parameters: Mapping[str, str] = field(default_factory=lambda: NEW)

    def __str__(self) -> str:
        return self.description

    def simulation(self) -> dict[str, Any]:
        template = expand(**self.parameters)
        resource = self.resource if ":" in self.resource or self.resource == "*" else template.arn(self.resource)
        principal = self.principal or template.arn("FunctionRole")
        path, _, name = principal.rpartition("/")
        # A role makes its calls in a session. aws:PrincipalArn is the ARN of the role nevertheless.
        session = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/session" if ":role" in path else principal
        allow_everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        policies = (
            {"administrator": {"Version": "2012-10-17", "Statement": [allow_everything]}}
            if self.principal
            else {
                policy["PolicyName"]: policy["PolicyDocument"]
                for policy in template.resources["FunctionRole"].properties["Policies"]
            }
        )
        simulation = {
            "request": {
                "principal": session,
                "action": self.action,
                "resource": {"resource": resource, "accountId": ACCOUNT},
                "contextVariables": {"aws:PrincipalArn": principal, **self.context},
            },
            "identityPolicies": [{"name": name, "policy": policy} for name, policy in policies.items()],
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
        }
        if resource == KEY:
            simulation["resourcePolicy"] = KEY_POLICY
        for policy in template.of_type("AWS::SQS::QueuePolicy").values():
            if resource in [queue_arn(url) for url in policy["Queues"]]:
                simulation["resourcePolicy"] = policy["PolicyDocument"]
        return simulation


def queue_arn(url: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rpartition('/')[2]}"


def bus(name: str, region: str = REGION) -> str:
    return f"arn:aws:events:{region}:{ACCOUNT}:event-bus/{name}"


def sources(*sources: str) -> dict[str, str | list[str]]:
    """The condition key has one value for each entry of a PutEvents call."""
    return {"events:source": list(sources)}


LOG_STREAM = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:%s:log-stream:2026/11/23/[$LATEST]abc"
FUNCTION_LOG = LOG_STREAM % expand().outputs["LogGroupName"]


def via(service: str, region: str) -> dict[str, str | list[str]]:
    return {"kms:ViaService": f"{service}.{region}.amazonaws.com"}


VIA_SECRETS_MANAGER = via("secretsmanager", "us-west-2")

ALLOWED = [
    Call("forward an event", "events:PutEvents", "EventBus", sources("auth.example")),
    Call("forward ten events", "events:PutEvents", "EventBus", sources(*["auth.example"] * 10)),
    Call("forward to an existing bus", "events:PutEvents", bus("shared"), sources("scalekit"), parameters=EXISTING),
    Call("check that the bus exists", "events:DescribeEventBus", "EventBus"),
    Call("check that an existing bus exists", "events:DescribeEventBus", bus("shared"), parameters=EXISTING),
    Call("read the secret", "secretsmanager:GetSecretValue", "WebhookSecret"),
    Call("read an existing secret", "secretsmanager:GetSecretValue", f"{SECRET}-AbCdEf", parameters=EXISTING),
    Call("read a secret by its partial ARN", "secretsmanager:GetSecretValue", SECRET, parameters=PARTIAL_ARN),
    Call("read what a partial ARN names", "secretsmanager:GetSecretValue", f"{SECRET}-AbCdEf", parameters=PARTIAL_ARN),
    Call("decrypt an existing secret", "kms:Decrypt", KEY, VIA_SECRETS_MANAGER, parameters=EXISTING),
    Call("park an event", "sqs:SendMessage", "ParkingQueue"),
    Call("copy a refused delivery", "sqs:SendMessage", "DeadLetterQueue"),
    Call("poll the parking queue", "sqs:ReceiveMessage", "ParkingQueue"),
    Call("delete a forwarded event", "sqs:DeleteMessage", "ParkingQueue"),
    Call("read the attributes of the parking queue", "sqs:GetQueueAttributes", "ParkingQueue"),
    Call("open a log stream", "logs:CreateLogStream", FUNCTION_LOG),
    Call("log", "logs:PutLogEvents", FUNCTION_LOG),
    Call("send a trace", "xray:PutTraceSegments", "*"),
    Call("send telemetry", "xray:PutTelemetryRecords", "*"),
    # With a policy on the queues.
    Call("park an event nevertheless", "sqs:SendMessage", "ParkingQueue", parameters=RESTRICTED),
    Call("copy a refused delivery nevertheless", "sqs:SendMessage", "DeadLetterQueue", parameters=RESTRICTED),
    Call("poll the parking queue nevertheless", "sqs:ReceiveMessage", "ParkingQueue", parameters=RESTRICTED),
    Call("redrive as a listed role", "sqs:SendMessage", "ParkingQueue", principal=OPERATOR, parameters=RESTRICTED),
    Call("send as a listed user", "sqs:SendMessage", "DeadLetterQueue", principal=CI_USER, parameters=RESTRICTED),
    Call("look as a stranger", "sqs:ReceiveMessage", "DeadLetterQueue", principal=STRANGER, parameters=RESTRICTED),
    # Without one, IAM policies alone decide.
    Call("send as an administrator", "sqs:SendMessage", "ParkingQueue", principal=STRANGER),
]

DENIED = [
    Call("forward from another source", "events:PutEvents", "EventBus", sources("aws.health")),
    Call("forward from the default source", "events:PutEvents", "EventBus", sources("scalekit")),
    Call("forward from two sources", "events:PutEvents", "EventBus", sources("auth.example", "other")),
    Call("forward from no source", "events:PutEvents", "EventBus"),
    Call("forward to the default bus", "events:PutEvents", bus("default"), sources("auth.example")),
    Call("forward to another region", "events:PutEvents", bus("scalekit", "us-west-2"), sources("auth.example")),
    Call("check another bus", "events:DescribeEventBus", bus("default")),
    Call("delete the bus", "events:DeleteEventBus", "EventBus"),
    Call("change the rules of the bus", "events:PutRule", f"arn:aws:events:{REGION}:{ACCOUNT}:rule/scalekit/rule"),
    Call("read another secret", "secretsmanager:GetSecretValue", f"{SECRET}-AbCdEf"),
    Call("read a longer name", "secretsmanager:GetSecretValue", f"{SECRET}-2-AbCdEf", parameters=EXISTING),
    Call("read another name", "secretsmanager:GetSecretValue", f"{SECRET}2-AbCdEf", parameters=PARTIAL_ARN),
    Call("write the secret", "secretsmanager:PutSecretValue", "WebhookSecret"),
    Call("decrypt without a key parameter", "kms:Decrypt", KEY, VIA_SECRETS_MANAGER),
    Call("decrypt with another key", "kms:Decrypt", f"{KEY}0", VIA_SECRETS_MANAGER, parameters=EXISTING),
    Call("decrypt something else", "kms:Decrypt", KEY, via("s3", "us-west-2"), parameters=EXISTING),
    Call("decrypt elsewhere", "kms:Decrypt", KEY, via("secretsmanager", REGION), parameters=EXISTING),
    Call("decrypt directly", "kms:Decrypt", KEY, parameters=EXISTING),
    Call("send to another queue", "sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:other"),
    Call("read the dead-letter queue", "sqs:ReceiveMessage", "DeadLetterQueue"),
    Call("delete dead letters", "sqs:DeleteMessage", "DeadLetterQueue"),
    Call("purge the parking queue", "sqs:PurgeQueue", "ParkingQueue"),
    Call("change the parking queue", "sqs:SetQueueAttributes", "ParkingQueue"),
    Call("log elsewhere", "logs:PutLogEvents", LOG_STREAM % "other"),
    Call("create a log group", "logs:CreateLogGroup", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:other"),
    Call("read the log", "logs:GetLogEvents", FUNCTION_LOG),
    Call("send a trace without tracing", "xray:PutTraceSegments", "*", parameters=EXISTING),
    Call("send telemetry without tracing", "xray:PutTelemetryRecords", "*", parameters=EXISTING),
    # With a policy on the queues.
    Call("send as a stranger", "sqs:SendMessage", "ParkingQueue", principal=STRANGER, parameters=RESTRICTED),
    Call("send dead letters", "sqs:SendMessage", "DeadLetterQueue", principal=STRANGER, parameters=RESTRICTED),
    Call("send as the root user", "sqs:SendMessage", "ParkingQueue", principal=ROOT_USER, parameters=RESTRICTED),
    Call("send as another user", "sqs:SendMessage", "ParkingQueue", principal=f"{CI_USER}2", parameters=RESTRICTED),
]


@pytest.fixture(scope="module")
def results() -> dict[str, str]:
    """Whether each call is allowed. All of them are simulated by one process."""
    calls = ALLOWED + DENIED
    done = subprocess.run(
        [SIMULATOR / "bin" / "node", "--input-type=module", "--eval", SIMULATE],
        cwd=SIMULATOR,
        input=json.dumps([call.simulation() for call in calls]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = dict(zip(map(str, calls), json.loads(done.stdout), strict=True))
    assert len(results) == len(calls), "two calls have the same description"
    for name, result in results.items():
        assert result["resultType"] == "single", (name, result)
    return {name: result["overallResult"] for name, result in results.items()}


@pytest.mark.parametrize("call", ALLOWED, ids=str)
def test_the_function_may(call: Call, results: dict[str, str]) -> None:
    assert results[str(call)] == "Allowed"


@pytest.mark.parametrize("call", DENIED, ids=str)
def test_nobody_may(call: Call, results: dict[str, str]) -> None:
    assert results[str(call)] in ("ExplicitlyDenied", "ImplicitlyDenied")


@pytest.mark.parametrize("parameters", [NEW, EXISTING, PARTIAL_ARN, RESTRICTED])
def test_only_the_functions_role_has_permissions(parameters: dict[str, str]) -> None:
    template = expand(**parameters)
    assert template.of_type("AWS::IAM::Role").keys() == {"FunctionRole"}
    assert not template.of_type("AWS::IAM::Policy") and not template.of_type("AWS::IAM::ManagedPolicy")
    [function] = template.of_type("AWS::Lambda::Function").values()
    assert function["Role"] == template.arn("FunctionRole")


@pytest.mark.parametrize("parameters", [NEW, EXISTING])
def test_the_queues_have_a_policy_only_if_writers_are_named(parameters: dict[str, str]) -> None:
    assert not expand(**parameters).of_type("AWS::SQS::QueuePolicy")


def test_sqs_itself_may_move_messages_to_the_dead_letter_queue() -> None:
    """Such a move is no call of an IAM principal, so the request would have no aws:PrincipalArn. The policy denies
    nothing without one."""
    [policy] = expand(**RESTRICTED).of_type("AWS::SQS::QueuePolicy").values()
    for statement in policy["PolicyDocument"]["Statement"]:
        assert statement["Effect"] == "Deny"
        assert statement["Condition"]["Null"] == {"aws:PrincipalArn": "false"}


@pytest.mark.parametrize(
    ("parameters", "region"), [({}, REGION), (EXISTING, "us-west-2"), (PARTIAL_ARN, "us-west-2")]
)
def test_the_command_that_sets_the_secret_names_the_secrets_region(parameters: dict[str, str], region: str) -> None:
    outputs = expand(**parameters).outputs
    assert f"--region {region} --secret-id {outputs['SecretArn']} " in outputs["SetSecretCommand"]
