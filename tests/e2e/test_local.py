"""Tests the function as a developer runs it, with `cargo lambda watch`, an emulated event bus and a queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import demo
from support.harness import EVENTS, Answer, Emulator, Failure, Subscription, Watch

REFUSED = {
    "unsigned": (401, "invalid-signature"),
    "tampered": (401, "invalid-signature"),
    "stale": (401, "stale-timestamp"),
    "violating": (400, "contract-violation"),
}
TRANSPORTS = ["base64", "http-api", "rest-api"]
ENVELOPE = EVENTS / "organization.sso_enabled.json"
ANOTHER = EVENTS / "role.created.json"
VIOLATING = EVENTS / "refused" / "violating.json"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("emulator")) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def subscription(emulator: Emulator) -> Subscription:
    return Subscription(emulator)


@pytest.fixture(scope="module")
def running(
    emulator: Emulator, subscription: Subscription, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watch]:
    log = tmp_path_factory.mktemp("function") / "function.log"
    with Watch(emulator, log, AWS_LAMBDA_LOG_FORMAT="JSON") as function:
        yield function


@pytest.fixture
def function(running: Watch) -> Iterator[Watch]:
    yield running
    print(running.last_words())  # pytest shows it if the test fails


def event(envelope: Path) -> dict[str, Any]:
    return json.loads((EVENTS / "bodies" / envelope.name).read_bytes())


def problem(answer: Answer) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, json.loads(answer.body)["type"].rpartition(":")[2]


def assert_only_the_next_arrives(function: Watch, subscription: Subscription) -> None:
    """Shows that no other event is on its way to the queue: an event that is sent now arrives alone."""
    assert function.invoke(ANOTHER).status == 200
    assert [arrived["detail"] for arrived in subscription.receive(wait=5)] == [event(ANOTHER)]


def test_the_demo_prints_every_event_that_arrives(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # on a narrow terminal, the demo shortens the cells

    assert demo.main() == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for body in (EVENTS / "bodies").glob("*.json"):
        sent = event(body)
        assert [body.name, "200", sent["type"], sent["id"], sent.get("organization_id", "-")] in lines


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_delivery_is_not_forwarded(name: str, function: Watch, subscription: Subscription) -> None:
    assert problem(function.invoke(EVENTS / "refused" / f"{name}.json")) == REFUSED[name]

    assert_only_the_next_arrives(function, subscription)


@pytest.mark.parametrize("name", TRANSPORTS)
def test_a_delivery_by_any_transport_is_forwarded(name: str, function: Watch, subscription: Subscription) -> None:
    assert function.invoke(EVENTS / "transports" / f"{name}.json").status == 200

    [arrived] = subscription.receive(wait=5)
    assert arrived["detail"] == event(ENVELOPE)


def test_every_sample_in_events_is_tested() -> None:
    assert {path.stem for path in (EVENTS / "refused").iterdir()} == set(REFUSED)
    assert {path.stem for path in (EVENTS / "transports").iterdir()} == set(TRANSPORTS)
    documents = {"asyncapi.json", "scalekit.schema.json"}
    samples = {path.name for path in (EVENTS / "bodies").iterdir()}
    assert {path.name for path in EVENTS.glob("*.json")} == samples | documents


def test_a_delivery_over_http_is_verified_and_forwarded(function: Watch, subscription: Subscription) -> None:
    envelope = json.loads(ENVELOPE.read_bytes())
    names = ("content-type", "webhook-id", "webhook-timestamp", "webhook-signature")
    headers = {name: envelope["headers"][name] for name in names}
    body = envelope["body"].encode()

    assert function.post(body, headers).status == 200
    [arrived] = subscription.receive(wait=5)
    assert arrived["detail"] == event(ENVELOPE)

    assert problem(function.post(body + b" ", headers)) == (401, "invalid-signature")
    assert_only_the_next_arrives(function, subscription)


def log_lines(function: Watch) -> list[dict[str, Any]]:
    """The log lines of the function itself, without those of `cargo lambda watch`."""
    return [json.loads(line) for line in function.log.read_text().splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        (ANOTHER, {"level": "INFO", "outcome": "forwarded", "status": 200, "type": "role.created"}),
        (VIOLATING, {"level": "WARN", "outcome": "refused", "status": 400, "problem": "contract-violation"}),
    ],
    ids=["forwarded", "refused"],
)
def test_each_delivery_is_logged_as_one_line_of_json(
    envelope: Path, expected: dict[str, Any], function: Watch, subscription: Subscription
) -> None:
    function.invoke(ANOTHER)  # now the log contains all lines of the start-up
    before = len(log_lines(function))

    function.invoke(envelope)
    subscription.receive()

    [line] = log_lines(function)[before:]
    webhook_id = json.loads(envelope.read_bytes())["headers"]["webhook-id"]
    assert line | expected | {"webhook_id": webhook_id} == line
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"EVENT_BUS_NAME": "nowhere"}, "EVENT_BUS_NAME"),
        # Lambda itself sets this variable. The function must not start there with the published secret.
        ({"AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand"}, "WEBHOOK_SECRET"),
    ],
    ids=["the bus does not exist", "the development secret on Lambda"],
)
def test_an_invalid_configuration_stops_the_start_and_the_log_names_the_variable(
    variables: dict[str, str], named: str, emulator: Emulator, tmp_path: Path
) -> None:
    log = tmp_path / "function.log"
    with Watch(emulator, log, AWS_LAMBDA_LOG_FORMAT="JSON", **variables) as function:
        with pytest.raises(Failure, match="The function exited"):
            function.invoke(ENVELOPE)
        assert named in [line.get("variable") for line in log_lines(function)]


def sent(envelope: Path, *arrived: dict[str, Any], status: int = 200) -> demo.Sent:
    return demo.Sent(envelope, status, list(arrived))


def arrival(envelope: Path, **changes: Any) -> dict[str, Any]:
    return {"detail-type": event(envelope)["type"], "detail": event(envelope) | changes}


@pytest.mark.parametrize(
    ("deliveries", "late", "problem"),
    [
        ([], [], "no delivery was sent"),
        ([sent(ANOTHER, status=503)], [], "was answered with 503"),
        ([sent(ANOTHER)], [], "never arrived"),
        ([sent(ANOTHER, arrival(ANOTHER))], [arrival(ANOTHER)], "arrived 2 times"),
        ([sent(ANOTHER, arrival(ANOTHER), arrival(ENVELOPE))], [], "was never sent"),
        ([sent(ANOTHER, arrival(ANOTHER, spec_version=1))], [], "with a different detail"),
        ([sent(ANOTHER, arrival(ANOTHER) | {"detail-type": "role.deleted"})], [], "with the detail-type role.deleted"),
        ([sent(ANOTHER, arrival(ANOTHER)), sent(ANOTHER)], [], "the same id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_demo_reports_a_difference(deliveries: list[demo.Sent], late: list[dict[str, Any]], problem: str) -> None:
    [found] = demo.differences(deliveries, late)
    assert problem in found


def test_the_demo_reports_no_difference_if_every_event_arrived_unchanged() -> None:
    assert demo.differences([sent(ENVELOPE, arrival(ENVELOPE)), sent(ANOTHER)], [arrival(ANOTHER)]) == []
