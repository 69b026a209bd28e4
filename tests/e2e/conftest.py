"""Keeps the end-to-end tests to this machine, and to the tools that `make tools` installed."""

from harness import prepare_process


def pytest_configure() -> None:
    prepare_process()
