"""Tests that each event pattern in the pages for consumers selects exactly the events that it should. The emulator
evaluates the patterns twice: with `TestEventPattern`, and as rules on a bus that receives all events."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from support import page
from support.harness import BUS, EVENTS, ROOT, SOURCE, TOOLS, Emulator
from support.page import PAGES, cli_patterns, cloudformation_patterns, inline_patterns, section, sections
from support.report import Expect
from support.target import Target

# The default AWS quota for the length of an event pattern, in characters.
PATTERN_SIZE = 2048


@dataclass(frozen=True)
class Event:
    """An event that can be put on the bus."""

    detail: dict[str, Any]
    source: str = SOURCE

    @property
    def entry(self) -> dict[str, str]:
        return {
            "EventBusName": BUS,
            "Source": self.source,
            "DetailType": self.detail["type"],
            "Detail": json.dumps(self.detail),
        }


def sample(name: str) -> dict[str, Any]:
    return json.loads((EVENTS / "bodies" / f"{name}.json").read_bytes())


def changed(name: str, *, data: dict[str, Any] | None = None, without: str = "", **members: Any) -> dict[str, Any]:
    """A sample in which the given members, and the given members of `data`, have other values."""
    event = sample(name) | members
    if data:
        event["data"] = event["data"] | data
    return {key: value for key, value in event.items() if key != without}


SAMPLES = {path.stem: Event(sample(path.stem)) for path in (EVENTS / "bodies").iterdir()}

# Each differs from a sample in one way, so only this difference can be the reason why a rule does or doesn't match.
HAND_MADE = {
    name: Event(event | {"id": f"evt_{number}"})
    for number, (name, event) in enumerate({
        "sso: another organization": changed("organization.sso_enabled", organization_id="org_1"),
        "sso: no organization": changed("organization.sso_enabled", without="organization_id"),
        "sso: another environment": changed("organization.sso_enabled", environment_id="env_1"),
        "sso: null data": changed("organization.sso_enabled", data={"provider": None, "enabled": None}),
        "sso: created, already enabled": changed("organization.sso_created", data={"enabled": True}),
        "sso: a new type": changed("organization.sso_enabled", type="organization.sso_paused"),
        "sso: a similar type": changed("organization.sso_enabled", type="organization.ssotest_enabled"),
        "user: deactivated": changed("organization.directory.user_updated", data={"active": False}),
        "user: active is null": changed("organization.directory.user_updated", data={"active": None}),
        "user: active is a string": changed("organization.directory.user_updated", data={"active": "false"}),
        "user: inactive only in the raw attributes": changed(
            "organization.directory.user_updated", data={"raw_attributes": {"active": False}}
        ),
        "user: created as inactive": changed("organization.directory.user_created", data={"active": False}),
        "login: a similar type": changed("user.login", type="user.login_failed"),
        "domain: created with a failed verification": changed(
            "organization.domain_created", data={"verification_status": "FAILED"}
        ),
        "role: a new type": changed("role.created", type="role.assigned"),
        "role: a similar type": changed("role.created", type="roles.created"),
        "membership: a new type": changed(
            "user.organization_membership_created", type="user.organization_membership_suspended"
        ),
        "refresh: another provider": changed("connected_account.token_refresh_failed", data={"provider": "HUBSPOT"}),
        "refresh: provider in lower case": changed(
            "connected_account.token_refresh_failed", data={"provider": "salesforce"}
        ),
        "refresh: no provider": changed("connected_account.token_refresh_failed", data={"provider": None}),
        "status: active to expired": changed(
            "connected_account.status_updated", data={"old_status": "ACTIVE", "status": "EXPIRED"}
        ),
        "status: active to an unknown status": changed(
            "connected_account.status_updated", data={"old_status": "ACTIVE", "status": "SUSPENDED"}
        ),
        "status: active to null": changed(
            "connected_account.status_updated", data={"old_status": "ACTIVE", "status": None}
        ),
        "status: active to active": changed("connected_account.status_updated", data={"old_status": "ACTIVE"}),
        "status: expired to disconnected": changed(
            "connected_account.status_updated", data={"old_status": "EXPIRED", "status": "DISCONNECTED"}
        ),
        "status: in an event of another type": changed(
            "connected_account.updated", data={"old_status": "ACTIVE", "status": "EXPIRED"}
        ),
        "uncatalogued": changed("user.signup", type="passkey.registered", object="Passkey"),
        "uncatalogued, without data": changed("user.signup", type="agent.session.started", without="data"),
    }.items(), start=1)
}
EVERYTHING = SAMPLES | HAND_MADE

UNCATALOGUED = {
    "sso: a new type",
    "sso: a similar type",
    "login: a similar type",
    "role: a new type",
    "role: a similar type",
    "membership: a new type",
    "uncatalogued",
    "uncatalogued, without data",
}

# The events that each rule of the guide selects.
SELECTED: dict[str, set[str]] = {
    "SSO changes of one organization": {
        "organization.sso_created",
        "organization.sso_enabled",
        "organization.sso_disabled",
        "organization.sso_deleted",
        "sso: another environment",
        "sso: null data",
        "sso: created, already enabled",
        "sso: a new type",
    },
    "Deprovisioning": {
        "organization.directory.user_deleted",
        "organization.directory.group_deleted",
        "organization.directory_disabled",
        "user.organization_membership_deleted",
        "organization.deleted",
        "user: deactivated",
    },
    "Everything but replays": set(EVERYTHING),
    "Everything but logins and logouts": set(EVERYTHING) - {"user.login", "user.logout"},
    "A connection goes live": {
        "organization.sso_enabled",
        "sso: another organization",
        "sso: no organization",
        "sso: another environment",
        "sso: null data",
    },
    "Failed domain verifications": {"organization.domain_dns_verification_failed"},
    "One environment only": set(EVERYTHING) - {"sso: another environment"},
    "Changes to roles, permissions and memberships": {
        "role.created",
        "role.updated",
        "role.deleted",
        "permission.created",
        "permission.updated",
        "permission.deleted",
        "user.organization_membership_created",
        "user.organization_membership_updated",
        "user.organization_membership_deleted",
        "role: a new type",
        "membership: a new type",
    },
    "Failed token refreshes for one provider": {"connected_account.token_refresh_failed"},
    "A connected account stops working": {
        "status: active to expired",
        "status: active to an unknown status",
        "status: active to null",
    },
    "Events outside the catalogue": UNCATALOGUED,
}


def command(rule: str) -> tuple[str, str]:
    """The name and the pattern in a rule's `put-rule` command. The test of "Try a rule" runs such a command."""
    [block] = page.blocks(section(rule), "sh")
    *command, name_option, name, pattern_option, pattern = page.words(block)
    assert command == ["aws", "events", "put-rule", "--event-bus-name", BUS]
    assert (name_option, pattern_option) == ("--name", "--event-pattern")
    return name, pattern


