"""Where a policy comes from: what other commands take, an exported ONNX file, or a training that goes on."""

from __future__ import annotations

from pathlib import Path

import torch
from tensordict import TensorDict
from torch import Tensor

from ...errors import HandsightError
from ...files import explained
from ...policies.policy import Policy
from ...sims.env_config import EnvConfig
from ..runs import checkpoint, stored_config
from ..runs.policy_io import LoadedPolicy, PolicyError, load_policy
from ..runs.run import Run


class OnnxActor(Policy):
    """An exported policy in the place of one of torch's; onnxruntime computes it."""

    def __init__(self, path: Path) -> None:
        """Raises HandsightError: there is no onnxruntime, or no policy in the file."""
        super().__init__()
        try:
            from ..runs.onnx_policy import OnnxPolicy
        except ImportError as error:
            raise HandsightError(f"{path} needs onnxruntime: pip install 'handsight[export]'") from error
        self.model = OnnxPolicy(path)
        self.obs_keys = tuple(self.model.inputs)

    def initial_hidden(self, n: int) -> Tensor:
        return torch.zeros(n, self.model.facts["hidden"])

    def forward(self, obs: TensorDict, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.model.hidden = hidden.numpy()
        mean, std = self.model.act({name: obs[name].numpy() for name in self.obs_keys})
        return torch.from_numpy(mean), torch.from_numpy(std), torch.from_numpy(self.model.hidden)


def newest(run: Path) -> Path:
    """The checkpoint that a training wrote last. Raises RunError, CheckpointError: no run, or none yet."""
    return checkpoint.latest(Run.open(run).checkpoints, checkpoint.PERIODIC)


def load(path: Path, watched: bool = False) -> LoadedPolicy:
    """The policy at a path, on the CPU. watched: that of the newest checkpoint of a run instead of its best.

    Raises:
        HandsightError: there is none, or nothing that can be read.
    """
    if path.suffix != ".onnx":
        return load_policy(newest(path) if watched else path).tried_on("cpu")
    actor = OnnxActor(path)
    with explained(path, PolicyError):
        config = stored_config.read(EnvConfig, actor.model.facts.get("env_config"), path, PolicyError)
        return LoadedPolicy(actor.eval(), actor.model.facts["signature"], config, "ONNX", path, None)
