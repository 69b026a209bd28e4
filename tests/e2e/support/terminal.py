"""Prints text so that nothing from outside can change what a terminal shows, and colours only on a terminal."""

from __future__ import annotations

import os
import re
import shutil
import sys

GOOD, BAD, FAINT, BOLD = "32", "31", "2", "1"

# Control characters, those that change the direction of a text, separators of lines, and halves of characters, which can't
# be printed.
_ABOVE_ASCII = "\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL = re.compile(f"[\x00-\x1f{_ABOVE_ASCII}]")
_CONTROL_IN_JSON = re.compile(f"[{_ABOVE_ASCII}]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def printable(text: str) -> str:
    """The text with an escape in the place of each character that a terminal could act upon."""
    return _CONTROL.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", text)


def printable_json(text: str) -> str:
    """JSON that Python has written, with an escape in the place of each such character."""
    return _CONTROL_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def is_terminal() -> bool:
    return sys.stdout.isatty()


def styled(text: str, style: str) -> str:
    """The printable text, with a style if it is shown on a terminal: https://no-color.org."""
    text = printable(text)
    if not text or not is_terminal() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{style}m{text}\x1b[0m"


def without_colours(text: str) -> str:
    return _COLOUR.sub("", text)


def cut_to_terminal(text: str) -> str:
    """The printable text, with its end cut off if it is wider than the terminal."""
    text = printable(text)
    if not is_terminal():
        return text
    width = shutil.get_terminal_size().columns
    return text if len(text) <= width else text[: width - 1] + "…"