def pattern(rule: str) -> str:
    return command(rule)[1]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        emulator.client("events").create_event_bus(Name=BUS)
        yield emulator


class Queue:
    """A queue that is the target of rules."""

    def __init__(self, emulator: Emulator, url: str) -> None:
        self._queues = emulator.client("sqs")
        self._url = url
        attributes = self._queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        self.arn = attributes["Attributes"]["QueueArn"]

    def receive(self) -> list[dict[str, Any]]:
        """Receives and deletes all events. There is no need to wait: `PutEvents` returns after they are delivered."""
        events = []
        while messages := self._queues.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self._queues.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
                events.append(json.loads(message["Body"]))
        return events


def put(emulator: Emulator, events: list[Event]) -> None:
    client = emulator.client("events")
    for first in range(0, len(events), 10):
        answer = client.put_events(Entries=[event.entry for event in events[first : first + 10]])
        assert answer["FailedEntryCount"] == 0


@pytest.fixture(scope="module")
def received(emulator: Emulator) -> dict[str, list[dict[str, Any]]]:
    """The events that each rule sends to its queue when all events are put on the bus."""
    events, queues = emulator.client("events"), emulator.client("sqs")
    subscriptions = {}
    for rule in SELECTED:
        name, pattern = command(rule)
        queue = Queue(emulator, queues.create_queue(QueueName=f"of-{name}")["QueueUrl"])
        events.put_rule(Name=name, EventBusName=BUS, EventPattern=pattern)
        events.put_targets(Rule=name, EventBusName=BUS, Targets=[{"Id": "queue", "Arn": queue.arn}])
        subscriptions[rule] = queue
    put(emulator, [*EVERYTHING.values(), *(Event(event.detail, "another") for event in SAMPLES.values())])
    return {rule: queue.receive() for rule, queue in subscriptions.items()}


