"""What the user sees while a study runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .study_runner import Progress
from .study_work import Work


@contextmanager
def shown(progress: Progress, work: Work) -> Iterator[Callable[[Progress], None]]:
    """Show where a study stands."""
    yield lambda progress: None
