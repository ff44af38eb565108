"""A rollout never asks the device for a value: the processor runs ahead of the GPU through all of it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.training.teacher_training import TeacherTraining
from handsight.sims import EnvConfig, GraspConfig
from handsight.sims.engines.contact_buffers import ContactBuffers
from handsight.sims.env_config import SceneConfig
from handsight.sims.tasks.grasp import GraspTask

ASKS = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "equal",
    "is_nonzero",
    "_unique2",
    "unique_dim",
    "lift_fresh",
}
"""Operations that wait for a GPU, or (the last: `torch.tensor` of Python numbers) copy to it from unpinned memory."""


class Watch(TorchDispatchMode):
    """Fails at the first operation that would make a GPU and the processor wait for each other."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in ASKS, f"{name} reads a value back"
        if name in ("index", "index_put", "index_put_"):
            assert all(i is None or i.dtype != torch.bool for i in args[1]), f"{name} by a mask counts its rows"
        return func(*args, **(kwargs or {}))


def training(sight, device="cpu"):
    task = GraspConfig(episode_steps=3)
    env = EnvConfig(engine="mujoco_warp", scene=SceneConfig(substeps=1), task=task)
    config = getattr(TeacherConfig, sight)()
    small = {"env": env, "num_envs": 4, "rollout_steps": 5, "iterations": 1, "seed": 0, "device": device}
    return TeacherTraining.start(type(config)(**{**vars(config), **small}))


def collect(made):
    made._collect(made.policy, made.buffer)


def test_a_watch_sees_what_waits():
    for asks in (
        lambda x: bool(x.any()), lambda x: x.nonzero(), lambda x: x[x > 0], lambda x: x + torch.tensor(1.0),
    ):  # fmt: skip
        with pytest.raises(AssertionError), Watch():
            asks(torch.ones(3))


@pytest.mark.parametrize("sight", ["state", "depth"])
def test_a_rollout_reads_nothing_back(sight, monkeypatch):
    """On Warp's CPU back end, with the two places that ask where they run put on the GPU's way: resets draw for all
    worlds, and the check of the contact buffers, which a GPU answers later, is left out."""
    made = training(sight)
    monkeypatch.setattr(GraspTask, "_rows", lambda self, mask: torch.arange(len(mask)))
    monkeypatch.setattr(ContactBuffers, "check", lambda self, wait=False: None)
    collect(made)  # constants are made on first use
    with Watch():
        collect(made)
    assert made.buffer.first.any() and not made.buffer.valid.all()  # worlds were reset on the way
    made.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("sight", ["state", "depth"])
def test_a_rollout_on_a_gpu_never_synchronises(sight):
    """Torch raises at what waits, and the profiler sees no synchronisation by Warp either."""
    made = training(sight, "cuda:0")
    collect(made)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            collect(made)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    names = {event.key for event in profile.key_averages()}
    assert not {name for name in names if "Synchronize" in name and "Profiler" not in name}, names
    made.close()
