"""Does the template measure what the function logs, and keep its promises? Metric filters, alarms and dashboard are
compared with lines that the real function wrote, because a wrong name in one of them would be an empty graph, or an
alarm that never goes off."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.cloudformation import DASHBOARD, STACK, Template, read_template
from support.cloudwatch import Alarm, Line, Metric, MetricFilter, Pattern, select
from support.function import DENIED, NOT_FOUND, SECRET, Aws, Event, Function, Message, Reply, batch, envelope, signed
from support.harness import ROOT

# A stack that has everything that is optional, and one that has nothing of it.
READ = read_template()
KEY = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
DOCUMENTATION = "https://example.com/scalekit-eventbridge/blob/v0.1.0"
FULL = Template(
    READ, SilenceHours="24", AlarmEmail="operator@example.com", Tracing="Active", DocumentationUrl=DOCUMENTATION
)
KEYED = Template(READ, KmsKeyArn=KEY, DocumentationUrl=DOCUMENTATION)
WITH_API = Template(READ, Ingress="RestApi", ApiGatewayLogRole="Create", DocumentationUrl=DOCUMENTATION)
LEAN = Template(
    READ,
    ExistingEventBus="shared",
    ArchiveDays="0",
    NothingForwardedThreshold="0",
    FloodThreshold="0",
)

NAMESPACE = f"ScalekitEventBridge/{STACK}"
FILTERS = {name: MetricFilter(it) for name, it in WITH_API.of_type("AWS::Logs::MetricFilter").items()}
# The filters of the function's log. The others read the access log of an API.
FUNCTION_FILTERS = {name: FILTERS[name] for name in FULL.of_type("AWS::Logs::MetricFilter")}
ALARMS = {
    name: Alarm(it)
    for template in (WITH_API, FULL, KEYED)
    for name, it in template.of_type("AWS::CloudWatch::Alarm").items()
}

# What Lambda writes at the end of an invocation with a cold start, in the JSON format:
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

# The metrics of AWS services that the template uses, by the one dimension that selects them:
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
# https://docs.aws.amazon.com/lambda/latest/dg/urls-monitoring.html
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
PLATFORM_METRICS = {
    ("AWS/Lambda", "FunctionName"): {
        *("ConcurrentExecutions", "Duration", "Errors", "Invocations", "Throttles"),
        *("Url4xxCount", "UrlRequestCount"),
    },
    ("AWS/SQS", "QueueName"): {
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesNotVisible",
        "NumberOfMessagesDeleted",
        "NumberOfMessagesSent",
        "ApproximateNumberOfMessagesVisible",
    },
}


# The lines of the function in every situation.


@dataclass
class Situation:
    """What the function is started with and invoked with, and how AWS responds to it."""

    invocations: list[Event] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    replies: dict[str, Reply] = field(default_factory=dict)
    secret: str = SECRET

    def run(self) -> list[Line]:
        """The lines that the function logs."""
        with Function(Aws(secret=self.secret, replies=self.replies), self.variables) as function:
            lines = function.first_lines
            for event in self.invocations:
                lines += function.invoke(event).lines
        return lines


DELIVERY = envelope("role.created")
BODY = json.loads(DELIVERY["body"])
PARKED = Message("message-1", DELIVERY["body"])
VIOLATING = envelope("refused/violating")


def delivery(**members: Any) -> Event:
    return signed(json.dumps(BODY | members).encode())


# In each situation, the metrics that the lines add to, and by how much.
ACCEPTED = {"Forwarded": 1, "Accepted": 1, "Duration": 1}
REFUSED = {"Refused of contract-violation": 1, "AuthenticRefused": 1}
FORGED = {"Refused of invalid-signature": 1, "NotAccepted": 1, "Unauthenticated": 1}
SITUATIONS: dict[str, tuple[Situation, dict[str, int]]] = {
    "forwarded": (Situation([DELIVERY]), ACCEPTED),
    "outside the catalogue": (Situation([delivery(type="role.renamed")]), ACCEPTED | {"Uncatalogued": 1}),
    "data that differs from the catalogue": (Situation([delivery(data={"id": 1})]), ACCEPTED | {"Drift": 1}),
    "no data": (Situation([delivery(data=None)]), ACCEPTED | {"Drift": 1}),
    "a long id and an empty display name": (
        Situation([delivery(id=f"evt_{'1' * 36}", display_name="")]),
        ACCEPTED | {"Drift": 1},
    ),
    "an empty display name, strictly": (
        Situation([delivery(display_name="")], variables={"VALIDATION": "strict"}),
        REFUSED | {"NotAccepted": 1},
    ),
    "forwarded from the queue": (Situation([batch([PARKED, PARKED])]), {"Forwarded": 2}),
    "parked": (Situation([DELIVERY], replies={"PutEvents": DENIED}), {"Parked": 1, "Accepted": 1}),
    "failed": (
        Situation([DELIVERY], replies={"PutEvents": DENIED, "SendMessage": DENIED}),
        {"Failed": 1, "NotAccepted": 1},
    ),
    "failed again": (Situation([batch([PARKED])], replies={"PutEvents": DENIED}), {"Failed": 1}),
    "not an event, from the queue": (Situation([batch([Message("message-1", "{}")])]), REFUSED),
    "authentic and refused": (Situation([VIOLATING]), REFUSED | {"NotAccepted": 1}),
    "authentic, refused and not copied": (
        Situation([VIOLATING], replies={"SendMessage": DENIED}),
        REFUSED | {"NotAccepted": 1, "RefusedCopyFailed": 1},
    ),
    "forged": (Situation([envelope("refused/tampered")]), FORGED | {"WrongSignature": 1}),
    "unsigned": (Situation([envelope("refused/unsigned")]), FORGED),
    "stale": (
        Situation([DELIVERY], variables={"WEBHOOK_TOLERANCE_SECONDS": "300"}),
        {"Refused of stale-timestamp": 1, "NotAccepted": 1, "StaleTimestamp": 1},
    ),
    "no secret yet": (
        Situation([DELIVERY], secret="paste-the-signing-secret-here"),
        {"SecretTrouble": 2, "Failed": 1, "NotAccepted": 1},
    ),
    "an unreadable secret": (Situation(replies={"AWSCURRENT": DENIED}), {"SecretTrouble": 1}),
    "a secret with a malformed key": (Situation(secret=f"{SECRET} whsec_short"), {"SecretTrouble": 1}),
    "an unreadable previous secret": (Situation(replies={"AWSPREVIOUS": DENIED}), {"SecretTrouble": 1}),
    "a wrong configuration": (Situation(variables={"VALIDATION": "perhaps"}), {"Fault": 2}),
    "no such bus": (Situation(replies={"DescribeEventBus": NOT_FOUND}), {"Fault": 1}),
    "an unknown invocation": (Situation([{"what": "is this?"}]), {}),
}


@pytest.fixture(scope="module")
def lines() -> dict[str, list[Line]]:
    return {name: situation.run() for name, (situation, _) in SITUATIONS.items()}


def counted(lines: list[Line]) -> Counter[str]:
    """What the metric filters count in lines of the same minute."""
    counts: Counter[str] = Counter()
    for filter in FUNCTION_FILTERS.values():
        for (_, name, dimensions), value in filter.data(lines):
            if value:
                counts[" of ".join([name, *(value for _, value in dimensions)])] += 1
    return counts


@pytest.mark.parametrize("situation", SITUATIONS)
def test_each_situation_adds_to_its_metrics_alone(situation: str, lines: dict[str, list[Line]]) -> None:
    assert counted(lines[situation]) == SITUATIONS[situation][1]


def test_every_metric_is_tested() -> None:
    counted = {metric.partition(" of ")[0] for _, metrics in SITUATIONS.values() for metric in metrics}
    assert {filter.name for filter in FUNCTION_FILTERS.values()} == counted


def test_an_unknown_invocation_is_one_warning(lines: dict[str, list[Line]]) -> None:
    """The runtime would add an error of its own, which would be counted as a fault."""
    [line] = [line for line in lines["an unknown invocation"] if line["message"] not in ("starting", "configuration")]
    assert (line["level"], line["message"]) == ("WARN", "unknown invocation")
    assert line["error"] and line["request_id"]


def test_every_line_about_the_secret_is_counted_as_such_alone() -> None:
    """This includes the lines that the function only writes if the secret fails after it was read once."""
    calls = re.findall(r"tracing::\w+!\(.*?\);", (ROOT / "src" / "secret.rs").read_text(), re.DOTALL)
    messages = [re.findall(r'"([^"]*)"', call)[-1] for call in calls]
    assert len(messages) >= 4
    for message in messages:
        line = {"level": "ERROR", "message": message}
        assert FILTERS["SecretTroubleMetric"].pattern.matches(line)
        assert not FILTERS["FaultMetric"].pattern.matches(line)


# Alarms and dashboard.


def own_metrics() -> dict[str, list[str]]:
    """The metrics of the metric filters, with the names of their dimensions."""
    assert {filter.namespace for filter in FILTERS.values()} == {NAMESPACE}
    return {filter.name: filter.dimensions for filter in FILTERS.values()}


def assert_exists(metric: Metric) -> None:
    namespace, name, dimensions = metric
    if namespace == NAMESPACE:
        assert own_metrics()[name] == [dimension for dimension, _ in dimensions]
        return
    [(dimension, value)] = dimensions
    assert name in PLATFORM_METRICS[namespace, dimension]
    queues = [url for output, url in KEYED.outputs.items() if output.endswith("QueueUrl")]
    assert value in {
        "FunctionName": [FULL.outputs["FunctionName"]],
        "QueueName": [url.rpartition("/")[2] for url in queues],
    }[dimension]


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_watches_existing_metrics_and_notifies_the_topic(name: str) -> None:
    alarm, topic = ALARMS[name], FULL.arn("AlarmTopic")
    for metric in alarm.metrics:
        assert_exists(metric)
    assert (alarm.properties["AlarmActions"], alarm.properties["OKActions"]) == ([topic], [topic])
    # Without data, all is well, except for the alarm about silence.
    assert alarm.properties["TreatMissingData"] == ("breaching" if name == "SilenceAlarm" else "notBreaching")
    # The policies of the topic and its key, and the dashboard, depend on this name.
    assert alarm.properties["AlarmName"] == f"{STACK}-{name.removesuffix('Alarm')}"


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_names_its_runbook(name: str) -> None:
    anchor = name.removesuffix("Alarm").lower()
    description = ALARMS[name].properties["AlarmDescription"]
    sentences, _, runbook = description.rpartition(" Runbook: ")
    assert sentences.endswith(".") and runbook == f"{DOCUMENTATION}/docs/operations.md#{anchor}"

    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert anchors.count(anchor) == 1


def test_silence_fits_into_seven_days() -> None:
    """CloudWatch doesn't accept an alarm that looks back further."""
    longest = Template(READ, SilenceHours=str(READ["Parameters"]["SilenceHours"]["MaxValue"]))
    silence = longest.resources["SilenceAlarm"].properties
    assert silence["Period"] * int(silence["EvaluationPeriods"]) == 7 * 24 * 60 * 60


