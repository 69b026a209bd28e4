"""Tests `make watch` and `scalekit-events send`: which events are shown and forwarded, how a consumer gets batches, when the
function restarts, and that nothing keeps running at the end."""

from __future__ import annotations

import json
import os
import queue
import re
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

import forward
import options
from support import terminal
from support.consumers import DELIVERED
from support.harness import CARGO_LAMBDA, HOST, ROOT, Emulator, free_port, is_free, program

WATCH = ROOT / "tests" / "e2e" / "watch.py"
TOOLS = ("cargo-lambda", "emulator")
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
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
            )

    def text(self) -> str:
        return self.errors.read_text() + self.output.read_text()

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self.text() or self.process.poll() is not None, f"printing {text!r}")
        assert text in self.text(), self.text()

    def wait_until_ready(self) -> str:
        """Returns the URL of the function."""
        self.wait_for("Press Ctrl-C to stop")
        [url] = [line.split()[5].rstrip(",") for line in self.text().splitlines() if "The function is running" in line]
        return url

    def type(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=30)


def send(url: str, *arguments: str) -> None:
    sent = subprocess.run([program(), "send", *arguments, "--post", url], capture_output=True, text=True)
    assert sent.returncode == 0, sent.stdout + sent.stderr


class Consumer(BaseHTTPRequestHandler):
    """Keeps what it gets. It responds with `reply`: a status, headers and a body, or a function of the request's value."""

    events: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
    reply: Any = (202, {}, b"")

    def do_POST(self) -> None:
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.events.put((self.headers["Content-Type"], value))
        reply = type(self).reply
        status, headers, body = reply(value) if callable(reply) else reply
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Consumer, "events", queue.Queue())
    monkeypatch.setattr(Consumer, "reply", Consumer.reply)
    with HTTPServer((HOST, 0), Consumer) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield f"http://{HOST}:{server.server_port}/events"
        server.shutdown()


def test_events_that_match_are_printed_and_forwarded(consumer: str, tmp_path: Path) -> None:
    watch = Running(tmp_path, PATTERN=PATTERN, FORWARD=consumer, JSON="1")
    try:
        url = watch.wait_until_ready()
        send(url, "user.login", "role.created")
        send(url, "organization.directory.user_updated")
        send(url, "organization.directory.user_updated", "--set", "data.active=false", "--count", "2")
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


