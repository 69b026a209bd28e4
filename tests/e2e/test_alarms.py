"""Which alarms go off when? Each scenario runs the real function, computes the template's metrics from its log lines,
and evaluates the template's alarms minute by minute."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from support.cloudformation import Template, read_template
from support.cloudwatch import Alarm, Line, MetricFilter, Metrics, metric
from support.deploy import signing_secret
from support.function import (
    DEAD_LETTER_QUEUE,
    DENIED,
    NOT_FOUND,
    PARKING_QUEUE,
    Aws,
    Event,
    Function,
    Message,
    batch,
    envelope,
    signed,
    with_headers,
)

FLOOD_THRESHOLD = 20
SILENCE_HOURS = 2
TEMPLATES = {
    ingress: Template(
        read_template(), Ingress=ingress, FloodThreshold=str(FLOOD_THRESHOLD), SilenceHours=str(SILENCE_HOURS)
    )
    for ingress in ("FunctionUrl", "HttpApi", "RestApi")
}
TEMPLATE = TEMPLATES["FunctionUrl"]


def alarms_of(template: Template) -> dict[str, Alarm]:
    alarms = template.of_type("AWS::CloudWatch::Alarm")
    return {name.removesuffix("Alarm"): Alarm(properties) for name, properties in alarms.items()}


def access_log_format(template: Template) -> dict[str, str]:
    """The variables in a line of the API's access log, by the names of the line's members."""
    [stage] = [it.properties for it in template.resources.values() if it.type.endswith("::Stage")]
    return json.loads((stage.get("AccessLogSettings") or stage["AccessLogSetting"])["Format"])


PARKING = TEMPLATE.resources["ParkingQueue"].properties
MINUTES_BETWEEN_TRIES = PARKING["VisibilityTimeout"] / 60
MAX_RECEIVES = PARKING["RedrivePolicy"]["maxReceiveCount"]
BATCH_SIZE = read_template()["Parameters"]["DrainBatchSize"]["Default"]


@dataclass
class Parked:
    """A message in the parking queue."""

    message: Message
    sent: int
    visible_at: float
    receives: int = 0


class Deployment:
    """The stack, in which time passes in minutes: the function, its log, the API's access log if there is an API, the
    queues, and the state of the alarms."""

    def __init__(
        self, resources: ExitStack, aws: Aws | None = None, *, ingress: str = "FunctionUrl", **variables: str | None
    ) -> None:
        self.aws = aws or Aws()
        self._template = TEMPLATES[ingress]
        self._access_log_format = {} if ingress == "FunctionUrl" else access_log_format(self._template)
        self._filters = [MetricFilter(it) for it in self._template.of_type("AWS::Logs::MetricFilter").values()]
        self._alarms = alarms_of(self._template)
        self._resources = resources
        self._variables = variables
        self._function: Function | None = None
        self._minute = 0
        self._log: list[Line] = []
        self._access_log: list[Line] = []
        self._metrics = Metrics()
        self._parked: list[Parked] = []
        self._seen = 0
        self._on: set[str] = set()
        self.rung: set[str] = set()
        # SilenceAlarm is on until there is a first delivery, so the stack accepted one before a scenario starts.
        self._metrics.add(metric(self._filters[0].namespace, "Accepted"), -30, 1)

    def deliver(self, event: Any) -> dict[str, Any] | None:
        """Invokes the function as Lambda does."""
        lines: list[Line] = []
        if not self._function or not self._function.is_running:
            self._function = self._resources.enter_context(Function(self.aws, self._variables))
            lines += self._function.first_lines
        invocation = self._function.invoke(event)
        lines += invocation.lines
        status = "success" if invocation.response is not None else "error"
        measured = {"durationMs": invocation.duration_ms}
        report = {"requestId": secrets.token_hex(16), "status": status, "metrics": measured}
        self._log += [
            {"time": "2026-11-23T12:00:00.000Z", "type": "platform.start", "record": {"version": "$LATEST"}},
            *lines,
            {"time": "2026-11-23T12:00:00.000Z", "type": "platform.report", "record": report},
        ]
        self.measure("Invocations", 1)
        if self._access_log_format:
            self.answer_by_api(invocation.response["statusCode"] if invocation.response else 502)
        elif invocation.response and 400 <= invocation.response.get("statusCode", 0) < 500:
            self.measure("Url4xxCount", 1)
        self.measure("Errors", 0 if invocation.response is not None else 1)
        self.measure("Throttles", 0)
        self.measure("Duration", invocation.duration_ms)
        return invocation.response

    def measure(self, name: str, value: float) -> None:
        """Adds to a metric that Lambda itself reports."""
        dimensions = {"FunctionName": TEMPLATE.outputs["FunctionName"]}
        self._metrics.add(metric("AWS/Lambda", name, dimensions), self._minute, value)

    def refuse_in_front(self) -> None:
        """A request that Lambda refuses without an invocation."""
        self.measure("Url4xxCount", 1)

    def answer_by_api(self, status: int, response_type: str = "-", method: str = "POST") -> None:
        """A line of the API's access log. It has a response type if the response is the API's own."""
        values = {"status": str(status), "error.responseType": response_type, "httpMethod": method}
        variables = self._access_log_format.items()
        self._access_log.append({name: values.get(it.removeprefix("$context."), "-") for name, it in variables})

    def minute(self, *events: Any) -> None:
        """A minute in which these events come, in which parked events are tried again, and after which the alarms are
        evaluated."""
        for event in events:
            self.deliver(event)
        self._drain()
        outputs = self._template.outputs
        logs = {outputs["LogGroupName"]: self._log, outputs.get("ApiLogGroupName"): self._access_log}
        for filter in self._filters:
            for measured, value in filter.data(logs[filter.properties["LogGroupName"]]):
                self._metrics.add(measured, self._minute, value)
        self._log, self._access_log = [], []
        self._measure_queues()
        on = {name for name, alarm in self._alarms.items() if alarm.is_on(self._metrics, self._minute)}
        self.rung |= on - self._on
        self._on = on
        self._minute += 1

    def minutes(self, count: int, *events: Callable[[], Event]) -> None:
        """So many minutes, with these events in each of them."""
        for _ in range(count):
            self.minute(*(event() for event in events))

    def hour_with_one_event(self, attempt: Callable[[], object]) -> None:
        """An hour in which Scalekit tries an event at once, after 5 seconds, 5 minutes and half an hour, because none of
        the responses is 200."""
        for tries, minutes in ((2, 5), (1, 30), (1, 25)):
            for _ in range(tries):
                attempt()
            self.minutes(minutes)

    def forget(self) -> None:
        """From here on, `rung` only has the alarms that go off later. Those that are on don't go off again."""
        self.rung = set()

    def _drain(self) -> None:
        sent = self.aws.messages[PARKING_QUEUE]
        self._parked += [Parked(message, self._minute, self._minute) for message in sent[self._seen :]]
        self._seen = len(sent)
        visible = [parked for parked in self._parked if parked.visible_at <= self._minute]
        for parked in visible:
            parked.receives += 1
            if parked.receives > MAX_RECEIVES:
                self._parked.remove(parked)
                self.aws.messages[DEAD_LETTER_QUEUE].append(parked.message)
        visible = [parked for parked in visible if parked.receives <= MAX_RECEIVES]
        while visible:
            tried, visible = visible[:BATCH_SIZE], visible[BATCH_SIZE:]
            response = self.deliver(batch([parked.message for parked in tried]))
            failed = {failure["itemIdentifier"] for failure in response["batchItemFailures"]} if response else None
            for parked in tried:
                if failed is None or parked.message.id in failed:
                    parked.visible_at += MINUTES_BETWEEN_TRIES
                else:
                    self._parked.remove(parked)

    def _measure_queues(self) -> None:
        # SQS ignores messages that were received three times when it computes the age.
        ages = [(self._minute - parked.sent) * 60 for parked in self._parked if parked.receives < 3]
        for output, metrics in {
            "ParkingQueue": {
                "ApproximateNumberOfMessagesVisible": 0,
                "ApproximateNumberOfMessagesNotVisible": len(self._parked),
                "ApproximateAgeOfOldestMessage": max(ages, default=0),
            },
            "DeadLetterQueue": {
                "ApproximateNumberOfMessagesVisible": len(self.aws.messages[DEAD_LETTER_QUEUE]),
            },
        }.items():
            name = TEMPLATE.outputs[f"{output}Url"].rpartition("/")[2]
            for measured, value in metrics.items():
                self._metrics.add(metric("AWS/SQS", measured, {"QueueName": name}), self._minute, value)


