"""Record rollouts of a policy: shards that robomimic, Isaac Lab and `train-student --data` read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ... import sims
from ...datasets.schema import NEXT, DatasetError, Episode, episodes_of
from ...datasets.shard import PATTERN, SUFFIX, Shard
from ...datasets.writer import write_shard
from ...files import sweep
from ...sims.vec_env import Step, VecEnv
from ...teachers import RolloutStoppedError
from ..evaluation import RECORD_SEED, training_seed
from ..evaluation.evaluate import set_reset_kind
from ..runs.interrupt import Interrupt
from ..runs.policy_io import LoadedPolicy, facts_of, load_policy, origin_of
from ..runs.progress import Stage, stage, tell
from ..runs.provenance import provenance
from ..training.dagger import DaggerConfig, Recorder, collect
from .arguments import RECORDABLE, RecordArgs
from .evaluate import tried


def record(args: RecordArgs) -> Path:
    """What `handsight record` does: record, and say what is there.

    Raises:
        Interrupted: Ctrl-C; finished rounds are written.
        DatasetError: the folder holds another recording.
    """
    args = args.by_name()
    policy = tried(load_policy(args.policy, args.device), args, args.device)
    teacher = load_policy(args.teacher, args.device) if args.teacher else policy
    groups = tuple(dict.fromkeys((*args.groups, *policy.env_config.task.told)))  # a student of the task needs them
    args = replace(args, groups=groups)
    observed = {*policy.policy.obs_keys, *teacher.policy.obs_keys, *args.groups, "state"}
    place = sims.worlds_device(policy.env_config, args.device)
    env = sims.make(policy.env_config, observed, args.num_envs, device=place)
    try:
        if args.chosen:
            teacher.moved_to(policy.env_config)
        else:
            policy.check(env.signature)
            teacher.check(env.signature)
        set_reset_kind(env, args.reset_kind)
        recording = Recording(args, env, policy, teacher)
        title = f"Record {args.policy}"
        with Interrupt() as interrupted, stage(title, args.episodes, "episodes", recording.episodes) as progress:
            recording.run(progress, lambda: interrupted.requested)
            kept = f"{recording.episodes:,} of {args.episodes:,} episodes are in {args.out}"
            interrupted.what = f"{kept}; the same command goes on"
    finally:
        env.close()
    tell(
        f"{recording.episodes} episodes in {args.out}, success {recording.success_rate:.3f}, "
        f"{recording.lost} lost to diverged worlds. handsight inspect {args.out} shows them."
    )
    return args.out


class Recording:
    """Rounds of `num_envs` episodes, environment i of round r being reset i of its `training_seed`."""

    def __init__(self, args: RecordArgs, env: VecEnv, policy: LoadedPolicy, teacher: LoadedPolicy) -> None:
        """Goes on with what lies in the folder.

        Raises:
            DatasetError: that is another recording.
        """
        self.args, self.env, self.policy, self.teacher = args, env, policy, teacher
        self.facts = facts_of(env, policy.env_config, self._origin())
        self.round = self.world = self.shards = self.episodes = self.succeeded = self.lost = 0
        """Rounds done, and environments of the round under way; shards finished; episodes recorded, those of them with
        success, and episodes lost."""
        self.settings = DaggerConfig(beta_start=args.beta, beta_iterations=0, act=args.act)
        sweep(args.out, f"*{SUFFIX}")
        for path in sorted(args.out.glob(PATTERN)):
            self._count(Shard(path))

    @property
    def success_rate(self) -> float:
        """Share of the recorded episodes that end in success."""
        return self.succeeded / max(1, self.episodes)

    def run(self, progress: Stage, stop: Callable[[], bool]) -> None:
        """Record until there are enough episodes, or `stop` says so: then what is finished is kept."""

        def tick() -> None:
            if stop():
                raise RolloutStoppedError

        with suppress(RolloutStoppedError):
            while self.episodes < self.args.episodes:
                path, extra = self.args.out / f"shard_{self.shards:06d}{SUFFIX}", dict[str, Any]()
                write_shard(path, self.facts, self._shard(extra, progress, tick), extra, self.args.valid_share)
                self.shards += 1

    def _shard(self, extra: dict[str, Any], progress: Stage, tick: Callable[[], None]) -> Iterator[Episode]:
        """Episodes of whole rounds until they fill a shard, or `tick` stops a later round than its first; then `extra`
        says which they were."""
        begun, nbytes = self.round, 0
        while not nbytes or (nbytes < self.args.shard_mib * 2**20 and self.episodes < self.args.episodes):
            try:
                found = self._take(self._round(tick))
            except RolloutStoppedError:
                if not nbytes:
                    raise
                break
            yield from found
            self.episodes += len(found)
            self.succeeded += sum(episode.success for episode in found)
            nbytes += sum(episode.nbytes for episode in found)
            progress.advance(len(found), success=self.success_rate)
        done = {"rounds": [begun, self.round], "world": self.world, "lost": self.lost}
        extra |= done | {"settings": self.args.settings()}

    def _take(self, found: list[Episode]) -> list[Episode]:
        """As many of a round's episodes as are still asked for, from the environment on at which it was left: however
        often a recording is extended, it meets the same resets."""
        wanted = [e for e in found if e.facts["world"] >= self.world][: self.args.episodes - self.episodes]
        cut = self.episodes + len(wanted) == self.args.episodes and wanted[-1] is not found[-1]
        end = wanted[-1].facts["world"] + 1 if cut else self.env.num_envs
        self.lost += end - self.world - len(wanted)
        self.round, self.world = (self.round, end) if cut else (self.round + 1, 0)
        return wanted

    def _round(self, tick: Callable[[], None]) -> list[Episode]:
        """The first episode of each environment: whole, of the same resets for every policy."""
        seed = training_seed(RECORD_SEED, self.args.seed, self.round)
        recorder = EpisodeRecorder(self.args)
        columns, _ = collect(self.env, self.teacher.policy, self.policy.policy, self.settings, 0, seed, tick, recorder)
        arrays = {name: column.cpu().numpy() for name, column in columns.items() if name in recorder.kept}
        drawn = {name: values.cpu().tolist() for name, values in recorder.drawn.items()}
        facts = {"seed": seed, "beta": self.args.beta, "policy_version": self.facts.origin["policy"]["sha256"]}
        episodes = episodes_of(arrays, facts, lambda world: {"randomization": {k: v[world] for k, v in drawn.items()}})
        whole = [e for e in episodes if e.facts["row"] == 0 and e.columns["done"][-1]]
        if not whole:
            raise DatasetError(
                f"{self.args.policy}: none of {self.env.num_envs} episodes of seed {seed} came to its end"
            )
        return whole

    def _count(self, shard: Shard) -> None:
        """Take note of a finished shard."""
        same = self.args.settings() | {k: self.facts.origin[k]["sha256"] for k in ("policy", "teacher")}
        origin = shard.facts.origin
        found = dict(shard.extra.get("settings", {}))
        found |= {k: origin.get(k, {}).get("sha256") for k in ("policy", "teacher")}
        differing = [f"{k}: expected {same[k]}, found {found.get(k)}" for k in same if same[k] != found.get(k)]
        if differing:
            lines = "\n  ".join([f"{shard.path} is of another recording; take another --out:", *differing])
            raise DatasetError(lines)
        self.round, self.lost = shard.extra["rounds"][1], shard.extra["lost"]
        self.world = shard.extra.get("world", 0)  # recordings of the first edition leave the rest of a round out
        self.shards += 1
        self.episodes += len(shard.names)
        self.succeeded += sum(shard.episode_facts(name)["success"] for name in shard.names)
        shard.close()

    def _origin(self) -> dict[str, Any]:
        return {"policy": origin_of(self.policy), "teacher": origin_of(self.teacher), **provenance()}


class EpisodeRecorder(Recorder):
    """Notes the groups that are recorded, the simulator's state and what was drawn."""

    def __init__(self, args: RecordArgs) -> None:
        self.args, self.drawn = args, dict[str, Tensor]()
        later = {"none": (), "vectors": RECORDABLE[2:], "all": RECORDABLE}[args.next_obs]
        self.next_groups = [group for group in args.groups if group in later]
        always = {"action", "reward", "done", "mean", "std", "by_teacher", "object", "first", "valid", "success"}
        self.kept = always | {"physics", *args.groups, *(NEXT + group for group in self.next_groups)}

    def before(self, env: VecEnv, obs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.drawn:
            self.drawn = {name: value.clone() for name, value in env.drawn().items()}
        return {"physics": env.physics_state()} | {group: obs[group] for group in self.args.groups}

    def after(self, step: Step) -> dict[str, Tensor]:
        return {NEXT + group: step.obs[group] for group in self.next_groups}
