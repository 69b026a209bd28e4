"""Does the template measure what the function says, and hold what it promises? Its metric filters, alarms and
dashboard are compared with lines that the real function wrote: a wrong name in one of them would be an empty graph, or
an alarm that never goes off."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from deploy import signature
from harness import DEVELOPMENT, EVENTS, HOST, ROOT, TOOLS

TEMPLATE = ROOT / "template.yaml"
CHECKOV = TOOLS / "checkov" / "bin" / "checkov"
SECRET = DEVELOPMENT["WEBHOOK_SECRET"]

# What Lambda writes at the end of an invocation that started cold, in the JSON format:
# https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html#platform-report
PLATFORM_REPORT = {
    "time": "2026-11-23T12:00:00.000Z",
    "type": "platform.report",
    "record": {
        "requestId": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        "status": "success",
        "metrics": {
            "durationMs": 9.1,
            "billedDurationMs": 50,
            "memorySizeMB": 128,
            "maxMemoryUsedMB": 28,
            "initDurationMs": 40.2,
        },
    },
}

# The metrics of AWS's own that are used, with the one dimension each is asked by:
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
PLATFORM_METRICS = {
    ("AWS/Lambda", "FunctionName"): {"ConcurrentExecutions", "Duration", "Errors", "Invocations", "Throttles"},
    ("AWS/SQS", "QueueName"): {
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesVisible",
    },
}


# The function, run for its lines.


Reply = tuple[int, dict[str, Any]]
DENIED: Reply = (403, {"__type": "AccessDeniedException", "message": "not allowed"})


@dataclass
class Situation:
    """What the function is started with, invoked with, and answered by AWS."""

    invocations: list[dict[str, Any]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)
    secret: str = SECRET

    def reply(self, call: str, request: dict[str, Any]) -> Reply:
        """The answer to a call, by its name or, for a secret's version, by its stage."""
        name = request["VersionStage"] if call == "GetSecretValue" else call
        entries = [{"EventId": "4c0ff318-52d2-46ad-ae9a-9b2b2f4ec09f"} for _ in request.get("Entries", [])]
        usual: dict[str, Reply] = {
            "PutEvents": (200, {"FailedEntryCount": 0, "Entries": entries}),
            "DescribeEventBus": (200, {"Name": "scalekit"}),
            "SendMessage": (200, {"MessageId": "f4f1d1ba-4a3f-4d8e-8e2a-4f0c3f6b1d61"}),
            "AWSCURRENT": (200, {"SecretString": self.secret, "CreatedDate": time.time()}),
            "AWSPREVIOUS": (400, {"__type": "ResourceNotFoundException", "message": "no such version"}),
        }
        return self.replies.get(name, usual[name])


class Platform(ThreadingHTTPServer):
    """What the function talks to, on Lambda: the runtime's API, and AWS's services."""

    daemon_threads = True

    def __init__(self, situation: Situation) -> None:
        super().__init__((HOST, 0), PlatformHandler)
        self.situation = situation
        self.waiting = list(situation.invocations)
        self.done = threading.Event()
        self.closed = threading.Event()


