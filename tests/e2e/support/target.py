"""Where do the tests of a deployment run: on the emulator, or in an AWS account? Both are used through the same clients
and commands. What differs between them is here, and in the marker `only` of the tests."""

from __future__ import annotations

import os
import platform
import secrets
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

# The names of everything that a run creates start with the first text, and what can have tags has the second one as a
# tag, whose value is the run. A later run finds what a killed one left by both.
PREFIX = "scalekit-acceptance"
TAG = "scalekit-eventbridge:acceptance"

# The emulator runs functions as processes on this machine, so they must be built for its architecture.
ARCHITECTURE = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]

# What the emulator doesn't support: archives, alarms on math expressions, and saved queries. Parameters turn the first two
# off.
_UNSUPPORTED_PARAMETERS = {"ArchiveDays": "0", "NothingForwardedThreshold": "0"}
_UNSUPPORTED_RESOURCES = {"NotInvokedAlarm", "AttentionQuery", "ForwardedQuery", "VersionsQuery"}


class Target:
    """An AWS account and region, or an emulator at `endpoint`."""

    def __init__(self, *, endpoint: str | None = None, run: str | None = None) -> None:
        self.endpoint = endpoint
        self.is_aws = endpoint is None
        if region := os.environ.get("AWS_REGION"):
            os.environ.setdefault("AWS_DEFAULT_REGION", region)  # boto3 reads only the second variable
        self.run = run or secrets.token_hex(3)
        self.tags = {TAG: self.run}
        # How long to wait for something that takes no time on the emulator, and how often to look.
        self.patience, self.pause = (180.0, 2.0) if self.is_aws else (15.0, 0.1)
        self.unsupported_parameters = {} if self.is_aws else _UNSUPPORTED_PARAMETERS
        self.unsupported_resources = set() if self.is_aws else _UNSUPPORTED_RESOURCES
        # The architecture of the stacks that don't test the other one.
        self.architecture = "arm64" if self.is_aws else ARCHITECTURE

    def supported(self, template: dict[str, Any]) -> dict[str, Any]:
        """The template without the resources that the target doesn't support."""
        resources = {name: it for name, it in template["Resources"].items() if name not in self.unsupported_resources}
        return template | {"Resources": resources}

    def client(self, service: str) -> Any:
        retries = {"mode": "adaptive", "max_attempts": 10} if self.is_aws else {}
        return boto3.client(service, endpoint_url=self.endpoint, config=Config(retries=retries))

    def name(self, of: str) -> str:
        """The name of a stack or a resource of this run."""
        return f"{PREFIX}-{self.run}-{of}"

    @cached_property
    def region(self) -> str:
        return self.client("sts").meta.region_name

    @cached_property
    def account(self) -> str:
        return self.client("sts").get_caller_identity()["Account"]

    @cached_property
    def bucket(self) -> str:
        """A bucket for the zip files and templates, which is created at the first use. Names of buckets are global."""
        name = f"{self.name(self.region)}-{self.account}"
        location = {} if self.region == "us-east-1" else {"LocationConstraint": self.region}
        configuration = {"CreateBucketConfiguration": location} if location else {}
        self.client("s3").create_bucket(Bucket=name, **configuration)
        return name

    def tag_list(self) -> list[dict[str, str]]:
        return [{"Key": key, "Value": value} for key, value in self.tags.items()]
