"""Files and folders are there whole or not at all; only `files.py` knows how."""

import ast
import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from handsight import files
from handsight.files import FileError, owned, read_arrays, read_json, sweep, write, write_arrays, write_json, written

from .test_architecture import READS_FILES_ONLY, ROOT, SOURCES

WRITERS = (
    *(".write_text", ".write_bytes", ".rename", ".savez", ".savez_compressed", ".savefig", ".save_file"),
    *("os.replace", "os.fsync", "json.dump"),
)


def _writes(path: Path) -> list[str]:
    """Calls that write a file in place, put a draft in place, or ask whether a process is alive."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name, words = ast.unparse(node.func), [*node.args, *(word.value for word in node.keywords)]
        constants = [word.value for word in words if isinstance(word, ast.Constant)]
        opens = name.rpartition(".")[2] == "open" and any(str(mode)[:1] in "wx" for mode in constants if mode)
        moves = name.endswith(".replace") and len(node.args) == 1 and not node.keywords
        if name.endswith(WRITERS) or opens or moves or (name == "os.kill" and 0 in constants):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_files_py_writes(path):
    if path in (ROOT / "files.py", ROOT / READS_FILES_ONLY):
        return
    wrong = [call for call in _writes(path) if not any(word in call for word in ("draft", "(stream", "os.devnull"))]
    assert not wrong, f"expected files.write, write_json, write_arrays, or a draft of written; found {wrong}"


def test_what_is_written_comes_back_and_nothing_else_is_left(tmp_path):
    write(tmp_path / "new" / "a.txt", "depth → stereo\r\n")
    write(tmp_path / "new" / "a.bin", b"\x00\xff")
    write_json(tmp_path / "new" / "a.json", {"x": [1, None], "path": Path("b")}, default=str)
    write_arrays(tmp_path / "new" / "a.npz", {"x": np.arange(3)})
    assert (tmp_path / "new" / "a.txt").read_bytes() == "depth → stereo\r\n".encode()
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"\x00\xff"
    assert read_json(tmp_path / "new" / "a.json") == {"x": [1, None], "path": "b"}
    assert read_arrays(tmp_path / "new" / "a.npz")["x"].tolist() == [0, 1, 2]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.bin", "a.json", "a.npz", "a.txt"]


def test_a_writer_that_fails_leaves_the_older_file_and_no_draft(tmp_path):
    write(tmp_path / "a.txt", "older")
    with pytest.raises(RuntimeError), written(tmp_path / "a.txt") as draft:
        draft.write_text("half")
        raise RuntimeError("out of luck")
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.txt", {"x": object()})
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_a_folder_takes_the_place_of_an_older_one_and_of_a_file(tmp_path):
    write(tmp_path / "a", "a file")
    for number in range(2):
        with written(tmp_path / "a") as draft:
            (draft / "deep").mkdir(parents=True)
            (draft / "deep" / str(number)).touch()
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["a", "a/deep", "a/deep/1"]


def test_all_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(files, "_flush_one", lambda path: flushed.append((path.name, (tmp_path / "a").exists())))
    with written(tmp_path / "a") as draft:
        draft.mkdir()
        (draft / "inside").touch()
    assert flushed == [("inside", False), (draft.name, False), (tmp_path.name, True)]


def test_a_device_is_written_to_and_stays_one():
    write(Path("/dev/null"), "nothing")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_link_is_replaced_and_what_it_led_to_is_left_alone(tmp_path):
    (tmp_path / "outside").write_text("theirs")
    (tmp_path / "a").symlink_to(tmp_path / "outside")
    write(tmp_path / "a", "ours")
    assert (tmp_path / "outside").read_text() == "theirs" and not (tmp_path / "a").is_symlink()


def test_what_killed_writers_left_is_swept_by_the_next_and_the_living_are_left_alone(tmp_path):
    host, dead = socket.gethostname(), 4194305  # no process has a number that high
    left = [f".a.txt.{host}-{dead}-0123abcd.tmp", f".a.txt.{dead}.tmp"]
    kept = [f".a.txt.{host}-{os.getpid()}-0123abcd.tmp", f".a.txt.elsewhere-{dead}-0123abcd.tmp", ".a.txt.notes.tmp"]
    others = [f".b.txt.{host}-{dead}-0123abcd.tmp"]
    for name in (*left, *kept, *others):
        (tmp_path / name).touch()
    write(tmp_path / "a.txt", "x")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", *kept, *others}
    assert [path.name for path in sweep(tmp_path, "*.txt")] == others


HOLDER = """
    import sys, time
    from pathlib import Path
    from handsight.files import owned

    with owned(Path(sys.argv[1])):
        print("mine", flush=True)
        time.sleep(60)
"""


def test_a_folder_has_one_owner_until_that_is_killed(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "mine\n"
        who = rf"at work in this folder: {socket.gethostname()}, process {owner.pid}, since"
        with pytest.raises(FileError, match=who), owned(tmp_path / "run"):
            pass
        owner.send_signal(signal.SIGKILL)
    for _ in range(2):
        with owned(tmp_path / "run"):
            pass


def test_a_process_of_somebody_else_is_alive(monkeypatch):
    def denied(pid, number):
        raise PermissionError

    assert files.is_alive(os.getpid()) and not files.is_alive(4194305)
    monkeypatch.setattr(files.os, "kill", denied)
    assert files.is_alive(4194305)


def test_a_full_disk_is_found_behind_whatever_hid_it(tmp_path):
    """HDF5 meets it while it writes, and fails otherwise when it closes: nothing says that the one caused the other."""
    full = pytest.raises(OSError, match=r"No space left on device, while this was written")
    with full as told, written(tmp_path / "a.bin"):
        try:
            raise RuntimeError(f"write failed: {os.strerror(errno.ENOSPC)}")
        finally:
            raise ValueError("cannot close")
    assert told.value.errno == errno.ENOSPC and told.value.filename == str(tmp_path / "a.bin")
    assert not list(tmp_path.iterdir())


def test_a_text_of_the_most_bytes_is_read_and_one_byte_more_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_TEXT", 10)
    write(tmp_path / "a", "0123456789")
    assert files.read_text(tmp_path / "a") == "0123456789"
    write(tmp_path / "a", "0123456789x")
    with pytest.raises(FileError, match="expected at most 10 bytes, found more"):
        files.read_text(tmp_path / "a")
