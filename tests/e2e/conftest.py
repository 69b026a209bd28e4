"""Keeps the end-to-end tests away from the developer's own AWS account and settings."""

from support.harness import prepare_process


def pytest_configure() -> None:
    prepare_process()
