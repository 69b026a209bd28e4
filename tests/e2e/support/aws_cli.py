"""Runs commands with AWS CLI 2 up to their first request: its parser reads the options and their values, and its models
of the services check the parameters. The requests go to a port where nothing listens."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from support.harness import TOOLS
from support.page import NOWHERE

# PyPI has AWS CLI 2 only in a package of the CDK, as a Lambda layer for x86_64.
SUPPORTED = sys.platform == "linux" and platform.machine() == "x86_64"

_LAYER = TOOLS / "aws-cli" / "layer"


def check(commands: Sequence[Sequence[str]], directory: Path) -> list[str | None]:
    """Why each command can't be sent, if it can't. Each is the list of the words after `aws`."""
    file, config, stdin = (directory / name for name in (".commands.json", ".config", ".stdin"))
    file.write_text(json.dumps(commands))
    config.write_text(f"[plugins]\ncli_legacy_plugin_path = {Path(__file__).parent}\nrun = aws_cli_plugin\n")
    stdin.write_text("text")
    with stdin.open() as opened:
        done = subprocess.run(
            [executable(), "--version"],
            cwd=directory,
            env={
                "AWS_CONFIG_FILE": str(config),
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
                "AWS_ENDPOINT_URL": NOWHERE,
                "AWS_REGION": "eu-central-1",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_MAX_ATTEMPTS": "1",
                "COMMANDS": str(file),
            },
            stdin=opened,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    return [
        None if status == 0 or "Could not connect to the endpoint URL" in errors else errors
        for status, errors in json.loads(done.stdout)
    ]


def executable() -> Path:
    """The CLI itself, which is unpacked from its package once."""
    if not _LAYER.exists():
        [package] = (TOOLS / "aws-cli").glob("lib/python*/site-packages/aws_cdk/asset_awscli_v2/_jsii/*.tgz")
        with tarfile.open(package) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer
            unfinished = _LAYER.with_suffix(f".{os.getpid()}")
            zipfile.ZipFile(io.BytesIO(layer.read())).extractall(unfinished)
        [cli] = unfinished.glob("awscli/v2/*/dist/aws")
        cli.chmod(0o755)
        if _LAYER.exists():
            shutil.rmtree(unfinished)
        else:
            unfinished.rename(_LAYER)
    [cli] = _LAYER.glob("awscli/v2/*/dist/aws")
    return cli