def failing(*types: str) -> Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]:
    """The response of a consumer that can't handle these types."""

    def reply(batch: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        failed = [record for record in batch["Records"] if json.loads(record["body"])["detail-type"] in types]
        failures = [{"itemIdentifier": record["messageId"]} for record in failed]
        return 200, {}, json.dumps({"batchItemFailures": failures}).encode()

    return reply


def test_events_are_forwarded_in_batches_and_sent_again_by_id(consumer: str, tmp_path: Path) -> None:
    Consumer.reply = failing()
    watch = Running(tmp_path, FORWARD=consumer, BATCH="10")
    try:
        send(watch.wait_until_ready(), "role.created", "--set", "id=evt_1")
        watch.wait_for("1 succeeded, 0 failed")
        watch.type("evt_2\n\nevt_1")
        wait_for(lambda: watch.text().count("1 succeeded, 0 failed") == 2, "the second batch")
    finally:
        assert watch.stop(signal.SIGINT) == 130

    assert processes_with(watch.mark) == set()
    lines = watch.text().splitlines()
    assert [line for line in lines if line.startswith(("→", "Sent", "No event"))] == [
        "→ role.created  evt_1  -",
        "No event with the id evt_2 has arrived",
        "Sent evt_1 again: 200",
        "→ role.created  evt_1  -  again",
    ]
    batches = [Consumer.events.get_nowait()[1] for _ in range(2)]
    assert [json.loads(record["body"])["detail"]["id"] for batch in batches for record in batch["Records"]] == ["evt_1"] * 2


def test_a_message_that_fails_is_retried_alone_and_then_dead_lettered(
    consumer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "VISIBILITY_TIMEOUT_SECONDS", 0)
    Consumer.reply = failing("role.created")
    with Emulator(tmp_path) as emulator:
        queue = forward.BatchConsumer(emulator, consumer, 2)
        for type in ("role.created", "role.updated", "role.deleted"):
            queue.add(DELIVERED[type])
        lines = [line for _ in range(forward.MAX_RECEIVE_COUNT + 3) for line in queue.deliver()]

    id = DELIVERED["role.created"]["detail"]["id"]
    attempts = [f"✗ role.created  {id}  attempt {attempt} of 5  again in 0 s" for attempt in range(1, 5)]
    batches = [line for line in lines if line.startswith("⇒")]
    assert [line for line in lines if line not in batches] == [
        *attempts,
        f"✗ role.created  {id}  attempt 5 of 5  to the dead-letter queue in 0 s",
        "✗ the dead-letter queue has 1 event",
    ]
    assert batches[0] == "⇒ batch of 2  200  1 succeeded, 1 failed"
    received = [Consumer.events.get_nowait()[1]["Records"] for _ in batches]
    assert Consumer.events.empty()
    messages = [json.loads(record["body"]) for batch in received for record in batch]
    assert [messages.count(DELIVERED[type]) for type in ("role.created", "role.updated", "role.deleted")] == [5, 1, 1]
    counts = [record["attributes"]["ApproximateReceiveCount"] for batch in received for record in batch]
    assert sorted(counts) == ["1", "1", "1", "2", "3", "4", "5"]
    [record, _] = received[0]
    assert record["eventSource"] == "aws:sqs" and record["eventSourceARN"].endswith(":consumer")


@pytest.mark.parametrize(
    ("body", "failed"),
    [
        (b"", ""),
        (b"null", ""),
        (b"{}", ""),
        (b'{"batchItemFailures": null}', ""),
        (b'{"batchItemFailures": []}', ""),
        (b'{"statusCode": 200}', ""),
        (b'{"batchItemFailures": [{"itemIdentifier": "b"}]}', "b"),
        (b"not JSON", "ab"),
        (b'["b"]', "ab"),
        (b'{"batchItemFailures": {"itemIdentifier": "b"}}', "ab"),
        (b'{"batchItemFailures": ["b"]}', "ab"),
        (b'{"batchItemFailures": [{"itemIdentifier": ""}]}', "ab"),
        (b'{"batchItemFailures": [{"itemIdentifier": null}]}', "ab"),
        (b'{"batchItemFailures": [{"id": "b"}]}', "ab"),
        (b'{"batchItemFailures": [{"itemIdentifier": "b"}, {"itemIdentifier": "c"}]}', "ab"),
    ],
)
def test_the_response_tells_which_messages_failed(body: bytes, failed: str) -> None:
    found, why = forward.failed_messages(body, ["a", "b"])
    assert found == set(failed)
    assert bool(why) == (failed == "ab")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((200, {}, b'{"batchItemFailures": []}'), "200"),
        ((202, {}, b""), "202"),
        ((500, {}, b""), "500"),
        ((500, {}, b'{"errorType": "KeyError", "errorMessage": "x"}'), "500, function error: KeyError"),
        ((200, {"X-Amz-Function-Error": "Unhandled"}, b"{}"), "200, function error: Unhandled"),
        ((200, {}, b'{"errorType": "KeyError", "errorMessage": "x"}'), "200, function error: KeyError"),
    ],
)
def test_an_invocation_that_failed_is_known_as_one(reply: Any, words: str, consumer: str) -> None:
    Consumer.reply = reply
    response = forward.post(consumer, {})
    assert (response.words, response.failed) == (words, words not in ("200", "202"))


def test_a_consumer_that_does_not_run_is_a_failed_invocation() -> None:
    assert forward.post(f"http://{HOST}:{free_port()}/", {}) == forward.Response("Connection refused")
    assert forward.post("http://a..b/", {}).failed


def test_text_from_outside_cannot_change_what_the_terminal_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "é\x1b[2J\n\x9b1m\u202e\ud800"
    assert terminal.styled(text, terminal.BAD) == r"é\u{1b}[2J\u{a}\u{9b}1m\u{202e}\u{d800}"
    printed = terminal.printable_json(json.dumps(text, ensure_ascii=False))
    assert printed == r'"é\u001b[2J\n\u009b1m\u202e\ud800"'
    assert json.loads(printed) == text


