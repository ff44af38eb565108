"""The demo's stages as commands."""

import os
import signal

import pytest

from handsight.distill.commands import cli
from handsight.distill.commands.demo import STATE, STATE_STEREO, DemoConfig, Stages
from handsight.distill.runs.run import Run, runs_under
from handsight.distill.training.teacher_training import TeacherTraining
from handsight.distill.training.train_student import StudentTraining

from ..toy_env import ToyEnv


def test_a_training_of_the_demo_runs_on_the_demos_device(tmp_path):
    """No run holds the device that it is for, so the command has to say it."""
    words = Stages(tmp_path, DemoConfig(device="cuda:7")).command(STATE)
    assert words[0] == "train-teacher" and words[-2:] == ["--device", "cuda:7"]


SMALL = DemoConfig(state_iterations=2, depth_iterations=2, student_iterations=1, num_envs=8)


def killed(words, monkeypatch, training, method):
    """Run a command in a process of its own that dies by SIGKILL when it comes to a method of its training."""
    child = os.fork()
    if not child:
        monkeypatch.setattr(training, method, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        cli.main(words)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("task", "training", "method"),
    [(STATE, TeacherTraining, "iterate"), (STATE, TeacherTraining, "save"), (STATE_STEREO, StudentTraining, "save")],
)
def test_a_demo_that_was_killed_before_a_stages_first_checkpoint_goes_on(
    task, training, method, toy_sims, tmp_path, monkeypatch
):
    monkeypatch.setattr(ToyEnv, "reset_kinds", ("near", "wide", "easy"))
    stages = Stages(tmp_path, SMALL)
    small = ["--student.hidden", "8", "--dagger.gradient-steps", "2", "--dagger.batch-sequences", "2"]
    if task == STATE_STEREO:
        assert cli.main(stages.command(STATE)) == 0
    killed([*stages.command(task), *(small if task == STATE_STEREO else [])], monkeypatch, training, method)
    (run,) = runs_under(stages._root(task))
    assert not list((run / "checkpoints").glob("iteration_*"))
    again = Stages(tmp_path, SMALL).command(task)
    assert again[1:3] == ["--resume", str(run)]
    assert cli.main(again) == 0
    assert (run / "checkpoints" / f"iteration_{1 if task == STATE_STEREO else 2:06d}.ckpt").is_dir()
    assert [row["step"] for row in Run.open(run).metrics() if "iteration" in row] == sorted(
        {row["step"] for row in Run.open(run).metrics()}
    )