@pytest.mark.acceptance("Rules")
@pytest.mark.parametrize("rule", SELECTED)
def test_each_pattern_matches_exactly_the_expected_events(rule: str, target: Target, expect: Expect) -> None:
    client = target.client("events")

    def selects(event: Event) -> bool:
        envelope = json.dumps(page.envelope(event.detail, event.source))
        return client.test_event_pattern(EventPattern=pattern(rule), Event=envelope)["Result"]

    expect("the events", {name for name, event in EVERYTHING.items() if selects(event)}, SELECTED[rule])
    for name in SELECTED[rule]:
        assert not selects(Event(EVERYTHING[name].detail, source="another"))


@pytest.mark.parametrize(
    ("rule", "name", "matches"),
    [
        ("Deprovisioning", "deactivated", True),
        ("A connected account stops working", "account-stopped", True),
        ("Everything but replays", "replayed", False),
        ("A connection goes live", "replayed", True),
        ("Events outside the catalogue", "unknown-type", True),
        ("SSO changes of one organization", "older", True),
    ],
)
def test_an_unusual_event_matches_a_pattern_or_not(rule: str, name: str, matches: bool, emulator: Emulator) -> None:
    event = (EVENTS / "unusual" / f"{name}.json").read_text()
    assert emulator.client("events").test_event_pattern(EventPattern=pattern(rule), Event=event)["Result"] == matches


@pytest.mark.parametrize("rule", SELECTED)
def test_each_rule_delivers_exactly_the_expected_events(rule: str, received: dict[str, list[dict[str, Any]]]) -> None:
    names = {event.detail["id"]: name for name, event in EVERYTHING.items()}

    assert sorted(names[event["detail"]["id"]] for event in received[rule]) == sorted(SELECTED[rule])
    for event in received[rule]:
        assert event["detail"] == EVERYTHING[names[event["detail"]["id"]]].detail
        assert (event["source"], event["detail-type"]) == (SOURCE, event["detail"]["type"])


@pytest.mark.parametrize("rule", SELECTED)
def test_the_cloudformation_and_cli_versions_of_a_rule_have_the_same_pattern(rule: str) -> None:
    [from_template] = cloudformation_patterns(section(rule))

    assert json.loads(pattern(rule)) == from_template
    assert len(pattern(rule)) <= PATTERN_SIZE


def test_every_rule_and_pattern_in_the_documentation_is_tested() -> None:
    """Every pattern in the pages for consumers, the README and docs/ must be the pattern of a rule in `SELECTED`."""
    rules_page = EVENTS / "rules.md"
    [rules] = re.findall(r"^## Patterns\n(.*?)^## ", rules_page.read_text(), re.MULTILINE | re.DOTALL)
    assert set(sections(rules)) - {"Writing your own"} == set(SELECTED)

    tested = [json.loads(pattern(rule)) for rule in SELECTED]
    others = {path: 0 for path in [*PAGES, *(ROOT / "docs").glob("*.md")]}
    for path, least in (others | {rules_page: 2 * len(SELECTED), ROOT / "README.md": 1}).items():
        text = path.read_text()
        found = [*cloudformation_patterns(text), *map(json.loads, cli_patterns(text)), *inline_patterns(text)]
        assert len(found) >= least
        for one in found:
            assert one in tested, path


