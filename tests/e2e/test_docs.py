"""Are the pages true? Every relative link must lead to a file, and every anchor to a heading. What the pages repeat
from the template and the sources must be the same there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from support.cloudformation import Template, read_template
from support.harness import EVENTS, ROOT

README = ROOT / "README.md"
DOCS = ROOT / "docs"
ANSWERS = DOCS / "answers.md"
CONFIGURATION = DOCS / "configuration.md"
OPERATIONS = DOCS / "operations.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md"), *EVENTS.glob("*.md")])
TEMPLATE = (ROOT / "template.yaml").read_text()

MAX_README_LINES = 150

_CODE_BLOCK = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_MARKDOWN_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def headings(text: str) -> list[str]:
    return _HEADING.findall(_CODE_BLOCK.sub("", text))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings: a repeated one gets a number."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in headings(text):
        words = _MARKDOWN_LINK.sub(r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def links(text: str) -> Iterator[str]:
    """The relative links in the text, images included. Code contains none."""
    for target in _LINK.findall(_INLINE_CODE.sub("", _CODE_BLOCK.sub("", text))):
        if not re.match(r"[a-z]+:", target):
            yield target


def problem(page: Path, target: str, root: Path = ROOT) -> str | None:
    """Why a link on a page doesn't work, if it doesn't."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.is_relative_to(root.resolve()):
        return "leads out of the repository"
    if not file.exists():
        return "no such file"
    if anchor and (file.suffix != ".md" or anchor not in anchors(file.read_text())):
        return "no such heading"
    return None


def broken(page: Path, root: Path = ROOT) -> dict[str, str]:
    """The links of a page that don't work, and why."""
    problems = {target: problem(page, target, root) for target in links(page.read_text())}
    return {target: why for target, why in problems.items() if why}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == {}


def linked(page: Path) -> set[Path]:
    return {(page.parent / target.partition("#")[0]).resolve() for target in links(page.read_text())}


def test_the_readme_links_to_every_page() -> None:
    """The guide for consumers links to the other pages for consumers."""
    assert {page for page in PAGES if page != README} <= linked(README) | linked(EVENTS / "README.md")


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= MAX_README_LINES


def test_every_alarm_has_its_section() -> None:
    [section] = re.findall(r"^## Alarms\n(.*?)^## ", OPERATIONS.read_text(), re.MULTILINE | re.DOTALL)
    alarms = re.findall(r"^  (\w+):\n    Type: AWS::CloudWatch::Alarm$", TEMPLATE, re.MULTILINE)
    assert alarms
    assert Counter(headings(section)) == Counter(alarm.removesuffix("Alarm") for alarm in alarms)


def test_the_template_names_sections_that_exist() -> None:
    for target in re.findall(r"\bdocs/[\w-]+\.md(?:#[\w-]+)?", TEMPLATE):
        assert problem(README, target) is None, target


def test_doctor_names_sections_that_exist() -> None:
    sources = "".join(path.read_text() for path in sorted((ROOT / "cli" / "src" / "doctor").glob("*.rs")))
    pages = set(re.findall(r'"((?:docs/|events/|README)[\w./-]*(?:#[\w-]+)?)"', sources))
    assert len(pages) > 10
    for target in pages:
        assert problem(README, target) is None, target


def section(page: Path, heading: str) -> str:
    """The text under a heading, up to the next one of the same or a higher level."""
    level, _, title = heading.partition(" ")
    text = page.read_text()
    until = rf"(?=^#{{2,{len(level)}}} |\Z)"
    [found] = re.findall(rf"^{level} {re.escape(title)}\n(.*?){until}", text, re.MULTILINE | re.DOTALL)
    return found


def rows(text: str) -> list[list[str]]:
    """The cells of the text's tables, without their heads."""
    found: list[list[str]] = []
    for line in text.splitlines():
        if re.fullmatch(r" *\|[-:| ]+", line):
            found.pop()
        elif line.lstrip().startswith("|"):
            found.append([cell.strip() for cell in line.strip()[1:-1].split("|")])
    return found


def test_every_parameter_is_documented_with_its_default() -> None:
    documented = {
        name.strip("`"): "" if default == "empty" else default.strip("`")
        for name, default, _ in rows(section(CONFIGURATION, "## Template parameters"))
    }
    assert documented == {name: str(it["Default"]) for name, it in read_template()["Parameters"].items()}


def test_every_variable_that_the_template_sets_is_documented() -> None:
    documented = {name.strip("`") for name, _, _ in rows(section(CONFIGURATION, "## Environment variables"))}
    variables = read_template()["Resources"]["WebhookFunction"]["Properties"]["Environment"]["Variables"]
    assert variables.keys() <= documented


def test_the_page_has_every_text_of_a_response() -> None:
    source = (ROOT / "src" / "problem.rs").read_text()
    _, details = source.split("fn detail(&self) -> String {")
    texts = re.findall(r'"((?:[^"\\]|\\.)*)"', details.partition("\n    }\n")[0])
    for placeholder, text in {
        "{reason}": "*reason*",
        "{header}": "webhook-…",
        "{bytes}": "*number*",
        "{MAX_ENTRY_BYTES}": "1047552",
        "{malformed}": "*reason* at line *number*, column *number*",
    }.items():
        texts = [it.replace(placeholder, text) for it in texts]
    codes = set(re.findall(r'StatusCode::\w+, "([a-z-]+)"', source))

    documented = rows(section(ANSWERS, "## The body of a refusal"))
    assert Counter(text for _, text in documented) == Counter(texts)
    assert {code.strip("`") for code, _ in documented if code} == codes


