"""What environments of this version do, number by number: who changes one of these has made another version.

`python tests/sims/test_version.py` writes the numbers down anew, which belongs to raising `VERSION`.
"""

import json
from pathlib import Path

import pytest
import torch

from handsight.sims import EnvConfig, GraspConfig, make
from handsight.sims.scenes import scene, with_scene
from handsight.sims.tasks.signature import VERSION

NUMBERS = Path(__file__).with_name(f"version_{VERSION}.json")
GROUPS = ("state", "proprio", "depth", "stereo", "calibration")
ENVIRONMENTS = {
    "wrist": EnvConfig(task=GraspConfig(episode_steps=5)),
    "wrist, palm6+synergy5": EnvConfig(task=GraspConfig(action_space="palm6+synergy5")),
    "occluded": with_scene(EnvConfig(), "occluded"),
    "open": scene("open"),
}
WORLDS, STEPS = 6, 8


def measure(name: str) -> dict[str, list[float]]:
    """Numbers by what and when they were: those of two worlds in full, images by their means."""
    env = make(ENVIRONMENTS[name], GROUPS, WORLDS, world_offset=2)
    grasps = ENVIRONMENTS[name].task.action_space == "palm6+synergy5"  # so that hand and object meet
    env.set_reset_mix({"near": 1.0} if grasps else {"wide": 0.5, "easy": 0.25, "near": 0.25})
    push = torch.tensor([0.0, 0, -1, 0, 0, 0, 0.8, 0.5, 0.5, 0.5, 0.5]) if grasps else torch.zeros(env.action_dim)
    draws = torch.Generator().manual_seed(0)
    obs, found = env.reset(11), {}
    found["drawn"] = numbers(env.drawn())
    found["reset"] = numbers(obs)
    if not grasps:
        env.stagger()
    for t in range(STEPS):
        step = env.step(push + 0.6 * torch.randn(WORLDS, env.action_dim, generator=draws) * (0.1 if grasps else 1))
        if t in (0, 2, 4, 5, STEPS - 1):
            outcome = {"reward": step.reward, "terminated": step.terminated, "truncated": step.truncated}
            found[f"step {t}"] = numbers({**step.obs, **step.log, **outcome, "valid": step.valid, "first": step.first})
    found["drawn at the end"] = numbers(env.drawn())
    env.close()
    return {f"{moment}: {what}": values for moment, named in found.items() for what, values in named.items()}


def numbers(named) -> dict[str, list[float]]:
    """A few numbers of each array, four digits long."""
    found = {}
    for what, array in named.items():
        array = array.double()
        if what in ("depth", "stereo"):  # mean and share of zeros of every image, and where it is bright
            pixels = array.flatten(-2)
            column = torch.arange(pixels.shape[-1], dtype=torch.double)
            parts = [pixels.mean(-1), 100 * (pixels == 0).double().mean(-1), (pixels * column).mean(-1) / 512]
            array = torch.stack(parts, -1)
        found[what] = [float(f"{value:.5g}") for value in array[::3].flatten().tolist()]
    return found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments_of_this_version_are_those_that_policies_learnt_in(name):
    expected, found = json.loads(NUMBERS.read_text())[name], measure(name)
    assert list(found) == list(expected)
    exact = 1 if "synergy" not in name else 20  # contacts make much of the last bits, which machines may not share
    for what, values in expected.items():
        close = pytest.approx(values, rel=2e-3 * exact, abs=0.4 if what.endswith(("depth", "stereo")) else 2e-4 * exact)
        assert found[what] == close, (
            f"{what}: meant? Then it is another version: raise VERSION in sims/tasks/signature.py"
        )


if __name__ == "__main__":
    NUMBERS.write_text(json.dumps({name: measure(name) for name in ENVIRONMENTS}) + "\n")
