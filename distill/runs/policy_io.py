"""From a checkpoint to a policy, and whether it fits the environment that it is to act in."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from ...datasets.schema import Facts
from ...errors import HandsightError
from ...policies.policy import Policy
from ...sims.env_config import EnvConfig
from ...sims.tasks.task import as_today
from ...sims.vec_env import ArraySpec, VecEnv
from . import checkpoint, zoo
from .run import Run, RunError

BEST = "best.ckpt"


class PolicyError(HandsightError):
    """A checkpoint from which no policy can be built."""


class SignatureError(HandsightError):
    """A policy and an environment that do not mean the same by their observations or actions."""


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy with what it was trained in."""

    policy: Policy
    """In evaluation mode, on the device asked for."""
    signature: dict[str, Any]
    """`VecEnv.signature` of its training environment, with the observation groups that it reads only."""
    env_config: EnvConfig
    """Its training environment."""
    kind: str
    """Class name: "ActorCritic" or "StereoStudent"."""
    path: Path
    """The checkpoint."""
    run: Run | None
    """The run that the checkpoint lies in, if any."""

    @property
    def name(self) -> Path:
        """What finds it again: its checkpoint, or its name in the zoo, which is the same on every machine."""
        resident = zoo.resident(self.path)
        return Path(zoo.PREFIX + resident) if resident else self.path

    @property
    def results(self) -> Path:
        """Folder for what commands find out about it: that of its run; not in the zoo, which is part of the package."""
        resident = zoo.resident(self.path)
        if resident:
            return Path("runs") / "zoo" / resident
        return self.run.path if self.run else self.path.parent

    def check(self, signature: Mapping[str, Any]) -> None:
        """Raise SignatureError unless an environment of this signature fits the policy."""
        check_signature(self.signature, signature, where=str(self.path))


def policy_tree(
    policy: Policy, config: Any, action_dim: int, signature: Mapping[str, Any], env_config: Any, groups: Collection[str]
) -> dict[str, Any]:
    """The part of a checkpoint from which `load_policy` builds: {"policy", "signature", "env_config"}.

    Args:
        policy: what to save.
        config: the frozen dataclass that it was built from.
        action_dim: A.
        signature: of its training environment.
        env_config: the frozen dataclass of its training environment.
        groups: observation groups needed to build it: those that it reads and, for a teacher, those of its critic.
    """
    return {
        "policy": {
            "type": type(policy).__name__,
            "config": asdict(config),
            "action_dim": action_dim,
            "weights": policy.state_dict(),
        },
        "signature": restrict(signature, groups),
        "env_config": asdict(env_config),
    }


def load_policy(path: Path | str, device: str = "cpu") -> LoadedPolicy:
    """Build the policy of a checkpoint.

    Args:
        path: a checkpoint folder; a run folder: then its best checkpoint, or its newest if it has no best; or a name
            of the zoo, e.g. "zoo:state".
        device: where its weights go.

    Raises:
        CheckpointError, RunError: nothing complete there.
        PolicyError: the checkpoint holds no policy, or one that this version cannot build.
        ZooError: no such name.
    """
    place = find_checkpoint(path)
    run = _run_of(place)
    tree = checkpoint.load(place)
    missing = [key for key in ("policy", "signature", "env_config") if key not in tree]
    if missing:
        found = ", ".join(map(str, tree)) or "nothing"
        raise PolicyError(f"checkpoint {place} holds no policy: expected {', '.join(missing)}, found {found}")
    policy = _build(tree["policy"], tree["signature"], place).to(device).eval()
    return LoadedPolicy(
        policy=policy,
        signature=restrict(tree["signature"], policy.obs_keys),
        env_config=_env_config(tree["env_config"], place),
        kind=tree["policy"]["type"],
        path=place,
        run=run,
    )


def saved_worlds(path: Path | str) -> tuple[EnvConfig, bool]:
    """The worlds in which a policy was trained, and whether it looks at an image in them."""
    place = find_checkpoint(path)
    tree = checkpoint.load(place)
    looks = any(len(spec["shape"]) > 1 for spec in tree["signature"]["obs"].values())
    return _env_config(tree["env_config"], place), looks


def find_checkpoint(path: Path | str) -> Path:
    """The checkpoint that `load_policy` takes: that at `path`, or the best, or else the newest, of the run there."""
    path = zoo.resolve(path)
    return _checkpoint_in(path, _run_of(path))


def restrict(signature: Mapping[str, Any], groups: Collection[str]) -> dict[str, Any]:
    """The signature with these observation groups only."""
    return {**signature, "obs": {name: spec for name, spec in signature["obs"].items() if name in groups}}


