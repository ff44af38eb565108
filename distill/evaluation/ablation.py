"""Does a policy use its eyes? The same policy with its images tampered with: it must get worse."""

from __future__ import annotations

import torch
from tensordict import TensorDict
from torch import Tensor

from ...errors import HandsightError
from ...policies.policy import Policy

IMAGES = ("depth", "stereo")
"""Groups that are tampered with; what the robot feels stays as it is."""
SHUFFLED, FROZEN, BLACK, MEAN = "shuffled", "frozen", "black", "mean"
EYES = {f"{eye} eye {how}": (i, how) for i, eye in enumerate(("left", "right")) for how in (BLACK, SHUFFLED, MEAN)}
"""Number of the eye and what is done to it, by kind."""
KINDS = (SHUFFLED, FROZEN, BLACK, MEAN, *EYES)


def kinds_of(sight: str) -> tuple[str, ...]:
    """Ablations that mean something to a policy with this sight (`policy_kind.sight_of`); none without images."""
    match sight:
        case "stereo":
            return SHUFFLED, FROZEN, *EYES
        case "depth" | "left eye":
            return SHUFFLED, FROZEN, BLACK, MEAN
    return ()


class AblatedPolicy(Policy):
    """A policy whose images are tampered with before it sees them, in whatever rollout it acts.

    shuffled: every world sees what another world's cameras see at this step, both eyes of the same one, the same other
    world all along: coherent images that have nothing to do with its own hand. frozen: every world sees the first
    image of its episode again and again. black: nothing, 0 everywhere (for depth: no return). mean: the mean of what
    all worlds' cameras see at this step: as bright as an image, and nothing of this world. left / right eye ...: that
    one of a stereo pair alone; the other sees on.

    What "frozen" has to remember lies in the policy's hidden state, which everyone zeroes where an episode opens:
    so it is right wherever that is, whenever each environment resets.
    """

    def __init__(self, policy: Policy, kind: str, seed: int = 0) -> None:
        """kind: one of `KINDS`; seed: of who sees through whose eyes.

        Raises:
            HandsightError: there is no such kind, or the policy has no images for it.
        """
        super().__init__()
        groups = tuple(key for key in policy.obs_keys if key in (("stereo",) if kind in EYES else IMAGES))
        if kind not in KINDS or not groups:
            raise HandsightError(
                f"ablation {kind!r} of a policy that reads {', '.join(policy.obs_keys)}: expected one of "
                f"{', '.join(KINDS)}, and a policy that reads {'stereo' if kind in EYES else ' or '.join(IMAGES)}"
            )
        self.policy, self.kind, self.seed, self.groups = policy, kind, seed, groups
        self.obs_keys, self.eyes = policy.obs_keys, getattr(policy, "eyes", 2)

    def initial_hidden(self, n: int) -> Tensor:
        """(n, H) zeros: the policy's own hidden state. "frozen" grows it behind that, once images are known."""
        return self.policy.initial_hidden(n)

    def forward(self, obs: TensorDict, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As the policy's, on other images."""
        seen = {key: obs[key] for key in self.groups}
        if self.kind != FROZEN:
            return self.policy(self._with(obs, {key: self._tampered(image) for key, image in seen.items()}), hidden)
        own = self.policy.initial_hidden(0).shape[1]
        held = self._held(seen, hidden[:, own:])
        mean, std, after = self.policy(self._with(obs, held), hidden[:, :own])
        kept = [image.flatten(1).float() for image in held.values()]  # 16-bit integers are exact in float32
        return mean, std, torch.cat([after, torch.ones_like(mean[:, :1]), *kept], dim=1)

    def _tampered(self, image: Tensor) -> Tensor:
        """image (N, ...): depth (N, 1, H, W) or stereo (N, 2, 3, H, W)."""
        if self.kind not in EYES:
            return self._replaced(image, self.kind)
        eye, how = EYES[self.kind]
        eyes = image.clone()
        eyes[:, eye] = self._replaced(image[:, eye], how)
        return eyes

    def _replaced(self, image: Tensor, how: str) -> Tensor:
        match how:
            case "shuffled":
                return image[other_world(len(image), self.seed).to(image.device)]
            case "mean":
                return image.float().mean(0).round().to(image.dtype).expand_as(image)
        return torch.zeros_like(image)

    def _held(self, seen: dict[str, Tensor], memory: Tensor) -> dict[str, Tensor]:
        """The first images of the episodes. memory (N, 0) in the first step of all, else (N, 1 + all their numbers);
        its first number is 0 where it was zeroed: where an episode opens, what is seen now is its first image."""
        if not memory.shape[1]:
            return dict(seen)
        opens, held, start = memory[:, 0] == 0, {}, 1
        for key, image in seen.items():
            size = image[0].numel()
            before = memory[:, start : start + size].reshape(image.shape).to(image.dtype)
            held[key] = torch.where(opens.reshape(-1, *[1] * (image.ndim - 1)), image, before)
            start += size
        return held

    def _with(self, obs: TensorDict, images: dict[str, Tensor]) -> TensorDict:
        return obs.clone(recurse=False).update(images)


def other_world(num_envs: int, seed: int = 0) -> Tensor:
    """(N,) through whose eyes each environment sees: one ring of all in random order, so never through its own.

    Raises:
        HandsightError: there is only one environment.
    """
    if num_envs < 2:
        raise HandsightError("ablation 'shuffled': expected at least two worlds to exchange images, found num_envs=1")
    ring = torch.randperm(num_envs, generator=torch.Generator().manual_seed(seed))
    return torch.empty_like(ring).scatter_(0, ring, ring.roll(-1))
