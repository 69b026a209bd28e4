"""Deploys the template to the emulator, with the SAM CLI or as a release, and gives tests access to the stack."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import platform
import re
import secrets
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import package
import release

from support.harness import CARGO_LAMBDA, ROOT, TOOLS, Answer, Emulator, Failure
from support.page import blocks, section, shell

# What the emulator doesn't support: archives, and alarms on math expressions.
UNSUPPORTED = {"ArchiveDays": "0", "NothingForwardedThreshold": "0"}

# The emulator runs functions as processes on this machine, so they must be built for its architecture.
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]


def signing_secret() -> str:
    """A new random signing secret, in the format of Scalekit's dashboard."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The Standard Webhooks signature. It is implemented here again, independently of the function's own code."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def command(line: str, name: str) -> dict[str, str]:
    """The options in a command line of the AWS CLI. `name` is the command that is expected there."""
    program, service, action, *options = shlex.split(line)
    assert f"{program} {service} {action}" == name
    return dict(zip(options[::2], options[1::2], strict=True))


class Sam:
    """The SAM CLI. It writes all its files to `directory`, except for what Cargo writes to its target directory."""

    def __init__(self, directory: Path) -> None:
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
            *("--parameter-overrides", f"Architecture={ARCHITECTURE}"),
        )
        return build / "template.yaml"

    def deploy(self, emulator: Emulator, template: Path, stack: str, **parameters: str) -> Stack:
        """Creates the stack from a built template, or updates the stack if it exists. It has the tag `team`."""
        overrides = {"Architecture": ARCHITECTURE} | UNSUPPORTED | parameters
        self._run(
            *("deploy", "--template-file", template, "--stack-name", stack, "--resolve-s3"),
            *("--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"),
            *("--tags", "team=identity"),
            *("--parameter-overrides", *(f"{name}='{value}'" for name, value in overrides.items())),
            AWS_ENDPOINT_URL=emulator.url,
        )
        return Stack(emulator, stack)

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