def obs_spec(signature: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """`VecEnv.obs_spec` again, from a signature."""
    return {
        name: ArraySpec(tuple(spec["shape"]), getattr(torch, spec["dtype"]), dict(spec["parts"]))
        for name, spec in signature["obs"].items()
    }


def check_signature(expected: Mapping[str, Any], actual: Mapping[str, Any], where: str) -> None:
    """Whether a policy fits an environment.

    Args:
        expected: signature that the policy was trained with, restricted to the groups that it reads.
        actual: signature of the environment; groups that the policy does not read may differ.
        where: what the policy is, for the message.

    Raises:
        SignatureError: lists every difference on a line of its own: what, expected, found.
    """
    expected, actual = (json.loads(json.dumps(as_today(signature))) for signature in (expected, actual))
    sees = any(len(spec["shape"]) > 1 for spec in expected["obs"].values())
    keys = [key for key in expected if key not in ("obs", "rig")] + (["rig"] if sees and "rig" in expected else [])
    lines = [line for key in keys for line in _differences(key, expected[key], actual.get(key))]
    for name, spec in expected["obs"].items():
        if name in actual["obs"]:
            lines += _differences(f"obs.{name}", spec, actual["obs"][name])
        else:
            there = ", ".join(actual["obs"]) or "none"
            lines.append(
                f"obs.{name}: expected {spec['shape']} {spec['dtype']}, found no such group; available: {there}"
            )
    if lines:
        raise SignatureError("\n  ".join([f"{where} does not fit this environment:", *lines]))


def _differences(name: str, expected: Any, actual: Any) -> Iterator[str]:
    if name.endswith(".parts") and isinstance(actual, dict):
        if list(expected.items()) != list(actual.items()):  # the order of the parts is the layout of the vector
            yield from _part_differences(name, expected, actual)
    elif isinstance(expected, dict) and isinstance(actual, dict):
        for key in dict.fromkeys([*expected, *actual]):
            yield from _differences(f"{name}.{key}", expected.get(key), actual.get(key))
    elif expected != actual:
        yield f"{name}: expected {_shown(expected)}, found {_shown(actual)}"


def _part_differences(name: str, expected: dict[str, int], actual: dict[str, int]) -> Iterator[str]:
    before = list(_differences(name.removesuffix(".parts") + " part", expected, actual))
    yield from before
    if not before:
        yield f"{name}: expected in the order {', '.join(expected)}, found {', '.join(actual)}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)


def _run_of(path: Path) -> Run | None:
    try:
        return Run.open(path)
    except RunError:
        if path.suffix == checkpoint.SUFFIX:
            return None  # a checkpoint may be copied out of its run
        raise


def _checkpoint_in(path: Path, run: Run | None) -> Path:
    if path.suffix == checkpoint.SUFFIX or run is None:
        return path
    best = run.checkpoints / BEST
    return best if best.exists() else checkpoint.latest(run.checkpoints)


def _build(entry: Mapping[str, Any], signature: Mapping[str, Any], where: Path) -> Policy:
    spec, action_dim = obs_spec(signature), entry["action_dim"]
    match entry["type"]:
        case "ActorCritic":
            from ...teachers.actor_critic import ActorCritic, ActorCriticConfig

            policy = ActorCritic(_config(ActorCriticConfig, entry["config"], where), spec, action_dim)
        case "StereoStudent":
            from ...students.stereo import StereoStudent, StudentConfig

            policy = StereoStudent(_config(StudentConfig, entry["config"], where), spec, action_dim)
        case other:
            raise PolicyError(f"checkpoint {where}: expected a policy ActorCritic or StereoStudent, found {other!r}")
    _load_weights(policy, entry["weights"], where)
    return policy


def _load_weights(policy: Policy, weights: Mapping[str, torch.Tensor], where: Path) -> None:
    own = policy.state_dict()
    lines = [f"{name}: expected {list(own[name].shape)}, found nothing" for name in own if name not in weights]
    lines += [f"{name}: expected nothing, found {list(weights[name].shape)}" for name in weights if name not in own]
    lines += [
        f"{name}: expected {list(own[name].shape)}, found {list(weights[name].shape)}"
        for name in own
        if name in weights and own[name].shape != weights[name].shape
    ]
    if lines:
        raise PolicyError("\n  ".join([f"checkpoint {where}: weights do not fit {type(policy).__name__}:", *lines]))
    policy.load_state_dict(dict(weights))


def _env_config(values: Mapping[str, Any], where: Path) -> EnvConfig:
    return _config(EnvConfig, values, where)


def _config(config_class: type, values: Mapping[str, Any], where: Path) -> Any:
    try:
        return TypeAdapter(config_class).validate_python(dict(values))
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}, found {e['input']!r}" for e in error.errors()]
        raise PolicyError("\n  ".join([f"checkpoint {where} does not fit {config_class.__name__}:", *lines])) from error


def facts_of(env: VecEnv, env_config: Any, origin: Mapping[str, Any]) -> Facts:
    """What a shard says of the worlds that it comes from."""
    config = TypeAdapter(type(env_config)).dump_python(env_config, mode="json")
    return Facts(str(env.signature["task"]), env.signature, config, origin)


def origin_of(loaded: LoadedPolicy) -> dict[str, Any]:
    """Which policy it is, JSON-able."""
    return {"path": str(loaded.name), "kind": loaded.kind, "sha256": checkpoint.digest(loaded.path)}
