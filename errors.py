"""The one root of the errors that a user can act on."""

from __future__ import annotations

import difflib
from collections.abc import Collection


class HandsightError(Exception):
    """Something the user can put right: its message says what, where, what was expected and what is available.

    The command line prints these as they are and exits with 2; any other exception is a defect and keeps its traceback.
    """


def unknown(what: str, word: str, available: Collection[str]) -> str:
    """The message for a name that means nothing: the nearest known one, and all of them."""
    return f"unknown {what} {word!r}{meant(word, available)}; available: {', '.join(available)}"


def meant(word: str, available: Collection[str]) -> str:
    """What to add to such a message, " (did you mean X?)" with the nearest known name; empty if none is near."""
    near = difflib.get_close_matches(word, list(available), 1)
    return f" (did you mean {near[0]}?)" if near else ""
