"""A student network of one's own: both eyes as one image of six channels, through two convolutions."""

import torch
from torch import Tensor, nn

from handsight.students import StereoStudent


class SmallNet(StereoStudent):
    """What it sees is its own; memory, object head and action are those of `StereoStudent`."""

    def __init__(self, config, obs_spec, action_dim) -> None:
        super().__init__(config, obs_spec, action_dim)
        del self.backbone, self.fusion
        self.look = nn.Sequential(
            nn.Conv2d(6, 8, 5, stride=4), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten(),
            nn.LazyLinear(config.image_features), nn.ELU(),
        )  # fmt: skip
        with torch.no_grad():
            self.look(torch.zeros(1, 6, *obs_spec["stereo"].shape[2:]))  # LazyLinear finds its width

    def encode(self, obs, depth: bool = False) -> tuple[Tensor, Tensor | None]:
        felt = torch.cat([self.normalize[key](obs[key]) for key in self.config.felt], dim=1)
        seen = self.look(obs["stereo"].flatten(1, 2).float() / 127.5 - 1)
        return torch.cat([seen, self.feel(felt)], dim=1), None


STUDENTS = (SmallNet,)
