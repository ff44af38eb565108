"""DAgger (Ross, Gordon, Bagnell 2011, algorithm 3.1): the student acts, the teacher says what it would have done."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ...datasets.sequences import stack
from ...policies.policy import Policy, zero_where_first
from ...sims.vec_env import Step, VecEnv
from ...students import StereoStudent
from ..evaluation.rollout import ask, device_of
from .student_config import DaggerConfig

OBJECT = "object_from_palm"
"""Part of "state" that the auxiliary head of the student predicts."""


@torch.no_grad()
def collect(
    env: VecEnv,
    teacher: Policy,
    student: Policy,
    config: DaggerConfig,
    iteration: int,
    seed: int,
    tick: Callable[[], None] = lambda: None,
    recorder: Recorder | None = None,
    behaviour: Policy | None = None,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """A labelled rollout: one episode's length of every environment from a fresh reset; in each episode the student
    acts, or the teacher in a share of them, and the teacher says at every step what it would have done.

    Args:
        env: observes what both read, and "state" if the object's position is to be learnt.
        teacher: labels every visited state, with its own hidden state.
        student: acts in evaluation mode.
        config: the share of the teacher, and how the student acts.
        iteration: counted from 0.
        seed: of the resets, of who acts, and of samples.
        tick: called after each step; may raise to break off.
        recorder: adds columns of its own.
        behaviour: a policy that acts in every episode, by its mean, instead of teacher and student.

    Returns:
        columns (T, N, ...) in host memory for the buffer, and metrics by name.
    """
    student.eval()
    draws = torch.Generator().manual_seed(seed)
    obs, first = env.reset(seed), torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    asked = [teacher, student] + ([behaviour] if behaviour is not None else [])
    hidden = [p.initial_hidden(env.num_envs).to(device_of(p)) for p in asked]
    beta = config.beta(iteration) if behaviour is None else 0.0
    share = TeacherShare(beta, env.num_envs, draws)
    rows, counters, recorder = [], Counters(), recorder or Recorder()
    for _ in range(env.episode_steps):
        answers = [ask(policy, obs, before) for policy, before in zip(asked, hidden, strict=True)]
        (label, label_std), (mean, std) = ([x.to(env.device) for x in answer[:2]] for answer in answers[:2])
        teacher_acts = share.next(first)
        chosen = mean if config.act == "mean" else mean + std * torch.randn(std.shape, generator=draws).to(std)
        chosen = chosen if behaviour is None else answers[-1][0].to(env.device)
        action = torch.where(teacher_acts[:, None], label, chosen)
        noted = recorder.before(env, obs)
        step = env.step(action)
        row = {"mean": label, "std": label_std, "first": first, "valid": step.valid, "by_teacher": teacher_acts}
        row |= outcome(action, step) | noted | recorder.after(step)
        kept = {key: obs[key] for key in (*student.obs_keys, *label_groups(student))}
        rows.append(row | kept | object_position(env, obs, config))
        counters.add(label, mean, ~teacher_acts, step)
        hidden = [zero_where_first(answer[2], step.first.to(answer[2].device)) for answer in answers]
        obs, first = step.obs, step.first
        tick()
    columns = {name: column.cpu() for name, column in stack(rows).items()}
    return columns, counters.metrics() | {"beta": beta}


class TeacherShare:
    """In which environments the teacher acts: drawn where an episode opens and kept until it ends, as a policy mixed
    within an episode would visit states that neither of the two ever meets."""

    def __init__(self, beta: float, num_envs: int, draws: torch.Generator) -> None:
        self.beta, self.draws = beta, draws
        self.acts = torch.zeros(num_envs, dtype=torch.bool)

    def next(self, first: Tensor) -> Tensor:
        """(N,) bool: the teacher acts. first (N,) bool: an episode opens."""
        drawn = torch.rand(len(first), generator=self.draws) < self.beta
        self.acts = torch.where(first, drawn.to(first.device), self.acts.to(first.device))
        return self.acts


def label_groups(student: Policy) -> tuple[str, ...]:
    """Observation groups that serve as labels only: the depth that a student with a depth head is to predict."""
    config = student.config if isinstance(student, StereoStudent) else None
    return ("depth",) if config is not None and config.depth_head else ()


class Recorder:
    """What else is noted in a rollout; this one notes nothing. Columns are (N, ...) for each step."""

    def before(self, env: VecEnv, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Columns of the observation that is acted on."""
        return {}

    def after(self, step: Step) -> dict[str, Tensor]:
        """Columns of what the step brought."""
        return {}


def outcome(action: Tensor, step: Step) -> dict[str, Tensor]:
    """The action (N, A) as executed, and reward, done and success (N,) that came of it."""
    done = step.terminated | step.truncated
    success = step.log.get("success", torch.zeros_like(done))
    return {"action": action.clamp(-1, 1), "reward": step.reward, "done": done, "success": success}


def object_position(env: VecEnv, obs: Mapping[str, Tensor], config: DaggerConfig) -> dict[str, Tensor]:
    """The label of the object head, {"object": (N, 3) metres in the palm's frame}, or nothing if it is not learnt."""
    return {"object": obs["state"][:, env.obs_spec["state"].part(OBJECT)]} if config.object_weight else {}


class Counters:
    """What a rollout says of the student before it learns from it."""

    def __init__(self) -> None:
        self.labels: list[Tensor] = []
        self.missed: list[Tensor] = []
        self.ended, self.succeeded, self.diverged = 0, 0, 0

    def add(self, label: Tensor, mean: Tensor, student_acts: Tensor, step: Step) -> None:
        """Count one step of N environments. label, mean (N, A); student_acts (N,) bool."""
        rows = step.valid & student_acts
        executed, intended = mean.clamp(-1, 1)[rows], label.clamp(-1, 1)[rows]
        self.labels.append(intended)
        self.missed.append(executed - intended)
        ended = (step.terminated | step.truncated) & rows
        lost = step.log.get("diverged", torch.zeros_like(ended)) & student_acts  # an aborted episode is a failure
        self.ended += int(ended.sum()) + int(lost.sum())
        self.succeeded += int((ended & step.log.get("success", torch.zeros_like(ended))).sum())
        self.diverged += int(lost.sum())

    def metrics(self) -> dict[str, float]:
        """`imitation_error`: E|a_S - a_T|^2 / Var(a_T) of executed actions, over the episodes in which the student
        acted; without one there is neither error nor success."""
        labels, missed = torch.cat(self.labels), torch.cat(self.missed)
        found = {"diverged": float(self.diverged)}
        if len(labels) > 1:
            spread = (labels - labels.mean(0)).square().sum()
            found["imitation_error"] = float(missed.square().sum() / spread.clamp(min=1e-12))
        if self.ended:
            found["success_at_end"] = self.succeeded / self.ended
        return found
