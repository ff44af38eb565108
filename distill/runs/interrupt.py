"""Ctrl-C asks a loop to save and leave; a second one leaves at once. That nobody reads the output is no reason to."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""What a terminal takes for a change of colour or weight."""
ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Ctrl-C, the end of a session, a closed terminal, and what a cluster sends before the time is over."""


class Interrupted(KeyboardInterrupt):
    """The user stopped the work; whatever the loop does on request (save once) is done."""

    def __init__(self, signal_number: int, what: str = ""):
        """what: what was stopped, where it stood and how it is gone on with, in words."""
        super().__init__(f"stopped by {signal.Signals(signal_number).name}{f': {what}' if what else ''}")
        self.signal_number = signal_number


class Interrupt:
    """Inside it the first Ctrl-C (or another of `ASKS`) only raises a flag:

        with Interrupt() as interrupted:
            for iteration in range(first, last):
                ...
                if interrupted.requested:
                    save()
                    break

    Leaving the block after a request raises `Interrupted`, a KeyboardInterrupt, so that a caller with more stages stops
    too; clean up in a `finally` around the block. A second Ctrl-C raises KeyboardInterrupt where the program stands.
    Outside the main thread signals cannot be caught and nothing changes.
    """

    def __init__(self) -> None:
        self.requested = False
        self.what = ""
        """What is under way, where it stands and how it is gone on with, in words for whoever stopped it."""
        self._signal_number = signal.SIGINT
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in ASKS:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        left = kind is None or issubclass(kind, SystemExit)  # a Lightning Trainer answers SIGTERM by a SystemExit
        if self.requested and left:
            raise Interrupted(self._signal_number, self.what) from error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._signal_number = signal.Signals(number)
        sys.stderr.write("\nsaving, then leaving (once more to leave at once)\n")


class Unread:
    """A text stream that goes on into nothing once its reader is gone, its disk full or its descriptor closed; in one
    colour where NO_COLOR is set, whoever writes to it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream or open(os.devnull, "w")  # noqa: SIM115

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write as far as somebody reads."""
        shown = COLOUR.sub("", text) if os.environ.get("NO_COLOR") else text
        self._try(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except OSError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._stream.fileno())
            os.close(nothing)