def test_alarms_can_publish_to_their_encrypted_topic() -> None:
    assert FULL.arn("AlarmKey").endswith("/" + FULL.resources["AlarmTopic"].properties["KmsMasterKeyId"])
    granted = {
        action: statement["Condition"]
        for policy in (
            FULL.resources["AlarmKey"].properties["KeyPolicy"],
            FULL.resources["AlarmTopicPolicy"].properties["PolicyDocument"],
        )
        for statement in policy["Statement"]
        if statement["Principal"].get("Service") == "cloudwatch.amazonaws.com"
        for action in as_list(statement["Action"])
    }
    assert granted.keys() == {"kms:Decrypt", "kms:GenerateDataKey*", "sns:Publish"}
    for condition in granted.values():
        assert condition["StringEquals"] == {"aws:SourceAccount": "123456789012"}
        assert condition["ArnLike"]["aws:SourceArn"].endswith(f":alarm:{STACK}-*")


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def dashboard(template: Template) -> Template:
    """The dashboard, with the parameters that the stack's command passes to it."""
    _, overrides = template.outputs["DashboardCommand"].split(" --parameter-overrides ")
    return Template(read_template(DASHBOARD), **dict(override.split("=", 1) for override in overrides.split()))


def widgets(template: Template) -> list[dict[str, Any]]:
    return json.loads(dashboard(template).resources["Dashboard"].properties["DashboardBody"])["widgets"]


