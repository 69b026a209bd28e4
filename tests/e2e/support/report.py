"""Records what each check of a deployment expected and saw, and writes it as a report for people and one for programs.

The first part is a plugin of pytest. It appends each result to a file at once, so that the report is complete until the
moment at which a run was interrupted. The second part makes the report from that file."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

PASSED, FAILED, NOT_CHECKED = "passed", "failed", "not checked"

# How much of a value a report shows.
_MAX_TEXT = 300


class Expect:
    """Compares what a check sees with what it expects, and records both."""

    def __init__(self, item: pytest.Item) -> None:
        self._properties = item.user_properties

    def __call__(self, what: str, seen: Any, expected: Any) -> None:
        self._properties.append(("observation", {"what": what, "expected": shown(expected), "seen": shown(seen)}))
        assert seen == expected, f"{what}: expected {expected!r}, but saw {seen!r}"

    def figure(self, name: str, value: Any) -> None:
        """Records a measurement. There is nothing to compare it with."""
        self._properties.append(("figure", {"name": name, "value": value}))


def shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=_sorted, ensure_ascii=False)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def _sorted(value: Any) -> Any:
    return sorted(value) if isinstance(value, Set) else str(value)


def title(item: pytest.Item) -> str:
    """The check as a sentence: the name of the test, and its parameters."""
    name, _, parameters = item.name.removeprefix("test_").partition("[")
    sentence = name.replace("_", " ").capitalize()
    return f"{sentence} ({parameters.removesuffix(']')})" if parameters else sentence


class Recorder:
    """The plugin. Only tests with the marker `acceptance` are checks. The marker names their group."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        outcome = yield
        report: pytest.TestReport = outcome.get_result()
        is_result = report.when == "call" or report.outcome != "passed"
        marker = item.get_closest_marker("acceptance")
        if not is_result or not marker:
            return
        result = {
            "check": title(item),
            "group": marker.args[0],
            "outcome": {"passed": PASSED, "failed": FAILED, "skipped": NOT_CHECKED}[report.outcome],
            "seconds": round(call.duration, 1),
            "observations": [value for name, value in item.user_properties if name == "observation"],
            "figures": [value for name, value in item.user_properties if name == "figure"],
        }
        if report.failed:
            result["problem"] = shown(call.excinfo.exconly()) if call.excinfo else ""
        elif report.skipped:
            result["reason"] = report.longrepr[2].removeprefix("Skipped: ")
        append(self._path, result)


def not_checked(group: str, check: str, reason: str) -> dict[str, Any]:
    """A check that no run makes."""
    return {
        **{"check": check, "group": group, "outcome": NOT_CHECKED, "seconds": 0, "reason": reason},
        **{"observations": [], "figures": []},
    }


