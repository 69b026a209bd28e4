"""Removes everything that runs on a target created, also what a stack retains and what a killed run left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError

from support.target import PREFIX, TAG, Target

# The inline policy that a test adds to the role of a function. CloudFormation can't delete a role with a policy that it
# doesn't know.
DENY_POLICY = f"{PREFIX}-deny"

# A resource, and what deletes it.
Resource = tuple[str, Callable[[], Any]]


def leftovers(target: Target) -> list[str]:
    """What is there of this run and of earlier ones. A KMS key whose deletion is scheduled doesn't count."""
    return [f"stack {stack['StackName']}" for stack in _stacks(target)] + [name for name, _ in _resources(target)]


def remove(target: Target, *, timeout: float = 1200) -> list[str]:
    """Removes everything, and returns what is still there after that time."""
    deadline = time.monotonic() + timeout
    _remove_stacks(target, deadline)
    # Afterwards, because a stack may still use them.
    while errors := _remove_resources(target):
        if time.monotonic() > deadline:
            break
        time.sleep(target.pause)
    return [f"stack {stack['StackName']}: {stack['StackStatus']}" for stack in _stacks(target)] + errors


def _remove_resources(target: Target) -> list[str]:
    """Removes what is there without stacks, and returns what couldn't be removed, and why. AWS lists some resources for a
    while after their deletion, so nothing can be learned from listing them again."""
    errors = []
    for name, delete in list(_resources(target)):
        try:
            delete()
        except ClientError as error:
            errors.append(f"{name}: {error}")
    return errors


def _remove_stacks(target: Target, deadline: float) -> None:
    cloudformation, iam = target.client("cloudformation"), target.client("iam")
    while (stacks := list(_stacks(target))) and time.monotonic() < deadline:
        for stack in stacks:
            if stack["StackStatus"] == "DELETE_IN_PROGRESS":
                continue
            # A stack that is being updated can't be deleted, and one may be gone by now. The next round tries again.
            with suppress(ClientError):
                for role in _roles(cloudformation, stack):
                    with suppress(iam.exceptions.NoSuchEntityException):
                        iam.delete_role_policy(RoleName=role, PolicyName=DENY_POLICY)
            with suppress(ClientError):
                cloudformation.cancel_update_stack(StackName=stack["StackName"])
            with suppress(ClientError):
                cloudformation.delete_stack(StackName=stack["StackName"])
        time.sleep(target.pause)


def _stacks(target: Target) -> Iterator[dict[str, Any]]:
    """The stacks with the tag. The command that deploys a dashboard sets no tags, so its stack is found by its name."""
    for page in target.client("cloudformation").get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            tags = {tag["Key"] for tag in stack.get("Tags", [])}
            name = stack["StackName"]
            is_ours = TAG in tags or name.endswith("-dashboard")
            if name.startswith(f"{PREFIX}-") and is_ours and stack["StackStatus"] != "DELETE_COMPLETE":
                yield stack


def _roles(cloudformation: Any, stack: dict[str, Any]) -> list[str]:
    resources = cloudformation.describe_stack_resources(StackName=stack["StackName"])["StackResources"]
    return [
        it["PhysicalResourceId"]
        for it in resources
        if it["ResourceType"] == "AWS::IAM::Role" and it.get("PhysicalResourceId")
    ]


def _resources(target: Target) -> Iterator[Resource]:
    for kind in (_queues, _buses, _secrets, _log_groups, _buckets, _topics, _keys, _policies):
        yield from kind(target)


def _queues(target: Target) -> Iterator[Resource]:
    sqs = target.client("sqs")
    for page in sqs.get_paginator("list_queues").paginate(QueueNamePrefix=f"{PREFIX}-"):
        for url in page.get("QueueUrls", []):
            with suppress(sqs.exceptions.QueueDoesNotExist):  # a deleted queue is listed for up to a minute
                if TAG in sqs.list_queue_tags(QueueUrl=url).get("Tags", {}):
                    yield f"queue {url.rpartition('/')[2]}", lambda url=url: sqs.delete_queue(QueueUrl=url)


