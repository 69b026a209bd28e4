"""Keeps the end-to-end tests away from the developer's own AWS account and settings, unless the tests of a deployment
are run there on purpose (`--target aws`). Has the options and the fixtures of these tests."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "deploy"))

from release import DIST

from support.deploy import Release, Sam, Stack, signing_secret
from support.harness import Emulator, prepare_process, react_to_signals
from support.report import Expect, Recorder
from support.target import Target

# A quick run leaves out the checks that take longer.
QUICK_MINUTES = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("deployment")
    group.addoption("--target", choices=["emulator", "aws"], default="emulator", help="where the stacks are deployed")
    group.addoption("--endpoint-url", help="an emulator that runs already; without it, the tests start one")
    group.addoption("--run-name", help="a part of the name of everything that is created")
    group.addoption("--results", type=Path, help="the file that gets the result of each check")
    parser.addoption("--packages", type=Path, help="the directory with the packages to test; without it, they are built")
    group.addoption("--quick", action="store_true", help=f"leave out checks that take over {QUICK_MINUTES} minutes")


def pytest_configure(config: pytest.Config) -> None:
    for marker in (
        "acceptance(group): a check of a deployment, which `make acceptance` runs on AWS, too",
        "only(target, reason): only this target can show it, for this reason",
        "minutes(count): how long the check takes on AWS",
    ):
        config.addinivalue_line("markers", marker)
    if config.getoption("--target") == "aws":
        react_to_signals()
    else:
        prepare_process()
    if results := config.getoption("--results"):
        config.pluginmanager.register(Recorder(results))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    target = config.getoption("--target")
    for item in items:
        for marker in item.iter_markers("only"):
            only, reason = marker.args
            if only != target:
                item.add_marker(pytest.mark.skip(reason=reason))
        for marker in item.iter_markers("minutes"):
            if config.getoption("--quick") and marker.args[0] > QUICK_MINUTES:
                item.add_marker(pytest.mark.skip(reason=f"takes about {marker.args[0]} minutes, and QUICK=1 was set"))


@pytest.fixture
def expect(request: pytest.FixtureRequest) -> Expect:
    return Expect(request.node)


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """A directory for everything that a run writes. pytest would keep its own directories."""
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config, directory: Path) -> Iterator[Target]:
    run = pytestconfig.getoption("--run-name")
    if pytestconfig.getoption("--target") == "aws":
        yield Target(run=run)
    elif endpoint := pytestconfig.getoption("--endpoint-url"):
        yield Target(endpoint=endpoint, run=run)
    else:
        with Emulator(directory) as emulator:
            yield Target(endpoint=emulator.url, run=run)


# The stacks of the tests of a deployment. They are deployed once for all tests.


@pytest.fixture(scope="session")
def sam(target: Target, directory: Path) -> Sam:
    return Sam(target, directory)


@pytest.fixture(scope="session")
def template(sam: Sam) -> Path:
    return sam.build()


@pytest.fixture(scope="session")
def binary(target: Target, request: pytest.FixtureRequest) -> bytes:
    """The function that the SAM CLI has built for the emulator, or that of the release, which AWS gets."""
    if target.is_aws:
        with zipfile.ZipFile(request.getfixturevalue("released").zip) as archive:
            return archive.read("bootstrap")
    return (request.getfixturevalue("template").parent / "WebhookFunction" / "bootstrap").read_bytes()


@pytest.fixture(scope="session")
def released(target: Target, directory: Path, request: pytest.FixtureRequest) -> Release:
    """The release in dist/, which AWS gets, or one with the function that the emulator can run."""
    if target.is_aws:
        return Release(target, DIST, target.architecture)
    return Release.write(target, directory, request.getfixturevalue("binary"))


@pytest.fixture(scope="session")
def signing_key() -> str:
    return signing_secret()


@pytest.fixture(scope="session")
def deployed(target: Target, signing_key: str, request: pytest.FixtureRequest) -> Stack:
    """A stack with the default parameters. AWS gets the release: the SAM CLI would build the function for this machine."""
    name = target.name("main")
    if target.is_aws:
        stack = request.getfixturevalue("released").deploy(name)
    else:
        stack = request.getfixturevalue("sam").deploy(request.getfixturevalue("template"), name)
    stack.paste_secret(signing_key)
    return stack


@pytest.fixture
def stack(deployed: Stack) -> Iterator[Stack]:
    yield deployed
    print("\n".join(deployed.function_log()))  # pytest shows it if the test fails
