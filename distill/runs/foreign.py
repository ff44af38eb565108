"""Policies of Stable-Baselines3 and rsl_rl: their weights, and nothing else of their files.

Both libraries keep pickles, which run programs when they are read. Here torch's own reader of tensors (`weights_only`)
reads the one dict of weights; everything else in a file is refused or left alone.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...errors import HandsightError
from ...files import read_arrays

MOST_BYTES = 2**30
"""Most that a file may hold when it is unpacked."""
VALUE = ("value_net.", "mlp_extractor.value_net.")
"""Weights of SB3's critic, which an actor does without."""
RSL_RL_EPSILON, SB3_EPSILON, SB3_CLIP, UNCLIPPED = 1e-2, 1e-8, 10.0, 1000.0
"""What is added to a standard deviation by EmpiricalNormalization, and to a variance by VecNormalize, which clips, too;
and as far as `ActorCritic` lets observations go."""


class ForeignError(HandsightError):
    """A file of another library from which no policy of ours can be made; says what stands in the way."""


class Actor(NamedTuple):
    """Weight and bias of each layer, one after the other; logarithm (A,) of the actions' standard deviation; what
    follows each layer but the last; (D,) what is taken off observations, what they are divided by then, and at how
    many standard deviations they end."""

    layers: list[Tensor]
    log_std: Tensor
    activation: str
    mean: Tensor
    scale: Tensor
    clip: float


def read_sb3(path: Path, activation: str | None = None, normalization: Path | None = None) -> Actor:
    """The actor in what `PPO.save` or `A2C.save` wrote with "MlpPolicy".

    Args:
        path: the zip file.
        activation: what follows each layer; None: what the file says in plain words, or else SB3's tanh.
        normalization: npz file with `mean` and `var` (D,) of VecNormalize.

    Raises:
        ForeignError: it holds another kind of policy, or what is no weights.
    """
    with _opened(path, path) as archive:
        if not {"policy.pth", "data"} <= set(archive.namelist()):
            raise ForeignError(f"{path}: expected policy.pth and data in it, as Stable-Baselines3 saves")
        state, told = _tensors(path, io.BytesIO(archive.read("policy.pth"))), archive.read("data")
    state = {name: one for name, one in state.items() if not name.startswith(VALUE)}
    layers = [*_layers(state, "mlp_extractor.policy_net."), *_layers(state, "action_net.", "")]
    log_std = _checked(path, state, layers, state.pop("log_std", None), "the MlpPolicy of PPO or A2C")
    if normalization is None:
        width = layers[0].shape[-1]
        return Actor(layers, log_std, activation or _said(told), torch.zeros(width), torch.ones(width), UNCLIPPED)
    arrays = read_arrays(normalization, ForeignError)
    if [arrays[name].shape for name in ("mean", "var") if name in arrays] != [layers[0].shape[1:]] * 2:
        raise ForeignError(f"{normalization}: expected arrays mean and var of {layers[0].shape[-1]} numbers")
    mean, var = (torch.from_numpy(arrays[name]).double() for name in ("mean", "var"))
    return Actor(layers, log_std, activation or _said(told), mean, (var + SB3_EPSILON).sqrt(), SB3_CLIP)


def read_rsl_rl(path: Path, activation: str | None = None) -> Actor:
    """The actor (or the student of a distillation) in what rsl_rl 5 saved of an `MLPModel`, with its normaliser.
    Arguments and errors as for `read_sb3`; activation: None means rsl_rl's elu."""
    state = _tensors(path, path, "student_state_dict", "actor_state_dict")
    norm = {name: state.pop(f"obs_normalizer.{name}", None) for name in ("_mean", "_std", "_var", "count")}
    layers, std = _layers(state, "mlp."), state.pop("distribution.std_param", None)
    log_std = state.pop("distribution.log_std_param", None if std is None else std.log())
    log_std = _checked(path, state, layers, log_std, "an MLPModel with a GaussianDistribution")
    mean, scale = torch.zeros(layers[0].shape[-1]), torch.ones(layers[0].shape[-1])
    if norm["_mean"] is not None and norm["_std"] is not None:
        mean, scale = norm["_mean"].flatten(), norm["_std"].flatten() + RSL_RL_EPSILON
    return Actor(layers, log_std, activation or "elu", mean, scale, UNCLIPPED)


def _opened(path: Path, file: Any) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile) as wrong:
        raise ForeignError(f"{path}: expected the archive that its library saved, found {wrong}") from wrong
    if (size := sum(member.file_size for member in archive.infolist())) > MOST_BYTES:
        raise ForeignError(f"{path}: expected at most {MOST_BYTES:,} bytes, found {size:,}")
    return archive


def _tensors(path: Path, file: Any, *names: str) -> dict[str, Tensor]:
    """The tensors of a state dict: that which the file is, or its first entry of these names."""
    _opened(path, file).close()
    if isinstance(file, io.BytesIO):
        file.seek(0)
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as wrong:  # whatever a file that was made to do harm leads the reader to
        raise ForeignError(f"{path} holds more than weights, none of which is run: {type(wrong).__name__}") from wrong
    if names and isinstance(found, Mapping):
        found = next((found[name] for name in names if name in found), None)
    if not isinstance(found, Mapping) or not all(isinstance(one, Tensor) for one in found.values()):
        wanted = f" called {' or '.join(names)}" * bool(names)
        raise ForeignError(f"{path}: expected a dict of tensors{wanted}, found a {type(found).__name__}")
    return {str(name): one for name, one in found.items()}


def _layers(state: dict[str, Tensor], prefix: str, *numbers: str) -> list[Tensor]:
    """Weights and biases of layers 0, 2, ... (or of these numbers), taken out of the state."""
    found = numbers or [f"{number}." for number in range(0, 2 * len(state), 2)]
    names = [f"{prefix}{number}{part}" for number in found for part in ("weight", "bias")]
    return [state.pop(name) for name in names if name in state]


def _checked(path: Path, left: Mapping[str, Tensor], layers: list[Tensor], log_std: Tensor | None, what: str) -> Tensor:
    if left or log_std is None or len(layers) < 4 or [one.ndim for one in layers] != [2, 1] * (len(layers) // 2):
        raise ForeignError(f"{path}: expected {what}, found {', '.join([*left][:8]) or 'other layers'}")
    return log_std


def _said(told: bytes) -> str:
    """The activation that SB3's `data` names in plain words; what is pickled in it is not looked at."""
    try:
        words = str(json.loads(told)["policy_kwargs"]["activation_fn"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return "tanh"
    return (re.findall(r"\.(\w+)'", words) or [words])[-1].lower()
