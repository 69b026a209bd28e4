"""Builds the function, deploys the template, and uses the deployed stack as a sender, a consumer and an operator would."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import package
import release
from botocore.exceptions import WaiterError

from support.cloudformation import read_template
from support.harness import CARGO_LAMBDA, ROOT, TOOLS, Answer, Failure, signature
from support.page import blocks, section, shell
from support.target import Target


def signing_secret() -> str:
    """A new random signing secret, in the format of Scalekit's dashboard."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def command(line: str, name: str) -> dict[str, str]:
    """The options in a command line of the AWS CLI. `name` is the command that is expected there."""
    program, service, action, *options = shlex.split(line)
    assert f"{program} {service} {action}" == name
    return dict(zip(options[::2], options[1::2], strict=True))


class Sam:
    """The SAM CLI. It writes all its files to `directory`, except for what Cargo writes to its target directory."""

    def __init__(self, target: Target, directory: Path) -> None:
        self._target = target
        self._directory = directory
        app = directory / "sam"
        app.mkdir(exist_ok=True)
        # A recent check for a newer version keeps the SAM CLI from making one now.
        (app / "metadata.json").write_text(json.dumps({"lastVersionCheck": time.time()}))
        self._variables = {
            "PATH": os.pathsep.join([str(CARGO_LAMBDA.parent), os.environ["PATH"]]),
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.5",
            "__SAM_CLI_APP_DIR": str(app),
            "TMPDIR": str(directory),
        }

    def build(self) -> Path:
        """Builds the function for this machine and returns the built template.

        Cargo compiles in the project's own target directory, so only the first build takes long.
        """
        build = self._directory / "build"
        self._run(
            *("build", "--template-file", ROOT / "template.yaml", "--build-dir", build),
            *("--parameter-overrides", f"Architecture={self._target.architecture}"),
        )
        template = build / "template.yaml"
        template.write_text(json.dumps(self._target.supported(read_template(template))))  # JSON is YAML
        return template

    def deploy(self, template: Path, stack: str, **parameters: str) -> Stack:
        """Creates the stack from a built template, or updates the stack if it exists. It has the tag `team`."""
        overrides = {"Architecture": self._target.architecture} | self._target.unsupported_parameters | parameters
        endpoint = {"AWS_ENDPOINT_URL": self._target.endpoint} if self._target.endpoint else {}
        self._run(
            *("deploy", "--template-file", template, "--stack-name", stack, "--s3-bucket", self._target.bucket),
            *("--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"),
            *("--tags", *_tags(self._target)),
            *("--parameter-overrides", *(f"{name}='{value}'" for name, value in overrides.items())),
            **endpoint,
        )
        return Stack(self._target, stack)

    def _run(self, *arguments: str | Path, **variables: str) -> None:
        done = subprocess.run(
            [TOOLS / "sam" / "bin" / "sam", *arguments],
            cwd=self._directory,
            env=os.environ | self._variables | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            raise Failure(f"sam {arguments[0]} failed\n{done.stdout}")


def _tags(target: Target) -> list[str]:
    """The tags of each stack, as the command lines of the SAM CLI and the AWS CLI take them."""
    return [f"{key}={value}" for key, value in ({"team": "identity"} | target.tags).items()]


class Release:
    """The files of a release, in a directory of their own. The commands of docs/releases.md deploy them."""

    PAGE = ROOT / "docs" / "releases.md"

    def __init__(self, target: Target, directory: Path, architecture: str, version: str = release.VERSION) -> None:
        self.version = version
        self.architecture = architecture
        self.zip = directory / release.zip_name(architecture, version)
        self.target = target
        self.directory = directory

    @classmethod
    def write(cls, target: Target, directory: Path, binary: bytes, version: str = release.VERSION) -> Release:
        """Writes a release of this binary as `make release` does. Another version has other names and templates."""
        directory = directory / f"release-{version}"
        directory.mkdir()
        for path in package.write(directory):
            template = target.supported(json.loads(path.read_text()))
            path.write_text(package.serialize(template).replace(f'"{release.VERSION}"', f'"{version}"'))
        written = cls(target, directory, target.architecture, version)
        release.write_program(written.zip, binary, f"The licences of version {version}\n")
        return written

    def deploy(self, stack: str, *, template: str = "template.json", **parameters: str) -> Stack:
        """Creates the stack from the release."""
        _, script = blocks(section("CloudFormation", self.PAGE), "sh")
        values = self.target.unsupported_parameters | parameters
        overrides = "".join(f" {name}={shlex.quote(value)}" for name, value in values.items())
        return self._run(stack, script.rstrip().replace("template.json", template) + overrides)

    def upgrade(self, stack: str, *, monitoring_minutes: int = 15) -> Stack:
        """Updates the stack, with rollback triggers."""
        [script] = blocks(section("Upgrading", self.PAGE), "sh")
        monitoring = "MonitoringTimeInMinutes: \\`{}\\`"
        assert monitoring.format(15) in script
        return self._run(stack, script.replace(monitoring.format(15), monitoring.format(monitoring_minutes)))

    def go_back(self, stack: str) -> Stack:
        """Updates the stack from a newer release to this one."""
        [script] = blocks(section("Rolling back", self.PAGE), "sh")
        return self._run(stack, script)

    def _run(self, stack: str, script: str) -> Stack:
        """Runs commands of the page. It replaces what the AWS CLI waits for, which would take 30 seconds each time, and
        gives the stack tags."""
        script = re.sub("^aws cloudformation wait .*", "", script, flags=re.MULTILINE)
        tags = shlex.join(["--tags", *_tags(self.target)])
        options = f"aws cloudformation deploy --no-execute-changeset {tags} "
        script = script.replace("aws cloudformation deploy ", options)
        choices = {
            **{"VERSION": self.version, "ARCHITECTURE": self.architecture, "STACK": stack},
            **{"BUCKET": self.target.bucket, "REGION": self.target.region},
        }
        choice = " ".join(f"{name}={value}" for name, value in choices.items())
        printed = shell(f"{choice}\n{script}", self.target.endpoint, self.directory)

        cloudformation = self.target.client("cloudformation")
        change_set = re.search(r"--change-set-name (\S+)", printed)
        kind = "update"
        if change_set:
            described = cloudformation.describe_stacks(StackName=stack)["Stacks"]
            kind = "create" if described[0]["StackStatus"] == "REVIEW_IN_PROGRESS" else "update"
            cloudformation.execute_change_set(ChangeSetName=change_set[1])
        wait = {"Delay": max(1, int(self.target.pause)), "MaxAttempts": 1800}
        try:
            cloudformation.get_waiter(f"stack_{kind}_complete").wait(StackName=stack, WaiterConfig=wait)
        except WaiterError as error:
            raise Failure(f"the {kind} of {stack} failed: {_reasons(cloudformation, stack)}") from error
        return Stack(self.target, stack)


def _host(host: str) -> str:
    """The `Host` header by which the emulator finds the function or the API. For an API, it expects another domain."""
    api, _, service = host.partition(".")
    return f"{api}.execute-api.localhost" if service.startswith("execute-api.") else host


def _reasons(cloudformation: Any, stack: str) -> str:
    """Why resources of a stack failed, the latest first."""
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = (event for event in events if event["ResourceStatus"].endswith("_FAILED"))
    return "; ".join(f"{it['LogicalResourceId']}: {it.get('ResourceStatusReason', '')}" for it in failed)


class Stack:
    """A deployed stack. Tests send deliveries to its URL, and receive events through rules on its bus."""

    def __init__(self, target: Target, name: str) -> None:
        self.name = name
        self.target = target
        self._cloudformation = target.client("cloudformation")
        self._events = target.client("events")
        self._logs = target.client("logs")
        self._secrets = target.client("secretsmanager")
        self.functions = target.client("lambda")
        self.queues = target.client("sqs")
        [described] = self._cloudformation.describe_stacks(StackName=name)["Stacks"]
        resources = self._cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        self.resources = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
        if not target.is_aws:
            self._convert_concurrency()

    def _convert_concurrency(self) -> None:
        """Makes the concurrency of the drain a number, as CloudFormation does. The emulator keeps the parameter's text."""
        mappings = self.functions.list_event_source_mappings(FunctionName=self.outputs["FunctionName"])
        for mapping in mappings["EventSourceMappings"]:
            concurrency = int(mapping["ScalingConfig"]["MaximumConcurrency"])
            self.functions.update_event_source_mapping(
                UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": concurrency}
            )

    def deliver(
        self,
        secret: str,
        body: bytes,
        *,
        in_its_place: bytes | None = None,
        at: int | None = None,
        url: str | None = None,
    ) -> Answer:
        """Sends a delivery of `body` to the stack's URL or to `url`, signed with `secret` at the current time, or at the
        time `at`.

        If `in_its_place` is given, the request contains these bytes, with the signature of `body`.
        """
        webhook_id, timestamp = f"msg_{secrets.token_hex(13)}", int(time.time()) if at is None else at
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secret, webhook_id, timestamp, body),
        }
        return self.request("POST", body if in_its_place is None else in_its_place, headers, url)

    def request(self, method: str, body: bytes | None, headers: Mapping[str, str], url: str | None = None) -> Answer:
        """Sends an HTTP request to the stack's URL or to `url`. For the emulator, the `Host` header names the function or
        the API."""
        url = url or self.outputs["WebhookUrl"]
        if self.target.endpoint:
            parts = urlsplit(url)
            url, headers = f"{self.target.endpoint}{parts.path}", {"host": _host(parts.netloc), **headers}
        request = urllib.request.Request(url, body, dict(headers), method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Answer(response.status, dict(response.headers), response.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read().decode())

    def paste_secret(self, value: str) -> None:
        """Sets the secret with the command that the stack prints. An operator pastes the value and presses Enter."""
        shell(self.outputs["SetSecretCommand"], self.target.endpoint, stdin=f"{value}\n")

    def set_secret(self, value: str) -> None:
        """Sets the secret as that command does, in less time."""
        self._secrets.put_secret_value(SecretId=self.outputs["SecretArn"], SecretString=value)

    def revoke_previous_secret(self) -> None:
        """Removes the AWSPREVIOUS stage from the previous secret, and makes the function start new environments."""
        secret = self.outputs["SecretArn"]
        versions = self._secrets.describe_secret(SecretId=secret)["VersionIdsToStages"]
        [previous] = [version for version, stages in versions.items() if "AWSPREVIOUS" in stages]
        self._secrets.update_secret_version_stage(
            SecretId=secret, VersionStage="AWSPREVIOUS", RemoveFromVersionId=previous
        )
        # Idle execution environments still have the old keys in memory.
        self.replace_environments()

    def replace_environments(self) -> None:
        """Changes a setting and changes it back, which makes Lambda start new execution environments."""
        for timeout in (11, 10):
            self.update_function(self.outputs["FunctionName"], Timeout=timeout)

    @contextmanager
    def subscription(self, detail_type: str) -> Iterator[str]:
        """The URL of a queue that receives all events with this `detail-type`, through a rule on the stack's bus."""
        with self.subscription_to({"detail-type": [detail_type]}) as queue_url:
            yield queue_url

    @contextmanager
    def subscription_to(self, pattern: Mapping[str, Any]) -> Iterator[str]:
        """The URL of a queue that receives all events that match the pattern, through a rule on the stack's bus."""
        name = self.target.name(f"subscription-{secrets.token_hex(4)}")
        bus = self.outputs["EventBusName"]
        queue_url = self.queues.create_queue(QueueName=name, tags=self.target.tags)["QueueUrl"]
        target = {"Id": "queue", "Arn": self.queue_attributes(queue_url)["QueueArn"]}
        rule = self._events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps(pattern))["RuleArn"]
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": target["Arn"],
            "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        self.queues.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": policy})
        self._events.put_targets(Rule=name, EventBusName=bus, Targets=[target])
        self._settle()
        try:
            yield queue_url
        finally:
            self._events.remove_targets(Rule=name, EventBusName=bus, Ids=[target["Id"]])
            self._events.delete_rule(Name=name, EventBusName=bus)
            self.queues.delete_queue(QueueUrl=queue_url)

    def _settle(self) -> None:
        """A new rule or target takes effect after a moment on AWS, which no call reports."""
        if self.target.is_aws:
            time.sleep(10)

    def receive(self, queue_url: str, count: int, *, within: float | None = None) -> list[dict[str, Any]]:
        """Receives and deletes messages until there are `count` of them, or until `within` seconds have passed."""
        return self._receive(queue_url, lambda messages: len(messages) >= count, within)

    def receive_events(
        self, queue_url: str, ids: Iterable[str], *, within: float | None = None
    ) -> dict[str, dict[str, Any]]:
        """Receives and deletes messages until each of these events has arrived, and returns the events that arrived, as
        EventBridge sends them, by their ids. An event can arrive more than once."""
        wanted = set(ids)

        def id(message: dict[str, Any]) -> str:
            return json.loads(message["Body"])["detail"]["id"]

        messages = self._receive(queue_url, lambda messages: wanted <= set(map(id, messages)), within)
        return {id(message): message for message in messages}

    def _receive(
        self, queue_url: str, is_complete: Callable[[list[dict[str, Any]]], bool], within: float | None
    ) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        deadline = time.monotonic() + (self.target.patience if within is None else within)
        while not is_complete(messages) and time.monotonic() < deadline:
            received = self.queues.receive_message(
                QueueUrl=queue_url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=1,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            ).get("Messages", [])
            now = time.monotonic()
            for message in received:
                self.queues.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            messages += [message | {"arrived": now} for message in received]
        return messages

    def arrival_times(self, queue_url: str, count: int) -> dict[str, float]:
        """When each of so many events arrived in a queue, by its id, as `time.monotonic` counts."""
        times: dict[str, float] = {}

        def is_complete(messages: list[dict[str, Any]]) -> bool:
            for message in messages:
                times.setdefault(json.loads(message["Body"])["detail"]["id"], message["arrived"])
            return len(times) >= count

        self._receive(queue_url, is_complete, self.target.patience + count)
        return times

    def count(self, output: str) -> int:
        """The number of messages in a queue, including messages in flight, which are invisible until the next attempt."""
        attributes = self.queue_attributes(self.outputs[output])
        return int(attributes["ApproximateNumberOfMessages"]) + int(attributes["ApproximateNumberOfMessagesNotVisible"])

    def wait_until(self, condition: Callable[[], bool], *, within: float | None = None) -> None:
        seconds = self.target.patience if within is None else within
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"the condition did not become true in {seconds:.0f} s"
            time.sleep(self.target.pause)

    def queue_attributes(self, queue_url: str) -> dict[str, str]:
        return self.queues.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]

    @contextmanager
    def function_environment(self, **variables: str) -> Iterator[None]:
        """Sets these environment variables of the function, and restores the previous ones at the end of the block."""
        function = self.resources["WebhookFunction"]
        before = self.functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        self.update_function(function, Environment={"Variables": before | variables})
        try:
            yield
        finally:
            self.update_function(function, Environment={"Variables": before})

    def update_function(self, function: str, **configuration: Any) -> None:
        """Changes settings of the function, and waits until they apply."""
        self.functions.update_function_configuration(FunctionName=function, **configuration)
        self.functions.get_waiter("function_updated_v2").wait(FunctionName=function, WaiterConfig={"Delay": 1})

    def configuration(self) -> dict[str, Any]:
        return self.functions.get_function_configuration(FunctionName=self.resources["WebhookFunction"])

    def function_log(self) -> list[str]:
        """The lines of the function's log, including those that the Lambda platform writes."""
        return self._log("FunctionLogs")

    def access_log(self) -> list[dict[str, str]]:
        """The lines of the API's access log."""
        return [json.loads(line) for line in self._log("ApiLogs")]

    def _log(self, group: str) -> list[str]:
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=self.resources[group])
        return [event["message"].rstrip() for page in pages for event in page["events"]]

    def delete(self) -> None:
        self._cloudformation.delete_stack(StackName=self.name)
        wait = {"Delay": max(1, int(self.target.pause)), "MaxAttempts": 600}
        self._cloudformation.get_waiter("stack_delete_complete").wait(StackName=self.name, WaiterConfig=wait)
