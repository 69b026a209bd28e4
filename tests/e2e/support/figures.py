"""What do an invocation's REPORT lines say about duration, memory and cost?"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

# List prices of us-east-1 in US dollars, as in docs/operations.md.
PER_REQUEST = 0.20 / 1_000_000
PER_GB_SECOND = {"arm64": 0.0000133334, "x86_64": 0.0000166667}
PER_EVENT = 1.00 / 1_000_000
PER_LOGGED_GB = 0.50


@dataclass(frozen=True)
class Invocation:
    """What Lambda reports about an invocation. Times are in milliseconds, sizes in MB."""

    duration: float
    billed: float
    memory: int
    used: int
    init: float | None = None


_TEXT = re.compile(
    r"REPORT RequestId: \S+\s+Duration: (?P<duration>[\d.]+) ms\s+Billed Duration: (?P<billed>[\d.]+) ms\s+"
    r"Memory Size: (?P<memory>\d+) MB\s+Max Memory Used: (?P<used>\d+) MB(?:\s+Init Duration: (?P<init>[\d.]+) ms)?"
)


def invocations(lines: Iterable[str]) -> list[Invocation]:
    """The invocations that the REPORT lines among these lines describe, in either of Lambda's log formats:
    https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html#platform-report"""
    return [found for line in lines if (found := _invocation(line))]


def _invocation(line: str) -> Invocation | None:
    if text := _TEXT.match(line):
        init = float(text["init"]) if text["init"] else None
        return Invocation(float(text["duration"]), float(text["billed"]), int(text["memory"]), int(text["used"]), init)
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if not isinstance(event, dict) or event.get("type") != "platform.report":
        return None
    metrics = event["record"]["metrics"]
    return Invocation(
        metrics["durationMs"],
        metrics["billedDurationMs"],
        metrics["memorySizeMB"],
        metrics["maxMemoryUsedMB"],
        metrics.get("initDurationMs"),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least this share of the values doesn't exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def distribution(values: Sequence[float]) -> str:
    """The number of values and how they are distributed, in milliseconds."""
    p50, p99 = percentile(values, 50), percentile(values, 99)
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(values):.1f} ms, n = {len(values)}"


def of_function(reports: Sequence[Invocation]) -> dict[str, str]:
    """The figures of a function, except those that Lambda didn't report."""
    cold = [it for it in reports if it.init is not None]
    warm = [it for it in reports if it.init is None]
    distributions = {
        "init": [it.init for it in cold if it.init is not None],
        "duration of first invocations": [it.duration for it in cold],
        "duration of later invocations": [it.duration for it in warm],
        "billed duration of later invocations": [it.billed for it in warm],
    }
    figures = {name: distribution(values) for name, values in distributions.items() if values}
    used = max(it.used for it in reports)
    return figures | ({"memory used": f"{used} of {reports[0].memory} MB"} if used else {})


def cost_per_million(reports: Sequence[Invocation], log_bytes: float, architecture: str) -> float:
    """The cost of a million deliveries like these, in US dollars: requests and duration of Lambda, events of EventBridge,
    and the log. `log_bytes` is the size of the log of one delivery."""
    gb_seconds = mean(it.billed for it in reports) / 1000 * reports[0].memory / 1024
    delivery = PER_REQUEST + gb_seconds * PER_GB_SECOND[architecture] + PER_EVENT + log_bytes / 1e9 * PER_LOGGED_GB
    return delivery * 1_000_000
