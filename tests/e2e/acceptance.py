"""Runs the tests of a deployment as an acceptance of the product, in an AWS account or on the emulator: asks, deploys,
checks, removes everything, and writes a report. `make acceptance` starts it.

The checks run in a process of their own. Whatever happens to that process, this one removes what it created."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.append(str(Path(__file__).resolve().parents[2] / "deploy"))

import release
from botocore.exceptions import BotoCoreError, ClientError

from support import removal, report
from support.harness import ROOT, Emulator, prepare_process, react_to_signals
from support.report import Report
from support.target import Target

TESTS = ROOT / "tests" / "e2e"
REPORT_DIRECTORY = ROOT / "target" / "acceptance"

# What the acceptance can't check, with the reason.
NEVER_CHECKED = [
    ("Refusals", "A panic is answered with internal-error", "nobody can make the function panic from outside"),
    ("Alarms", "ParkedLong goes off", "takes half an hour without a bus"),
    ("Alarms", "Slow goes off", "needs a bus and a queue that are slow"),
    ("Alarms", "Silence goes off", "needs an hour without deliveries; by default, the alarm doesn't exist"),
    ("Alarms", "BusDeadLetters goes off", "needs an event bus that can't use its key"),
]

# How long the checks may take to end after a signal.
SECONDS_TO_END = 120

QUESTION = """\
This runs the acceptance of scalekit-eventbridge {version} in a real AWS account.

  account   {account}
  region    {region}
  duration  about {minutes} minutes
  cost      well under a dollar, for requests, events, logs, alarms and KMS keys

It creates about a dozen CloudFormation stacks with everything that template.yaml has: functions with public URLs, event
buses, an archive, queues, secrets, alarms, topics, KMS keys, log groups and IAM roles. For the checks, it also creates
queues, rules, an event bus, a secret, a topic, a KMS key, an IAM policy and a bucket. Names start with
scalekit-acceptance-. Afterwards it removes everything{kept}. The KMS keys stay "pending deletion" for 7 days, which costs
nothing.
"""

LEFT = """
An earlier run left the following, which is removed first. If another run is in progress now, answer no:
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog="Other arguments are passed to pytest, such as -k TEXT.")
    parser.add_argument("target", choices=["aws", "emulator"])
    parser.add_argument("--endpoint-url", help="an emulator that runs already; without it, this starts one")
    parser.add_argument("--quick", action="store_true", help="leave out checks that take over 10 minutes")
    parser.add_argument("--keep", action="store_true", help="remove nothing")
    parser.add_argument("--remove", action="store_true", help="only remove what earlier runs left")
    parser.add_argument("--yes", action="store_true", help="don't ask")
    parser.add_argument("--report-directory", type=Path, default=REPORT_DIRECTORY)
    options, options_of_pytest = parser.parse_known_args()
    options.pytest = options_of_pytest

    if options.target == "aws":
        react_to_signals()
        return accept(Target(), options)
    prepare_process()
    if options.endpoint_url:
        return accept(Target(endpoint=options.endpoint_url), options)
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory, Emulator(Path(directory)) as emulator:
        return accept(Target(endpoint=emulator.url), options)


def accept(target: Target, options: argparse.Namespace) -> int:
    try:
        left = removal.leftovers(target)
        if target.is_aws and not options.yes and not ask(target, options, left):
            return 1
    except (BotoCoreError, ClientError) as error:
        print(f"There is no usable AWS account: {error}", file=sys.stderr)
        return 1
    if left:
        print("Removing what an earlier run left:", *left, sep="\n  ", flush=True)
        left = removal.remove(target)
    if options.remove:
        print("Still there:" if left else "Nothing is left", *left, sep="\n  ")
        return 1 if left else 0

    started = report.now()
    interrupted, still_there = "", None
    with TemporaryDirectory(prefix="scalekit-eventbridge-") as directory:
        results = Path(directory) / "results"
        try:
            interrupted = check(target, options, results)
        except KeyboardInterrupt:
            interrupted = "by a signal"
        finally:
            with without_signals():
                if not options.keep:
                    print("Removing everything that was created", flush=True)
                    still_there = remove(target)
                finished = make_report(target, options, started, results, interrupted, still_there)
                files = finished.write(options.report_directory)
    print("The report:", *(it.relative_to(ROOT) if it.is_relative_to(ROOT) else it for it in files))
    print(f"{'Passed' if finished.passed else 'Failed'}: {finished.summary()}")
    if still_there:
        print("Still there:", *still_there, sep="\n  ")
    return 0 if finished.passed else 1


def remove(target: Target) -> list[str]:
    """Removes everything. An error must not hide the report, so it is returned as what is still there."""
    try:
        return removal.remove(target)
    except (BotoCoreError, ClientError) as error:
        return [f"unknown, because the removal failed: {error}"]


def ask(target: Target, options: argparse.Namespace, left: list[str]) -> bool:
    if options.remove:
        print(f"This removes what earlier runs left in the account {target.account} and the region {target.region}:")
    else:
        print(QUESTION.format(
            version=release.VERSION,
            account=target.account,
            region=target.region,
            minutes=25 if options.quick else 90,
            kept=", except that KEEP=1 keeps it" if options.keep else "",
        ))
        if left:
            print(LEFT)
    print(*(f"  {it}" for it in left), sep="\n")
    return input("Continue? [y/N] ").strip().lower() in ("y", "yes")


def check(target: Target, options: argparse.Namespace, results: Path) -> str:
    """Runs the checks, and returns why they ended early, or an empty text."""
    command = [
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "-m", "acceptance"),
        *("--target", options.target, "--run-name", target.run, "--results", str(results)),
        *(("--endpoint-url", target.endpoint) if target.endpoint else ()),
        *(("--quick",) if options.quick else ()),
        *map(str, sorted(TESTS.glob("test_deploy*.py"))),
        str(TESTS / "test_rules.py"),
        *options.pytest,
    ]
    process = None
    try:
        # Without an interruption, so that a process that was started is known.
        with without_signals():
            # A process group of its own also has the commands that the checks have started, such as the AWS CLI.
            process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        status = process.wait()
    except KeyboardInterrupt:
        with without_signals():
            if process:
                end(process)
        raise
    # 0 and 1 are pytest's own: all passed, or some failed.
    return "" if status in (0, 1) else f"the checks ended with the status {status}"


def end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=SECONDS_TO_END)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            pass
        # The group may have other processes than the one that ended.


@contextmanager
def without_signals() -> Iterator[None]:
    """The removal is not interrupted. A second Ctrl-C has to wait."""
    signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)


def make_report(
    target: Target,
    options: argparse.Namespace,
    started: datetime,
    results: Path,
    interrupted: str,
    left: list[str] | None,
) -> Report:
    return Report(
        version=release.VERSION,
        commit=commit(),
        target="AWS" if target.is_aws else "emulator",
        region=target.region if target.is_aws else "none: the emulator runs on this machine",
        architectures=["arm64", "x86_64"] if target.is_aws else [target.architecture],
        started=started,
        finished=report.now(),
        quick=options.quick,
        interrupted=interrupted,
        checks=report.read(results) + [report.not_checked(*it) for it in NEVER_CHECKED],
        left=left,
        account=target.account if target.is_aws else "",
    )


def commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    changed = " with uncommitted changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{git('rev-parse', 'HEAD')}{changed}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