def test_the_texts_about_the_secret_are_those_of_the_function() -> None:
    sources = "".join((ROOT / "src" / name).read_text() for name in ("secret.rs", "signature.rs", "aws/retry.rs"))
    sources = re.sub(r"\\\n\s*", "", sources).replace("{SECRET_PREFIX}", "whsec_")
    texts = [cells[0] for cells in rows(section(OPERATIONS, "### SecretTrouble"))]
    quoted = [part for text in texts for one in re.findall(r'"([^"]+)"', text) for part in re.split(r"…|\d+", one)]
    assert quoted
    for part in quoted:
        assert part.strip(" :") in sources, part


def costs() -> dict[str, list[str]]:
    """The rows of both tables, by their first cell."""
    return {row[0]: row for row in rows(section(OPERATIONS, "## Cost")) if row[0] != "**total**"}


@pytest.mark.parametrize("table", [0, 1])
def test_a_total_is_the_sum_of_the_rows_above_it(table: int) -> None:
    """The rows below it are about other parameters, or about failures."""
    [*_, text] = section(OPERATIONS, "## Cost").split("| for each ")[: table + 2]
    amounts = [re.findall(r"\$([\d.]+)", row[2]) for row in rows(f"| for each {text}")]
    [total] = [number for number, row in enumerate(rows(f"| for each {text}")) if row[0] == "**total**"]
    assert all(len(it) == 1 for it in amounts[: total + 1]) and len(amounts) > total + 1
    assert sum(Decimal(amount) for [amount] in amounts[:total]) == Decimal(amounts[total][0])


def test_the_cost_of_alarms_and_metrics_follows_from_the_template() -> None:
    default = Template(read_template())

    def watched(template: Template) -> int:
        """CloudWatch charges for each metric that an alarm evaluates."""
        alarms = template.of_type("AWS::CloudWatch::Alarm").values()
        return sum(sum("MetricStat" in it for it in alarm.get("Metrics", [])) or 1 for alarm in alarms)

    alarms = costs()["alarms"]
    assert alarms[1].startswith(f"{len(default.of_type('AWS::CloudWatch::Alarm'))} alarms × $0.10")
    assert alarms[2] == f"${watched(default) * 0.10:.2f}"
    key = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    full = Template(read_template(), SilenceHours="24", KmsKeyArn=key, Ingress="HttpApi")
    optional = costs()["`Silence`; with `KmsKeyArn`, `BusDeadLetters`; with an API, `ApiErrors`"]
    assert optional[2] == f"+ $0.10 to ${(watched(full) - watched(default)) * 0.10:.2f}"

    filters = [it["MetricTransformations"][0] for it in default.of_type("AWS::Logs::MetricFilter").values()]
    always = {"Forwarded", "Duration"} | {it["MetricName"] for it in filters if "DefaultValue" in it}
    metrics = costs()["metrics"]
    assert metrics[1].startswith(f"{len(always)} in a month without failures × $0.30")
    assert metrics[2] == f"${len(always) * 0.30:.2f}"
    single = sum("Dimensions" not in it for it in filters) - len(always)
    codes = set(re.findall(r"\| 4\d\d \| `([a-z-]+)` \|", ANSWERS.read_text()))
    others = costs()["other metrics, in a month with failures"]
    assert others[1].startswith(f"at most {single + len(codes)} ({single}, and one for each of the {len(codes)} codes")
    assert others[2] == f"+ $0.00 to ${(single + len(codes)) * 0.30:.2f}"


TARGET = """# The target

## A heading, with `code` & [a link](https://example.com)

## Twice

## Twice

```sh
# a comment
```
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a file](target.md)", {}),
        ("[a directory](folder/)", {}),
        ("[a heading](target.md#the-target)", {}),
        ("[its punctuation](target.md#a-heading-with-code--a-link)", {}),
        ("[a repeated heading](target.md#twice-1)", {}),
        ("# Here\n[this page](#here)", {}),
        ("[the web](https://example.com/none#none)", {}),
        ("`[inline code](none.md)`", {}),
        ("```md\n[a code block](none.md)\n```", {}),
        ("[no such file](none.md)", {"none.md": "no such file"}),
        ("![no such image](none.svg)", {"none.svg": "no such file"}),
        ("[another case](Target.md)", {"Target.md": "no such file"}),
        ("[no such heading](target.md#none)", {"target.md#none": "no such heading"}),
        ("[a heading's own case](target.md#Twice)", {"target.md#Twice": "no such heading"}),
        ("[one repetition too many](target.md#twice-2)", {"target.md#twice-2": "no such heading"}),
        ("[a comment in code](target.md#a-comment)", {"target.md#a-comment": "no such heading"}),
        ("[none on this page](#none)", {"#none": "no such heading"}),
        ("[a heading of a directory](folder#none)", {"folder#none": "no such heading"}),
        ("[too far up](../../target.md)", {"../../target.md": "leads out of the repository"}),
        ("```sh\n```\n[after a code block](none.md)", {"none.md": "no such file"}),
    ],
    ids=lambda value: value.partition("]")[0].rpartition("[")[2] if isinstance(value, str) else "",
)
def test_a_broken_link_is_found(text: str, expected: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "target.md").write_text(TARGET)
    (tmp_path / "folder").mkdir()
    page = tmp_path / "page.md"
    page.write_text(text)

    assert broken(page, tmp_path) == expected