def test_colours_and_shortened_lines_are_only_for_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("COLUMNS", "4")
    assert (terminal.styled("text", terminal.BAD), terminal.cut_to_terminal("longer")) == ("text", "longer")
    monkeypatch.setattr(terminal, "is_terminal", lambda: True)
    assert (terminal.styled("text", terminal.BAD), terminal.cut_to_terminal("longer")) == ("\x1b[31mtext\x1b[0m", "lon…")
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.styled("text", terminal.BAD) == "text"


def test_nothing_keeps_running_if_it_is_stopped_while_it_starts(tmp_path: Path) -> None:
    watch = Running(tmp_path)
    watch.wait_for("Starting the function")
    if sys.platform == "linux":
        assert len(processes_with(watch.mark)) >= 3

    assert watch.stop(signal.SIGTERM) == 130
    assert processes_with(watch.mark) == set()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PATTERN": "{"}, "PATTERN is not JSON: Expecting property name enclosed in double quotes at line 1, column 2"),
        ({"PATTERN": "[]"}, "PATTERN is not an event pattern: it should be an object"),
        ({"PATTERN": '{"a": {"b": "c"}}'}, '/a/b is "c". The values that match should be in an array: ["c"]'),
        ({"PATTERN": '{"detail": {"id": []}}'}, "/detail/id is an empty array"),
        ({"PATTERN": '{"detail": {}}'}, "/detail is empty"),
        ({"PATTERN": '{"source": [["a"]]}'}, "/source contains an array"),
        ({"PATTERN": '{"$or": [{"id": [{"prefx": "a"}]}, {"id": [1]}]}'}, '/$or/0/id contains {"prefx": "a"}. An operator is'),
        ({"FORWARD": "localhost:3000"}, "FORWARD is 'localhost:3000'. It should be a URL with http:// or https://, such as"),
        ({"FORWARD": "http://localhost:99999"}, "FORWARD is 'http://localhost:99999'"),
        ({"FORWARD": "http://\x1b"}, r"FORWARD is 'http://\x1b'"),
        ({"FORWARD": "http://localhost/é"}, "FORWARD is 'http://localhost/é'"),
        ({"BATCH": "11", "FORWARD": "http://localhost"}, "BATCH is '11'. It should be the size of a batch, from 1 to 10"),
        ({"BATCH": "10"}, "BATCH is set without FORWARD"),
    ],
)
def test_an_invalid_option_is_reported(variables: dict[str, str], message: str) -> None:
    with pytest.raises(options.InvalidOption) as raised:
        options.Options.read(variables)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "pattern",
    [
        PATTERN,
        '{"detail-type": ["a", 1, null, true, {"prefix": "a"}, {"anything-but": {"suffix": "b"}}, {"exists": false}]}',
        '{"detail": {"$or": ["not the operator"]}}',
    ],
)
def test_a_valid_pattern_is_accepted(pattern: str) -> None:
    assert options.Options.read({"PATTERN": pattern}).pattern == pattern


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What `make` needs of a clone in which nothing is installed or built."""
    for name in ("Makefile", "Cargo.toml", "tests/e2e/options.py", *(f"tests/tools/{tool}.txt" for tool in TOOLS)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs `make` as if it wasn't run by `make test`."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", *arguments], cwd=folder, env=variables, capture_output=True, text=True)


def test_an_invalid_option_is_reported_before_anything_is_installed(clone: Path) -> None:
    before = sorted(clone.rglob("*"))
    made = make("watch", "PATTERN={", folder=clone)
    assert made.returncode == 2
    assert made.stderr.startswith("PATTERN is not JSON: ")
    assert sorted(clone.rglob("*")) == before


@pytest.mark.parametrize("target", ["demo", "watch"])
def test_only_the_tools_of_a_local_run_are_installed(target: str, clone: Path) -> None:
    made = make("--dry-run", target, folder=clone)
    assert made.returncode == 0, made.stderr
    assert set(re.findall(r"Installing (\S+) into", made.stdout)) == set(TOOLS)


def test_a_pattern_that_only_the_emulator_refuses_is_reported(tmp_path: Path) -> None:
    watch = Running(tmp_path, PATTERN='{"source": [{"exists": 1}]}')

    assert watch.process.wait(timeout=60) == 1
    assert "PATTERN is invalid: " in watch.text()
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
