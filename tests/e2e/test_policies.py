"""Does the template allow every call that the function makes, and nothing else? And does the policy for acceptance runs
allow what they do in their own resources, and nothing in others? A policy simulator evaluates the policies."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from support.cloudformation import ACCOUNT, DASHBOARD, REGION, STACK, Template, expand_template, read_template
from support.harness import ROOT, TOOLS
from support.target import PREFIX, TAG

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

ACCEPTANCE = f"arn:aws:iam::{ACCOUNT}:role/acceptance"

SECRET = f"arn:aws:secretsmanager:us-west-2:{ACCOUNT}:secret:signing/scalekit"
KEY = f"arn:aws:kms:us-west-2:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"

# The default policy of a KMS key: the account's IAM policies decide.
DEFAULT_KEY_POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": ROOT_USER}, "Action": "kms:*", "Resource": "*"}],
}

# The key of an organization, with the policy that the project provides.
STACK_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/66666666-7777-8888-9999-000000000000"
KEY_POLICY = json.loads(
    (ROOT / "deploy" / "key-policy.json")
    .read_text()
    .replace("PARTITION", "aws")
    .replace("ACCOUNT", ACCOUNT)
    .replace("REGION", REGION)
    .replace("STACK", STACK)
)

# The policy for whoever runs the acceptance.
ACCEPTANCE_POLICY = json.loads(
    (ROOT / "deploy" / "acceptance-policy.json")
    .read_text()
    .replace("PARTITION", "aws")
    .replace("ACCOUNT", ACCOUNT)
    .replace("REGION", REGION)
)

CONSUMER_ACCOUNT = "210987654321"
CONSUMER = f"arn:aws:iam::{CONSUMER_ACCOUNT}:role/consumer"
ORGANIZATION = "o-a1b2c3d4e5"
OTHER_BUS = f"arn:aws:events:{REGION}:{CONSUMER_ACCOUNT}:event-bus/central"

# The parameters that the calls below depend on.
NEW = {"EventSource": "auth.example", "Tracing": "Active"}
EXISTING = {
    "ExistingEventBus": "shared",
    "ExistingSecretArn": f"{SECRET}-AbCdEf",
    "ExistingSecretKeyArn": KEY,
}
PARTIAL_ARN = {"ExistingSecretArn": SECRET}
MEMBER = EXISTING | {"ExistingSecretArn": f"{SECRET}-AbCdEf:SCALEKIT_WEBHOOK_SECRET::"}
MEMBER_OF_PARTIAL_ARN = {"ExistingSecretArn": f"{SECRET}:SCALEKIT_WEBHOOK_SECRET::"}
KEYED = {"KmsKeyArn": STACK_KEY}
REST_API = {"Ingress": "RestApi"}
RESTRICTED_API = REST_API | {"AllowedSourceIps": "192.0.2.0/24, 2001:db8::/32"}
BUS_OF_ANOTHER_ACCOUNT = {"ExistingEventBus": OTHER_BUS}
BUS_BY_ARN = {"ExistingEventBus": f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/shared"}
FOR_ORGANIZATION = {"ConsumerOrganizationId": ORGANIZATION}
FOR_ACCOUNTS = {"ConsumerAccountIds": f"{CONSUMER_ACCOUNT}, 111111111111"}
FOR_BOTH = FOR_ORGANIZATION | FOR_ACCOUNTS
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
    # The function's role if it is empty. ACCEPTANCE has its own policy. Others may do everything that no policy denies.
    # Services have no IAM policies.
    principal: str = ""
    parameters: Mapping[str, str] = field(default_factory=lambda: NEW)

    def __str__(self) -> str:
        return self.description

    def simulation(self) -> dict[str, Any]:
        template = expand(**self.parameters)
        resource = self.resource if ":" in self.resource or self.resource == "*" else template.arn(self.resource)
        principal = self.principal or template.arn("FunctionRole")
        is_service = principal.endswith(".amazonaws.com")
        simulation = {
            "request": {
                "principal": principal if is_service else session(principal),
                "action": self.action,
                "resource": {"resource": resource, "accountId": account_of(resource)},
                "contextVariables": self.context if is_service else {"aws:PrincipalArn": principal, **self.context},
            },
            "identityPolicies": [] if is_service else self._identity_policies(template),
            "serviceControlPolicies": [],
            "resourceControlPolicies": [],
        }
        if policy := resource_policy(template, resource):
            simulation["resourcePolicy"] = policy
        return simulation

    def _identity_policies(self, template: Template) -> list[dict[str, Any]]:
        if self.principal == ACCEPTANCE:
            return [{"name": "acceptance", "policy": ACCEPTANCE_POLICY}]
        if self.principal:
            allow_everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
            return [{"name": "administrator", "policy": {"Version": "2012-10-17", "Statement": [allow_everything]}}]
        policies = template.resources["FunctionRole"].properties["Policies"]
        return [{"name": policy["PolicyName"], "policy": policy["PolicyDocument"]} for policy in policies]


def account_of(resource: str) -> str:
    """The account in an ARN. Those of buckets and HTTP APIs have none."""
    return (resource.split(":")[4] if ":" in resource else "") or ACCOUNT


def session(principal: str) -> str:
    """A role makes its calls in a session. aws:PrincipalArn is the ARN of the role nevertheless."""
    path, _, name = principal.rpartition("/")
    account = principal.split(":")[4]
    return f"arn:aws:sts::{account}:assumed-role/{name}/session" if ":role" in path else principal


def resource_policy(template: Template, resource: str) -> dict[str, Any] | None:
    """The policy of a key, of an API, of a queue, or of the bus that has a rule."""
    if resource in (KEY, RUN_KEY):
        return DEFAULT_KEY_POLICY
    if resource == STACK_KEY:
        return KEY_POLICY
    if resource == OTHER_BUS:
        allow = {"Effect": "Allow", "Principal": {"AWS": ROOT_USER}, "Action": "events:*", "Resource": OTHER_BUS}
        return {"Version": "2012-10-17", "Statement": [allow]}
    for api in template.of_type("AWS::ApiGateway::RestApi").values():
        if resource == REQUEST:
            # API Gateway completes the ARN in the policy of an API.
            return json.loads(json.dumps(api["Policy"]).replace("execute-api:/", REQUEST.partition("/")[0] + "/"))
    for policy in template.of_type("AWS::SQS::QueuePolicy").values():
        if resource in [queue_arn(url) for url in policy["Queues"]]:
            return policy["PolicyDocument"]
    for policy in template.of_type("AWS::Events::EventBusPolicy").values():
        if resource.startswith((f"{bus(policy['EventBusName'])}", rule(policy["EventBusName"], ""))):
            return {"Version": "2012-10-17", "Statement": [policy["Statement"]]}
    return None


def queue_arn(url: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rpartition('/')[2]}"


def bus(name: str, region: str = REGION) -> str:
    return f"arn:aws:events:{region}:{ACCOUNT}:event-bus/{name}"


def rule(bus: str, name: str) -> str:
    return f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{bus}/{name}"


def sources(*sources: str) -> dict[str, str | list[str]]:
    """The condition key has one value for each entry of a PutEvents call."""
    return {"events:source": list(sources)}


LOG_STREAM = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:%s:log-stream:2026/11/23/[$LATEST]abc"
FUNCTION_LOG = LOG_STREAM % expand().outputs["LogGroupName"]


def via(service: str, region: str) -> dict[str, str | list[str]]:
    return {"kms:ViaService": f"{service}.{region}.amazonaws.com"}


def encrypting(name: str, value: str) -> dict[str, str | list[str]]:
    """The encryption context of a call to KMS."""
    return {f"kms:EncryptionContext:{name}": value}


def alarm(name: str, account: str = ACCOUNT) -> dict[str, str | list[str]]:
    return {"aws:SourceAccount": account, "aws:SourceArn": f"arn:aws:cloudwatch:{REGION}:{account}:alarm:{name}"}


def in_organization(id: str, creator: str = "") -> dict[str, str | list[str]]:
    """The context of a call from the consumer's account. A rule that exists has a creator."""
    context: dict[str, str | list[str]] = {"aws:PrincipalOrgID": id, "aws:PrincipalAccount": CONSUMER_ACCOUNT}
    return context | {"events:creatorAccount": creator} if creator else context


