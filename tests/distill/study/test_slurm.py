"""A study's commands as jobs of a cluster: by submitit's own executor for this machine."""

import sys

import pytest

from handsight.distill.study.runner import Runner, Work
from handsight.distill.study.slurm import Cluster
from handsight.distill.study.training import StudyError

pytest.importorskip("submitit", reason="submitit is not installed (extra `slurm`)")


class Toy(Work):
    tasks = {"first": (), "second": ("first",), "broken": ()}  # noqa: RUF012

    def __init__(self, folder):
        self.folder = folder

    def is_done(self, task):
        return (self.folder / task).exists()

    def command(self, task):
        if task == "broken":
            return ["-c", "import sys; sys.exit('no such thing')"]
        return ["-c", f"import pathlib; print('made', flush=True); pathlib.Path({str(self.folder / task)!r}).touch()"]

    def log(self, task):
        return self.folder / f"{task}.log"


def test_jobs_run_in_their_order_with_their_logs_and_a_failed_one_says_why(tmp_path):
    cluster = Cluster(tmp_path / "slurm", ["timeout_min=5", "cpus_per_task=1"], "local")
    progress = Runner(Toy(tmp_path), program=(sys.executable,), pause=0.1, cluster=cluster).run()
    assert set(progress.done) == {"first", "second"} and progress.failed == {"broken": "no such thing"}
    assert (tmp_path / "first.log").read_text() == "made\n"


def test_what_cannot_be_asked_of_a_cluster_is_said_before_anything_begins(tmp_path):
    with pytest.raises(StudyError, match=r"--slurm gpu: expected NAME=VALUE"):
        Cluster(tmp_path, ["gpu"], "local")
    with pytest.raises(StudyError, match=r"--jobs slurm: Unknown argument 'nonsense'"):
        Cluster(tmp_path, ["nonsense=1"], "local")
    with pytest.raises(StudyError, match=r"--jobs slurm: .*srun"):
        Cluster(tmp_path, [])
