"""Tests `make watch` and `scalekit-events send`: which events are shown and forwarded, when the function restarts, and that nothing
keeps running at the end."""

from __future__ import annotations

import json
import os
import queue
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from support.harness import CARGO_LAMBDA, HOST, ROOT, free_port, is_free, program

WATCH = ROOT / "tests" / "e2e" / "watch.py"
PATTERN = '{"source":["scalekit"],"$or":[{"detail-type":[{"prefix":"role."}]},{"detail":{"data":{"active":[false]}}}]}'


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen")


def processes_with(variable: str) -> set[str]:
    """The processes that inherited this environment variable. Only Linux tells."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            pass  # the process has ended, or is another user's
    return found


class Running:
    """`make watch`, without make, in the background of a shell that makes it ignore SIGINT."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.mark = f"WATCH_TEST={secrets.token_hex(8)}"
        self.output, self.errors = folder / "output", folder / "errors"
        name, _, value = self.mark.partition("=")
        with self.output.open("wb") as output, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, WATCH],
                env=os.environ | variables | {name: value},
                stdout=output,
                stderr=errors,
            )

    def text(self) -> str:
        return self.errors.read_text() + self.output.read_text()

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self.text() or self.process.poll() is not None, f"printing {text!r}")
        assert text in self.text(), self.text()

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


class Consumer(BaseHTTPRequestHandler):
    events: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.events.put((self.headers["Content-Type"], json.loads(body)))
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def consumer() -> Iterator[str]:
    with HTTPServer((HOST, 0), Consumer) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield f"http://{HOST}:{server.server_port}/events"
        server.shutdown()


def test_events_that_match_are_printed_and_forwarded(consumer: str, tmp_path: Path) -> None:
    watch = Running(tmp_path, PATTERN=PATTERN, FORWARD=consumer, JSON="1")
    try:
        watch.wait_for("Press Ctrl-C to stop")
        [url] = [line.split()[5].rstrip(",") for line in watch.text().splitlines() if "The function is running" in line]
        for arguments in (
            ["user.login", "role.created"],
            ["organization.directory.user_updated"],
            ["organization.directory.user_updated", "--set", "data.active=false", "--count", "2"],
        ):
            sent = subprocess.run([program(), "send", *arguments, "--post", url], capture_output=True, text=True)
            assert sent.returncode == 0, sent.stdout + sent.stderr
        wait_for(lambda: watch.text().count("forwarded: 202") == 3, "forwarding")
        assert watch.text().count("doesn't match the pattern") == 2
    finally:
        assert watch.stop(signal.SIGINT) == 130

    assert processes_with(watch.mark) == set()
    printed = [json.loads(line) for line in watch.output.read_text().splitlines()]
    forwarded = [Consumer.events.get_nowait() for _ in printed]
    assert forwarded == [("application/json", event) for event in printed]
    assert Consumer.events.empty()
    assert [event["detail-type"] for event in printed] == ["role.created", *["organization.directory.user_updated"] * 2]
    assert [event["detail"]["data"].get("active") for event in printed[1:]] == [False, False]
    assert len({event["detail"]["id"] for event in printed}) == 3


def test_nothing_keeps_running_if_it_is_stopped_while_it_starts(tmp_path: Path) -> None:
    watch = Running(tmp_path)
    watch.wait_for("Compiling and starting the function")
    if sys.platform == "linux":
        assert len(processes_with(watch.mark)) >= 3

    assert watch.stop(signal.SIGTERM) == 130
    assert processes_with(watch.mark) == set()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PATTERN": "{"}, "PATTERN is not JSON: "),
        ({"PATTERN": '{"source": "scalekit"}'}, "PATTERN is invalid: "),
        ({"FORWARD": "localhost:3000"}, "FORWARD is localhost:3000. It should be a URL, such as http://127.0.0.1:3000"),
    ],
)
def test_an_invalid_option_is_reported(variables: dict[str, str], message: str, tmp_path: Path) -> None:
    watch = Running(tmp_path, **variables)

    assert watch.process.wait(timeout=60) == 1
    assert message in watch.text()
    assert "Traceback" not in watch.text()


def test_only_a_change_of_the_sources_restarts_the_function(tmp_path: Path) -> None:
    """Runs `cargo lambda watch` with the project's list of ignored files, in a project that compiles at once."""
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "small"\nversion = "0.1.0"\nedition = "2024"\n')
    for name in ("src/main.rs", "events/src/lib.rs", "events/bodies/a.json", "docs/a.md", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    # The function runs until its README is removed: `cargo lambda watch` doesn't end before the function does.
    (tmp_path / "src" / "main.rs").write_text(
        """
        fn main() {
            println!("started");
            while std::fs::exists("README.md").unwrap() {
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
        """
    )
    (tmp_path / ".gitignore").write_text("/target/\n/log\n")
    shutil.copy(ROOT / ".cargolambdaignore", tmp_path)
    subprocess.run("git init --quiet && git add --all", shell=True, cwd=tmp_path, check=True)
    log = tmp_path / "log"

    def starts() -> int:
        return log.read_text().splitlines().count("started")

    port = free_port()
    command = [CARGO_LAMBDA, "lambda", "watch", "--invoke-address", HOST, "--invoke-port", str(port)]
    with log.open("wb") as output, subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output) as watch:
        try:
            wait_for(lambda: not is_free(port), "listening")
            with pytest.raises(TimeoutError):  # the first invocation starts the function, which doesn't respond
                urllib.request.urlopen(f"http://{HOST}:{port}", b"{}", timeout=1)
            wait_for(starts, "the start")
            time.sleep(3)  # `cargo lambda watch` collects the changes of three seconds
            for name in ("README.md", "docs/a.md", "docs/new.md", "events/bodies/a.json", "Makefile"):
                (tmp_path / name).write_text("changed")
            subprocess.run(["git", "status"], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
            time.sleep(4)
            assert starts() == 1, log.read_text()
            for count, name in enumerate(("events/src/lib.rs", "src/main.rs"), start=2):
                os.utime(tmp_path / name)
                wait_for(lambda: starts() == count, f"the restart after a change of {name}", seconds=20)
        finally:
            (tmp_path / "README.md").unlink()
            watch.terminate()