def append(path: Path, result: dict[str, Any]) -> None:
    with path.open("a") as file:
        file.write(json.dumps(result) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass(frozen=True)
class Report:
    """Everything about a run."""

    version: str
    commit: str
    target: str
    region: str
    architectures: list[str]
    started: datetime
    finished: datetime
    quick: bool
    # Why the run ended early, or an empty text.
    interrupted: str
    checks: list[dict[str, Any]]
    # What the removal left. None if nothing was removed, because that was asked for.
    left: list[str] | None
    # The id of the account, which is not published.
    account: str = ""

    @property
    def passed(self) -> bool:
        outcomes = {check["outcome"] for check in self.checks}
        return PASSED in outcomes and FAILED not in outcomes and not self.interrupted and not self.left

    def summary(self) -> str:
        counts = Counter(check["outcome"] for check in self.checks)
        parts = [f"{counts[outcome]} {outcome}" for outcome in (PASSED, FAILED, NOT_CHECKED)]
        return ", ".join(parts)

    def json(self) -> str:
        return self._publishable(json.dumps(
            {
                "version": self.version,
                "commit": self.commit,
                "target": self.target,
                "region": self.region,
                "architectures": self.architectures,
                "started": self.started.isoformat(timespec="seconds"),
                "finished": self.finished.isoformat(timespec="seconds"),
                "quick": self.quick,
                "interrupted": self.interrupted,
                "passed": self.passed,
                "summary": self.summary(),
                "left": self.left,
                "checks": self.checks,
            },
            indent=2,
        ) + "\n")

    def _publishable(self, text: str) -> str:
        """Without the id of the account and without signing secrets, which the message of an error can contain."""
        text = re.sub(r"whsec_[A-Za-z0-9+/=]+", "whsec_…", text)
        return text.replace(self.account, "ACCOUNT") if self.account else text

    def markdown(self) -> str:
        lines = [
            f"# Acceptance of scalekit-eventbridge {self.version}",
            "",
            f"**{'Passed' if self.passed else 'Failed'}**: {self.summary()}.",
            "",
            "| | |",
            "|---|---|",
            f"| commit | {self.commit} |",
            f"| date | {self.started:%Y-%m-%d %H:%M} to {self.finished:%H:%M} UTC |",
            f"| target | {self.target} |",
            f"| region | {self.region} |",
            f"| architecture | {', '.join(self.architectures)} |",
            f"| form | {'quick' if self.quick else 'complete'} |",
            f"| removal | {self._removal()} |",
        ]
        if self.interrupted:
            lines += ["", f"The run was interrupted ({self.interrupted}). The checks after that are missing."]
        lines += self._problems() + self._figures() + self._checks() + self._not_checked()
        return self._publishable("\n".join(lines) + "\n")

    def _removal(self) -> str:
        if self.left is None:
            return "nothing was removed, because KEEP=1 was set"
        return "still there: " + ", ".join(self.left) if self.left else "everything that the run created was removed"

    def _problems(self) -> list[str]:
        failed = [check for check in self.checks if check["outcome"] == FAILED]
        if not failed:
            return []
        rows = [(check["check"], check["problem"]) for check in failed]
        return ["", "## Failed", "", *table(("check", "problem"), rows)]

    def _figures(self) -> list[str]:
        rows = [(it["name"], shown(it["value"])) for check in self.checks for it in check["figures"]]
        emulated = ["These are figures of this machine. They say nothing about AWS.", ""] if self.target != "AWS" else []
        return ["", "## Figures", "", *emulated, *table(("figure", "value"), rows)] if rows else []

    def _checks(self) -> list[str]:
        checked = [check for check in self.checks if check["outcome"] != NOT_CHECKED]
        lines: list[str] = []
        for group in dict.fromkeys(check["group"] for check in checked):
            rows = []
            for check in (it for it in checked if it["group"] == group):
                rows.append((check["check"], check["outcome"], "", ""))
                rows += [("", it["what"], it["expected"], it["seen"]) for it in check["observations"]]
            lines += ["", f"## {group}", "", *table(("check", "outcome", "expected", "seen"), rows)]
        return lines

    def _not_checked(self) -> list[str]:
        rows = [(it["group"], it["check"], it["reason"]) for it in self.checks if it["outcome"] == NOT_CHECKED]
        return ["", "## Not checked here", "", *table(("group", "check", "why"), rows)] if rows else []

    def write(self, directory: Path) -> list[Path]:
        directory.mkdir(parents=True, exist_ok=True)
        files = {"report.md": self.markdown(), "report.json": self.json()}
        for name, text in files.items():
            (directory / name).write_text(text)
        return [directory / name for name in files]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *(f"| {' | '.join(map(_cell, row))} |" for row in rows),
    ]


def _cell(text: str) -> str:
    """A text in a table of Markdown, without line breaks and control characters."""
    visible = re.sub(r"[\x00-\x1f\x7f]+", " ", text)
    return re.sub(r"([|<`\\])", r"\\\1", visible)


def now() -> datetime:
    return datetime.now(UTC)