def titles(kind: str) -> list[str]:
    return [widget["properties"]["title"] for widget in widgets(FULL) if widget["type"] == kind]


def widget(title: str) -> dict[str, Any]:
    [found] = [widget["properties"] for widget in widgets(FULL) if widget["properties"]["title"] == title]
    return found


def test_every_parameter_of_the_dashboard_is_described_and_has_no_default() -> None:
    """So the command has to pass each of them."""
    for parameter in read_template(DASHBOARD)["Parameters"].values():
        assert parameter["Description"].endswith(".") and "Default" not in parameter


def test_the_url_of_the_dashboard_is_known_in_every_public_partition() -> None:
    source = (ROOT / "src" / "partition.rs").read_text()
    partitions = set(re.findall(r'^    \("[a-z-]*", "(aws[a-z-]*)"', source, re.MULTILINE))
    consoles = read_template(DASHBOARD)["Mappings"]["Partition"]
    assert consoles.keys() == {it for it in partitions if not it.startswith("aws-iso")} > {"aws"}


@pytest.mark.parametrize("template", [FULL, LEAN, KEYED, WITH_API], ids=["full", "lean", "keyed", "with-api"])
def test_the_dashboard_shows_every_alarm(template: Template) -> None:
    [shown] = [widget["properties"]["alarms"] for widget in widgets(template) if widget["type"] == "alarm"]
    assert Counter(shown) == Counter(template.arn(name) for name in template.of_type("AWS::CloudWatch::Alarm"))


