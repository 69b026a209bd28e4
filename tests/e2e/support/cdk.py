"""Synthesizes a CDK app, as `cdk deploy` does first."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from support.harness import TOOLS

CDK = TOOLS / "cdk"


def synthesize(app: Path, output: Path, *, command: list[str], context: dict[str, str] | None = None) -> None:
    """Runs the app in this folder, and writes its cloud assembly to `output`."""
    # Node looks for `node_modules` beside the app.
    (app / "node_modules").symlink_to(CDK / "node_modules")
    variables = {
        "PATH": os.pathsep.join([str(CDK / "bin"), os.environ["PATH"]]),
        "CDK_OUTDIR": str(output),
        "CDK_CONTEXT_JSON": json.dumps(context or {}),
    }
    done = subprocess.run(command, cwd=app, env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def template(output: Path, stack: str) -> dict[str, Any]:
    """The template of a stack in a cloud assembly."""
    return json.loads((output / f"{stack}.template.json").read_text())
