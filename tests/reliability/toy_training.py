"""Trainings of a few seconds in the toy environment; as a program it runs those that are to be interrupted."""

import os
import sys
import time
from pathlib import Path

import torch

from handsight import sims
from handsight.distill.training.curriculum import CurriculumConfig
from handsight.distill.training.dagger import DaggerConfig
from handsight.distill.training.student_config import StudentRunConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.training.train_student import train_student
from handsight.distill.training.train_teacher import train_teacher
from handsight.students import StudentConfig
from handsight.teachers import ActorCriticConfig, PPOConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "distill"))
from toy_env import ToyEnv

TEACHER = TeacherConfig(
    policy=ActorCriticConfig(hidden=(16,), recurrent="gru", recurrent_size=8),
    ppo=PPOConfig(epochs=2, minibatches=2),
    curriculum=CurriculumConfig(start={"near": 1.0}, goal={"near": 0.5, "wide": 0.5}, gate="near"),
    num_envs=8,
    rollout_steps=6,
    iterations=24,
    checkpoint_every=5,
    validate_every=10,
    validation_episodes=8,
)


def student(teacher: Path) -> StudentRunConfig:
    """A student that is given the teacher's own observations, so that there is no backbone to wait for."""
    return StudentRunConfig(
        teacher=teacher,
        control=True,
        student=StudentConfig(image_features=8, proprio_features=8, memory_size=8, hidden=8),
        dagger=DaggerConfig(gradient_steps=3, batch_sequences=4),
        num_envs=8,
        iterations=12,
    )


def use_toy(pause: float = 0.0) -> None:
    """`sims.make` builds the toy environment, which takes `pause` seconds for a step."""

    class SlowToy(ToyEnv):
        def step(self, action):
            time.sleep(pause)
            return super().step(action)

    def make(config, observe, num_envs, world_offset=0, device="cpu"):
        return SlowToy(observe, num_envs, world_offset)

    sims.make = make
    torch.set_num_threads(1)


def _train(kind: str, root: str, teacher: str = "") -> int:
    try:
        if kind == "teacher":
            train_teacher(TEACHER, run_root=Path(root))
        else:
            train_student(student(Path(teacher)), run_root=Path(root))
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"{stop}\n")
        return 130
    return 0


def serve() -> None:
    """One process for each line of stdin, which names the training; answers with its number, then its exit code.

    They are forked from here so that the imports, by far the longest part, are done once.
    """
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            sys.exit(_train(*line.split()))
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    use_toy(pause=0.03)
    serve()