def _buses(target: Target) -> Iterator[Resource]:
    events = target.client("events")
    for bus in events.list_event_buses(NamePrefix=f"{PREFIX}-")["EventBuses"]:
        tags = events.list_tags_for_resource(ResourceARN=bus["Arn"])["Tags"]
        if TAG in {tag["Key"] for tag in tags}:
            yield f"event bus {bus['Name']}", lambda bus=bus: delete_bus(events, bus["Name"], bus["Arn"])


def delete_bus(events: Any, name: str, arn: str) -> None:
    """Deletes a bus, its archives and its rules. An archive has a rule of its own, which is deleted with it."""
    for archive in events.list_archives(EventSourceArn=arn).get("Archives", []):
        events.delete_archive(ArchiveName=archive["ArchiveName"])
    for rule in events.list_rules(EventBusName=name)["Rules"]:
        if not rule.get("ManagedBy"):
            targets = events.list_targets_by_rule(Rule=rule["Name"], EventBusName=name)["Targets"]
            if targets:
                events.remove_targets(Rule=rule["Name"], EventBusName=name, Ids=[it["Id"] for it in targets])
            events.delete_rule(Name=rule["Name"], EventBusName=name)
    events.delete_event_bus(Name=name)


def _secrets(target: Target) -> Iterator[Resource]:
    client = target.client("secretsmanager")
    tagged = [{"Key": "tag-key", "Values": [TAG]}]
    for page in client.get_paginator("list_secrets").paginate(Filters=tagged):
        for secret in page["SecretList"]:
            arn = secret["ARN"]
            yield f"secret {secret['Name']}", lambda arn=arn: client.delete_secret(
                SecretId=arn, ForceDeleteWithoutRecovery=True
            )


def _log_groups(target: Target) -> Iterator[Resource]:
    logs = target.client("logs")
    for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePattern=f"{PREFIX}-"):
        for group in page["logGroups"]:
            name = group["logGroupName"]
            arn = group["arn"].removesuffix(":*")
            with suppress(logs.exceptions.ResourceNotFoundException):
                if TAG in logs.list_tags_for_resource(resourceArn=arn)["tags"]:
                    yield f"log group {name}", lambda name=name: logs.delete_log_group(logGroupName=name)


def _buckets(target: Target) -> Iterator[Resource]:
    """The name of a bucket contains the account and the region. It has no tag."""
    s3 = target.client("s3")
    for bucket in s3.list_buckets()["Buckets"]:
        name = bucket["Name"]
        if name.startswith(f"{PREFIX}-") and name.endswith(f"-{target.region}-{target.account}"):
            yield f"bucket {name}", lambda name=name: _delete_bucket(s3, name)


def _delete_bucket(s3: Any, name: str) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        for item in page.get("Contents", []):
            s3.delete_object(Bucket=name, Key=item["Key"])
    s3.delete_bucket(Bucket=name)


def _topics(target: Target) -> Iterator[Resource]:
    sns = target.client("sns")
    for page in sns.get_paginator("list_topics").paginate():
        for topic in page["Topics"]:
            arn = topic["TopicArn"]
            if arn.rpartition(":")[2].startswith(f"{PREFIX}-"):
                tags = sns.list_tags_for_resource(ResourceArn=arn)["Tags"]
                if TAG in {tag["Key"] for tag in tags}:
                    yield f"topic {arn}", lambda arn=arn: sns.delete_topic(TopicArn=arn)


def _keys(target: Target) -> Iterator[Resource]:
    """KMS deletes no key at once: 7 days are the minimum."""
    kms = target.client("kms")
    tagging = target.client("resourcegroupstaggingapi")
    pages = tagging.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": TAG}], ResourceTypeFilters=["kms:key"]
    )
    for arn in (it["ResourceARN"] for page in pages for it in page["ResourceTagMappingList"]):
        with suppress(kms.exceptions.NotFoundException):
            if kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] != "PendingDeletion":
                yield f"key {arn}", lambda arn=arn: kms.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)


def _policies(target: Target) -> Iterator[Resource]:
    """The policies with the path that only these tests use."""
    iam = target.client("iam")
    for page in iam.get_paginator("list_policies").paginate(Scope="Local", PathPrefix=f"/{PREFIX}/"):
        for policy in page["Policies"]:
            arn = policy["Arn"]
            yield f"policy {arn}", lambda arn=arn: iam.delete_policy(PolicyArn=arn)
