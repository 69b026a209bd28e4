"""Is a report of an acceptance right, and does a run remove everything? Also executes the calls that only a run on AWS
makes: stubs check each request and each response against AWS's own models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from support import aws, figures, removal, report
from support.figures import Invocation
from support.harness import ROOT, Emulator
from support.report import FAILED, NOT_CHECKED, PASSED, Report
from support.target import PREFIX, Target

E2E = ROOT / "tests" / "e2e"
SINCE = datetime(2026, 11, 23, 12, tzinfo=UTC)


# What Lambda reports.

JSON_REPORT = json.dumps({
    "time": "2026-11-23T12:00:00.000Z",
    "type": "platform.report",
    "record": {
        "requestId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        "status": "success",
        "metrics": {
            "durationMs": 9.1,
            "billedDurationMs": 50,
            "memorySizeMB": 128,
            "maxMemoryUsedMB": 28,
            "initDurationMs": 40.2,
        },
    },
})
TEXT_REPORT = (
    "REPORT RequestId: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\tDuration: 7.53 ms\tBilled Duration: 8 ms\t"
    "Memory Size: 128 MB\tMax Memory Used: 29 MB\t"
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (JSON_REPORT, [Invocation(9.1, 50, 128, 28, 40.2)]),
        (JSON_REPORT.replace(', "initDurationMs": 40.2', ""), [Invocation(9.1, 50, 128, 28)]),
        (TEXT_REPORT, [Invocation(7.53, 8, 128, 29)]),
        (f"{TEXT_REPORT}Init Duration: 41.27 ms\t\n", [Invocation(7.53, 8, 128, 29, 41.27)]),
        ('{"type":"platform.start","record":{"requestId":"1"}}', []),
        ('{"level":"INFO","outcome":"forwarded","duration_ms":7.4}', []),
        ("START RequestId: 8476a536 Version: $LATEST", []),
        ("1", []),
    ],
    ids=["JSON, first", "JSON, later", "text, later", "text, first", "another event", "own line", "other text", "number"],
)
def test_a_report_line_is_read(line: str, expected: list[Invocation]) -> None:
    assert figures.invocations([line]) == expected


@pytest.mark.parametrize(
    ("values", "p50", "p99"),
    [([5], 5, 5), ([1, 2], 1, 2), (list(range(1, 101)), 50, 99), (list(range(200, 0, -1)), 100, 198)],
)
def test_percentiles(values: list[float], p50: float, p99: float) -> None:
    assert (figures.percentile(values, 50), figures.percentile(values, 99)) == (p50, p99)


def test_the_cost_is_that_of_the_page_for_the_same_figures() -> None:
    """docs/operations.md: $0.20 for requests, $0.05 for 30 ms, $1.00 for events and $0.60 for 1.2 KB of log."""
    reports = [Invocation(20, 30, 128, 28), Invocation(25, 30, 128, 28)]
    assert figures.cost_per_million(reports, 1200, "arm64") == pytest.approx(1.85, abs=0.001)
    assert figures.cost_per_million(reports, 1200, "x86_64") == pytest.approx(1.8625, abs=0.001)


def test_the_figures_separate_first_and_later_invocations() -> None:
    reports = [Invocation(9, 50, 128, 28, 40), Invocation(2, 3, 128, 30), Invocation(4, 5, 128, 29)]
    assert figures.of_function(reports) == {
        "init": "p50 40.0 ms, p99 40.0 ms, longest 40.0 ms, n = 1",
        "duration of first invocations": "p50 9.0 ms, p99 9.0 ms, longest 9.0 ms, n = 1",
        "duration of later invocations": "p50 2.0 ms, p99 4.0 ms, longest 4.0 ms, n = 2",
        "billed duration of later invocations": "p50 3.0 ms, p99 5.0 ms, longest 5.0 ms, n = 2",
        "memory used": "30 of 128 MB",
    }
    assert figures.of_function([Invocation(2, 3, 128, 0)]).keys() == {
        "duration of later invocations",
        "billed duration of later invocations",
    }


# The report.


def checked(outcome: str, **more: Any) -> dict[str, Any]:
    observation = {"what": "the response", "expected": "[401, \"x\"]", "seen": "[200, \"\"]"}
    return {
        **{"check": f"A check | {outcome}", "group": "Refusals", "outcome": outcome, "seconds": 1.5},
        **{"observations": [observation], "figures": [{"name": "init", "value": "p50 40 ms"}]},
        **more,
    }


REPORT = Report(
    version="1.2.3",
    commit="abc",
    target="AWS",
    region="eu-central-1",
    architectures=["arm64"],
    started=SINCE,
    finished=SINCE.replace(hour=13),
    quick=False,
    interrupted="",
    checks=[checked(PASSED), report.not_checked("Alarms", "Slow goes off", "needs a slow bus")],
    left=[],
    account="123456789012",
)


@pytest.mark.parametrize(
    ("changes", "passed"),
    [
        ({}, True),
        ({"checks": [checked(PASSED), checked(FAILED, problem="")]}, False),
        ({"checks": [checked(NOT_CHECKED, reason="")]}, False),
        ({"checks": []}, False),
        ({"interrupted": "by a signal"}, False),
        ({"left": ["queue x"]}, False),
        ({"left": None}, True),
    ],
    ids=["all passed", "one failed", "nothing checked", "no check", "interrupted", "something is left", "kept"],
)
def test_a_report_passes_only_if_everything_did(changes: dict[str, Any], passed: bool) -> None:
    changed = replace(REPORT, **changes)
    assert changed.passed is passed
    assert ("**Passed**" in changed.markdown()) is passed
    assert json.loads(changed.json())["passed"] is passed


def test_a_report_has_what_was_expected_seen_and_not_checked() -> None:
    problem = "AssertionError: whsec_c2VjcmV0 of arn:aws:sqs:eu-central-1:123456789012:queue\nsecond line"
    text = replace(REPORT, checks=[checked(FAILED, problem=problem), *REPORT.checks]).markdown()
    for line in (
        "**Failed**: 1 passed, 1 failed, 1 not checked.",
        "| commit | abc |",
        "| date | 2026-11-23 12:00 to 13:00 UTC |",
        "| region | eu-central-1 |",
        "| removal | everything that the run created was removed |",
        "| A check \\| failed | AssertionError: whsec_… of arn:aws:sqs:eu-central-1:ACCOUNT:queue second line |",
        "| init | p50 40 ms |",
        "| A check \\| passed | passed |  |  |",
        '|  | the response | [401, "x"] | [200, ""] |',
        "| Alarms | Slow goes off | needs a slow bus |",
    ):
        assert line in text.splitlines(), line


CHECKS = """
import pytest
from support.report import Expect