# The simulator demands a path, and a principal. A principal of another account has no other policy that allows a request.
REQUEST = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:a1b2c3d4e5/webhooks/POST/path"


def request(description: str, address: str, parameters: Mapping[str, str]) -> Call:
    """A request to a REST API from this address."""
    return Call(description, "execute-api:Invoke", REQUEST, {"aws:SourceIp": address}, CONSUMER, parameters)


EVENTS, LOGS, CLOUDWATCH = "events.amazonaws.com", f"logs.{REGION}.amazonaws.com", "cloudwatch.amazonaws.com"
LOG_DELIVERY = "delivery.logs.amazonaws.com"
BUS_CONTEXT = "aws:events:event-bus:arn"
LOG_CONTEXT = "aws:logs:arn"
FUNCTION_LOG_GROUP = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{expand().outputs['LogGroupName']}"
OWN_ENVIRONMENT = encrypting("aws:lambda:FunctionArn", expand().arn("WebhookFunction"))
LOG_OF_BUS = encrypting("SourceArn", f"arn:aws:logs:{REGION}:{ACCOUNT}:*")

VIA_SECRETS_MANAGER = via("secretsmanager", "us-west-2")

ONE_EVENT = sources("scalekit")


def source(arn: str) -> dict[str, str | list[str]]:
    return {"aws:SourceArn": arn}


