"""From a checkpoint to a policy, and whether it fits the environment that it is to act in."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from ... import plugins
from ...datasets.foreign import FOREIGN
from ...datasets.schema import Facts
from ...errors import HandsightError
from ...files import explained
from ...policies.policy import Policy
from ...sims import describe
from ...sims.env_config import EnvConfig
from ...sims.machine import without_machine
from ...sims.scene import Scene
from ...sims.tasks.signature import VERSION, as_today, named
from ...sims.vec_env import ArraySpec, VecEnv, plain_tensors
from ...students.config import StudentConfig
from . import checkpoint, stored_config, zoo
from .run import Run, RunError
from .tree import TORCH_DTYPES

BEST = "best.ckpt"


class PolicyError(HandsightError):
    """A checkpoint from which no policy can be built."""


class SignatureError(HandsightError):
    """A policy and an environment that do not mean the same by their observations or actions."""


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy, and the environment that it was trained in."""

    policy: Policy
    """In evaluation mode, on the device asked for."""
    signature: dict[str, Any]
    """`VecEnv.signature` of its training environment, with the observation groups that it reads only."""
    env_config: EnvConfig
    """Configuration of its training environment."""
    kind: str
    """Class name, e.g. "ActorCritic" or "StereoStudent"."""
    path: Path
    """The checkpoint that it was loaded from."""
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

    def tried_on(self, device: str) -> LoadedPolicy:
        """The policy as it is tried on a device: who learnt in the GPU engine's worlds acts on a CPU in the CPU
        engine's, and a line says so."""
        if device != "cpu" or self.env_config.engine != "mujoco_warp":
            return self
        stored_config.tell(
            f"{self.name} learnt in worlds of engine mujoco_warp; on device cpu it acts in the CPU engine's: the "
            "same scene, draws and cameras, but contacts are solved by PGS in float64 instead of Newton in float32, at "
            "a CPU's speed (handsight bench); --device cuda:0 takes its own"
        )
        return replace(self, env_config=replace(self.env_config, engine="mujoco"))

    def moved_to(self, env_config: EnvConfig) -> LoadedPolicy:
        """The policy as it is tried in other environments than those in which it learnt.

        Raises:
            SignatureError: it reads observations that are others there; says what differs.
        """
        seen = {name: spec.describe() for name, spec in describe(env_config, self.policy.obs_keys).items()}
        check_signature({"obs": self.signature["obs"]}, {"obs": seen}, str(self.name))
        return replace(self, env_config=env_config)

    def check(self, signature: Mapping[str, Any]) -> None:
        """Whether an environment of this signature fits the policy. Raises SignatureError, see `check_signature`."""
        check_signature(self.signature, signature, where=str(self.path))

    def check_scene(self, env_config: EnvConfig) -> None:
        """Whether the robot and the objects that these names mean on this machine are those that the policy learnt
        with; others of another name are not asked about, nor are environments that are not ours.

        Raises:
            HandsightError: there is no such robot or object set here.
            SignatureError: one has the name and is another; says which. Or it learnt from others' demonstrations.
        """
        learnt = as_today(self.signature)
        if str(learnt.get("task")).startswith(FOREIGN):
            raise SignatureError(f"{self.path} learnt from {learnt['task']}: no environment here has its observations")
        here = Scene(env_config.scene) if isinstance(env_config, EnvConfig) else None
        found = {"robot": named(here.robot), "objects": named(here.objects)} if here else {}
        alike = [key for key in found if key in learnt and learnt[key]["name"] == found[key]["name"]]
        if lines := [line for key in alike for line in differences(key, learnt[key], found[key])]:
            raise SignatureError("\n  ".join([f"{self.path} learnt with another of that name:", *lines]))


def policy_tree(
    policy: Policy, config: Any, action_dim: int, signature: Mapping[str, Any], env_config: Any, groups: Collection[str]
) -> dict[str, Any]:
    """The part of a checkpoint from which `load_policy` builds: {"policy", "signature", "env_config", and which
    "plugins" were loaded, if any}.

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
        "env_config": without_machine(env_config, asdict(env_config)),
        **({"plugins": plugins.loaded()} if plugins.loaded() else {}),
    }


def load_policy(path: Path | str, device: str = "cpu") -> LoadedPolicy:
    """Build the policy of a checkpoint; warns if it learnt in environments of another version.

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
    run = None
    with suppress(RunError):  # a checkpoint may be copied out of its run
        run = Run.open(place)
    tree = checkpoint.load(place)
    missing = [key for key in ("policy", "signature", "env_config") if key not in tree]
    if missing:
        found = ", ".join(map(str, tree)) or "nothing"
        raise PolicyError(f"checkpoint {place} holds no policy: expected {', '.join(missing)}, found {found}")
    where = f"{place}{plugins.missing(tree)}"
    with explained(where, PolicyError):
        policy = _build(tree["policy"], tree["signature"], where)
        signature, kind = restrict(tree["signature"], policy.obs_keys), tree["policy"]["type"]
    env_config = _config(EnvConfig, tree["env_config"], where)
    learnt = as_today(signature).get("version", VERSION)
    if learnt != VERSION:
        stored_config.tell(
            f"{path} learnt in environments of version {learnt}, today's are of version {VERSION}: physics, draws and "
            "cameras have changed since, so what it does here is not what it did there"
        )
    return LoadedPolicy(policy.to(device).eval(), signature, env_config, kind, place, run)


def saved_worlds(path: Path | str) -> tuple[EnvConfig, bool]:
    """The configuration of the environment in which a policy was trained, and whether it sees an image there.

    Raises:
        CheckpointError, RunError, PolicyError, ZooError: as `load_policy`.
    """
    place = find_checkpoint(path)
    tree = checkpoint.load(place)
    with explained(place, PolicyError):
        looks = any(len(spec["shape"]) > 1 for spec in tree["signature"]["obs"].values())
        return _config(EnvConfig, tree["env_config"], f"{place}{plugins.missing(tree)}"), looks


