"""The loop: policies act, environments step, the page follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import Any

from ...errors import HandsightError
from ..runs.run import Run
from .page import TRAINED, Page
from .side_by_side import SideBySide

FRAMES, REST, LOOK = 30, 1.0, 5.0
"""Frames a second; seconds for which an ended episode stands, and between two looks at a training that goes on."""


class Live:
    """Policies on a page, with one clock, which stands when `paused`; `speed` 1 is real time."""

    paused, goes_on, speed, frames = False, True, 1.0, 0

    def __init__(self, view: SideBySide, page: Page) -> None:
        self.view, self.page, self._due, self._look = view, page, 0.0, 0.0

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Go on until that is so."""
        due = time.monotonic()
        while not until():
            now = time.monotonic()
            while not self.page.requests.empty():
                self.obey(*self.page.requests.get())
            self.advance(now)
            left = 0.0 if self.paused else (self._due - now) / self.period
            self.page.show(self.view, min(max(1 - left, 0.0), 1.0), self.paused)
            self.frames += 1
            due = max(due + 1 / FRAMES, now - 0.1)  # a frame that was late is made up for
            time.sleep(max(0.0, due - time.monotonic()))

    @property
    def period(self) -> float:
        """Wall seconds from one control step to the next, during which the scene moves there."""
        return next((one.env.control_dt for one in self.view.sound), REST) / self.speed

    def advance(self, now: float) -> None:
        """One control step, or the next reset, if it is time. now: of `time.monotonic`."""
        if now >= self._look:
            self._look = now + LOOK
            for one in (one for one in self.view.columns if one.watched):
                with suppress(HandsightError):  # a row may be written just now
                    self.page.curves(Run.open(one.path).metrics())
        if self.paused or now < self._due:
            return
        if not self.view.over:
            self.view.step()
        elif self.goes_on:
            self.next()
        on_time = now - self._due < self.period
        self._due = now + REST if self.view.over else (self._due if on_time else now) + self.period

    def next(self) -> None:
        """Go to the next reset."""
        self.view.change(reset=self.view.setting.reset + 1)

    def obey(self, word: str, value: Any) -> None:
        """Do what somebody at the page asked for; what cannot be done is said there."""
        value = None if value == TRAINED else value
        try:
            match word:
                case "play":
                    self.paused = not self.paused
                case "step":
                    self.paused = True
                    self.view.step()
                case "speed" | "goes_on":
                    setattr(self, word, value)
                case "next":
                    self.next()
                case "push":
                    self.view.push(value)
                case "find":
                    self.find(*value)
                case "found":
                    self.found(*value)
                case _:
                    self.view.change(**{word: int(value) if value and word == "level" else value})
        except HandsightError as error:
            self.page.say(str(error))

    def find(self, fails: str, succeeds: str) -> None:
        """Look for resets in which one policy fails and another succeeds, in a thread, whose answer is a request."""
        differing = self.view.differing(fails, succeeds)
        self.page.search(True)

        def look() -> None:
            found: list[int] | str = "the search ended without an answer"
            try:
                found = differing()
            except (HandsightError, OSError) as error:
                found = str(error)
            finally:
                self.page.requests.put(("found", (fails, succeeds, found)))

        Thread(target=look, daemon=True).start()

    def found(self, fails: str, succeeds: str, found: list[int] | str) -> None:
        """Go to the next of the resets that were looked for. found: what went wrong, if there are none."""
        self.page.search(False)
        if isinstance(found, str):
            raise HandsightError(found)
        if found:
            now = self.view.setting.reset
            self.view.change(reset=next((reset for reset in found if reset > now), found[0]))
        self.page.say(f"{len(found)} resets in which {fails} fails and {succeeds} succeeds: {found}"[:200])
