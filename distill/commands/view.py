"""`handsight view`: policies live in a web browser, side by side on the same reset."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ...errors import HandsightError
from ...ranges import Checked, Within

PASSWORD = "HANDSIGHT_PASSWORD"
"""Environment variable with the password of a page that other machines can reach."""


@dataclass(frozen=True)
class ViewArgs(Checked):
    """Watch policies live in a web browser, side by side on the same resets: what they see, do and expect."""

    policies: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Run folders, checkpoints, names of the zoo (zoo:state), or ONNX files; all act in the first one's environment."""
    watch: Path | None = None
    """Run folder of a training that goes on: its newest checkpoint, again and again, and its curves."""
    reset: Annotated[int, Within(0, 1_000_000)] = 0
    """Number of the first reset, as evaluations count them."""
    port: Annotated[int, Within(0, 65_535)] = 8080
    """Port of the page, or if it is taken the next one that is free."""
    host: str = "127.0.0.1"
    """Interface of the page; one that other machines reach needs a password in HANDSIGHT_PASSWORD (user: handsight)."""


def run_view(args: ViewArgs, until: Callable[[], bool] = lambda: False) -> None:
    """What `handsight view` does: serve the page until Ctrl-C, or until that is so.

    Raises:
        HandsightError: no policies, none of them acts, viser is missing, or there is no password for other machines.
    """
    if importlib.util.find_spec("viser") is None:
        raise HandsightError("expected viser: uv sync --extra view, or pip install 'handsight[view]'")
    from ..runs.progress import tell
    from ..runs.run import Run
    from ..viewer.live import Live
    from ..viewer.page import Page
    from ..viewer.side_by_side import Column, SideBySide

    columns = [Column(path) for path in dict.fromkeys(args.policies)]
    columns += [] if args.watch is None else [Column(Run.open(args.watch).path, watched=True)]
    if not columns:
        raise HandsightError("expected run folders, checkpoints, ONNX files or names of the zoo, found none")
    view = SideBySide(columns, args.reset)
    if not view.sound and args.watch is None:
        raise HandsightError("\n  ".join(["none of these policies can act:", *(one.error for one in columns)]))
    with guarded(args.host), redirect_stdout(io.StringIO()):  # viser has a banner, we a line
        page = Page(view, args.host, args.port)
    tell(f"http://{args.host}:{page.server.get_port()} until Ctrl-C")
    try:
        Live(view, page).run(until)
    finally:
        page.server.stop()


@contextmanager
def guarded(host: str) -> Iterator[None]:
    """Let the server of viser's that starts here ask for a password unless it is on loopback; viser itself has none.

    Raises:
        HandsightError: no password was set, or this viser cannot be made to ask.
    """
    if host in ("127.0.0.1", "localhost", "::1"):
        yield
        return
    from websockets.asyncio import server

    if not (password := os.environ.get(PASSWORD)):
        raise HandsightError(f"--host {host}: other machines reach it, so {PASSWORD} must hold a password for them")
    ask, serve, asked = server.basic_auth("handsight", credentials=("handsight", password)), server.serve, []

    def serve_guarded(*args, process_request, **options):
        async def process(connection, request):
            return await ask(connection, request) or process_request(connection, request)

        asked.append(host)
        return serve(*args, process_request=process, **options)

    server.serve = serve_guarded
    try:
        yield
    finally:
        server.serve = serve
    if not asked:
        raise HandsightError(f"--host {host}: this version of viser starts its server in another way, without password")
