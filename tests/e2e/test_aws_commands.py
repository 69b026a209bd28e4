"""Does AWS CLI 2 accept every `aws` command of the pages, of the stack's outputs and of `doctor`? Each is parsed and
validated up to its first request. What AWS answers isn't tested here."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from support import aws_cli
from support.cloudformation import Template, read_template
from support.harness import HOST, ROOT

# The pages use these programs in the arguments of `aws`. All others do nothing.
PROGRAMS = ("basename", "date", "sed")

# Stands for the values that AWS would answer. Some ids must be as long as a UUID.
VALUE = "11111111-2222-3333-4444-555555555555"

# Runs the shell blocks of a page, with an `aws` that writes down its arguments.
SHELL = r"""
aws() {
  printf '%s\0' "$@" >> "$RECORD"; printf '\n' >> "$RECORD"
  case "$*" in
    "s3 cp "*) : >> "$3" ;;
    *UsePreviousValue*) echo ParameterKey=Name,UsePreviousValue=true ;;
    *"--output text"*) echo "$VALUE" ;;
    *) echo '{}' ;;
  esac
}
command_not_found_handle() { :; }
output() { echo "$VALUE"; }
STACK=scalekit
"""

_BLOCK = re.compile(r"^( *)```sh\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(aws [^`\n]+ --[^`\n]+)`")
_COMMAND = re.compile(r"\baws ([a-z][\w-]+ [a-z][\w-]+)")

pytestmark = pytest.mark.skipif(not aws_cli.SUPPORTED, reason="PyPI has AWS CLI 2 for Linux on x86_64 only")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory that looks to the commands like the top folder of the repository."""
    for name in ("deploy", "events", "template.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "template.json").write_text("{}")  # a file of a release
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(shutil.which(name) or name)
    return tmp_path


def script(page: str) -> str:
    """The shell blocks of a page, and the commands with options in its text. The readers fill in the ports of local servers."""
    blocks = [dedent(block) for _, block in _BLOCK.findall(page)]
    return "\n".join(blocks + _INLINE.findall(_FENCED.sub("", page))).replace(f"{HOST}:…", f"{HOST}:9")


def run(script: str, directory: Path) -> list[list[str]]:
    """The arguments of each `aws` command that the script runs."""
    record = directory / ".record"
    record.write_text("")
    done = subprocess.run(
        ["/bin/bash", "-c", SHELL + script],
        cwd=directory,
        env={"PATH": str(directory / "bin"), "RECORD": str(record), "VALUE": VALUE},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    commands = [command.split("\0") for command in record.read_text().split("\0\n")[:-1]]
    return [list(command) for command in dict.fromkeys(map(tuple, commands))]


def named(script: str) -> set[str]:
    """The service and the operation of each command in the script's text."""
    code = "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in script.splitlines())
    return set(_COMMAND.findall(code))


def problems(commands: list[list[str]], directory: Path) -> dict[str, str]:
    checked = zip(commands, aws_cli.check(commands, directory), strict=True)
    return {shlex.join(["aws", *command]): problem for command, problem in checked if problem}


SCRIPTS = {
    str(page.relative_to(ROOT)): text
    for pattern in ("*.md", "docs/*.md", "events/*.md", "deploy/**/*.md")
    for page in sorted(ROOT.glob(pattern))
    if named(text := script(page.read_text()))
}


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_the_cli_accepts_the_commands_of_a_page(text: str, directory: Path) -> None:
    commands = run(text, directory)
    assert named(text) == {" ".join(command[:2]) for command in commands}, "a command of the page didn't run"
    assert problems(commands, directory) == {}


def test_the_cli_accepts_the_commands_in_the_outputs_of_the_stack(directory: Path) -> None:
    outputs = Template(read_template()).outputs
    commands = {name: shlex.split(value)[1:] for name, value in outputs.items() if value.startswith("aws ")}
    assert commands.keys() == {name for name in outputs if name.endswith("Command")}
    assert problems(list(commands.values()), directory) == {}


def test_the_cli_accepts_the_commands_that_doctor_advises(directory: Path) -> None:
    sources = "".join(path.read_text() for path in (ROOT / "cli" / "src").glob("**/*.rs"))
    commands = [shlex.split(re.sub(r"\{\w*\}", VALUE, it))[1:] for it in re.findall(r"`(aws [^`]+)`", sources)]
    assert commands
    assert problems(commands, directory) == {}


def test_a_command_that_the_cli_refuses_is_found(directory: Path) -> None:
    refused = {
        "aws sqs delete-queue --queue-name text": "the following arguments are required: --queue-url",
        "aws sqs delete-queue --queue-url text --force": "Unknown options: --force",
        "aws sqs remove-queue --queue-url text": "Found invalid choice 'remove-queue'",
        "aws events put-targets --rule text --targets Id=text,Queue=text": "Unknown parameter in Targets[0]",
        "aws events put-targets --rule text --targets Id=text": "Missing required parameter in Targets[0]",
        "aws lambda put-function-concurrency --function-name text --reserved-concurrent-executions none": "invalid literal",
        "aws lambda get-function --function-name text --query Configuration.": "Bad value for --query",
        "aws kms create-key --policy file://none.json": "Unable to load paramfile",
        "aws sns subscribe --topic-arn '' --protocol email --attributes none": "Error parsing parameter '--attributes'",
    }
    script = "\n".join(["aws sqs delete-queue --queue-url text", *refused])
    found = problems(run(script, directory), directory)
    assert found.keys() == refused.keys()
    for command, problem in refused.items():
        assert problem in found[command]


def test_a_command_that_does_not_run_is_found(directory: Path) -> None:
    text = script("```sh\naws sts get-caller-identity || aws kms list-keys # aws kms list-grants\n```\n")
    assert [command[:2] for command in run(text, directory)] == [["sts", "get-caller-identity"]]
    assert named(text) == {"sts get-caller-identity", "kms list-keys"}


def test_a_command_in_the_text_is_found_if_it_has_options(directory: Path) -> None:
    text = script("Run `aws sqs list-queues --max-results 1`. The action `aws sqs list-queues` lists `--max-results` queues.\n")
    assert run(text, directory) == [["sqs", "list-queues", "--max-results", "1"]]


def test_the_blocks_of_lists_are_run_with_their_arguments(directory: Path) -> None:
    text = script('1. First:\n\n   ```sh\n   NAME="a b"\n   aws sqs \\\n     list-queues "$NAME" "$(aws iam list-users --output text)"\n   ```\n')
    assert run(text, directory) == [["iam", "list-users", "--output", "text"], ["sqs", "list-queues", "a b", VALUE]]