# What is sent to the function.

OTHER_SECRET = signing_secret()
BODY = json.loads(envelope("role.created")["body"])


def body(**members: Any) -> bytes:
    return json.dumps(BODY | members).encode()


def real() -> Event:
    return signed(body())


def forged() -> Event:
    return signed(body(), secret=OTHER_SECRET)


def stale() -> Event:
    return signed(body(), at=0)


def violating() -> Event:
    return signed(body(id=1))


def drifting(**members: Any) -> Event:
    return signed(body(**members))


def with_other_header_names() -> Event:
    """A delivery from a sender that names its headers svix-id and so on."""
    event = real()
    headers = {name.replace("webhook-", "svix-"): value for name, value in event["headers"].items()}
    return event | {"headers": headers}


def signed_with_ed25519() -> Event:
    return with_headers(real(), {"webhook-signature": f"v1a,{base64.b64encode(bytes(64)).decode()}"})


def unsigned() -> Event:
    return envelope("refused/unsigned")


def browsed() -> Event:
    """A GET request, as scanners and browsers send it."""
    event = envelope("refused/unsigned")
    context = event["requestContext"]
    return event | {"requestContext": context | {"http": context["http"] | {"method": "GET"}}}


def padded(bytes: int) -> Event:
    """A valid delivery with a body of this size."""
    empty = body(data={"padding": ""})
    return signed(body(data={"padding": "x" * (bytes - len(empty))}))


