"""How does the template get onto the emulator? `sam build`, `sam deploy`, and the stack that they leave."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import platform
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

from harness import CARGO_LAMBDA, ROOT, TOOLS, Answer, Emulator, Failure

# The emulator runs a function as a process of its own machine.
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]


def signing_secret() -> str:
    """A secret as Scalekit's dashboard hands it out."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, webhook_id: str, timestamp: int, body: bytes) -> str:
    """The Standard Webhooks signature, written once more so that the function isn't checked against itself."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()


def command(line: str, name: str) -> dict[str, str]:
    """The options of a command of the AWS CLI, which is to be this one."""
    program, service, action, *options = shlex.split(line)
    assert f"{program} {service} {action}" == name
    return dict(zip(options[::2], options[1::2], strict=True))


class Sam:
    """The SAM CLI, with all that it writes in `directory`, but for what Cargo keeps in its target directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        app = directory / "sam"
        app.mkdir(exist_ok=True)
        # It has just looked for a newer version of itself, so it won't now.
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

        Cargo compiles in place, so that all but the first build have little to do.
        """
        build = self._directory / "build"
        self._run(
            *("build", "--template-file", ROOT / "template.yaml", "--build-dir", build),
            *("--parameter-overrides", f"Architecture={ARCHITECTURE}"),
        )
        return build / "template.yaml"

    def deploy(self, emulator: Emulator, template: Path, stack: str, **parameters: str) -> Stack:
        """Deploys a built template as a stack, or over the one of that name."""
        # The emulator has no archives.
        overrides = {"Architecture": ARCHITECTURE, "ArchiveDays": "0"} | parameters
        self._run(
            *("deploy", "--template-file", template, "--stack-name", stack, "--resolve-s3"),
            *("--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"),
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


class Stack:
    """A deployed stack, seen from outside: deliveries go in at its URL, events come out of rules on its bus."""

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

    def deliver(self, secret: str, body: bytes, *, in_its_place: bytes | None = None) -> Answer:
        """Sends a delivery, signed now with `secret` for `body`; other bytes may travel in its place."""
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
        """What the emulator finds the function by: its URL's host name, which no resolver knows. An API has another."""
        host = urlsplit(self.outputs["WebhookUrl"]).netloc
        api, _, service = host.partition(".")
        return f"{api}.execute-api.localhost" if service.startswith("execute-api.") else host

    def set_secret(self, value: str) -> None:
        """Does what the stack's command to set the secret says."""
        options = command(self.outputs["SetSecretCommand"], "aws secretsmanager put-secret-value")
        assert options.pop("--secret-string") == "file:///dev/stdin"  # where an operator pastes the value
        assert options.pop("--region") == self._secrets.meta.region_name
        assert options.keys() == {"--secret-id"}
        self._secrets.put_secret_value(SecretId=options["--secret-id"], SecretString=value)

    def revoke_previous_secret(self) -> None:
        """Takes the stage from the version before the current one, and has the function run in new environments."""
        secret = self.outputs["SecretArn"]
        versions = self._secrets.describe_secret(SecretId=secret)["VersionIdsToStages"]
        [previous] = [version for version, stages in versions.items() if "AWSPREVIOUS" in stages]
        self._secrets.update_secret_version_stage(
            SecretId=secret, VersionStage="AWSPREVIOUS", RemoveFromVersionId=previous
        )
        # Environments that wait for their next delivery have the old keys in memory. A changed setting ends them.
        for timeout in (11, 10):
            self._update_function(self.outputs["FunctionName"], Timeout=timeout)

    @contextmanager
    def subscription(self, detail_type: str) -> Iterator[str]:
        """The URL of a queue behind a rule that matches on one `detail-type`."""
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
        """Takes `count` messages off a queue, or as many as there are within so many seconds."""
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
        """Has the function run with these variables set, then as before."""
        function = self.resources["WebhookFunction"]
        before = self.functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
        self._update_function(function, Environment={"Variables": before | variables})
        try:
            yield
        finally:
            self._update_function(function, Environment={"Variables": before})

    def _update_function(self, function: str, **configuration: Any) -> None:
        self.functions.update_function_configuration(FunctionName=function, **configuration)
        self.functions.get_waiter("function_updated_v2").wait(FunctionName=function, WaiterConfig={"Delay": 1})

    def function_log(self) -> str:
        """What the function wrote, and the platform around it."""
        pages = self._logs.get_paginator("filter_log_events").paginate(logGroupName=self.resources["FunctionLogs"])
        return "\n".join(event["message"].rstrip() for page in pages for event in page["events"])

    def delete(self) -> None:
        self._cloudformation.delete_stack(StackName=self._name)
        self._cloudformation.get_waiter("stack_delete_complete").wait(
            StackName=self._name, WaiterConfig={"Delay": 1, "MaxAttempts": 30}
        )