class PlatformHandler(BaseHTTPRequestHandler):
    server: Platform
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self.server.waiting:
            self.server.done.set()
            self.server.closed.wait()
            self.close_connection = True
            return
        self._answer(200, self.server.waiting.pop(0), {
            "Lambda-Runtime-Aws-Request-Id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 10_000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:123456789012:function:scalekit",
        })

    def do_POST(self) -> None:
        request = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if target := self.headers.get("X-Amz-Target"):
            self._answer(*self.server.situation.reply(target.rpartition(".")[2], json.loads(request)))
        else:
            self._answer(202, {})

    def _answer(self, status: int, value: dict[str, Any], headers: Mapping[str, str] = {}) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def function() -> Path:
    """The function's binary, as Cargo has it or builds it."""
    built = subprocess.run(
        ["cargo", "build", "--locked", "--bin", "scalekit-eventbridge", "--message-format", "json-render-diagnostics"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    [binary] = [message["executable"] for message in messages if message.get("executable")]
    return Path(binary)


def run(function: Path, situation: Situation) -> list[dict[str, Any]]:
    """The lines that the function writes in a situation."""
    with Platform(situation) as platform:
        threading.Thread(target=platform.serve_forever, kwargs={"poll_interval": 0.05}).start()
        url = f"http://{HOST}:{platform.server_port}"
        variables = {name: value for name, value in DEVELOPMENT.items() if name != "WEBHOOK_SECRET"} | {
            "AWS_ENDPOINT_URL": url,
            "AWS_LAMBDA_RUNTIME_API": url.removeprefix("http://"),
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_LOG_LEVEL": "INFO",
            "AWS_LAMBDA_FUNCTION_NAME": "scalekit",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "WEBHOOK_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:scalekit-AbCdEf",
            "PARKING_QUEUE_URL": f"{url}/123456789012/parking",
            "REFUSED_QUEUE_URL": f"{url}/123456789012/refused",
        } | situation.variables
        with subprocess.Popen([function], env=os.environ | variables, stdout=subprocess.PIPE, text=True) as process:
            try:
                deadline = time.monotonic() + 30
                while not platform.done.wait(0.01) and process.poll() is None:
                    assert time.monotonic() < deadline, "the function is not done after 30 s"
            finally:
                process.kill()
                output, _ = process.communicate()
                platform.closed.set()
                platform.shutdown()
    return [json.loads(line) for line in output.splitlines()]


def envelope(name: str) -> dict[str, Any]:
    return json.loads((EVENTS / f"{name}.json").read_bytes())


def signed(event: dict[str, Any]) -> dict[str, Any]:
    """A delivery of this event, in the envelope of a sample."""
    delivery, text, timestamp = envelope("role.created"), json.dumps(event), int(time.time())
    delivery["headers"] |= {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(SECRET, "msg_1", timestamp, text.encode()),
    }
    return delivery | {"body": text, "isBase64Encoded": False}


def batch(*bodies: str) -> dict[str, Any]:
    """What Lambda hands over of an SQS queue."""
    return {
        "Records": [
            {
                "messageId": f"message-{number}",
                "receiptHandle": "handle",
                "body": text,
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:parking",
                "awsRegion": "us-east-1",
            }
            for number, text in enumerate(bodies)
        ]
    }


DELIVERY = envelope("role.created")
VIOLATING = envelope("refused/violating")
UNCATALOGUED = signed(json.loads(DELIVERY["body"]) | {"type": "role.renamed"})
DRIFTING = signed(json.loads(DELIVERY["body"]) | {"data": {"id": 1}})

# In each situation, which metrics are counted up, and how often.
SITUATIONS: dict[str, tuple[Situation, dict[str, int]]] = {
    "forwarded": (Situation([DELIVERY]), {"Forwarded": 1, "Duration": 1}),
    "outside the catalogue": (Situation([UNCATALOGUED]), {"Forwarded": 1, "Duration": 1, "Uncatalogued": 1}),
    "data unlike the catalogue": (Situation([DRIFTING]), {"Forwarded": 1, "Duration": 1, "Drift": 1}),
    "forwarded from the queue": (Situation([batch(DELIVERY["body"], DELIVERY["body"])]), {"Forwarded": 2}),
    "parked": (Situation([DELIVERY], replies={"PutEvents": DENIED}), {"Parked": 1}),
    "failed": (Situation([DELIVERY], replies={"PutEvents": DENIED, "SendMessage": DENIED}), {"Failed": 1}),
    "failed again": (Situation([batch(DELIVERY["body"])], replies={"PutEvents": DENIED}), {"Failed": 1}),
    "no parked event": (
        Situation([batch("{}")]),
        {"Refused of contract-violation": 1, "AuthenticRefused": 1},
    ),
    "authentic, refused": (
        Situation([VIOLATING]),
        {"Refused of contract-violation": 1, "AuthenticRefused": 1},
    ),
    "authentic, refused, not copied": (
        Situation([VIOLATING], replies={"SendMessage": DENIED}),
        {"Refused of contract-violation": 1, "AuthenticRefused": 1, "RefusedCopyFailed": 1},
    ),
    "forged": (
        Situation([envelope("refused/tampered")]),
        {"Refused of invalid-signature": 1, "WrongSignature": 1},
    ),
    "unsigned": (Situation([envelope("refused/unsigned")]), {"Refused of invalid-signature": 1}),
    "stale": (
        Situation([DELIVERY], variables={"WEBHOOK_TOLERANCE_SECONDS": "300"}),
        {"Refused of stale-timestamp": 1},
    ),
    "no secret yet": (
        Situation([DELIVERY], secret="paste-the-signing-secret-here"),
        {"SecretTrouble": 2, "Failed": 1},
    ),
    "a secret out of reach": (Situation(replies={"AWSCURRENT": DENIED}), {"SecretTrouble": 1}),
    "a secret with a malformed key": (Situation(secret=f"{SECRET} whsec_short"), {"SecretTrouble": 1}),
    "a previous secret out of reach": (Situation(replies={"AWSPREVIOUS": DENIED}), {"SecretTrouble": 1}),
    "a wrong configuration": (Situation(variables={"UNKNOWN_EVENTS": "perhaps"}), {"Fault": 2}),
    "no such bus": (
        Situation(replies={"DescribeEventBus": (400, {"__type": "ResourceNotFoundException"})}),
        {"Fault": 1},
    ),
}


@pytest.fixture(scope="module")
def lines(function: Path) -> dict[str, list[dict[str, Any]]]:
    return {name: run(function, situation) for name, (situation, _) in SITUATIONS.items()}


# The template, read.


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as what they stand for."""


def _long_form(loader: Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in ("Ref", "Condition") else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        return {name: value.split(".", 1) if tag == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _long_form)
TEMPLATE_TEXT = TEMPLATE.read_text()
READ: dict[str, Any] = yaml.load(TEMPLATE_TEXT, Loader)
RESOURCES: dict[str, dict[str, Any]] = READ["Resources"]


def resolve(value: Any, conditions: bool = True) -> Any:
    """A value as CloudFormation would have it, with names in angle brackets for what only a stack knows."""
    if isinstance(value, list):
        return [resolve(item, conditions) for item in value]
    if not isinstance(value, dict):
        return value
    match list(value.items()):
        case [("Ref", name)]:
            return f"<{name}>"
        case [("Fn::GetAtt", [name, attribute])]:
            return f"<{name}.{attribute}>"
        case [("Fn::Sub", text)]:
            text, own = text if isinstance(text, list) else (text, {})

            def stand_in(match: re.Match[str]) -> str:
                name = match[1]
                if name.startswith("!"):
                    return "${" + name[1:] + "}"
                return str(resolve(own[name], conditions)) if name in own else f"<{name}>"

            return re.sub(r"\$\{([^}]+)\}", stand_in, text)
        case [("Fn::Join", [separator, parts])]:
            return separator.join(resolve(parts, conditions))
        case [("Fn::If", [_, then, otherwise])]:
            return resolve(then if conditions else otherwise, conditions)
    return {name: resolve(item, conditions) for name, item in value.items()}


def resources(type: str) -> dict[str, dict[str, Any]]:
    """The properties of all resources of a type, by their logical ids."""
    return {
        name: resolve(resource["Properties"]) for name, resource in RESOURCES.items() if resource["Type"] == type
    }


NAMESPACE = "ScalekitEventBridge/<AWS::StackName>"
FILTERS = resources("AWS::Logs::MetricFilter")
ALARMS = resources("AWS::CloudWatch::Alarm")


@cache
def transformation(name: str) -> dict[str, Any]:
    [transformation] = FILTERS[name]["MetricTransformations"]
    return transformation


@dataclass(frozen=True)
class Pattern:
    """A metric filter's pattern, of the part of CloudWatch's syntax that the template uses:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html"""

    text: str

    _TOKEN = re.compile(r'\s*(\$(?:\.\w+)+|"[^"]*"|\w+|&&|\|\||!=|[={}])')

    def matches(self, line: dict[str, Any]) -> bool:
        return any(
            all(self._holds(term, line) for term in split(alternative, "&&"))
            for alternative in split(self._tokens(), "||")
        )

    def _tokens(self) -> list[str]:
        tokens, at = [], 0
        while self.text[at:].strip():
            match = self._TOKEN.match(self.text, at)
            assert match, f"{self.text!r} is beyond this reader at {at}"
            tokens.append(match[1])
            at = match.end()
        assert (tokens[0], tokens[-1]) == ("{", "}")
        return tokens[1:-1]

    def _holds(self, term: list[str], line: dict[str, Any]) -> bool:
        selector, operator, operand = term
        value = select(line, selector)
        match operator, operand:
            case "IS", "TRUE" | "FALSE":
                return value is (operand == "TRUE")
            case "NOT", "EXISTS":
                return value is None
            case "=" | "!=", _ if operand.startswith('"'):
                wanted = ".*".join(map(re.escape, operand.strip('"').split("*")))
                equal = value is not None and re.fullmatch(wanted, str(value)) is not None
                return equal == (operator == "=")
        raise AssertionError(f"{term} is beyond this reader")


def split(tokens: list[str], separator: str) -> list[list[str]]:
    return [list(part) for is_one, part in groupby(tokens, lambda token: token == separator) if not is_one]


def select(line: Mapping[str, Any], selector: str) -> Any:
    """What `$.a.b` is in a line; None where it is not there."""
    value: Any = line
    for name in selector.removeprefix("$").lstrip(".").split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def counted(lines: list[dict[str, Any]]) -> Counter[str]:
    """What all of the metric filters make of lines."""
    counts: Counter[str] = Counter()
    for name, properties in FILTERS.items():
        for line in filter(Pattern(properties["FilterPattern"]).matches, lines):
            metric = transformation(name)
            dimensions = [select(line, dimension["Value"]) for dimension in metric.get("Dimensions", [])]
            assert None not in dimensions
            value = metric["MetricValue"]
            assert value == "1" or select(line, value) > 0
            counts[" of ".join([metric["MetricName"], *dimensions])] += 1
    return counts


# What they are held against.


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_situation_is_counted_by_its_metrics_alone(
    situation: str, lines: dict[str, list[dict[str, Any]]]
) -> None:
    assert counted(lines[situation]) == SITUATIONS[situation][1]


def test_no_metric_goes_unseen() -> None:
    counted = {metric.partition(" of ")[0] for _, metrics in SITUATIONS.values() for metric in metrics}
    assert {transformation(name)["MetricName"] for name in FILTERS} == counted


def test_a_line_about_the_secret_is_known_by_its_words() -> None:
    """Among them those that only a secret that fails after its first reading would show."""
    calls = re.findall(r"tracing::\w+!\(.*?\);", (ROOT / "src" / "secret.rs").read_text(), re.DOTALL)
    messages = [re.findall(r'"([^"]*)"', call)[-1] for call in calls]
    assert len(messages) >= 4
    pattern = Pattern(FILTERS["SecretTroubleMetric"]["FilterPattern"])
    assert all(pattern.matches({"message": message}) for message in messages)


def own_metrics() -> dict[str, list[str]]:
    """The metrics that the filters make, with the names of their dimensions."""
    made = [transformation(name) for name in FILTERS]
    assert {metric["MetricNamespace"] for metric in made} == {NAMESPACE}
    return {metric["MetricName"]: [key["Key"] for key in metric.get("Dimensions", [])] for metric in made}


def assert_metric(namespace: str, name: str, dimensions: dict[str, str]) -> None:
    if namespace == NAMESPACE:
        assert own_metrics()[name] == list(dimensions)
    else:
        [(dimension, value)] = dimensions.items()
        assert name in PLATFORM_METRICS[namespace, dimension]
        resource, _, attribute = value.strip("<>").partition(".")
        kind = {"FunctionName": "AWS::Serverless::Function", "QueueName": "AWS::SQS::Queue"}[dimension]
        assert RESOURCES[resource]["Type"] == kind
        assert attribute == {"FunctionName": "", "QueueName": "QueueName"}[dimension]


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_watches_what_there_is_and_tells_someone(name: str) -> None:
    alarm = ALARMS[name]
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm.get("Dimensions", [])}
    assert_metric(alarm["Namespace"], alarm["MetricName"], dimensions)
    assert alarm["AlarmActions"] == ["<AlarmTopic>"]
    assert alarm["AlarmDescription"]
    # Without data, all is well; but for the alarm whose subject is silence.
    assert alarm["TreatMissingData"] == ("breaching" if name == "SilenceAlarm" else "notBreaching")
    # CloudWatch takes a name that it makes itself from the stack's, and the topic goes by that.
    assert "AlarmName" not in alarm


def test_silence_fits_into_a_window_of_7_days() -> None:
    silence = ALARMS["SilenceAlarm"]
    assert silence["EvaluationPeriods"] == "<SilenceHours>"
    assert silence["Period"] * READ["Parameters"]["SilenceHours"]["MaxValue"] == 7 * 24 * 60 * 60


def test_alarms_can_publish_to_their_encrypted_topic() -> None:
    assert resources("AWS::SNS::Topic")["AlarmTopic"]["KmsMasterKeyId"] == "<AlarmKey>"
    granted = {
        action: statement["Condition"]
        for policy in (
            resources("AWS::KMS::Key")["AlarmKey"]["KeyPolicy"],
            resources("AWS::SNS::TopicPolicy")["AlarmTopicPolicy"]["PolicyDocument"],
        )
        for statement in policy["Statement"]
        if statement["Principal"].get("Service") == "cloudwatch.amazonaws.com"
        for action in [statement["Action"]]
        for action in (action if isinstance(action, list) else [action])
    }
    assert granted.keys() == {"kms:Decrypt", "kms:GenerateDataKey*", "sns:Publish"}
    for condition in granted.values():
        assert condition["StringEquals"] == {"aws:SourceAccount": "<AWS::AccountId>"}
        assert condition["ArnLike"]["aws:SourceArn"].endswith(":alarm:<AWS::StackName>-*")


def widgets(conditions: bool = True) -> list[dict[str, Any]]:
    body = resolve(RESOURCES["Dashboard"]["Properties"]["DashboardBody"], conditions)
    return json.loads(body)["widgets"]


def widget_names(kind: str) -> list[str]:
    return [widget["properties"]["title"] for widget in widgets() if widget["type"] == kind]


def widget(title: str) -> dict[str, Any]:
    [found] = [widget["properties"] for widget in widgets() if widget["properties"]["title"] == title]
    return found


@pytest.mark.parametrize("conditions", [True, False])
def test_the_dashboard_shows_every_alarm_that_there_is(conditions: bool) -> None:
    [shown] = [widget["properties"]["alarms"] for widget in widgets(conditions) if widget["type"] == "alarm"]
    there = [name for name in ALARMS if conditions or "Condition" not in RESOURCES[name]]
    assert Counter(shown) == Counter(f"<{name}.Arn>" for name in there)


@pytest.mark.parametrize("title", widget_names("metric"))
def test_a_graph_shows_metrics_that_there_are(title: str) -> None:
    schema = r"""'\{"(?P<namespace>[^"]+)",(?P<dimension>\w+)\} MetricName="(?P<name>\w+)"'"""
    search = re.compile(rf"SEARCH\({schema}, 'Sum', 300\)")
    for metric in widget(title)["metrics"]:
        if "expression" in metric[0]:
            found = search.fullmatch(metric[0]["expression"])
            assert found
            assert_metric(found["namespace"], found["name"], {found["dimension"]: "any"})
            assert metric[0]["label"] == f"${{PROP('Dim.{found['dimension']}')}}"
        else:
            namespace, name, *dimensions, _ = metric
            assert_metric(namespace, name, dict(zip(dimensions[::2], dimensions[1::2], strict=True)))


def test_every_metric_is_on_the_dashboard_or_has_an_alarm() -> None:
    shown = {alarm["MetricName"] for alarm in ALARMS.values()} | {
        name for title in widget_names("metric") for name in re.findall(r"\w+", json.dumps(widget(title)["metrics"]))
    }
    assert own_metrics().keys() <= shown


# The words of Logs Insights that the queries use:
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
INSIGHTS_WORDS = {
    *("SOURCE", "filter", "fields", "stats", "sort", "limit", "as", "by", "desc", "and", "or"),
    *("bin", "count", "ispresent", "max", "pct", "1h"),
}


@pytest.mark.parametrize("title", widget_names("log"))
def test_a_query_asks_for_what_is_logged(title: str, lines: dict[str, list[dict[str, Any]]]) -> None:
    logged = [PLATFORM_REPORT, *(line for situation in lines.values() for line in situation)]
    source, query = widget(title)["query"].split(" | ", 1)
    assert source == "SOURCE '<FunctionLogs>'"

    aliases = set(re.findall(r"\bas (\w+)", query))
    names = set(re.findall(r"@?[A-Za-z_][\w.]*", re.sub(r"'[^']*'|\b\d\w*", "", query)))
    names -= INSIGHTS_WORDS | aliases | {"@timestamp"}
    assert names
    for name in names:
        assert any(select(line, name) is not None for line in logged), name
    for name, value in re.findall(r"(\w+) = '([^']*)'", query):
        assert any(select(line, name) == value for line in logged), (name, value)


# What the template promises beside.


def test_the_function_logs_what_the_filters_read() -> None:
    assert resources("AWS::Serverless::Function")["WebhookFunction"]["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": "INFO",
        "SystemLogLevel": "INFO",
        "LogGroup": "<FunctionLogs>",
    }
    assert {properties["LogGroupName"] for properties in FILTERS.values()} == {"<FunctionLogs>"}


def test_the_secret_starts_as_the_placeholder_that_the_function_knows() -> None:
    source = (ROOT / "src" / "secret.rs").read_text()
    [placeholder] = re.findall(r'PLACEHOLDER: &str = "(.*)";', source)
    # Written out, for it must not change there and here together either: that would overwrite pasted secrets.
    assert placeholder == "paste-the-signing-secret-here"
    assert resources("AWS::SecretsManager::Secret")["WebhookSecret"]["SecretString"] == placeholder


@pytest.mark.parametrize(
    "name",
    [
        *resources("AWS::SecretsManager::Secret"),
        *resources("AWS::Events::EventBus"),
        *resources("AWS::Events::Archive"),
        *resources("AWS::SQS::Queue"),
        *resources("AWS::Logs::LogGroup"),
    ],
)
def test_what_holds_events_or_the_secret_is_kept(name: str) -> None:
    assert RESOURCES[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES[name]["UpdateReplacePolicy"] == "Retain"


def test_no_permission_is_wider_than_the_service_demands() -> None:
    policies = resources("AWS::IAM::Role")["FunctionRole"]["Policies"]
    for statement in (one for policy in policies for one in policy["PolicyDocument"]["Statement"]):
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not [action for action in actions if "*" in action]
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
        assert (statement["Resource"] == "*") == all(action.startswith("xray:Put") for action in actions)


def test_a_public_url_has_both_of_its_permissions() -> None:
    granted = {
        permission["Action"]: {name: value for name, value in permission.items() if name.startswith(("Func", "Inv"))}
        for permission in resources("AWS::Lambda::Permission").values()
        if permission["Principal"] == "*"
    }
    assert granted == {
        "lambda:InvokeFunctionUrl": {"FunctionName": "<WebhookFunction>", "FunctionUrlAuthType": "NONE"},
        "lambda:InvokeFunction": {"FunctionName": "<WebhookFunction>", "InvokedViaFunctionUrl": True},
    }
    assert RESOURCES["FunctionUrl"]["Properties"]["AuthType"] == "NONE"


def test_every_parameter_is_explained_and_grouped() -> None:
    interface = READ["Metadata"]["AWS::CloudFormation::Interface"]
    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]
    assert Counter(grouped) == Counter(READ["Parameters"].keys())
    assert interface["ParameterLabels"].keys() == READ["Parameters"].keys()
    for parameter in READ["Parameters"].values():
        assert parameter["Description"]
        assert "Default" in parameter
        assert parameter.keys() & {"AllowedValues", "AllowedPattern", "MinValue"}


def with_options(template: str) -> str:
    """The template with what the defaults leave out."""
    for name, value in {"Ingress": "HttpApi", "AlarmEmail": "operator@example.com", "SilenceHours": "24"}.items():
        default = rf"(\n  {name}:\n(?:    .*\n)*?    Default:).*\n"
        template, changes = re.subn(default, rf"\1 {value}\n", template, count=1)
        assert changes == 1
    return template


def test_checkov_finds_nothing_that_is_not_accepted_with_a_reason() -> None:
    """It looks at the resources that the parameters' defaults make: so at two templates, to see them all."""
    templates = {"defaults.yaml": TEMPLATE_TEXT, "options.yaml": with_options(TEMPLATE_TEXT)}
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        for name, text in templates.items():
            (Path(directory) / name).write_text(text)
        checked = subprocess.run(
            [CHECKOV, "--file", *templates, "--framework", "cloudformation", "--skip-download", "--output", "json"],
            cwd=directory,
            env=os.environ | {"HOME": directory},
            capture_output=True,
            text=True,
        )
    assert checked.stdout.startswith("{"), checked.stderr
    results = json.loads(checked.stdout)["results"]
    assert [f"{check['check_id']} of {check['resource']}" for check in results["failed_checks"]] == []
    checked_resources = {check["resource"] for check in results["passed_checks"] + results["skipped_checks"]}
    assert {"AWS::Lambda::Url.FunctionUrl", "AWS::ApiGatewayV2::Stage.HttpApiStage"} <= checked_resources
    assert all(check["check_result"]["suppress_comment"] for check in results["skipped_checks"])
