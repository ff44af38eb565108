"""`handsight import-policy`: what another library trained, or a plugin's policy without training, as a run of ours."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ... import plugins, sims
from ...errors import HandsightError, unknown
from ...policies import Policy, RunningMeanStd
from ...sims.vec_env import ArraySpec
from ...teachers import ActorCritic, ActorCriticConfig
from ..runs import checkpoint
from ..runs.foreign import Actor, ForeignError, read_rsl_rl, read_sb3
from ..runs.policy_io import BEST, load_weights, policy_tree
from ..runs.progress import tell
from ..runs.run import Run
from .arguments import ImportPolicyArgs


def import_policy(args: ImportPolicyArgs) -> Run:
    """What `handsight import-policy` does: read, build, save. Raises HandsightError: the file holds something else, or
    its layers do not fit these environments."""
    if args.source != "plugin" and not args.file.is_file():
        raise ForeignError(f"import-policy {args.source}: expected a file, found {args.file}")
    groups = tuple(dict.fromkeys((*args.observe, *args.env.task.told)))
    env = sims.make(args.env, groups, 1)
    try:
        policy, config = _policy(args, env.obs_spec, env.action_dim)
        tree = policy_tree(policy, config, env.action_dim, env.signature, args.env, policy.obs_keys)
    finally:
        env.close()
    run = Run.create(f"imported-{args.source}", args, folder=args.out)
    known = hashlib.sha256(args.file.read_bytes()).hexdigest() if args.file.is_file() else None
    checkpoint.save(run.checkpoints / BEST, tree | {"imported": {"source": args.source, "sha256": known}})
    tell(f"Saved {run.path}; handsight evaluate {run.path} tries it, train-student --teacher {run.path} learns from it")
    return run


def _policy(args: ImportPolicyArgs, spec: Mapping[str, ArraySpec], action_dim: int) -> tuple[Policy, Any]:
    """The policy with its weights, and its configuration."""
    if args.source == "plugin":
        kind = plugins.find("policies", str(args.file))
        if kind is None:
            raise HandsightError(unknown("policy of a plugin", str(args.file), plugins.names("policies")))
        return kind(config := kind.config_class(), spec, action_dim), config
    if args.source == "rsl_rl":
        found = read_rsl_rl(args.file, args.activation)
    else:
        found = read_sb3(args.file, args.activation, args.normalization)
    hidden, keys, clip = tuple(map(len, found.layers[1:-2:2])), args.observe, found.clip
    config = ActorCriticConfig(keys, keys, hidden, found.activation, observation_clip=clip)  # type: ignore[arg-type]
    torch.manual_seed(0)  # its critic is drawn, the same for every import
    policy = ActorCritic(config, spec, action_dim)
    widths = [spec[key].shape[0] for key in keys]
    if len(found.mean) != sum(widths):
        sizes = " + ".join(f"{key} {size}" for key, size in zip(keys, widths, strict=True))
        raise ForeignError(f"{args.file} reads {len(found.mean)} numbers; --observe gives {sum(widths)}: {sizes}")
    load_weights(policy, {**policy.state_dict(), **_weights(found, dict(zip(keys, widths, strict=True)))}, args.file)
    return policy, config


def _weights(found: Actor, widths: Mapping[str, int]) -> dict[str, Tensor]:
    """What an `ActorCritic` has of it: all but the critic. widths: of the observation groups."""
    names = [f"trunk.{place}" for place in range(0, len(found.layers) - 2, 2)] + ["head.mean"]
    layers = [f"{name}.{part}" for name in names for part in ("weight", "bias")]
    weights = dict(zip(layers, found.layers, strict=True)) | {"head.log_std": found.log_std}
    rounded = (found.mean - found.mean.float()) / found.scale  # normalisers subtract in float32
    weights["trunk.0.bias"] = (weights["trunk.0.bias"] - weights["trunk.0.weight"].double() @ rounded.double()).float()
    variance = found.scale.double().square() - RunningMeanStd(1).epsilon
    for name, values in (("mean", found.mean.double()), ("variance", variance)):
        parts = zip(widths, values.split([*widths.values()]), strict=True)
        weights |= {f"normalizers.{key}.{name}": part for key, part in parts}
    return weights