def test_the_rule_for_events_outside_the_catalogue_excludes_every_type_in_it() -> None:
    [_, table] = (EVENTS / "src" / "catalogue.rs").read_text().split("\nevent_types! {")
    catalogue = re.findall(r'^ +\w+ = "([^"]+)", \w+, \w+,$', table.partition("\n}")[0], re.MULTILINE)

    [condition] = json.loads(pattern("Events outside the catalogue"))["detail-type"]
    assert condition["anything-but"] == catalogue
    assert set(SAMPLES) == set(catalogue)


def envelope(**members: Any) -> dict[str, Any]:
    return page.envelope(sample("role.created")) | members


@pytest.mark.parametrize(
    ("condition", "event", "matches"),
    [
        ({"detail-type": [{"prefix": "role."}]}, envelope(), True),
        ({"detail-type": [{"prefix": "role"}]}, envelope(**{"detail-type": "my.role"}), False),
        ({"detail-type": [{"anything-but": ["role.created", "role.deleted"]}]}, envelope(), False),
        ({"detail-type": [{"anything-but": {"prefix": "role."}}]}, envelope(), False),
        ({"detail-type": [{"anything-but": {"suffix": [".deleted", ".created"]}}]}, envelope(), False),
        ({"detail": {"x": [{"anything-but": "a"}]}}, envelope(detail={}), False),
        ({"detail": {"x": [{"exists": False}]}}, envelope(detail={}), True),
        ({"detail": {"x": [{"exists": False}]}}, envelope(detail={"x": None}), False),
        ({"detail": {"x": [{"exists": True}]}}, envelope(detail={"x": {"y": 1}}), False),
        ({"detail": {"x": [None]}}, envelope(detail={"x": None}), True),
        ({"detail": {"x": [None]}}, envelope(detail={}), False),
        ({"detail": {"x": [{"anything-but": "a"}]}}, envelope(detail={"x": None}), True),
        ({"detail": {"x": [False]}}, envelope(detail={"x": "false"}), False),
        ({"detail": {"x": ["a"]}}, envelope(detail={"x": "A"}), False),
        ({"detail": {"x": ["a"]}}, envelope(detail={"x": ["b", "a"]}), True),
        ({"detail": {"$or": [{"x": ["a"]}, {"y": ["b"]}]}}, envelope(detail={"x": "-", "y": "b"}), True),
        ({"detail": {"$or": [{"x": ["a"]}, {"y": ["b"]}]}}, envelope(detail={"x": "b", "y": "a"}), False),
        ({"source": ["another"], "$or": [{"id": [""]}, {"detail": {"x": ["a"]}}]}, envelope(detail={"x": "a"}), False),
    ],
    ids=str,
)
def test_the_emulator_matches_patterns_as_aws_documents(
    condition: dict[str, Any], event: dict[str, Any], matches: bool, emulator: Emulator
) -> None:
    """Covers the operators that the rules and the advice in the guide depend on."""
    client = emulator.client("events")
    answer = client.test_event_pattern(EventPattern=json.dumps(condition), Event=json.dumps(event))
    assert answer["Result"] == matches


