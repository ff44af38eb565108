"""Ctrl-C asks a loop to save and leave; a second one leaves at once."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The user stopped the work; whatever the loop does on request (save once) is done."""

    def __init__(self, signal_number: int):
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


class Interrupt:
    """Inside it the first Ctrl-C (or SIGTERM) only raises a flag:

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
        self._signal_number = signal.SIGINT
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        left = kind is None or issubclass(kind, SystemExit)  # a Lightning Trainer answers SIGTERM by a SystemExit
        if self.requested and left:
            raise Interrupted(self._signal_number) from error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._signal_number = signal.Signals(number)
        sys.stderr.write("\nsaving, then leaving (once more to leave at once)\n")
