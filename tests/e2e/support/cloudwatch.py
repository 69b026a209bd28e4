"""Which metrics does CloudWatch compute from a log, and which alarms go off? Implements the part of CloudWatch that the
template uses, and fails on everything else, so that the template can't use what is not implemented here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Line = Mapping[str, Any]

# A namespace, a name, and the dimensions.
Metric = tuple[str, str, frozenset[tuple[str, str]]]


def metric(namespace: str, name: str, dimensions: Mapping[str, str] | None = None) -> Metric:
    return namespace, name, frozenset((dimensions or {}).items())


class Tokens:
    """The tokens of a pattern or an expression, read from left to right."""

    def __init__(self, text: str, token: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        at = 0
        while text[at:].strip():
            match = re.compile(rf"\s*({token})").match(text, at)
            assert match, f"{text!r} has a token at {at} that is not implemented"
            self._tokens.append(match[1])
            at = match.end()

    @property
    def next(self) -> str | None:
        return self._tokens[0] if self._tokens else None

    def take(self, *expected: str) -> str:
        """The next token, which must be one of those expected, if any are named."""
        assert self._tokens and (not expected or self._tokens[0] in expected), f"{self._text!r}: {self._tokens}"
        return self._tokens.pop(0)


@dataclass(frozen=True)
class Pattern:
    """The filter pattern of a metric filter, for JSON:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html"""

    text: str

    def matches(self, line: Line) -> bool:
        tokens = Tokens(self.text, r'\$(?:\.\w+)+|"[^"]*"|\w+|&&|\|\||!=|[={}()]')
        tokens.take("{")
        matches = self._alternatives(tokens, line)
        tokens.take("}")
        assert tokens.next is None
        assert matches is not None, f"the documentation doesn't say whether {self.text} matches {line}"
        return matches

    # What the documentation doesn't define is None. The result of a whole pattern must not depend on it.

    def _alternatives(self, tokens: Tokens, line: Line) -> bool | None:
        results = [self._conjunction(tokens, line)]
        while tokens.next == "||":
            tokens.take()
            results.append(self._conjunction(tokens, line))
        return True if True in results else None if None in results else False

    def _conjunction(self, tokens: Tokens, line: Line) -> bool | None:
        results = [self._term(tokens, line)]
        while tokens.next == "&&":
            tokens.take()
            results.append(self._term(tokens, line))
        return False if False in results else None if None in results else True

    def _term(self, tokens: Tokens, line: Line) -> bool | None:
        if tokens.next == "(":
            tokens.take()
            result = self._alternatives(tokens, line)
            tokens.take(")")
            return result
        selector = tokens.take()
        assert selector.startswith("$."), f"{selector} is not a selector"
        exists, value = select(line, selector)
        match tokens.take("IS", "NOT", "=", "!="):
            case "IS":
                expected = tokens.take("TRUE", "FALSE") == "TRUE"
                return value is expected if exists else False
            case "NOT":
                tokens.take("EXISTS")
                return not exists
            case operator:
                operand = tokens.take()
                assert re.fullmatch(r'"\*?[^*"\\]*\*?"', operand), f"{operand} is not implemented"
                if not exists:
                    return False if operator == "=" else None
                if not isinstance(value, str):
                    return None
                wanted = ".*".join(map(re.escape, operand.strip('"').split("*")))
                return (re.fullmatch(wanted, value, re.DOTALL) is not None) == (operator == "=")


def select(line: Line, selector: str) -> tuple[bool, Any]:
    """Whether a line has a member, and its value."""
    value: Any = line
    for name in selector.removeprefix("$.").split("."):
        if not isinstance(value, Mapping) or name not in value:
            return False, None
        value = value[name]
    return True, value


@dataclass(frozen=True)
class MetricFilter:
    """What AWS::Logs::MetricFilter makes of the lines of a log group."""

    properties: dict[str, Any]

    def __post_init__(self) -> None:
        assert self.properties.keys() == {"LogGroupName", "FilterPattern", "MetricTransformations"}
        optional = {"DefaultValue", "Dimensions"}
        assert self._transformation.keys() - optional == {"MetricNamespace", "MetricName", "MetricValue", "Unit"}
        # "If you assign dimensions to a metric created by a metric filter, you can't assign a default value for that
        # metric": https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/MonitoringLogData.html
        assert not optional <= self._transformation.keys()

    @property
    def _transformation(self) -> dict[str, Any]:
        [transformation] = self.properties["MetricTransformations"]
        return transformation

    @cached_property
    def pattern(self) -> Pattern:
        return Pattern(self.properties["FilterPattern"])

    @property
    def name(self) -> str:
        return self._transformation["MetricName"]

    @property
    def namespace(self) -> str:
        return self._transformation["MetricNamespace"]

    @property
    def dimensions(self) -> list[str]:
        return [dimension["Key"] for dimension in self._transformation.get("Dimensions", [])]

    def data(self, lines: list[Line]) -> list[tuple[Metric, float]]:
        """The data of one minute. The default value is reported if lines come and none matches."""
        data = [self._datum(line) for line in lines if self.pattern.matches(line)]
        default = self._transformation.get("DefaultValue")
        if lines and not data and default is not None:
            data = [(metric(self.namespace, self.name), float(default))]
        return data

    def _datum(self, line: Line) -> tuple[Metric, float]:
        def value(selector: str) -> Any:
            exists, value = select(line, selector)
            assert exists, f"{selector} is missing in {line}"
            return value

        dimensions = {
            dimension["Key"]: value(dimension["Value"]) for dimension in self._transformation.get("Dimensions", [])
        }
        amount = self._transformation["MetricValue"]
        amount = value(amount) if amount.startswith("$") else amount
        return metric(self.namespace, self.name, dimensions), float(amount)


class Metrics:
    """The data of all metrics, by minute."""

    def __init__(self) -> None:
        self._data: dict[Metric, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, metric: Metric, minute: int, value: float) -> None:
        self._data[metric][minute].append(value)

    def statistic(self, metric: Metric, name: str, minutes: Iterable[int]) -> float | None:
        """The statistic of a period, or None without data."""
        of_metric = self._data.get(metric, {})
        values = [value for minute in minutes for value in of_metric.get(minute, [])]
        return {"Sum": sum, "Maximum": max}[name](values) if values else None


@dataclass(frozen=True)
class Alarm:
    """AWS::CloudWatch::Alarm."""

    properties: dict[str, Any]

    _SIMPLE = frozenset({"Namespace", "MetricName", "Statistic", "Period"})
    _ALL = frozenset({
        *("AlarmName", "AlarmDescription", "AlarmActions", "OKActions", "EvaluationPeriods", "ComparisonOperator"),
        *("Threshold", "TreatMissingData"),
    })

    def __post_init__(self) -> None:
        own = {"Metrics"} if "Metrics" in self.properties else self._SIMPLE
        assert self.properties.keys() - {"Dimensions", "DatapointsToAlarm"} == self._ALL | own, self.properties.keys()

    @property
    def metrics(self) -> list[Metric]:
        """The metrics that the alarm watches."""
        if "Metrics" in self.properties:
            return [_watched(it["MetricStat"]["Metric"]) for it in self.properties["Metrics"] if "MetricStat" in it]
        return [_watched(self.properties)]

    def is_on(self, metrics: Metrics, minute: int) -> bool:
        """Whether the alarm is in the ALARM state at the end of this minute.

        CloudWatch looks back a little further when data is missing. That only affects how long an alarm lasts.
        """
        periods = int(self.properties["EvaluationPeriods"])
        length = self._period // 60
        ends = [minute + 1 - length * number for number in range(periods)]
        values = [self._value(metrics, range(end - length, end)) for end in ends]
        return sum(map(self._is_breaching, values)) >= int(self.properties.get("DatapointsToAlarm", periods))

    @property
    def _period(self) -> int:
        if "Metrics" in self.properties:
            [period] = {query["MetricStat"]["Period"] for query in self.properties["Metrics"] if "MetricStat" in query}
            return int(period)
        return int(self.properties["Period"])

    def _value(self, metrics: Metrics, minutes: range) -> float | None:
        if "Metrics" not in self.properties:
            [watched] = self.metrics
            return metrics.statistic(watched, self.properties["Statistic"], minutes)
        values: dict[str, float | None] = {}
        expressions = []
        for query in self.properties["Metrics"]:
            if "Expression" in query:
                assert query.keys() <= {"Id", "Label", "Expression", "ReturnData"} and query.get("ReturnData", True)
                expressions.append(query["Expression"])
            else:
                assert query.keys() == {"Id", "MetricStat", "ReturnData"} and query["ReturnData"] is False
                stat = query["MetricStat"]
                assert stat.keys() == {"Metric", "Period", "Stat"}
                assert stat["Metric"].keys() - {"Dimensions"} == {"Namespace", "MetricName"}
                values[query["Id"]] = metrics.statistic(_watched(stat["Metric"]), stat["Stat"], minutes)
        [expression] = expressions
        return evaluate(expression, values)

    def _is_breaching(self, value: float | None) -> bool:
        if value is None:
            return {"breaching": True, "notBreaching": False}[self.properties["TreatMissingData"]]
        threshold = float(self.properties["Threshold"])
        match self.properties["ComparisonOperator"]:
            case "GreaterThanOrEqualToThreshold":
                return value >= threshold
            case "GreaterThanThreshold":
                return value > threshold
            case "LessThanThreshold":
                return value < threshold
        raise AssertionError(f"{self.properties['ComparisonOperator']} is not implemented")


def _watched(properties: Mapping[str, Any]) -> Metric:
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in properties.get("Dimensions", [])}
    return metric(properties["Namespace"], properties["MetricName"], dimensions)


def evaluate(expression: str, values: Mapping[str, float | None]) -> float | None:
    """A metric math expression for one period, or None without data. It has one of the forms
    `IF(metric > number, number, metric)` and `metric - FILL(metric, number)`:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html"""
    tokens = Tokens(expression, r"[A-Z]+|[a-z]\w*|\d+|[-(),>]")
    result = _conditional(tokens, values) if tokens.next == "IF" else _difference(tokens, values)
    assert tokens.next is None
    return result


def _conditional(tokens: Tokens, values: Mapping[str, float | None]) -> float | None:
    for token in ("IF", "("):
        tokens.take(token)
    condition = values[tokens.take()]
    tokens.take(">")
    limit = float(tokens.take())
    tokens.take(",")
    if_true = float(tokens.take())
    tokens.take(",")
    if_false = values[tokens.take()]
    tokens.take(")")
    # A data point is dropped if the condition has none.
    return None if condition is None else if_true if condition > limit else if_false


def _difference(tokens: Tokens, values: Mapping[str, float | None]) -> float | None:
    minuend = values[tokens.take()]
    for token in ("-", "FILL", "("):
        tokens.take(token)
    subtrahend = values[tokens.take()]
    tokens.take(",")
    filled = float(tokens.take())
    tokens.take(")")
    # There is no data point if one side has none. FILL gives the other side one.
    return None if minuend is None else minuend - (filled if subtrahend is None else subtrahend)