pytestmark = pytest.mark.acceptance("Group")

def test_that_passes(expect):
    expect("the sum", 1 + 1, 2)
    expect.figure("time", 3)

@pytest.mark.parametrize("case", ["one"])
def test_that_fails(case, expect):
    expect("the status", 200, 401)

@pytest.mark.only("aws", "the emulator can't")
def test_for_aws():
    pass

@pytest.mark.minutes(11)
def test_that_takes_long():
    pass

@pytest.fixture
def broken():
    raise RuntimeError("no stack")

def test_without_its_stack(broken):
    pass
"""


def write_checks(directory: Path, checks: str) -> None:
    """Writes checks that have the plugin, the options and the fixtures of the real ones."""
    conftest = (E2E / "conftest.py").read_text()
    here = "Path(__file__).resolve().parents[2]"
    assert here in conftest
    (directory / "conftest.py").write_text(conftest.replace(here, f"Path({str(ROOT)!r})"))
    (directory / "test_deploy.py").write_text(checks)
    (directory / "test_rules.py").write_text("")


def test_the_results_of_checks_are_recorded(tmp_path: Path) -> None:
    write_checks(tmp_path, CHECKS)
    results = tmp_path / "results"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--quick", "--results", results, tmp_path],
        env=os.environ | {"PYTHONPATH": str(E2E)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr

    recorded = {it["check"]: it for it in report.read(results)}
    assert {check: it["outcome"] for check, it in recorded.items()} == {
        "That passes": PASSED,
        "That fails (one)": FAILED,
        "For aws": NOT_CHECKED,
        "That takes long": NOT_CHECKED,
        "Without its stack": FAILED,
    }
    assert recorded["That passes"]["observations"] == [{"what": "the sum", "expected": "2", "seen": "2"}]
    assert recorded["That passes"]["figures"] == [{"name": "time", "value": 3}]
    assert recorded["That fails (one)"]["observations"] == [{"what": "the status", "expected": "401", "seen": "200"}]
    assert "the status: expected 401, but saw 200" in recorded["That fails (one)"]["problem"]
    assert recorded["For aws"]["reason"] == "the emulator can't"
    assert recorded["That takes long"]["reason"] == "takes about 11 minutes, and QUICK=1 was set"
    assert "no stack" in recorded["Without its stack"]["problem"]


# The removal.


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield Target(endpoint=emulator.url)


STACK = {
    "Resources": {
        "Queue": {"Type": "AWS::SQS::Queue", "DeletionPolicy": "Retain"},
        "Bus": {
            "Type": "AWS::Events::EventBus",
            "DeletionPolicy": "Retain",
            "Properties": {"Name": {"Ref": "AWS::StackName"}},
        },
        "Secret": {"Type": "AWS::SecretsManager::Secret", "DeletionPolicy": "Retain"},
        "Logs": {"Type": "AWS::Logs::LogGroup", "DeletionPolicy": "Retain"},
    }
}

# The command that deploys a dashboard sets no tags.
DASHBOARD = {"Resources": {"Logs": {"Type": "AWS::Logs::LogGroup"}}}


def test_a_run_removes_what_it_and_earlier_runs_created_and_nothing_else(target: Target) -> None:
    earlier = Target(endpoint=target.endpoint, run="earlier")
    foreign = f"{PREFIX}-of-somebody-else"
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    target.client("sqs").create_queue(QueueName=foreign)
    target.client("events").create_event_bus(Name=foreign)
    target.client("logs").create_log_group(logGroupName=foreign)
    target.client("secretsmanager").create_secret(Name=foreign)
    target.client("cloudformation").create_stack(StackName=f"{foreign}-stack", TemplateBody=json.dumps(STACK))
    kept = set(everything(target))

    for run in (earlier, target):
        stacks = run.client("cloudformation")
        stacks.create_stack(StackName=run.name("one"), TemplateBody=json.dumps(STACK), Tags=run.tag_list())
        stacks.create_stack(StackName=run.name("one-dashboard"), TemplateBody=json.dumps(DASHBOARD))
        events = run.client("events")
        events.create_event_bus(Name=run.name("bus"), Tags=run.tag_list())
        run.client("sqs").create_queue(QueueName=run.name("queue"), tags=run.tags)
        events.put_rule(Name="rule", EventBusName=run.name("bus"), EventPattern='{"source":["x"]}')
        arn = f"arn:aws:sqs:us-east-1:000000000000:{run.name('queue')}"
        events.put_targets(Rule="rule", EventBusName=run.name("bus"), Targets=[{"Id": "queue", "Arn": arn}])
        run.client("secretsmanager").create_secret(Name=run.name("secret"), Tags=run.tag_list())
        run.client("s3").put_object(Bucket=run.bucket, Key="zip", Body=b"content")
        run.client("sns").create_topic(Name=run.name("topic"), Tags=run.tag_list())
        tags = [{"TagKey": key, "TagValue": value} for key, value in run.tags.items()]
        run.client("kms").create_key(Tags=tags)
        run.client("iam").create_policy(Path=f"/{PREFIX}/", PolicyName=run.name("policy"), PolicyDocument=policy)
    # A stack that is gone has left what it retains.
    target.client("cloudformation").delete_stack(StackName=earlier.name("one"))
    assert len(removal.leftovers(target)) >= 20

    assert removal.remove(target) == []

    assert removal.leftovers(target) == []
    assert set(everything(target)) == kept


def test_what_cannot_be_removed_is_tried_again_and_then_named(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def delete() -> None:
        tries.append(1)
        raise ClientError({"Error": {"Code": "InUse", "Message": "it is in use"}}, "DeleteQueue")

    monkeypatch.setattr(removal, "_resources", lambda _: iter([("queue x", delete)]))

    [left] = removal.remove(target, timeout=1)

    assert left.startswith("queue x: ") and "it is in use" in left
    assert len(tries) > 1


WAITING = """
import time
import pytest

