"""DAgger (Ross, Gordon, Bagnell 2011, algorithm 3.1): the student acts, the teacher says what it would have done."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ...datasets.sequences import stack
from ...policies.finite import finite, finite_rows
from ...policies.policy import Policy, zero_where_first
from ...sims.vec_env import Step, VecEnv
from ...students import StereoStudent
from ..evaluation.rollout import ask, device_of
from .student_config import DaggerConfig

OBJECT = "object_from_palm"
"""Part of "state" that the auxiliary head of the student predicts."""


class Recorder:
    """What else is noted in a rollout; this one notes nothing. Columns are (N, ...) for each step."""

    def before(self, env: VecEnv, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Columns of the observation that is acted on."""
        return {}

    def after(self, step: Step) -> dict[str, Tensor]:
        """Columns of what the step brought."""
        return {}


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

    Who acts is drawn where an episode opens and kept until it ends, as a policy mixed within an episode would visit
    states that neither of the two ever meets.

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
        columns (T, N, ...) in host memory for the buffer, `mean` as it would be executed, and metrics by name. What is
        NaN or infinite is zero, to everybody, and no row from there to the end of the episode is valid.
    """
    student.eval()
    draws = torch.Generator().manual_seed(seed)
    obs, first = env.reset(seed), torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
    asked = [teacher, student] + ([behaviour] if behaviour is not None else [])
    hidden = [p.initial_hidden(env.num_envs).to(device_of(p)) for p in asked]
    beta = config.beta(iteration) if behaviour is None else 0.0
    by_teacher, sound, recorder = torch.zeros_like(first), first, recorder or Recorder()
    rows, notes = [], []
    for _ in range(env.episode_steps):
        answers = [ask(policy, obs.apply(finite), before) for policy, before in zip(asked, hidden, strict=True)]
        (label, label_std), (mean, std) = ([x.to(env.device) for x in answer[:2]] for answer in answers[:2])
        by_teacher = torch.where(first, (torch.rand(env.num_envs, generator=draws) < beta).to(first.device), by_teacher)
        chosen = mean if config.act == "mean" else mean + std * torch.randn(std.shape, generator=draws).to(std)
        chosen = chosen if behaviour is None else answers[-1][0].to(env.device)
        action = torch.where(by_teacher[:, None], label, chosen)
        noted = recorder.before(env, obs) | _kept(env, obs, student, config)
        step = env.step(finite(action))
        sound = sound & finite_rows([*obs.values(), label, label_std, mean, step.reward])
        row = {"mean": label.clamp(-1, 1), "std": label_std, "first": first, "by_teacher": by_teacher}
        row |= {"valid": step.valid & sound} | outcome(action, step) | noted | recorder.after(step)
        rows.append({name: finite(column) for name, column in row.items()})
        broken = {name: step.log.get(name, torch.zeros_like(first)) for name in ("diverged", "lost")}
        notes.append({"own": finite(mean), "nonfinite": step.valid & ~sound, **broken})
        hidden = [zero_where_first(finite(answer[2]), step.first.to(answer[2].device)) for answer in answers]
        obs, first, sound = step.obs, step.first, sound | step.first
        tick()
    columns, own = ({name: column.cpu() for name, column in stack(one).items()} for one in (rows, notes))
    return columns, {**_metrics(columns, **own), "beta": beta}


def outcome(action: Tensor, step: Step) -> dict[str, Tensor]:
    """The action (N, A) as executed, and reward, done and success (N,) that came of it."""
    done = step.terminated | step.truncated
    success = step.log.get("success", torch.zeros_like(done))
    return {"action": action.clamp(-1, 1), "reward": step.reward, "done": done, "success": success}


def kept_groups(student: Policy) -> tuple[str, ...]:
    """Observation groups that a rollout keeps: what the student reads, and the depth that a depth head predicts."""
    labels = ("depth",) if isinstance(student, StereoStudent) and student.config.depth_head else ()
    return (*student.obs_keys, *labels)


def _kept(env: VecEnv, obs: Mapping[str, Tensor], student: Policy, config: DaggerConfig) -> dict[str, Tensor]:
    """The observation groups that a rollout keeps, and the label of the object head, (N, 3) metres from the palm."""
    label = {"object": obs["state"][:, env.obs_spec["state"].part(OBJECT)]} if config.object_weight else {}
    return {key: obs[key] for key in kept_groups(student)} | label


def _metrics(
    columns: Mapping[str, Tensor], own: Tensor, diverged: Tensor, lost: Tensor, nonfinite: Tensor
) -> dict[str, float]:
    """What a rollout says of the student before it learns from it.

    `imitation_error`: E|a_S - a_T|^2 / Var(a_T) of executed actions, over the episodes in which the student acted;
    without one there is neither error nor success. An aborted episode is a failure.

    Args:
        columns: of the rollout, (T, N, ...).
        own: (T, N, A) mean of the student.
        diverged: (T, N) bool, the step ended the episode without a result.
        lost: (T, N) bool, there was no simulator; the first such row ends its episode, if that was not over.
        nonfinite: (T, N) bool, the episode had a number that was NaN or infinite by then.
    """
    student_acts = ~columns["by_teacher"]
    rows, diverged, gone = columns["valid"] & student_acts, diverged & student_acts, lost & student_acts
    gone[1:] &= ~(lost | columns["done"])[:-1]
    labels, ended = columns["mean"][rows], columns["done"] & rows
    found = {"diverged": float(diverged.sum()), "nonfinite": float(nonfinite.sum())}
    if len(labels) > 1:
        missed, spread = own.clamp(-1, 1)[rows] - labels, (labels - labels.mean(0)).square().sum()
        found["imitation_error"] = float(missed.square().sum() / spread.clamp(min=1e-12))
    if episodes := int(ended.sum() + diverged.sum() + gone.sum()):
        found["success_at_end"] = int((ended & columns["success"]).sum()) / episodes
    return found
