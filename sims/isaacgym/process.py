"""A worker under another interpreter: its life, its shared memory, and every way in which it can fail.

Arrays lie in one anonymous memory file that both sides map, so nothing is left behind whoever dies. Commands and
answers are lines of JSON over a socket pair, numbered, one at a time. The worker's output goes into error messages.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import HandsightError

PROTOCOL = 1
"""Version of commands and answers; `worker.py` holds its own and the two must agree."""
ALIGNMENT = 64
LAST_WORDS = 20
"""Lines of the worker's output that an error shows."""


class WorkerError(HandsightError):
    """The worker of a simulator with its own interpreter is missing, of another version, dead, silent, or says that it
    failed."""


ArrayLayout = Mapping[str, tuple[tuple[int, ...], str]]
"""{name: (shape, NumPy dtype)} of the shared arrays."""


class WorkerProcess:
    """A running worker. `arrays` are shared with it; `call` sends a command and waits for its answer."""

    def __init__(self, python: str, program: Path, arrays: ArrayLayout, timeout: float) -> None:
        """Start `program` under the interpreter `python` and open the shared memory.

        Args:
            python: path or name of the interpreter.
            program: the worker's file.
            arrays: what is shared.
            timeout: longest wait for a short command's answer, s.

        Raises:
            WorkerError: no such interpreter, it cannot import the simulator, it speaks another version of the protocol,
                or it did not come up.
        """
        self.where, self.timeout = f"{python} {program.name}", timeout
        self.hello: dict[str, Any] = {}
        """What the worker said about itself: its versions and its GPU."""
        self.last_seconds = 0.0
        """What the last command took inside the worker, s."""
        self._count = 0
        self._output: deque[str] = deque(maxlen=LAST_WORDS)
        layout, size = _layout(arrays)
        memory = os.memfd_create("handsight-worker")
        os.ftruncate(memory, size)
        self._memory = mmap.mmap(memory, size)
        self.arrays = {name: _view(self._memory, *place) for name, place in layout.items()}
        self._socket, theirs = socket.socketpair()
        self._lines = self._socket.makefile("rb")
        start = {"parent": os.getpid(), "control": theirs.fileno(), "memory": memory}
        # The kernel kills the worker with the thread that started it, so that thread must live as long as we do.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="handsight-worker")
        try:
            self._process = self._starter.submit(_start, python, program, start).result()
        except OSError as error:
            self._starter.shutdown()
            self._socket.close()
            raise WorkerError(
                f"cannot start the worker: {python!r} is no interpreter that runs here ({error.strerror}); expected "
                "the Python 3.8 that has isaacgym: --isaac-python PATH or HANDSIGHT_ISAAC_PYTHON"
            ) from error
        finally:
            theirs.close()
            os.close(memory)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._come_up(layout, size)

    @property
    def pid(self) -> int:
        """Number of its process."""
        return self._process.pid

    def call(self, command: str, timeout: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Send a command and return its answer. A failure ends the worker.

        Raises:
            WorkerError: it is gone, silent, or answers with an error of its own; with the last lines of its output.
        """
        self._count += 1
        message = json.dumps({"id": self._count, "command": command, **arguments}) + "\n"
        try:
            reply = self._exchange(message.encode(), command, timeout or self.timeout)
            if reply.get("id") != self._count:
                raise WorkerError(self._tell(f"expected answer {self._count} to {command!r}, found {reply}"))
            if "error" in reply:
                raise WorkerError(
                    f"{self.where}: {command!r} failed: {reply['error']}\n{reply.get('trace', '')}".rstrip()
                )
        except BaseException:  # an interrupted command, too, leaves an answer behind that nobody waits for
            self._end()
            raise
        self.last_seconds = reply["seconds"]
        return reply

    def close(self) -> None:
        """End the worker: it leaves when the socket closes, and is killed if it does not. May be called twice."""
        self._end(grace=5.0)

    def _end(self, grace: float = 0.0) -> None:
        self._lines.close()
        self._socket.close()
        try:
            self._process.wait(0.0 if self._is_stopped() else grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._starter.shutdown()

    def _come_up(self, layout: Mapping[str, Any], size: int) -> None:
        try:
            first = self._exchange(b"", "start", self.timeout)
            if first.get("protocol") != PROTOCOL:
                raise WorkerError(
                    f"{self.where} speaks protocol {first.get('protocol')}, expected {PROTOCOL}: the worker's file "
                    "belongs to another version of Handsight"
                )
            self.hello = self.call("open", timeout=10 * self.timeout, layout=layout, size=size)
        except WorkerError as error:
            self._end()
            if "ModuleNotFoundError" in str(error) or "ImportError" in str(error):
                raise WorkerError(
                    f"{error}\n{self.where.split()[0]} runs, but cannot import what the worker needs: expected NumPy, "
                    "PyTorch and Isaac Gym Preview 4 (pip install -e isaacgym/python); docs/isaac.md names versions"
                ) from error
            raise

    def _exchange(self, message: bytes, command: str, timeout: float) -> dict[str, Any]:
        """Send a line and wait for the worker's next one, each `timeout` s at most."""
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(message)
            line = self._lines.readline()
        except TimeoutError as error:
            state = "stopped (SIGSTOP or a debugger)" if self._is_stopped() else "running"
            raise WorkerError(
                self._tell(f"the worker did not answer {command!r} in {timeout:g} s or more: its process is {state}")
            ) from error
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise WorkerError(self._tell(f"the worker is gone{self._ending()}; it was asked to {command!r}"))
        try:
            return json.loads(line)
        except ValueError as error:
            raise WorkerError(
                self._tell(f"expected a line of JSON from the worker, found {line.rstrip()[:80]!r}")
            ) from error

    def _listen(self) -> None:
        """Keep the end of what the worker prints; runs in a thread until the worker is gone."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._output.append(line.decode(errors="replace").rstrip())

    def _tell(self, what: str) -> str:
        if self._process.poll() is not None:
            self._listener.join(1.0)
        words = "\n".join(f"  | {line}" for line in self._output) or "  | (nothing)"
        return f"{self.where} (process {self.pid}): {what}. Its last output:\n{words}"

    def _ending(self) -> str:
        try:
            code = self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            return ", though its process lives"
        return f", ended by {signal.Signals(-code).name}" if code < 0 else f", ended with exit code {code}"

    def _is_stopped(self) -> bool:
        alive = self._process.poll() is None
        return alive and os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None


def _start(python: str, program: Path, start: dict[str, Any]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [python, "-u", str(program), json.dumps(start)],
        pass_fds=(start["control"], start["memory"]),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def _layout(arrays: ArrayLayout) -> tuple[dict[str, tuple[int, tuple[int, ...], str]], int]:
    """{name: (offset, shape, dtype)} and the size of the whole, bytes."""
    places, offset = {}, 0
    for name, (shape, dtype) in arrays.items():
        places[name] = (offset, shape, dtype)
        offset += -(-math.prod(shape) * np.dtype(dtype).itemsize // ALIGNMENT) * ALIGNMENT
    return places, max(offset, ALIGNMENT)


def _view(memory: mmap.mmap, offset: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.frombuffer(memory, dtype, math.prod(shape), offset).reshape(shape)