# The scenarios: what happens, and which alarms go off.

Scenario = Callable[[ExitStack], Deployment]
SCENARIOS: dict[str, tuple[Scenario, set[str]]] = {}


def scenario(*alarms: str) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[function.__name__.replace("_", " ")] = function, set(alarms)
        return function

    return register


@scenario()
def all_is_well(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(30, real, real, browsed)
    stack.minutes(60)
    stack.minutes(30, real)
    return stack


@scenario()
def a_scanner_in_a_quiet_hour(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(4, browsed, browsed, browsed, browsed)
    stack.minutes(60)
    return stack


@scenario("StaleTimestamps", "NothingForwarded")
def ten_stale_deliveries(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(10, stale)
    return stack


@scenario("StaleTimestamps")
def one_stale_delivery_among_others(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(5, real)
    stack.minute(real(), stale())
    stack.minutes(5, real)
    return stack


@scenario("NothingForwarded")
def ten_deliveries_with_other_header_names(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(10, with_other_header_names)
    return stack


@scenario("NothingForwarded")
def ten_deliveries_signed_with_ed25519(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(10, signed_with_ed25519)
    return stack


@scenario("WrongSignatures")
def forged_deliveries_while_real_ones_are_forwarded(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(60, forged, forged, real)
    return stack


@scenario("WrongSignatures")
def a_bad_rotation_with_one_event(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minute(real())
    stack.minutes(20)
    stack.hour_with_one_event(lambda: stack.deliver(forged()))
    return stack


@scenario()
def two_forged_deliveries_in_a_quiet_hour(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minute(forged(), forged())
    stack.minutes(60)
    return stack


@scenario("WrongSignatures", "NothingForwarded")
def a_bad_rotation(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(30, real)
    stack.minutes(30, forged)  # which are the real ones, signed with a key that the function doesn't have
    return stack


@scenario("NothingForwarded")
def a_bad_rotation_while_forged_deliveries_hold_an_alarm(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(60, forged, real)
    assert stack.rung == {"WrongSignatures"}
    stack.forget()
    stack.minutes(30, forged, forged)
    return stack


@scenario("NothingForwarded")
def a_bad_rotation_while_the_parking_queue_is_drained(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(30, forged, real)
    stack.forget()
    for _ in range(3):
        stack.minute(batch([Message("parked earlier", real()["body"])]))
        stack.minutes(9, forged)
    return stack


@scenario("SecretTrouble", "ForwardingFailed", "NothingForwarded")
def no_signing_secret(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, Aws(secret="paste-the-signing-secret-here"))
    stack.minutes(10, real)
    return stack


@scenario("SecretTrouble")
def no_signing_secret_and_no_delivery_yet(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, Aws(replies={"AWSCURRENT": DENIED}))
    stack.minute(browsed())
    return stack


@scenario("ForwardingFailed", "ParkedAge", "ParkedLong")
def the_bus_denies_access(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, Aws(replies={"PutEvents": DENIED}))
    stack.minutes(10, real)
    stack.minutes(40)
    return stack


@scenario("ForwardingFailed", "ParkedAge", "ParkedLong", "DeadLetters")
def the_bus_denies_access_for_more_than_a_day(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, Aws(replies={"PutEvents": DENIED}))
    stack.minute(real())
    for hour in range(25):
        # The events that are accepted meanwhile keep SilenceAlarm off. They are not parked.
        denied = stack.aws.replies.pop("PutEvents")
        stack.deliver(real())
        stack.aws.replies["PutEvents"] = denied
        stack.minutes(60)
    return stack


@scenario("ForwardingFailed", "NothingForwarded")
def the_bus_denies_access_and_there_is_no_parking_queue(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, Aws(replies={"PutEvents": DENIED}), PARKING_QUEUE_URL=None)
    stack.minutes(10, real)
    return stack


@scenario("ForwardingFailed", "NothingForwarded")
def the_bus_and_the_parking_queue_deny_access(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, Aws(replies={"PutEvents": DENIED, "SendMessage": DENIED}))
    stack.minutes(10, real)
    return stack


@scenario("Faults", "ForwardingFailed", "ParkedAge")
def there_is_no_bus(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, Aws(replies={"DescribeEventBus": NOT_FOUND}))
    stack.minutes(10, real)
    return stack


@scenario("AuthenticRefused", "DeadLetters")
def an_authentic_delivery_that_violates_the_contract(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minute(real(), violating())
    return stack


@scenario("AuthenticRefused", "RefusedCopyFailed")
def an_authentic_delivery_that_is_refused_and_not_copied(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, Aws(replies={"SendMessage": DENIED}))
    stack.minute(real(), violating())
    return stack


@scenario("AuthenticRefused", "DeadLetters")
def an_authentic_delivery_that_is_too_large_for_the_bus(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minute(real(), padded(1_047_600))
    return stack


@scenario("AuthenticRefused", "RefusedCopyFailed")
def an_authentic_delivery_that_is_too_large_for_the_queue(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minute(real(), padded(1_100_000))
    return stack


@scenario("Drift")
def an_event_whose_data_differs_from_the_catalogue(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minute(real(), drifting(data={"id": 1}))
    return stack


@scenario("Drift")
def an_event_with_an_empty_display_name(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minute(real(), drifting(display_name=""))
    return stack


@scenario("AuthenticRefused", "DeadLetters")
def an_event_with_an_empty_display_name_and_strict_validation(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, VALIDATION="strict")
    stack.minute(real(), drifting(display_name=""))
    return stack


@scenario("Errors")
def an_invocation_that_is_no_delivery(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minute(real(), {"what": "is this?"})
    return stack


@scenario("Errors")
def a_batch_of_another_queue(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    event = batch([Message("1", real()["body"])])
    event["Records"][0]["eventSourceARN"] += "-of-somebody-else"
    stack.minute(real(), event)
    return stack


@scenario("Flood")
def a_flood_while_deliveries_are_forwarded(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(5, real, unsigned, unsigned, unsigned, browsed, browsed)
    return stack


@scenario()
def a_flood_that_stays_below_the_threshold(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(5, real, unsigned, unsigned, unsigned, browsed)
    return stack


@scenario("Faults", "ForwardingFailed")
def a_panic(resources: ExitStack) -> Deployment:
    # A key that can't be in a header makes the SDK panic when it signs a call.
    stack = Deployment(resources, AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    stack.minute(real())
    stack.aws.access_key = "line\nbreak"
    stack.minute(real())
    stack.aws.access_key = "test"
    stack.minutes(5, real)
    return stack


@scenario("Faults", "Errors")
def a_wrong_configuration(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, VALIDATION="perhaps")
    stack.minutes(3, real)
    return stack


@scenario("Silence")
def silence(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minute(real())
    stack.minutes(SILENCE_HOURS * 60 + 60)
    return stack


@scenario("Silence")
def silence_but_for_strangers(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minute(real())
    for _ in range(SILENCE_HOURS * 6 + 6):
        stack.minute(browsed(), unsigned())
        stack.minutes(9)
    return stack


@scenario("Throttles")
def lambda_throttles_a_delivery(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.measure("Throttles", 1)
    stack.minute(real())
    return stack


@scenario("NotInvoked")
def a_policy_denies_requests_to_the_url(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(10, real, browsed)
    stack.hour_with_one_event(stack.refuse_in_front)
    return stack


@scenario("NotInvoked", "Throttles")
def no_concurrency_is_left(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.minutes(10, real)
    for _ in range(10):
        stack.refuse_in_front()
        stack.measure("Throttles", 1)
        stack.minute()
    return stack


@scenario()
def lambda_refuses_a_few_requests_among_those_that_it_passes_on(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    for _ in range(30):
        stack.refuse_in_front()
        stack.minute(real(), browsed())
    return stack


@scenario()
def lambda_refuses_one_malformed_request_of_a_scanner(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.refuse_in_front()
    stack.minutes(30)
    return stack


@scenario()
def invocations_are_reported_a_minute_later_than_their_status(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    for _ in range(4):
        stack.measure("Url4xxCount", 5)
        stack.minute()
        stack.measure("Invocations", 5)
        stack.minutes(20)
    return stack


@scenario("NotInvoked")
def a_resource_policy_or_a_web_acl_denies_deliveries(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, ingress="RestApi")
    stack.minutes(10, real, unsigned)
    stack.hour_with_one_event(lambda: stack.answer_by_api(403, "ACCESS_DENIED"))
    return stack


@scenario()
def a_scanner_at_a_rest_api(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, ingress="RestApi")
    for _ in range(30):
        stack.answer_by_api(403, "MISSING_AUTHENTICATION_TOKEN", "GET")
        stack.minute()
    return stack


@scenario("ApiErrors")
def the_throttle_of_an_api_is_reached(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, ingress="HttpApi")
    for _ in range(3):
        stack.answer_by_api(429, "THROTTLED")
        stack.minute(real(), real())
    return stack


@scenario("ApiErrors", "Throttles")
def no_concurrency_is_left_behind_a_rest_api(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, ingress="RestApi")
    stack.measure("Throttles", 1)
    stack.answer_by_api(500, "INTEGRATION_FAILURE")
    stack.minute(real())
    return stack


@scenario("SecretTrouble", "ForwardingFailed", "NothingForwarded")
def the_function_behind_an_api_answers_with_503(resources: ExitStack) -> Deployment:
    stack = Deployment(resources, Aws(secret="paste-the-signing-secret-here"), ingress="HttpApi")
    stack.minutes(10, real)
    return stack


@scenario("Slow")
def an_invocation_that_takes_long(resources: ExitStack) -> Deployment:
    stack = Deployment(resources)
    stack.measure("Duration", 8_001)
    stack.minute(real())
    return stack


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_alarms_of_a_scenario_go_off_and_no_others(name: str) -> None:
    run, expected = SCENARIOS[name]
    with ExitStack() as resources:
        assert run(resources).rung == expected


def test_every_alarm_goes_off_in_some_scenario() -> None:
    alarms = {name for template in TEMPLATES.values() for name in alarms_of(template)}
    assert set.union(*(alarms for _, alarms in SCENARIOS.values())) == alarms


@pytest.mark.parametrize(
    ("parameter", "alarm"),
    [
        ("NothingForwardedThreshold", "NothingForwardedAlarm"),
        ("SilenceHours", "SilenceAlarm"),
        ("FloodThreshold", "FloodAlarm"),
    ],
)
def test_zero_creates_no_alarm(parameter: str, alarm: str) -> None:
    assert alarm in Template(read_template(), **{parameter: "1"}).resources
    assert alarm not in Template(read_template(), **{parameter: "0"}).resources