pytestmark = pytest.mark.acceptance("Group")

def test_that_passes():
    pass

def test_that_waits(target):
    target.client("sqs").create_queue(QueueName=target.name("queue"), tags=target.tags)
    time.sleep(60)
"""


def test_an_interrupted_run_removes_everything_and_reports_what_it_checked(target: Target, tmp_path: Path) -> None:
    write_checks(tmp_path, WAITING)
    program = f"import acceptance, pathlib; acceptance.TESTS = pathlib.Path({str(tmp_path)!r}); exit(acceptance.main())"
    options = ["emulator", "--endpoint-url", target.endpoint, "--report-directory", tmp_path / "report"]
    variables = os.environ | {"PYTHONPATH": str(E2E)}
    with subprocess.Popen([sys.executable, "-c", program, *options], env=variables, stdout=subprocess.PIPE) as run:
        deadline = time.monotonic() + 60
        while not removal.leftovers(target):
            assert time.monotonic() < deadline and run.poll() is None
            time.sleep(0.1)
        run.terminate()
        assert run.wait() == 1

    assert removal.leftovers(target) == []
    reported = json.loads((tmp_path / "report" / "report.json").read_text())
    assert (reported["passed"], reported["interrupted"], reported["left"]) == (False, "by a signal", [])
    outcomes = {check["check"]: check["outcome"] for check in reported["checks"] if check["group"] == "Group"}
    assert outcomes["That passes"] == PASSED and outcomes.get("That waits") != PASSED


def everything(target: Target) -> Iterator[str]:
    """What there is on the emulator, found in another way than by the removal."""
    for stack in target.client("cloudformation").describe_stacks()["Stacks"]:
        yield stack["StackName"]
    yield from target.client("sqs").list_queues().get("QueueUrls", [])
    for bus in target.client("events").list_event_buses()["EventBuses"]:
        yield bus["Name"]
    for secret in target.client("secretsmanager").list_secrets()["SecretList"]:
        yield secret["Name"]
    for group in target.client("logs").describe_log_groups()["logGroups"]:
        yield group["logGroupName"]
    for bucket in target.client("s3").list_buckets()["Buckets"]:
        yield bucket["Name"]
    for topic in target.client("sns").list_topics()["Topics"]:
        yield topic["TopicArn"]
    for policy in target.client("iam").list_policies(Scope="Local")["Policies"]:
        yield policy["Arn"]


# The calls that only a run on AWS makes.


@contextmanager
def stubbed(service: str, *responses: tuple[str, dict[str, Any], dict[str, Any]]) -> Iterator[Any]:
    """A client that expects exactly these calls, each with its parameters and its response."""
    client = boto3.client(service, region_name="eu-central-1")
    with Stubber(client) as stubber:
        for operation, parameters, response in responses:
            stubber.add_response(operation, response, parameters)
        yield client
        stubber.assert_no_pending_responses()


def test_an_action_is_denied_for_a_while() -> None:
    names = {"RoleName": "role", "PolicyName": removal.DENY_POLICY}
    document = json.dumps({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Action": "events:PutEvents", "Resource": "*"}],
    })
    put, delete = ("put_role_policy", {**names, "PolicyDocument": document}, {}), ("delete_role_policy", names, {})
    with pytest.raises(KeyboardInterrupt), stubbed("iam", put, delete) as iam:
        with aws.denied(iam, "role", "events:PutEvents"):
            raise KeyboardInterrupt


def test_lines_are_matched_by_cloudwatch_fifty_at_a_time() -> None:
    lines = [f'{{"number":{number}}}' for number in range(60)]

    def call(batch: list[str], matches: list[str]) -> tuple[str, dict[str, Any], dict[str, Any]]:
        answer = {"matches": [{"eventNumber": 1, "eventMessage": message, "extractedValues": {}} for message in matches]}
        return "test_metric_filter", {"filterPattern": "{ $.number = 1 }", "logEventMessages": batch}, answer

    with stubbed("logs", call(lines[:50], [lines[1]]), call(lines[50:], [])) as logs:
        assert aws.matching(logs, "{ $.number = 1 }", lines) == {lines[1]}


@pytest.mark.parametrize(
    ("decision", "allowed"), [("allowed", True), ("explicitDeny", False), ("implicitDeny", False)]
)
def test_a_call_is_simulated_by_iam(decision: str, allowed: bool) -> None:
    parameters = {
        "PolicyInputList": ['{"Version": "2012-10-17"}'],
        "ActionNames": ["events:PutEvents"],
        "ResourceArns": ["*"],
        "ContextEntries": [
            {"ContextKeyName": "events:source", "ContextKeyValues": ["a", "b"], "ContextKeyType": "stringList"},
            {"ContextKeyName": "kms:ViaService", "ContextKeyValues": ["sqs"], "ContextKeyType": "string"},
        ],
    }
    answer = {"EvaluationResults": [{"EvalActionName": "events:PutEvents", "EvalDecision": decision}]}
    with stubbed("iam", ("simulate_custom_policy", parameters, answer)) as iam:
        context = {"events:source": ["a", "b"], "kms:ViaService": "sqs"}
        assert aws.is_allowed(iam, [{"Version": "2012-10-17"}], "events:PutEvents", "*", context) is allowed


def test_the_states_of_an_alarm_are_read_page_by_page() -> None:
    parameters = {
        **{"AlarmName": "stack-Errors", "HistoryItemType": "StateUpdate", "StartDate": SINCE},
        "ScanBy": "TimestampAscending",
    }

    def page(state: str, **more: str) -> dict[str, Any]:
        data = {"oldState": {"stateValue": "OK"}, "newState": {"stateValue": state}}
        return {"AlarmHistoryItems": [{"HistoryData": json.dumps(data)}], **more}

    first = ("describe_alarm_history", parameters, page("ALARM", NextToken="next"))
    second = ("describe_alarm_history", parameters | {"NextToken": "next"}, page("OK"))
    with stubbed("cloudwatch", first, second) as cloudwatch:
        assert aws.alarm_states(cloudwatch, "stack-Errors", SINCE) == ["ALARM", "OK"]


def test_a_replay_is_awaited() -> None:
    start, end = SINCE, SINCE.replace(hour=13)
    archive, bus, rule = (
        f"arn:aws:events:eu-central-1:123456789012:{it}" for it in ("archive/a", "event-bus/b", "rule/b/r")
    )
    parameters = {
        **{"ReplayName": "again", "EventSourceArn": archive, "EventStartTime": start, "EventEndTime": end},
        "Destination": {"Arn": bus, "FilterArns": [rule]},
    }
    states = [("describe_replay", {"ReplayName": "again"}, {"State": it}) for it in ("STARTING", "RUNNING", "COMPLETED")]
    pauses: list[float] = []
    with stubbed("events", ("start_replay", parameters, {"State": "STARTING"}), *states) as events:
        arguments = {"archive": archive, "bus": bus, "rule": rule, "start": start, "end": end}
        assert aws.replay(events, name="again", **arguments, sleep=pauses.append) == "COMPLETED"
    assert len(pauses) == 2


def test_the_permissions_of_a_url_are_removed_and_added_again() -> None:
    statements = [
        {"Sid": "Url", "Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunctionUrl"},
        {"Sid": "Invoke", "Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction"},
        {"Sid": "Other", "Effect": "Allow", "Principal": {"Service": "x"}, "Action": "lambda:InvokeFunction"},
    ]
    name = {"FunctionName": "function"}
    added = {**name, "Principal": "*"}
    with stubbed(
        "lambda",
        ("get_policy", name, {"Policy": json.dumps({"Statement": statements})}),
        ("remove_permission", {**name, "StatementId": "Url"}, {}),
        ("remove_permission", {**name, "StatementId": "Invoke"}, {}),
        (
            "add_permission",
            {**added, "StatementId": "Url", "Action": "lambda:InvokeFunctionUrl", "FunctionUrlAuthType": "NONE"},
            {},
        ),
        (
            "add_permission",
            {**added, "StatementId": "Invoke", "Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True},
            {},
        ),
    ) as functions:
        with aws.without_url_permissions(functions, "function"):
            pass


def test_concurrency_is_taken_and_given_back() -> None:
    name = {"FunctionName": "function"}
    with stubbed(
        "lambda",
        ("put_function_concurrency", {**name, "ReservedConcurrentExecutions": 0}, {"ReservedConcurrentExecutions": 0}),
        ("delete_function_concurrency", name, {}),
    ) as functions:
        with aws.without_concurrency(functions, "function"):
            pass


def test_the_status_of_a_stack() -> None:
    stack = {"StackName": "stack", "CreationTime": SINCE, "StackStatus": "UPDATE_ROLLBACK_COMPLETE"}
    with stubbed("cloudformation", ("describe_stacks", {"StackName": "stack"}, {"Stacks": [stack]})) as cloudformation:
        assert aws.stack_status(cloudformation, "stack") == "UPDATE_ROLLBACK_COMPLETE"
