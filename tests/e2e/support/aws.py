"""What only AWS can do, and a run on AWS therefore proves: it enforces policies, evaluates filters and alarms, replays an
archive and rolls back an update. The tests of this module use stubs that check each call against AWS's own models."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from support.removal import DENY_POLICY

# The most messages that one call of TestMetricFilter takes.
_MAX_MESSAGES = 50


@contextmanager
def denied(iam: Any, role: str, action: str) -> Iterator[None]:
    """Denies an action to a role. It takes some seconds until that, and its end, applies everywhere."""
    statement = {"Effect": "Deny", "Action": action, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName=DENY_POLICY, PolicyDocument=policy)
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=role, PolicyName=DENY_POLICY)


def matching(logs: Any, pattern: str, messages: Sequence[str]) -> set[str]:
    """The messages that match a filter pattern, as CloudWatch Logs evaluates it."""
    found: set[str] = set()
    for first in range(0, len(messages), _MAX_MESSAGES):
        batch = list(messages[first : first + _MAX_MESSAGES])
        answer = logs.test_metric_filter(filterPattern=pattern, logEventMessages=batch)
        found |= {match["eventMessage"] for match in answer["matches"]}
    return found


def is_allowed(
    iam: Any,
    policies: Iterable[Mapping[str, Any]],
    action: str,
    resource: str,
    context: Mapping[str, str | list[str]],
) -> bool:
    """Whether identity policies allow an action, as IAM's own simulator evaluates them."""
    entries = [
        {
            "ContextKeyName": key,
            "ContextKeyValues": [value] if isinstance(value, str) else value,
            "ContextKeyType": "string" if isinstance(value, str) else "stringList",
        }
        for key, value in context.items()
    ]
    answer = iam.simulate_custom_policy(
        PolicyInputList=[json.dumps(policy) for policy in policies],
        ActionNames=[action],
        ResourceArns=[resource],
        ContextEntries=entries,
    )
    [result] = answer["EvaluationResults"]
    return result["EvalDecision"] == "allowed"


def alarm_states(cloudwatch: Any, alarm: str, since: datetime) -> list[str]:
    """The states that an alarm has changed to since that time, the oldest first."""
    pages = cloudwatch.get_paginator("describe_alarm_history").paginate(
        AlarmName=alarm, HistoryItemType="StateUpdate", StartDate=since, ScanBy="TimestampAscending"
    )
    changes = [json.loads(item["HistoryData"]) for page in pages for item in page["AlarmHistoryItems"]]
    return [change["newState"]["stateValue"] for change in changes]


def replay(
    events: Any,
    *,
    name: str,
    archive: str,
    bus: str,
    rule: str,
    start: datetime,
    end: datetime,
    sleep: Callable[[float], object] = time.sleep,
) -> str:
    """Replays the events of a period to one rule, and returns the state in which the replay ended."""
    events.start_replay(
        ReplayName=name,
        EventSourceArn=archive,
        EventStartTime=start,
        EventEndTime=end,
        Destination={"Arn": bus, "FilterArns": [rule]},
    )
    while (state := events.describe_replay(ReplayName=name)["State"]) in ("STARTING", "RUNNING"):
        sleep(10)
    return state


def stack_status(cloudformation: Any, stack: str) -> str:
    return cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]


@contextmanager
def without_url_permissions(functions: Any, function: str) -> Iterator[None]:
    """Removes the statements that make a function URL public, and adds them again afterwards."""
    policy = json.loads(functions.get_policy(FunctionName=function)["Policy"])
    public = [it for it in policy["Statement"] if it["Principal"] in ("*", {"AWS": "*"})]
    for statement in public:
        functions.remove_permission(FunctionName=function, StatementId=statement["Sid"])
    try:
        yield
    finally:
        for statement in public:
            is_url = statement["Action"] == "lambda:InvokeFunctionUrl"
            how = {"FunctionUrlAuthType": "NONE"} if is_url else {"InvokedViaFunctionUrl": True}
            functions.add_permission(
                FunctionName=function, StatementId=statement["Sid"], Action=statement["Action"], Principal="*", **how
            )


@contextmanager
def without_concurrency(functions: Any, function: str) -> Iterator[None]:
    """Makes Lambda throttle every invocation."""
    functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    try:
        yield
    finally:
        functions.delete_function_concurrency(FunctionName=function)