class Release:
    """The files of a release, in a directory of their own. The commands of docs/releases.md deploy them."""

    PAGE = ROOT / "docs" / "releases.md"

    def __init__(self, directory: Path, binary: Path, version: str = release.VERSION) -> None:
        """Writes the release of this binary as `make release` does. Another version has other names and templates."""
        self.version = version
        self._directory = directory / f"release-{version}"
        self._directory.mkdir()
        for template in package.write(self._directory):
            template.write_text(template.read_text().replace(f'"{release.VERSION}"', f'"{version}"'))
        self.zip = self._directory / release.zip_name(ARCHITECTURE, version)
        release.write_zip(self.zip, binary.read_bytes(), f"The licences of version {version}\n")

    def deploy(self, emulator: Emulator, stack: str, *, template: str = "template.json", **parameters: str) -> Stack:
        """Creates the stack from the release."""
        _, script = blocks(section("CloudFormation", self.PAGE), "sh")
        overrides = "".join(f" {name}='{value}'" for name, value in (UNSUPPORTED | parameters).items())
        return self._run(emulator, stack, script.rstrip().replace("template.json", template) + overrides)

    def upgrade(self, emulator: Emulator, stack: str) -> Stack:
        """Updates the stack, with rollback triggers."""
        [script] = blocks(section("Upgrading", self.PAGE), "sh")
        return self._run(emulator, stack, script)

    def go_back(self, emulator: Emulator, stack: str) -> Stack:
        """Updates the stack from a newer release to this one."""
        [script] = blocks(section("Rolling back", self.PAGE), "sh")
        return self._run(emulator, stack, script)

    def _run(self, emulator: Emulator, stack: str, script: str) -> Stack:
        """Runs commands of the page. It replaces what the AWS CLI waits for, which would take 30 seconds each time."""
        bucket = "releases"
        emulator.client("s3").create_bucket(Bucket=bucket)
        script = re.sub("^aws cloudformation wait .*", "", script, flags=re.MULTILINE)
        script = script.replace("aws cloudformation deploy ", "aws cloudformation deploy --no-execute-changeset ")
        region = emulator.client("s3").meta.region_name
        choice = f"VERSION={self.version} ARCHITECTURE={ARCHITECTURE} BUCKET={bucket} REGION={region} STACK={stack}\n"
        printed = shell(choice + script, emulator.url, self._directory)

        cloudformation = emulator.client("cloudformation")
        change_set = re.search(r"--change-set-name (\S+)", printed)
        kind = "update"
        if change_set:
            described = cloudformation.describe_stacks(StackName=stack)["Stacks"]
            kind = "create" if described[0]["StackStatus"] == "REVIEW_IN_PROGRESS" else "update"
            cloudformation.execute_change_set(ChangeSetName=change_set[1])
        cloudformation.get_waiter(f"stack_{kind}_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
        return Stack(emulator, stack)


class Stack:
    """A deployed stack. Tests send deliveries to its URL, and receive events through rules on its bus."""

    def __init__(self, emulator: Emulator, name: str) -> None:
        self._name = name
        self._url = emulator.url
        self._cloudformation = emulator.client("cloudformation")
        self._events = emulator.client("events")
        self._logs = emulator.client("logs")
        self._secrets = emulator.client("secretsmanager")
        self.functions = emulator.client("lambda")
        self.queues = emulator.client("sqs")
        [described] = self._cloudformation.describe_stacks(StackName=name)["Stacks"]
        resources = self._cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        self.resources = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}
        self._convert_concurrency()

    def _convert_concurrency(self) -> None:
        """Makes the concurrency of the drain a number, as CloudFormation does. The emulator keeps the parameter's text."""
        mappings = self.functions.list_event_source_mappings(FunctionName=self.outputs["FunctionName"])
        for mapping in mappings["EventSourceMappings"]:
            concurrency = int(mapping["ScalingConfig"]["MaximumConcurrency"])
            self.functions.update_event_source_mapping(
                UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": concurrency}
            )

    def deliver(self, secret: str, body: bytes, *, in_its_place: bytes | None = None) -> Answer:
        """Sends a delivery of `body`, signed with `secret` at the current time.

        If `in_its_place` is given, the request contains these bytes, with the signature of `body`.
        """
        webhook_id, timestamp = f"msg_{secrets.token_hex(13)}", int(time.time())
        headers = {
            "host": self._host(),
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(secret, webhook_id, timestamp, body),
        }
        request = urllib.request.Request(self._url, body if in_its_place is None else in_its_place, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return Answer(response.status, dict(response.headers), response.read().decode())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read().decode())

    def _host(self) -> str:
        """The `Host` header by which the emulator finds the function. For an HTTP API, it expects another domain."""
        host = urlsplit(self.outputs["WebhookUrl"]).netloc
        api, _, service = host.partition(".")
        return f"{api}.execute-api.localhost" if service.startswith("execute-api.") else host

    def set_secret(self, value: str) -> None:
        """Sets the secret as the `SetSecretCommand` output of the stack does."""
        options = command(self.outputs["SetSecretCommand"], "aws secretsmanager put-secret-value")
        assert options.pop("--secret-string") == "file:///dev/stdin"  # the operator pastes the value
        assert options.pop("--region") == self._secrets.meta.region_name
        assert options.keys() == {"--secret-id"}
        self._secrets.put_secret_value(SecretId=options["--secret-id"], SecretString=value)

    def revoke_previous_secret(self) -> None:
        """Removes the AWSPREVIOUS stage from the previous secret, and makes the function start new environments."""
        secret = self.outputs["SecretArn"]
        versions = self._secrets.describe_secret(SecretId=secret)["VersionIdsToStages"]
        [previous] = [version for version, stages in versions.items() if "AWSPREVIOUS" in stages]
        self._secrets.update_secret_version_stage(
            SecretId=secret, VersionStage="AWSPREVIOUS", RemoveFromVersionId=previous
        )
        # Idle execution environments still have the old keys in memory. A configuration change replaces them.
        for timeout in (11, 10):
            self.update_function(self.outputs["FunctionName"], Timeout=timeout)

    @contextmanager
    def subscription(self, detail_type: str) -> Iterator[str]:
        """The URL of a queue that receives all events with this `detail-type`, through a rule on the stack's bus."""
        name = f"subscription-{secrets.token_hex(4)}"
        bus = self.outputs["EventBusName"]
        queue_url = self.queues.create_queue(QueueName=name)["QueueUrl"]
        target = {"Id": "queue", "Arn": self.queue_attributes(queue_url)["QueueArn"]}
        self._events.put_rule(Name=name, EventBusName=bus, EventPattern=json.dumps({"detail-type": [detail_type]}))
        self._events.put_targets(Rule=name, EventBusName=bus, Targets=[target])
        try:
            yield queue_url
        finally:
            self._events.remove_targets(Rule=name, EventBusName=bus, Ids=[target["Id"]])
            self._events.delete_rule(Name=name, EventBusName=bus)
            self.queues.delete_queue(QueueUrl=queue_url)

    def receive(self, queue_url: str, count: int, *, within: int = 10) -> list[dict[str, Any]]:
        """Receives and deletes messages until there are `count` of them, or until `within` seconds have passed."""
        messages: list[dict[str, Any]] = []
        deadline = time.monotonic() + within
        while len(messages) < count and time.monotonic() < deadline:
            received = self.queues.receive_message(
                QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=1, MessageAttributeNames=["All"]
            ).get("Messages", [])
            for message in received:
                self.queues.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            messages += received
        return messages

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

    def function_log(self) -> str:
        """The function's log, including the lines that the Lambda platform writes."""
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=self.resources["FunctionLogs"])
        return "\n".join(event["message"].rstrip() for page in pages for event in page["events"])

    def delete(self) -> None:
        self._cloudformation.delete_stack(StackName=self._name)
        self._cloudformation.get_waiter("stack_delete_complete").wait(
            StackName=self._name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