def find_checkpoint(path: Path | str) -> Path:
    """The checkpoint that `load_policy` takes: that at `path`, or the best, or else the newest, of the run there.

    Raises:
        CheckpointError, RunError, ZooError: nothing complete there.
    """
    path = zoo.resolve(path)
    if path.suffix == checkpoint.SUFFIX:
        return path
    folder = Run.open(path).checkpoints
    return folder / BEST if (folder / BEST).exists() else checkpoint.latest(folder, checkpoint.PERIODIC)


def found_again(path: Path | str, run: Path, sha256: str | None) -> Path:
    """Where the checkpoint or folder that a run names is now: at `path`, or there below a folder above the folder `run`
    (if both were moved, or the run is gone on with from elsewhere), or any checkpoint of the runs beside it. With
    `sha256` only a checkpoint of that digest counts, or a run whose best it is, without it only the name does; if none
    fits, `path`."""
    place, here = zoo.resolve(path), run.resolve()
    beside = here.parent.parent.glob(f"*/*/checkpoints/*{checkpoint.SUFFIX}") if sha256 else ()
    for one in chain([place], (above / place for above in here.parents), beside):
        kept = [k for k in (one, one / "checkpoints" / BEST) if (k / checkpoint.MANIFEST).exists()]
        if one.exists() if sha256 is None else any(checkpoint.digest(k) == sha256 for k in kept):
            return one
    return place


def restrict(signature: Mapping[str, Any], groups: Collection[str]) -> dict[str, Any]:
    """The signature with these observation groups only."""
    return {**signature, "obs": {name: spec for name, spec in signature["obs"].items() if name in groups}}


def obs_spec(signature: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """`VecEnv.obs_spec` again, from a signature."""
    return {
        name: ArraySpec(tuple(spec["shape"]), TORCH_DTYPES[f"torch.{spec['dtype']}"], dict(spec["parts"]))
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
    keys = [key for key in expected if key not in ("obs", "version") and (key != "rig" or sees)]
    lines = [line for key in keys for line in differences(key, expected[key], actual.get(key))]
    for name, spec in expected["obs"].items():
        if name in actual["obs"]:
            lines += differences(f"obs.{name}", spec, actual["obs"][name])
        else:
            there = ", ".join(actual["obs"]) or "none"
            lines.append(
                f"obs.{name}: expected {spec['shape']} {spec['dtype']}, found no such group; available: {there}"
            )
    if lines:
        raise SignatureError("\n  ".join([f"{where} does not fit this environment:", *lines]))


def differences(name: str, expected: Any, actual: Any) -> list[str]:
    """A line for each difference of two JSON values, with its dotted name below `name`; dicts are gone through."""
    if not (isinstance(expected, dict) and isinstance(actual, dict)):
        return [] if expected == actual else [f"{name}: expected {_shown(expected)}, found {_shown(actual)}"]
    pairs = {key: (expected.get(key), actual.get(key)) for key in (*expected, *actual)}
    lines = [line for key, pair in pairs.items() for line in differences(f"{name}.{key}", *pair)]
    if not lines and name.endswith(".parts") and [*expected] != [*actual]:  # their order is the vector's layout
        lines.append(f"{name}: expected in the order {', '.join(expected)}, found {', '.join(actual)}")
    return lines


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)


@plain_tensors
def _build(entry: Mapping[str, Any], signature: Mapping[str, Any], where: str) -> Policy:
    spec, action_dim = obs_spec(signature), entry["action_dim"]
    found: Any
    match entry["type"]:
        case "ActorCritic":
            from ...teachers import ActorCritic as found
        case "StereoStudent":
            from ...students import StereoStudent as found
        case other:
            found = plugins.find("policies", other) or plugins.find("students", other)
            if found is None:
                raise PolicyError(
                    f"checkpoint {where}: expected a policy ActorCritic or StereoStudent, found {other!r}"
                )
    config = _config(found.config_class, entry["config"], where)
    if isinstance(config, StudentConfig):  # no other weights than these
        config = replace(config, backbone=replace(config.backbone, pretrained=False))
    policy = found(config, spec, action_dim)
    load_weights(policy, entry["weights"], where)
    return policy


def load_weights(policy: Policy, weights: Mapping[str, torch.Tensor], where: Path | str) -> None:
    """Give a policy its weights. Raises PolicyError: they are of other names or shapes; lists them."""
    own, found = ({name: list(one.shape) for name, one in part.items()} for part in (policy.state_dict(), weights))
    lines = [
        f"{name}: expected {own.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
        for name in own | found
        if own.get(name) != found.get(name)
    ]
    if lines:
        raise PolicyError("\n  ".join([f"checkpoint {where}: weights do not fit {type(policy).__name__}:", *lines]))
    policy.load_state_dict(dict(weights))


def _config(config_class: type, values: Mapping[str, Any], where: str) -> Any:
    return stored_config.read(config_class, values, f"checkpoint {where}", PolicyError)


def facts_of(env: VecEnv, env_config: Any, origin: Mapping[str, Any]) -> Facts:
    """What a shard says of the environment that it comes from. origin: JSON-able, e.g. `origin_of` its policy."""
    return Facts(str(env.signature["task"]), env.signature, stored_config.dump(env_config), origin)


def origin_of(loaded: LoadedPolicy) -> dict[str, Any]:
    """Which policy it is, JSON-able: {"path", "kind", "sha256" of its checkpoint}."""
    return {"path": str(loaded.name), "kind": loaded.kind, "sha256": checkpoint.digest(loaded.path)}