def test_the_widgets_of_the_dashboard_do_not_overlap() -> None:
    cells = Counter(
        (x, y)
        for widget in widgets(FULL)
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    )
    assert set(cells.values()) == {1}
    assert max(x for x, _ in cells) < 24


TITLE_OF_TIME_TO_EMPTY = "Minutes until the parking queue is empty (at most a day is shown)"
[[TIME_TO_EMPTY], *_] = widget(TITLE_OF_TIME_TO_EMPTY)["metrics"]


@pytest.mark.parametrize(
    ("visible", "hidden", "drained", "parked", "minutes"),
    [
        (0, 0, 0, 0, 0),
        (90_000, 10_000, 60_000, 10_000, 2),
        (1_000, 0, 0, 0, 100_000),
        (1_000, 0, 10, 20, 100_000),
    ],
    ids=["empty", "draining", "nothing is drained", "more is parked than drained"],
)
def test_the_time_until_the_parking_queue_is_empty(
    visible: float, hidden: float, drained: float, parked: float, minutes: float
) -> None:
    """Python evaluates the expression like CloudWatch. Where nothing is drained, the time exceeds a day by far."""
    metrics = {"visible": visible, "hidden": hidden, "drained": drained, "parked": parked}
    declared = {options["id"] for *_, options in widget(TITLE_OF_TIME_TO_EMPTY)["metrics"]} - {"minutes"}
    assert declared == metrics.keys()
    functions = {"IF": lambda condition, yes, no: yes if condition else no}
    assert eval(TIME_TO_EMPTY["expression"], functions, metrics) == pytest.approx(minutes)


# The metrics of a custom bus's rules, by their dimensions:
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
RULE_METRICS = {"FailedInvocations", "InvocationsSentToDlq"}


@pytest.mark.parametrize("title", titles("metric"))
def test_a_graph_shows_existing_metrics(title: str) -> None:
    own = r'\{"(?P<namespace>[^"]+)",(?P<dimension>\w+)\} MetricName="(?P<name>\w+)"'
    of_rules = r'\{AWS/Events,EventBusName,RuleName\} MetricName="(?P<rule_metric>\w+)" EventBusName="(?P<bus>[^"]+)"'
    search = re.compile(rf"SEARCH\('(?:{own}|{of_rules})', 'Sum', 300\)")
    for metric in widget(title)["metrics"]:
        if metric[0] == TIME_TO_EMPTY:
            continue
        if "expression" in metric[0]:
            found = search.fullmatch(metric[0]["expression"])
            assert found
            if found["rule_metric"]:
                assert found["rule_metric"] in RULE_METRICS
                assert found["bus"] == FULL.outputs["EventBusName"]
                assert "${PROP('Dim.RuleName')}" in metric[0]["label"]
            else:
                assert_exists((found["namespace"], found["name"], frozenset({(found["dimension"], "any")})))
                assert metric[0]["label"] == f"${{PROP('Dim.{found['dimension']}')}}"
        else:
            namespace, name, *dimensions, _ = metric
            assert_exists((namespace, name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True))))