def test_the_example_template_for_a_rule_delivers_matching_events_and_moves_poison_to_the_dead_letter_queue(
    emulator: Emulator,
) -> None:
    [template] = page.blocks(section("CloudFormation"), "yaml")
    stacks = emulator.client("cloudformation")
    stacks.create_stack(StackName="consumer", TemplateBody=template)
    stacks.get_waiter("stack_create_complete").wait(StackName="consumer", WaiterConfig={"Delay": 1})
    described = stacks.describe_stack_resources(StackName="consumer")["StackResources"]
    urls = {it["LogicalResourceId"]: it["PhysicalResourceId"] for it in described}
    [mapping] = emulator.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    # The function doesn't exist. The test fails to handle the messages in its place.
    emulator.client("lambda").delete_event_source_mapping(UUID=mapping["UUID"])

    put(emulator, [SAMPLES["organization.sso_disabled"], SAMPLES["organization.sso_enabled"]])

    queues = emulator.client("sqs")
    received = []
    while messages := queues.receive_message(QueueUrl=urls["Queue"], VisibilityTimeout=0).get("Messages"):
        received += [json.loads(message["Body"])["detail-type"] for message in messages]
    assert received == ["organization.sso_enabled"] * 5
    assert [event["detail-type"] for event in Queue(emulator, urls["DeadLetters"]).receive()] == ["organization.sso_enabled"]


def terraform() -> dict[str, dict[str, Any]]:
    """The resources of the page's example, by type and name. `jsonencode` is replaced by its argument."""
    [example] = page.blocks(section("Terraform"), "hcl")
    parse = "import hcl2, json, sys; print(json.dumps(hcl2.load(sys.stdin)))"
    parser = [TOOLS / "checkov" / "bin" / "python", "-c", parse]
    parsed = json.loads(subprocess.run(parser, input=example, capture_output=True, text=True, check=True).stdout)

    def plain(value: Any) -> Any:
        [value] = value if isinstance(value, list) else [value]
        encoded = isinstance(value, str) and re.fullmatch(r"\$\{jsonencode\((.*)\)\}", value)
        return ast.literal_eval(encoded[1]) if encoded else value

    return {
        f"{type}.{name}": {key: plain(value) for key, value in it.items()}
        for resource in parsed["resource"]
        for type, named in resource.items()
        for name, it in named.items()
    }


@pytest.fixture(scope="module")
def cdk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The resources of the page's stack for the CDK, synthesized, by type and the start of their names."""
    directory = tmp_path_factory.mktemp("cdk")
    [stack] = page.blocks(section("CDK"), "ts")
    (directory / "stack.ts").write_text(stack)
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "node_modules").symlink_to(TOOLS / "cdk" / "node_modules")
    (directory / "app.js").write_text(
        'import { App } from "aws-cdk-lib";\n'
        'import { ConnectionLive } from "./stack.ts";\n'
        'const app = new App({ outdir: "output", analyticsReporting: false });\n'
        'new ConnectionLive(app, "consumer");\n'
        "app.synth();\n"
    )
    command = [TOOLS / "cdk" / "bin" / "node", "app.js"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    template = json.loads((directory / "output" / "consumer.template.json").read_text())
    return {name[:-8]: it["Properties"] for name, it in template["Resources"].items()}


def test_the_examples_for_cloudformation_the_cdk_and_terraform_create_the_same_rule_and_queues(
    cdk: dict[str, dict[str, Any]],
) -> None:
    [text] = page.blocks(section("CloudFormation"), "yaml")
    resources = {name: it.get("Properties", {}) for name, it in page.template(text)["Resources"].items()}
    queue, dead_letters = resources["Queue"], resources["DeadLetters"]
    assert queue == {
        "QueueName": "connection-live",
        "VisibilityTimeout": 180,
        "RedrivePolicy": {"deadLetterTargetArn": "DeadLetters.Arn", "maxReceiveCount": 5},
        "RedriveAllowPolicy": {"redrivePermission": "denyAll"},
    }
    assert dead_letters["MessageRetentionPeriod"] == 14 * 24 * 60 * 60
    assert dead_letters["RedriveAllowPolicy"]["redrivePermission"] == "byQueue"

    [arn] = cdk["DeadLetters"]["RedriveAllowPolicy"]["sourceQueueArns"]
    assert arn["Fn::Join"][1][-1] == ":connection-live"
    assert cdk["DeadLetters"]["MessageRetentionPeriod"] == dead_letters["MessageRetentionPeriod"]
    assert cdk["DeadLetters"]["RedriveAllowPolicy"]["redrivePermission"] == "byQueue"
    [target] = cdk["Queue"]["RedrivePolicy"].pop("deadLetterTargetArn").values()
    assert target[0].startswith("DeadLetters")
    expected = queue | {"RedrivePolicy": {"maxReceiveCount": 5}}
    assert {name: cdk["Queue"][name] for name in expected} == expected
    assert cdk["ConnectionLive"]["EventBusName"] == BUS

    example = terraform()
    named = example["aws_sqs_queue.queue"]
    assert (named["name"], named["visibility_timeout_seconds"]) == (queue["QueueName"], queue["VisibilityTimeout"])
    assert named["redrive_policy"] == {"deadLetterTargetArn": "${aws_sqs_queue.dead_letters.arn}", "maxReceiveCount": 5}
    assert named["redrive_allow_policy"] == queue["RedriveAllowPolicy"]
    retention = example["aws_sqs_queue.dead_letters"]["message_retention_seconds"]
    assert retention == dead_letters["MessageRetentionPeriod"]
    assert example["aws_sqs_queue_redrive_allow_policy.dead_letters"]["redrive_allow_policy"] == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": ["${aws_sqs_queue.queue.arn}"],
    }
    rule, rule_target = example["aws_cloudwatch_event_rule.connection_live"], example["aws_cloudwatch_event_target.queue"]
    assert rule["event_bus_name"] == rule_target["event_bus_name"] == BUS

    pattern_of_the_page = json.loads(pattern("A connection goes live"))
    for one in (resources["ConnectionLive"]["EventPattern"], cdk["ConnectionLive"]["EventPattern"], rule["event_pattern"]):
        assert one == pattern_of_the_page


