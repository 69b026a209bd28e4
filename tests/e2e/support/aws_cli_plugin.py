"""A plug-in of AWS CLI 2 that runs many commands in one process, because the CLI takes most of a second to start.

The CLI runs it instead of its own command. The environment variable COMMANDS names a file with the arguments of each command,
in JSON. The result of each command, its exit status and what it wrote to standard error, goes to standard output."""

import contextlib
import io
import json
import os
import sys

from awscli import clidriver


def awscli_initialize(_events):
    with open(os.environ["COMMANDS"]) as file:
        commands = json.load(file)
    # The commands must not load this plug-in again.
    os.environ["AWS_CONFIG_FILE"] = os.devnull
    driver = clidriver.create_clidriver()
    json.dump([run(driver, arguments) for arguments in commands], sys.stdout)
    sys.stdout.flush()
    os._exit(0)


def run(driver, arguments):
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            status = driver.main(arguments)
        except SystemExit as exit:
            status = exit.code
    return status, errors.getvalue().strip()