def test_the_dashboard_shows_the_failures_of_rules_on_the_bus_of_any_stack() -> None:
    shown = json.dumps(widget("Events that a target of the bus's rules didn't get")["metrics"])
    assert set(re.findall(r'MetricName=\\"(\w+)', shown)) == RULE_METRICS
    for bus in ("shared", "arn:aws:events:eu-central-1:210987654321:event-bus/shared"):
        assert "EventBusName=shared" in Template(READ, ExistingEventBus=bus).outputs["DashboardCommand"].split()


def test_a_line_in_a_graph_is_the_threshold_of_its_alarm() -> None:
    lines = [
        (title, line["label"], line["value"])
        for title in titles("metric")
        for line in widget(title).get("annotations", {}).get("horizontal", [])
    ]
    assert lines
    for title, label, value in lines:
        alarm = ALARMS[label.removesuffix(" alarm") + "Alarm"]
        assert value == alarm.properties["Threshold"], label
        watched = {name for _, name, _ in alarm.metrics}
        assert watched & set(re.findall(r"\w+", json.dumps(widget(title)["metrics"])))


def test_every_metric_is_on_the_dashboard_or_has_an_alarm() -> None:
    alarms = [*ALARMS.values(), Alarm(WITH_API.resources["NotInvokedAlarm"].properties)]
    watched = {name for alarm in alarms for _, name, _ in alarm.metrics}
    shown = {name for title in titles("metric") for name in re.findall(r"\w+", json.dumps(widget(title)["metrics"]))}
    assert own_metrics().keys() <= watched | shown


# The words of Logs Insights that the queries use:
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
INSIGHTS_WORDS = {
    *("SOURCE", "filter", "fields", "stats", "sort", "limit", "as", "by", "desc", "and", "or"),
    *("bin", "count", "ispresent", "max", "pct", "1h"),
}


def queries() -> dict[str, str]:
    """The queries of the dashboard's widgets and the saved ones, by their names."""
    found = {}
    for title in titles("log"):
        source, found[title] = widget(title)["query"].split(" | ", 1)
        assert source == f"SOURCE '{FULL.outputs['LogGroupName']}'"
    return found | saved_queries()


def saved_queries() -> dict[str, str]:
    saved = dashboard(FULL).of_type("AWS::Logs::QueryDefinition").values()
    assert all(it["LogGroupNames"] == [FULL.outputs["LogGroupName"]] for it in saved)
    assert all(it["Name"].startswith(f"{STACK}/") for it in saved)
    return {it["Name"].removeprefix(f"{STACK}/"): it["QueryString"] for it in saved}


def test_the_page_has_the_saved_queries() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    [section] = re.findall(r"^### Queries\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    documented = re.findall(r"^\*\*([^*]+)\*\*: [^\n]+\n\n```\n(.*?)\n```$", section, re.MULTILINE | re.DOTALL)
    assert dict(documented) == saved_queries() and len(documented) > 2


@pytest.mark.parametrize("name", queries())
def test_a_query_uses_fields_that_are_logged(name: str, lines: dict[str, list[Line]]) -> None:
    logged = [PLATFORM_REPORT, *(line for situation in lines.values() for line in situation)]
    query = queries()[name]
    aliases = set(re.findall(r"\bas (\w+)", query))
    names = set(re.findall(r"@?[A-Za-z_][\w.]*", re.sub(r"'[^']*'|\b\d\w*", "", query)))
    names -= INSIGHTS_WORDS | aliases | {"@timestamp"}
    assert names
    for name in names:
        assert any(select(line, name)[0] for line in logged), name
    for name, value in re.findall(r"(\w+) = '([^']*)'", query):
        assert any(select(line, name)[1] == value for line in logged), (name, value)


# CloudWatch, as the tests implement it.


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ('{ $.a = "x" }', True),
        ('{ $.a = "y" }', False),
        ('{ $.a != "y" }', True),
        ('{ $.missing = "x" }', False),
        ('{ $.words = "*two*" && $.words = "one*" && $.words = "*three" }', True),
        ('{ $.words = "two" }', False),
        ("{ $.yes IS TRUE && $.no IS FALSE }", True),
        ("{ $.yes IS FALSE || $.missing IS TRUE }", False),
        ("{ $.missing NOT EXISTS }", True),
        ("{ $.nested.a NOT EXISTS }", False),
        # `&&` binds more tightly than `||`.
        ('{ $.a = "x" || $.a = "y" && $.a = "z" }', True),
        ('{ ($.a = "x" || $.a = "y") && $.a = "z" }', False),
        # What is undefined doesn't matter here.
        ('{ $.a = "y" && $.missing != "x" }', False),
        ('{ $.a = "x" || $.missing != "x" }', True),
    ],
)
def test_a_filter_pattern_matches(text: str, matches: bool) -> None:
    line = {"a": "x", "words": "one two three", "yes": True, "no": False, "nested": {"a": 1}}
    assert Pattern(text).matches(line) is matches