def test_the_command_to_put_an_event_on_a_bus_works(emulator: Emulator) -> None:
    _, put_event = page.blocks(section("An event of each type"), "sh")
    events = emulator.client("events")
    events.create_event_bus(Name="my-test-bus")
    queue = Queue(emulator, emulator.client("sqs").create_queue(QueueName="my-test-queue")["QueueUrl"])
    events.put_rule(Name="all", EventBusName="my-test-bus", EventPattern=json.dumps({"source": [SOURCE]}))
    events.put_targets(Rule="all", EventBusName="my-test-bus", Targets=[{"Id": "queue", "Arn": queue.arn}])

    assert json.loads(page.shell(put_event, emulator.url))["FailedEntryCount"] == 0

    [event] = queue.receive()
    assert event["detail"] == SAMPLES["organization.sso_enabled"].detail
    assert (event["source"], event["detail-type"]) == (SOURCE, "organization.sso_enabled")


def test_the_commands_to_try_a_rule_work(emulator: Emulator) -> None:
    test_pattern, on_the_emulator = page.blocks(section("Try a rule"), "sh")
    assert json.loads(page.shell(test_pattern, emulator.url)) == {"Result": True}

    _, commands = on_the_emulator.split("AWS_SECRET_ACCESS_KEY=test\n")
    subscribe, _, receive = re.split(r"^(scalekit-events send .*)$", commands, flags=re.MULTILINE)
    page.shell(subscribe, emulator.url)
    put(emulator, [SAMPLES["organization.sso_disabled"], SAMPLES["organization.sso_enabled"]])

    printed = page.shell(receive, emulator.url)
    assert json.loads(printed)["detail"] == SAMPLES["organization.sso_enabled"].detail
    queues = emulator.client("sqs")
    url = queues.get_queue_url(QueueName="mine")["QueueUrl"]
    attributes = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    left = queues.get_queue_attributes(QueueUrl=url, AttributeNames=attributes)["Attributes"]
    assert list(left.values()) == ["0", "0"], "the commands should delete the message"
