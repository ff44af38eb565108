"""Policies side by side on the same reset, step by step; their eyes can be covered, and their objects pushed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict
from torch import Tensor

from ... import sims
from ...errors import HandsightError
from ...policies.policy import Policy
from ...sims.env_config import EnvConfig
from ...sims.scenes import with_robot, with_scene
from ..evaluation import HELD_OUT_SEED
from ..evaluation.evaluate import evaluate, set_reset_kind
from ..evaluation.rollout import play
from ..report.film import look
from ..runs.policy_io import LoadedPolicy, check_signature
from .source import load, newest

ROUND, TRIED, RESET_KIND = 256, 128, "wide"
"""Resets of one seed, as in the usual evaluation; how many are tried to see where policies differ; their kind."""
HIDE: dict[str, dict[str, slice]] = {
    "nothing": {}, "left eye": {"stereo": slice(0, 1), "depth": slice(None)}, "right eye": {"stereo": slice(1, 2)},
    "both eyes": {"stereo": slice(None), "depth": slice(None)},
}  # fmt: skip
"""What can be hidden: which eyes of each group of images see black; the depth camera is the left eye."""


@dataclass(frozen=True)
class Setting:
    """What all policies meet: the number of the reset, as evaluations with 256 environments count them; scene, kind of
    object and level of randomisation (None: as the first policy was trained); and what of `HIDE` is hidden."""

    reset: int = 0
    scene: str | None = None
    kind: str | None = None
    level: int | None = None
    hidden: str = "nothing"


def covered(obs: TensorDict, hidden: str) -> TensorDict:
    """Observations in whose images (N, ...) the eyes of `HIDE[hidden]` see black; of depth: no return."""
    dark = {group: obs[group].clone() for group in HIDE[hidden] if group in set(obs.keys())}
    for group, image in dark.items():
        image[:, HIDE[hidden][group]] = 0
    return obs.clone(recurse=False).update(dark)


class Blinkers(Policy):
    """A policy some of whose eyes are covered, as long as somebody wants it."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy, self.obs_keys, self.eyes = policy, policy.obs_keys, getattr(policy, "eyes", 2)
        self.hidden, self.before = "nothing", policy.initial_hidden(1)
        """A name of `HIDE`, and the hidden state (N, H) with which the policy was asked last."""

    def initial_hidden(self, n: int) -> Tensor:
        return self.policy.initial_hidden(n)

    def forward(self, obs: TensorDict, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.before = hidden
        return self.policy(covered(obs, self.hidden), hidden)

    @torch.no_grad()
    def value(self, obs: TensorDict) -> float:
        """What the critic says of the observation (1, ...) that was answered last; NaN for a policy without one."""
        critic: Any = getattr(self.policy, "value", None)
        return float(critic(covered(obs, self.hidden), self.before)[0]) if critic else float("nan")


class Column:
    """One policy in an environment of its own."""

    loaded: LoadedPolicy | None = None
    env: Any = None
    error = over = ""
    """What is wrong with it; how its episode ended: success, failure or lost, or nothing while it goes on."""

    def __init__(self, path: Path, watched: bool = False) -> None:
        """watched: the run goes on, and its newest checkpoint is shown."""
        self.path, self.name, self.watched = path, f"{path}{' (newest)' * watched}", watched
        self.history: list[dict[str, Any]] = []
        """What each step brought: `action` (A,), `sigma`, `value`, `reward`, `success`, and the reward's `terms`."""

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """What goes wrong here is this column's error."""
        try:
            yield
        except (HandsightError, OSError) as error:
            self.error = str(error)

    def load(self) -> LoadedPolicy:
        """The policy, read where that was not done, or there is a newer one. Raises HandsightError: there is none."""
        if self.loaded is None or (self.watched and newest(self.path) != self.loaded.path):
            self.loaded = load(self.path, self.watched)
            self.eyes = Blinkers(self.loaded.policy)
            self.close()
        return self.loaded

    def make(self, config: EnvConfig) -> None:
        """Build the environment. Raises HandsightError: there is none like that, or the policy does not fit."""
        self.close()
        loaded = self.load()
        loaded.check_scene(config)
        groups = {*loaded.policy.obs_keys, *getattr(loaded.policy, "train_keys", ()), "depth", "stereo"}
        self.env = sims.make(config, groups, 1)
        check_signature(loaded.signature, self.env.signature, self.name)
        set_reset_kind(self.env, RESET_KIND)

    def begin(self, seed: int, world: int, hidden: str) -> None:
        """Open the episode of environment `world` under `seed`."""
        self.env.number_from(world)
        self.obs, self.history, self.over, self.eyes.hidden = self.env.reset(seed), [], "", hidden
        self._moments = play(self.env, self.eyes, self.obs)
        self.was = self.now = self._stands()

    def step(self) -> None:
        """One control step; nothing once the episode is over. Raises NotFiniteError: the policy is broken."""
        moment = None if self.over else next(self._moments, None)
        self.was = self.now
        if moment is None:
            return
        step, value = moment.step, self.eyes.value(self.obs)
        self.obs, self.now = step.obs, self._stands()
        log = {name: float(one[0]) for name, one in step.log.items()} | {"reward": float(step.reward[0])}
        terms = {name.removeprefix("reward/"): one for name, one in log.items() if name.startswith("reward/")}
        told = {"action": moment.action[0].tolist(), "sigma": float(moment.std.mean()), "value": value, "terms": terms}
        self.history.append({**told, "reward": log["reward"], "success": log["success"]})
        if moment.aborted[0] or moment.ended[0]:
            self.over = "lost" if moment.aborted[0] else "success" if log["success"] else "failure"

    def _stands(self) -> dict[str, NDArray]:
        """Poses and looks of everything, as `Engine.shown`, to keep."""
        return {name: values.copy() for name, values in self.env.engine.shown(0).items()}

    def sees(self) -> dict[str, NDArray]:
        """Images (H, W, 3) uint8 of both eyes and depth as the policy is given them, and the object's pixels."""
        return {name: one[0] for name, one in look(self.env, covered(self.obs, self.eyes.hidden), False).items()}

    def close(self) -> None:
        """Release the environment and its threads."""
        if self.env is not None:
            self.env.close()
        self.env = None


class SideBySide:
    """Columns that meet the same reset, in the first one's environment, each with its own cameras."""

    def __init__(self, columns: Sequence[Column], reset: int = 0) -> None:
        """reset: number of the first one."""
        self.columns, self.setting = columns, Setting(reset)
        self.t = self.begun = 0
        """Steps since the reset, and how many resets there were."""
        self.change()

    @property
    def sound(self) -> list[Column]:
        """Columns whose policy acts."""
        return [one for one in self.columns if not one.error]

    @property
    def over(self) -> bool:
        """Whether every episode has ended."""
        return all(one.over for one in self.sound)

    def config(self, column: Column) -> EnvConfig:
        """The environment for a policy: the first one's, or a scene's. Raises HandsightError: no such level."""
        env, rig = (next(c.loaded for c in self.columns if c.loaded).env_config, column.load().env_config.scene.rig)
        if (name := self.setting.scene) is not None:
            env = with_robot(with_scene(env, name), env.scene.robot)
            rig = replace(env.scene.rig, height=rig.height, width=rig.width)
        env = replace(env, threads=1, scene=replace(env.scene, rig=rig)).with_postures("held_out")
        env, kind = env.at_level(self.setting.level), self.setting.kind
        return env if kind is None else replace(env, task=replace(env.task, kinds=(kind,)))

    def change(self, **wanted: Any) -> None:
        """Take another setting and begin anew; but what is hidden changes at once, in the episodes under way."""
        before, self.setting = self.setting, replace(self.setting, **wanted)
        if set(wanted) == {"hidden"}:
            for one in self.sound:
                one.eyes.hidden = self.setting.hidden
            return
        self.t, self.begun, (turn, world) = 0, self.begun + 1, divmod(self.setting.reset, ROUND)
        same = replace(before, reset=0) == replace(self.setting, reset=0)
        for one in self.columns:
            with one.blamed():
                one.load()
                if one.env is None or one.error or not same:
                    one.make(self.config(one))
                one.begin(HELD_OUT_SEED + turn, world, self.setting.hidden)
                one.error = ""

    def step(self) -> None:
        """One control step in every column."""
        self.t += 1
        for one in self.sound:
            with one.blamed():
                one.step()

    def push(self, speed: float) -> None:
        """Push the objects sideways, by m/s. Raises HandsightError: an engine cannot."""
        for one in self.sound:
            one.env.engine.push(torch.tensor([[0.0, speed, 0.0]]))

    def differing(self, fails: str, succeeds: str) -> Callable[[], list[int]]:
        """What tries, with policies of its own and in any thread, in which resets (of the first `TRIED`) one policy
        fails and another succeeds, as things are now.

        Raises:
            HandsightError: these are no two policies that act.
        """
        how = {"num_envs": TRIED, "episodes": TRIED, "seed": HELD_OUT_SEED, "reset_kind": RESET_KIND}
        there = [one for one in self.sound if one.loaded and one.name in (fails, succeeds)]
        asked = {one.name: (one.loaded.path, replace(self.config(one), threads=None)) for one in there if one.loaded}
        hidden = self.setting.hidden
        if len(asked) < 2:
            raise HandsightError(f"expected two policies that act, found {fails} and {succeeds}")

        def good(name: str) -> NDArray[np.bool_]:
            eyes = Blinkers(load(asked[name][0]).policy)
            eyes.hidden = hidden
            return evaluate(eyes, asked[name][1], **how).success_at_end

        return lambda: np.flatnonzero(~good(fails) & good(succeeds)).tolist()
