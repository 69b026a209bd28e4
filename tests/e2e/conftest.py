"""Keeps the end-to-end tests away from the developer's own AWS account and settings."""

import sys

from support.harness import ROOT, prepare_process

sys.path.append(str(ROOT / "deploy"))


def pytest_configure() -> None:
    prepare_process()