def of_run(description: str, action: str, resource: str, context: Mapping[str, str | list[str]] | None = None) -> Call:
    """A call of an acceptance run."""
    return Call(f"in a run, {description}", action, resource, context or {}, ACCEPTANCE)


def in_region(service: str, path: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{path}"


RUN = f"{PREFIX}-a1b2c3"
RUN_ROLE = f"arn:aws:iam::{ACCOUNT}:role/{RUN}-main-FunctionRole-X"
RUN_FUNCTION = in_region("lambda", f"function:{RUN}-main-WebhookFunction-X")
TRIGGER = in_region("lambda", "event-source-mapping:11111111-2222-3333-4444-555555555555")
RUN_KEY = in_region("kms", "key/77777777-8888-9999-0000-111111111111")
RUN_SECRET = in_region("secretsmanager", "secret:WebhookSecret-X-AbCdEf")
TAGGED = {f"aws:ResourceTag/{TAG}": "a1b2c3"}
TAGGING = {f"aws:RequestTag/{TAG}": "a1b2c3"}

ALLOWED_IN_A_RUN = [
    of_run("create a stack", "cloudformation:CreateStack", in_region("cloudformation", f"stack/{RUN}-main/1")),
    of_run("create a role", "iam:CreateRole", RUN_ROLE),
    of_run("create a role with a path", "iam:CreateRole", RUN_ROLE.replace(":role/", ":role/teams/identity/")),
    of_run("deny a role something", "iam:PutRolePolicy", RUN_ROLE),
    of_run("pass a role to Lambda", "iam:PassRole", RUN_ROLE, {"iam:PassedToService": "lambda.amazonaws.com"}),
    of_run("create a function", "lambda:CreateFunction", RUN_FUNCTION),
    of_run("change a function", "lambda:UpdateFunctionConfiguration", RUN_FUNCTION),
    of_run("invoke a function", "lambda:InvokeFunction", RUN_FUNCTION),
    of_run("create a trigger", "lambda:CreateEventSourceMapping", "*", {"lambda:FunctionArn": RUN_FUNCTION}),
    of_run("create a secret", "secretsmanager:CreateSecret", RUN_SECRET, TAGGING),
    of_run("set a secret", "secretsmanager:PutSecretValue", RUN_SECRET, TAGGED),
    of_run("create a key", "kms:CreateKey", "*", TAGGING),
    of_run("delete a key", "kms:ScheduleKeyDeletion", RUN_KEY, TAGGED),
    of_run("create a bus", "events:CreateEventBus", in_region("events", f"event-bus/{RUN}-main")),
    of_run("put a rule", "events:PutRule", in_region("events", f"rule/{RUN}-main/{RUN}-subscription-1")),
    of_run("replay", "events:StartReplay", in_region("events", f"replay/{RUN}-replay")),
    of_run("try a pattern", "events:TestEventPattern", "*"),
    of_run("try a filter", "logs:TestMetricFilter", "*"),
    of_run("save a query", "logs:PutQueryDefinition", "*"),
    of_run("simulate a policy", "iam:SimulateCustomPolicy", "*"),
    of_run("receive an event", "sqs:ReceiveMessage", in_region("sqs", f"{RUN}-subscription-1")),
    of_run("redrive", "sqs:StartMessageMoveTask", in_region("sqs", f"{RUN}-main-DeadLetterQueue-X")),
    of_run("upload a release", "s3:PutObject", f"arn:aws:s3:::{RUN}-{REGION}-{ACCOUNT}/release.zip"),
    of_run("put a dashboard", "cloudwatch:PutDashboard", f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/{RUN}-main-{REGION}"),
    of_run("read an alarm's history", "cloudwatch:DescribeAlarmHistory", in_region("cloudwatch", f"alarm:{RUN}-main-Slow")),
    of_run("delete a log group", "logs:DeleteLogGroup", in_region("logs", f"log-group:{RUN}-main-FunctionLogs-X")),
    of_run("find keys", "tag:GetResources", "*"),
    of_run("create a REST API", "apigateway:POST", f"arn:aws:apigateway:{REGION}::/restapis"),
    of_run("log the requests to an API", "logs:CreateLogDelivery", "*"),
]

DENIED_IN_A_RUN = [
    of_run("delete another stack", "cloudformation:DeleteStack", in_region("cloudformation", "stack/scalekit/1")),
    of_run("change another role", "iam:PutRolePolicy", f"arn:aws:iam::{ACCOUNT}:role/scalekit-FunctionRole-X"),
    of_run("pass a role to EC2", "iam:PassRole", RUN_ROLE, {"iam:PassedToService": "ec2.amazonaws.com"}),
    of_run("attach a policy to a user", "iam:AttachUserPolicy", f"arn:aws:iam::{ACCOUNT}:user/ci"),
    of_run("change another function", "lambda:UpdateFunctionCode", in_region("lambda", "function:other")),
    of_run(
        "create a trigger of another function",
        "lambda:CreateEventSourceMapping",
        "*",
        {"lambda:FunctionArn": in_region("lambda", "function:other")},
    ),
    of_run("create a secret without the tag", "secretsmanager:CreateSecret", RUN_SECRET),
    of_run("read another stack's secret", "secretsmanager:GetSecretValue", RUN_SECRET),
    of_run("create a key without the tag", "kms:CreateKey", "*"),
    of_run("delete another key", "kms:ScheduleKeyDeletion", RUN_KEY),
    of_run("delete another bus", "events:DeleteEventBus", in_region("events", "event-bus/scalekit")),
    of_run("read another queue", "sqs:ReceiveMessage", in_region("sqs", "orders")),
    of_run("change the account's role for API Gateway", "apigateway:PATCH", f"arn:aws:apigateway:{REGION}::/account"),
    of_run("read another bucket", "s3:GetObject", "arn:aws:s3:::other/object"),
    of_run("delete another log group", "logs:DeleteLogGroup", in_region("logs", "log-group:/aws/lambda/other")),
]

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
    Call("read a secret with a member", "secretsmanager:GetSecretValue", f"{SECRET}-AbCdEf", parameters=MEMBER),
    Call("read a partial ARN's member", "secretsmanager:GetSecretValue", f"{SECRET}-AbCdEf", {}, "", MEMBER_OF_PARTIAL_ARN),
    Call("decrypt a secret with a member", "kms:Decrypt", KEY, VIA_SECRETS_MANAGER, parameters=MEMBER),
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
    # With a key for everything. Its policy allows the services, and the role's policies allow the function.
    Call("park with the key", "kms:GenerateDataKey", STACK_KEY, via("sqs", REGION), parameters=KEYED),
    Call("poll with the key", "kms:Decrypt", STACK_KEY, via("sqs", REGION), parameters=KEYED),
    Call("read the secret with the key", "kms:Decrypt", STACK_KEY, via("secretsmanager", REGION), parameters=KEYED),
    Call("start with the key", "kms:Decrypt", STACK_KEY, OWN_ENVIRONMENT, parameters=KEYED),
    Call("validate the key", "kms:DescribeKey", STACK_KEY, principal=EVENTS, parameters=KEYED),
    Call("encrypt events", "kms:GenerateDataKey", STACK_KEY, encrypting(BUS_CONTEXT, bus(STACK)), EVENTS, KEYED),
    Call("decrypt events", "kms:Decrypt", STACK_KEY, encrypting(BUS_CONTEXT, bus(STACK)), EVENTS, KEYED),
    Call("archive events", "kms:ReEncryptTo", STACK_KEY, encrypting(BUS_CONTEXT, bus(STACK)), EVENTS, KEYED),
    Call("encrypt the bus's log", "kms:GenerateDataKey", STACK_KEY, LOG_OF_BUS, EVENTS, KEYED),
    Call("deliver the bus's log", "kms:Decrypt", STACK_KEY, LOG_OF_BUS, LOG_DELIVERY, KEYED),
    Call("encrypt the log", "kms:GenerateDataKey", STACK_KEY, encrypting(LOG_CONTEXT, FUNCTION_LOG_GROUP), LOGS, KEYED),
    Call("decrypt the log", "kms:Decrypt", STACK_KEY, encrypting(LOG_CONTEXT, FUNCTION_LOG_GROUP), LOGS, KEYED),
    Call(
        "encrypt the access log of an API",
        "kms:GenerateDataKey",
        STACK_KEY,
        encrypting(LOG_CONTEXT, expand(**REST_API).arn("ApiLogs").removesuffix(":*")),
        LOGS,
        KEYED,
    ),
    Call("encrypt an alarm", "kms:GenerateDataKey", STACK_KEY, alarm(f"{STACK}-Slow"), CLOUDWATCH, KEYED),
    Call("decrypt an alarm", "kms:Decrypt", STACK_KEY, alarm(f"{STACK}-Slow"), CLOUDWATCH, KEYED),
    Call("keep what the key failed for", "sqs:SendMessage", "BusDeadLetterQueue", source(bus(STACK)), EVENTS, KEYED),
    # With a bus that is given by its ARN.
    Call("forward to another account", "events:PutEvents", OTHER_BUS, ONE_EVENT, parameters=BUS_OF_ANOTHER_ACCOUNT),
    Call("forward to a bus by its ARN", "events:PutEvents", bus("shared"), ONE_EVENT, parameters=BUS_BY_ARN),
    Call("check a bus by its ARN", "events:DescribeEventBus", bus("shared"), parameters=BUS_BY_ARN),
    # With a REST API.
    request("post from anywhere", "203.0.113.9", REST_API),
    request("post from a listed address", "192.0.2.7", RESTRICTED_API),
    request("post from another listed address", "2001:db8::7", RESTRICTED_API),
    # From the account of a consumer.
    *(
        Call(f"{what} {who}", f"events:{action}", rule(STACK, "own"), context, CONSUMER, parameters)
        for who, parameters, organization in (
            ("in the organization", FOR_ORGANIZATION, ORGANIZATION),
            ("from the account", FOR_ACCOUNTS, "o-z9y8x7w6v5"),
            ("from the account in the organization", FOR_BOTH, ORGANIZATION),
        )
        for what, action, context in (
            ("create a rule", "PutRule", in_organization(organization)),
            ("change a rule", "PutRule", in_organization(organization, CONSUMER_ACCOUNT)),
            ("put targets", "PutTargets", in_organization(organization, CONSUMER_ACCOUNT)),
            ("delete a rule", "DeleteRule", in_organization(organization, CONSUMER_ACCOUNT)),
        )
    ),
    # Without a policy on the queues, IAM policies alone decide.
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
    Call("read a longer name with a member", "secretsmanager:GetSecretValue", f"{SECRET}-2-AbCdEf", parameters=MEMBER),
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
    # With a key for everything.
    Call("encrypt without a key", "kms:GenerateDataKey", STACK_KEY, via("sqs", REGION)),
    Call("decrypt with the key directly", "kms:Decrypt", STACK_KEY, parameters=KEYED),
    Call("decrypt objects with the key", "kms:Decrypt", STACK_KEY, via("s3", REGION), parameters=KEYED),
    Call("disable the key", "kms:DisableKey", STACK_KEY, parameters=KEYED),
    Call("encrypt another bus", "kms:GenerateDataKey", STACK_KEY, encrypting(BUS_CONTEXT, bus("x")), EVENTS, KEYED),
    Call("decrypt something for EventBridge", "kms:Decrypt", STACK_KEY, principal=EVENTS, parameters=KEYED),
    Call("decrypt another log", "kms:Decrypt", STACK_KEY, encrypting(LOG_CONTEXT, LOG_STREAM % "x"), LOGS, KEYED),
    Call("encrypt another stack's alarm", "kms:GenerateDataKey", STACK_KEY, alarm("other-Slow"), CLOUDWATCH, KEYED),
    Call("encrypt elsewhere", "kms:GenerateDataKey", STACK_KEY, alarm(f"{STACK}-Slow", "1" * 12), CLOUDWATCH, KEYED),
    Call("decrypt from another account", "kms:Decrypt", STACK_KEY, principal=CONSUMER, parameters=KEYED),
    Call("fill the bus's queue", "sqs:SendMessage", "BusDeadLetterQueue", source(bus("other")), EVENTS, KEYED),
    # With a bus that is given by its ARN.
    Call("check another account's bus", "events:DescribeEventBus", OTHER_BUS, parameters=BUS_OF_ANOTHER_ACCOUNT),
    Call("forward to the own bus", "events:PutEvents", bus(STACK), ONE_EVENT, parameters=BUS_OF_ANOTHER_ACCOUNT),
    # With a REST API.
    request("post from an address that isn't listed", "203.0.113.9", RESTRICTED_API),
    request("post from another address that isn't listed", "2001:db9::7", RESTRICTED_API),
    # From the account of a consumer.
    Call("put a rule from anywhere", "events:PutRule", rule(STACK, "own"), in_organization(ORGANIZATION), CONSUMER, {}),
    *(
        Call(f"{action} {who}", f"events:{action}", resource, context, CONSUMER, parameters)
        for who, action, resource, context, parameters in (
            ("outside", "PutRule", rule(STACK, "own"), in_organization("o-z9y8x7w6v5"), FOR_ORGANIZATION),
            ("outside, though listed", "PutRule", rule(STACK, "own"), in_organization("o-z9y8x7w6v5"), FOR_BOTH),
            ("of others", "PutRule", rule(STACK, "own"), in_organization(ORGANIZATION, ACCOUNT), FOR_ORGANIZATION),
            ("of others", "PutTargets", rule(STACK, "own"), in_organization(ORGANIZATION, ACCOUNT), FOR_ORGANIZATION),
            ("of others", "DeleteRule", rule(STACK, "own"), in_organization(ORGANIZATION, ACCOUNT), FOR_ACCOUNTS),
            ("on another bus", "PutRule", rule("other", "own"), in_organization(ORGANIZATION), FOR_ORGANIZATION),
            ("as a consumer", "PutEvents", bus(STACK), in_organization(ORGANIZATION), FOR_ORGANIZATION),
            ("as a consumer", "DeleteEventBus", bus(STACK), in_organization(ORGANIZATION), FOR_ORGANIZATION),
        )
    ),
    Call(
        "PutRule from an account that isn't listed",
        "events:PutRule",
        rule(STACK, "own"),
        in_organization(ORGANIZATION),
        CONSUMER,
        {"ConsumerAccountIds": "111111111111"},
    ),
]


def simulatable(simulations: str) -> str:
    """The simulator doesn't support condition keys that end in a name of the caller's choice after a colon. Tags of the
    principal, which have such a name after a slash, stand for them."""
    return simulations.replace("kms:EncryptionContext:", "aws:PrincipalTag/")


@pytest.fixture(scope="module")
def results() -> dict[str, str]:
    """Whether each call is allowed. All of them are simulated by one process."""
    calls = ALLOWED + ALLOWED_IN_A_RUN + DENIED + DENIED_IN_A_RUN
    done = subprocess.run(
        [SIMULATOR / "bin" / "node", "--input-type=module", "--eval", SIMULATE],
        cwd=SIMULATOR,
        input=simulatable(json.dumps([call.simulation() for call in calls])),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results = dict(zip(map(str, calls), json.loads(done.stdout), strict=True))
    assert len(results) == len(calls), "two calls have the same description"
    failed = {name: result for name, result in results.items() if result["resultType"] != "single"}
    assert not failed
    return {name: result["overallResult"] for name, result in results.items()}


@pytest.mark.parametrize("call", ALLOWED, ids=str)
def test_the_function_may(call: Call, results: dict[str, str]) -> None:
    assert results[str(call)] == "Allowed"


@pytest.mark.parametrize("call", DENIED, ids=str)
def test_nobody_may(call: Call, results: dict[str, str]) -> None:
    assert results[str(call)] in ("ExplicitlyDenied", "ImplicitlyDenied")


@pytest.mark.parametrize("call", ALLOWED_IN_A_RUN, ids=str)
def test_an_acceptance_run_may(call: Call, results: dict[str, str]) -> None:
    assert results[str(call)] == "Allowed"


@pytest.mark.parametrize("call", DENIED_IN_A_RUN, ids=str)
def test_an_acceptance_run_may_not(call: Call, results: dict[str, str]) -> None:
    assert results[str(call)] in ("ExplicitlyDenied", "ImplicitlyDenied")


# What CloudFormation's handlers may call for properties that the template doesn't use.
UNUSED = re.compile(
    r"ec2:.*|elasticfilesystem:.*|firehose:.*|s3files:.*|s3:REST\..*|kms:ReEncrypt"
    r"|iam:(Attach|Detach)RolePolicy|lambda:(GetLayerVersion|GetCodeSigningConfig|PassCapacityProvider)"
)


def handlers() -> Iterator[tuple[str, str]]:
    """The types of the templates' resources, and the actions that their handlers may call. cfn-lint has the schemas of
    all types, of which CloudFormation itself calls these actions for whoever deploys."""
    types = {it.type for it in expand(KmsKeyArn=STACK_KEY, ConsumerAccountIds=CONSUMER_ACCOUNT).resources.values()}
    types |= {it["Type"] for it in read_template(DASHBOARD)["Resources"].values()}
    types |= {it.type for it in expand(Ingress="HttpApi", AlarmEmail="operator@example.com").resources.values()}
    types |= {it.type for it in expand(Ingress="RestApi").resources.values()}
    [directory] = (TOOLS / "sam").glob("lib/python*/site-packages/cfnlint/data/schemas/resources")
    found: set[str] = set()
    for path in directory.glob("*.json"):
        schema = json.loads(path.read_text())
        if schema.get("typeName") in types:
            found.add(schema["typeName"])
            for name, handler in schema.get("handlers", {}).items():
                if name != "list":
                    yield from ((schema["typeName"], action) for action in handler["permissions"])
    assert found == types


def test_an_acceptance_run_may_call_everything_that_cloudformation_calls() -> None:
    actions = [statement["Action"] for statement in ACCEPTANCE_POLICY["Statement"]]
    allowed = [action for some in actions for action in ([some] if isinstance(some, str) else some)]
    called = set(handlers())
    assert len(called) > 100
    assert not {
        (type, action)
        for type, action in called
        if not UNUSED.fullmatch(action) and not any(fnmatch.fnmatch(action.lower(), it.lower()) for it in allowed)
    }


def test_the_policy_for_acceptance_runs_fits_into_a_managed_policy() -> None:
    """IAM counts characters without white space."""
    assert len(json.dumps(ACCEPTANCE_POLICY, separators=(",", ":"))) <= 6144


@pytest.mark.parametrize("parameters", [NEW, EXISTING, PARTIAL_ARN, RESTRICTED, KEYED, FOR_BOTH])
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
    ("parameters", "region"), [({}, REGION), (EXISTING, "us-west-2"), (PARTIAL_ARN, "us-west-2"), (MEMBER, "us-west-2")]
)
def test_the_command_that_sets_the_secret_names_the_secrets_region(parameters: dict[str, str], region: str) -> None:
    outputs = expand(**parameters).outputs
    assert f"--region {region} --secret-id {outputs['SecretArn']} " in outputs["SetSecretCommand"]


def test_only_the_function_gets_the_name_of_the_member() -> None:
    template = expand(**MEMBER)
    variables = template.resources["WebhookFunction"].properties["Environment"]["Variables"]
    assert variables["WEBHOOK_SECRET_ARN"] == MEMBER["ExistingSecretArn"]
    assert template.outputs["SecretArn"] == f"{SECRET}-AbCdEf"
    [verify] = [
        policy["PolicyDocument"]["Statement"]
        for policy in template.resources["FunctionRole"].properties["Policies"]
        if policy["PolicyName"] == "verify"
    ]
    assert verify[0]["Resource"] == [f"{SECRET}-AbCdEf", f"{SECRET}-AbCdEf-??????"]