@pytest.mark.parametrize(
    "text",
    [
        '{ $.missing != "x" }',  # not documented
        '{ $.number = "1" }',
        "{ $.number = 1 }",
        "{ $.a = x }",
        '{ $.a = "x*y" }',  # a wildcard in the middle is not one
        "{ $.a = %x% }",
        '{ $.a = "x" } $.b',
        "{ $.a[0] IS TRUE }",
        "{ $.a = }",
        '{ ($.a = "x" }',
        "ERROR",
    ],
)
def test_a_filter_pattern_that_is_not_implemented_is_an_error(text: str) -> None:
    with pytest.raises(AssertionError):
        Pattern(text).matches({"a": "x", "number": 1})


# What else the template promises.


def test_the_function_logs_what_the_filters_read() -> None:
    logs = FULL.outputs["LogGroupName"]
    assert FULL.resources["WebhookFunction"].properties["LoggingConfig"] == {
        "LogFormat": "JSON",
        "ApplicationLogLevel": "INFO",
        "SystemLogLevel": "INFO",
        "LogGroup": logs,
    }
    assert {filter.properties["LogGroupName"] for filter in FUNCTION_FILTERS.values()} == {logs}
    others = [it.properties["LogGroupName"] for name, it in FILTERS.items() if name not in FUNCTION_FILTERS]
    assert others == [WITH_API.outputs["ApiLogGroupName"]] * 3


def test_the_secret_starts_as_the_placeholder_that_the_function_recognizes() -> None:
    source = (ROOT / "src" / "secret.rs").read_text()
    [placeholder] = re.findall(r'PLACEHOLDER: &str = "(.*)";', source)
    # It is repeated here because it must not change there and in the template together either: that would overwrite the
    # secrets that operators have set.
    assert placeholder == "paste-the-signing-secret-here"
    assert FULL.resources["WebhookSecret"].properties["SecretString"] == placeholder


@pytest.mark.parametrize(
    "name",
    [
        *FULL.of_type("AWS::SecretsManager::Secret"),
        *FULL.of_type("AWS::Events::EventBus"),
        *FULL.of_type("AWS::Events::Archive"),
        *KEYED.of_type("AWS::SQS::Queue"),
        *WITH_API.of_type("AWS::Logs::LogGroup"),
        # API Gateway uses these for every REST API in the region.
        *WITH_API.of_type("AWS::ApiGateway::Account"),
        "ApiGatewayRole",
    ],
)
def test_resources_that_others_need_or_that_hold_events_outlive_the_stack(name: str) -> None:
    assert READ["Resources"][name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert READ["Resources"][name]["UpdateReplacePolicy"] == "Retain"


def test_permissions_have_no_wildcards() -> None:
    policies = FULL.resources["FunctionRole"].properties["Policies"]
    for statement in (one for policy in policies for one in policy["PolicyDocument"]["Statement"]):
        actions = as_list(statement["Action"])
        assert not [action for action in actions if "*" in action]
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
        assert (statement["Resource"] == "*") == all(action.startswith("xray:Put") for action in actions)


def test_a_public_url_has_both_of_its_permissions() -> None:
    granted = {
        permission["Action"]: {name: value for name, value in permission.items() if name.startswith(("Func", "Inv"))}
        for permission in FULL.of_type("AWS::Lambda::Permission").values()
        if permission["Principal"] == "*"
    }
    function = FULL.outputs["FunctionName"]
    assert granted == {
        "lambda:InvokeFunctionUrl": {"FunctionName": function, "FunctionUrlAuthType": "NONE"},
        "lambda:InvokeFunction": {"FunctionName": function, "InvokedViaFunctionUrl": True},
    }
    assert FULL.resources["FunctionUrl"].properties["AuthType"] == "NONE"
