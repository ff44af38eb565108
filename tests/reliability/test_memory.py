"""More worlds than memory allows are refused before anything is allocated, whoever sets the limit."""

import os
import resource
from pathlib import Path

import pytest

from handsight import sims
from handsight.errors import HandsightError
from handsight.files import memory_limits
from handsight.sims import memory

GIB = 2**30


@pytest.mark.parametrize("observe", [["state"], ["depth", "stereo"]])
def test_too_many_worlds_are_refused_with_the_number_that_fits(observe):
    with pytest.raises(HandsightError, match=r"100,000,000 worlds of about 0\.\d MiB .* at most [\d,]+ fit"):
        sims.make(sims.EnvConfig(), observe, 100_000_000)


def system(tmp_path, cgroup, **files):
    """What /proc and /sys/fs/cgroup hold: (proc, cgroups). files: by path below cgroups, `__` for /."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    (proc / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = cgroups / name.replace("__", "/").replace("memory_", "memory.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return proc, cgroups


NOTHING = 9223372036854771712
"""What version 1 says where no limit is set."""


@pytest.mark.parametrize(
    ("cgroup", "files", "limits"),
    [
        ("0::/\n", {"memory_max": 3 * GIB}, {3 * GIB}),
        ("0::/\n", {"memory_max": "max"}, set()),
        ("0::/user/job\n", {"user__job__memory_max": "max", "user__memory_max": GIB}, {GIB}),
        ("0::/../outside\n", {"memory_max": GIB}, {GIB}),
        ("4:memory:/docker/ab\n0::/\n", {"memory__memory_limit_in_bytes": 2 * GIB}, {2 * GIB}),
        ("4:cpu,memory:/a\n", {"memory__a__memory_limit_in_bytes": GIB, "memory__memory_limit_in_bytes": NOTHING},
         {GIB, NOTHING}),
        ("3:cpuset:/a\n", {"memory__memory_limit_in_bytes": GIB}, set()),
        ("", {}, set()),
    ],
)  # fmt: skip
def test_limits_of_control_groups_of_both_versions_are_read(cgroup, files, limits, tmp_path):
    assert set(memory_limits(*system(tmp_path, cgroup, **files))) == limits


def test_a_system_without_any_of_these_files_sets_no_limit(tmp_path):
    assert memory_limits(tmp_path / "proc", tmp_path / "cgroup") == []


def test_the_smallest_limit_is_what_may_be_planned_for(monkeypatch):
    monkeypatch.setattr(memory, "memory_limits", lambda: [3 * GIB, GIB, NOTHING])
    assert memory.usable("cpu") == int(0.8 * GIB)
    with pytest.raises(HandsightError, match=r"10,000 worlds .* more than the 0\.8 GiB that .* at most 2,467 fit"):
        sims.make(sims.EnvConfig(), ["state"], 10_000)  # .8 GiB / 340 KiB
    monkeypatch.setattr(memory, "memory_limits", lambda: [NOTHING])
    physical = memory.usable("cpu")
    monkeypatch.setattr(memory, "memory_limits", list)
    assert memory.usable("cpu") == physical > GIB


@pytest.mark.parametrize(("limit", "what"), [("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")])
def test_a_real_limit_of_the_process_refuses_what_would_break_it(limit, what, capfd):
    """3,600 worlds of 340 KiB are 1.17 GiB, of which 1 GiB is left; four of them fit. In a process of its own."""
    child = os.fork()
    if not child:
        try:
            os._exit(_limited(getattr(resource, limit), what))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, capfd.readouterr().err


def _limited(limit: int, what: str) -> int:
    free, status = memory.usable("cpu"), Path("/proc/self/status").read_text()
    taken = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(what))
    resource.setrlimit(limit, (taken + GIB, taken + GIB))
    assert 0.5 * GIB < memory.usable("cpu") <= 0.8 * GIB < free
    with pytest.raises(HandsightError, match=r"3,600 worlds of about 0.3 MiB are more than the 0\.\d GiB"):
        sims.make(sims.EnvConfig(), ["state"], 3600)
    env = sims.make(sims.EnvConfig(threads=1), ["state"], 4)
    assert env.reset(0)["state"].shape[0] == 4
    return 0
