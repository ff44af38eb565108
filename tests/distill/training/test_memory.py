"""What a training is going to take: by hand, in one line, and refused with the number of worlds that fits."""

import logging
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from handsight import sims
from handsight.distill.commands import options, presets
from handsight.distill.training import memory
from handsight.distill.training.memory import Part, TooManyWorldsError
from handsight.distill.training.student_config import StudentRunConfig
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.sims import EnvConfig
from handsight.students import StudentConfig
from handsight.teachers import ActorCritic, RolloutBuffer

GIB = 2**30
ADVICE = "Ask for smaller --image"
PARTS = [Part("simulator", "cuda:0", 3e6), Part("rollout", "cpu", 1e6, 5e6)]


def test_the_line_names_every_part_and_device(caplog):
    with caplog.at_level(logging.INFO, "handsight"):
        line = memory.announce(PARTS, 100, ADVICE, lambda device: GIB)
    assert line == (
        "memory: 100 worlds: simulator 286.1 MiB = 286.1 MiB of 1.0 GiB on cuda:0; "
        "rollout 100.1 MiB = 100.1 MiB of 1.0 GiB on cpu"
    )
    assert line in caplog.messages


def test_where_not_even_one_world_fits_it_says_so_and_what_to_ask_for_instead():
    with pytest.raises(TooManyWorldsError, match=r"; not even one world fits\. Ask for smaller --image$"):
        memory.announce(PARTS, 1, ADVICE, lambda device: 1)


def test_what_does_not_fit_is_refused_with_the_number_that_does():
    with pytest.raises(TooManyWorldsError, match=r"400 worlds need .* on cuda:0 .* at most 357 worlds fit"):
        memory.announce(PARTS, 400, ADVICE, lambda device: GIB)  # 2^30 / 3e6
    with pytest.raises(TooManyWorldsError, match=r"100 worlds need .* on cpu .* at most 5 worlds fit"):
        memory.announce(PARTS, 100, ADVICE, lambda device: 10_000_000 if device == "cpu" else GIB)  # (1e7 - 5e6) / 1e6
    memory.announce(PARTS, 357, ADVICE, lambda device: GIB)


def test_autograd_keeps_what_it_keeps():
    layer = nn.Linear(10, 4)  # keeps its input, and tanh its output: 10 + 4 floats a row
    assert memory.per_row(lambda rows: layer(torch.zeros(rows, 10)).tanh()) == 4 * 14


def test_measuring_leaves_the_random_stream_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    memory.of_teacher(TeacherConfig.depth())
    memory.per_row(lambda rows: nn.functional.dropout(torch.ones(rows, 3, requires_grad=True)))
    assert torch.equal(torch.rand(3), expected)


def test_worlds_are_described_without_being_made():
    config, groups = EnvConfig(), ("state", "proprio", "depth", "stereo")
    env = sims.make(config, groups, 1)
    assert sims.describe(config, groups) == env.obs_spec
    assert sims.action_dim(config) == env.action_dim
    env.close()


def test_the_rollout_is_what_the_buffer_allocates():
    config = replace(TeacherConfig.depth(), lag=True)
    parts = {part.name: part for part in memory.of_teacher(config)}
    keys, spec = config.policy.train_keys, sims.describe(config.env, config.policy.train_keys)
    whole = RolloutBuffer.bytes(spec, keys, config.rollout_steps, config.num_envs, 6)
    assert (
        parts["rollout"].bytes(config.num_envs) == 2 * whole
    )  # the one that is learnt from and the one that is filled


def test_a_minibatch_grows_with_the_image_and_halves_in_bfloat16():
    small = presets.teacher("depth", "cpu")
    large = presets.teacher("depth", "cpu", options.Worlds(image="64x64"))
    sizes = [
        next(part for part in memory.of_teacher(config) if part.name == "minibatch").per_world
        for config in (small, large, replace(large, precision="bf16-mixed"))
    ]
    assert 3 < sizes[1] / sizes[0] < 4.5  # four times the pixels, and what does not grow with them
    assert 0.4 < sizes[2] / sizes[1] < 0.9


def test_a_minibatch_is_what_the_convolutions_keep():
    config = TeacherConfig.depth()
    spec = sims.describe(config.env, config.policy.train_keys)
    kept = memory._kept_by_teacher(ActorCritic(config.policy, spec, 6), spec, "32-true")
    images = 4 * 16 * 16 + 16 * 16 * 16 + 32 * 8 * 8 + 32 * 4 * 4  # blocks of 2 x 2, then what each layer gives
    assert 4 * images < kept < 4 * images + 4 * 4000  # and the trunks: some hundreds of units each


@pytest.mark.parametrize(
    ("sims_", "expected"),
    [
        ("", {"cpu": 1.0}),
        ("cpu*4", {"cpu": 1.0}),
        ("cuda:0,cuda:1", {"cuda:0": 0.5, "cuda:1": 0.5}),
        ("cuda:0*2", {"cuda:0": 1.0}),
        ("GPU=1+CPU=4*8", {"GPU=1+CPU=4": 0.125}),
    ],
)
def test_simulators_take_memory_where_they_are(sims_, expected):
    config = replace(TeacherConfig.state(), sims=sims_)
    one = next(part for part in memory.of_teacher(replace(config, sims="")) if part.name == "simulator").per_world
    found = {part.device: part.per_world / one for part in memory.of_teacher(config) if part.name == "simulator"}
    assert found == pytest.approx(expected)


def test_memory_elsewhere_is_printed_but_not_judged():
    line = memory.announce([Part("simulator", "GPU=1", 1e12)], 1000, ADVICE)
    assert line.endswith("on GPU=1") and " of " not in line


def test_a_student_counts_its_rollout_its_sequences_and_its_batch():
    student = StudentConfig()
    config = StudentRunConfig(teacher="unused", student=student)
    env = EnvConfig()
    parts = {part.name: part for part in memory.of_student(config, env, ("state", "proprio", "stereo"), student)}
    row = 2 * 3 * 32 * 32 + 4 * sims.describe(env, ("proprio",))["proprio"].shape[0]
    assert parts["rollout"].per_world == 2 * env.task.episode_steps * row
    assert parts["sequences at most"].fixed == config.dagger.buffer_gib * GIB
    rows = env.task.episode_steps * config.dagger.batch_sequences
    assert parts["minibatch"].fixed > rows * (row + 4 * 2 * 3 * 32 * 32)  # the images as floats, at the least
    assert parts["minibatch"].per_world == 0


def test_a_training_says_it_before_it_makes_worlds(monkeypatch, caplog, tmp_path):
    from handsight.distill.training.train_teacher import train_teacher

    def make(*args, **names):
        raise KeyboardInterrupt

    monkeypatch.setattr(sims, "make", make)
    with caplog.at_level(logging.INFO, "handsight"), pytest.raises(KeyboardInterrupt):
        train_teacher(TeacherConfig.state(), run_root=tmp_path)
    said = [message for message in caplog.messages if message.startswith("memory: ")]
    assert len(said) == 1
    assert re.search(r"256 worlds: simulator .* \+ validation .* \+ rollout .* \+ minibatch .* on cpu", said[0])


def test_a_training_that_cannot_fit_leaves_nothing_behind(tmp_path):
    from handsight.distill.training.train_teacher import train_teacher

    with pytest.raises(TooManyWorldsError, match=r"100,000,000 worlds need .* at most [\d,]+ worlds fit"):
        train_teacher(replace(TeacherConfig.state(), num_envs=100_000_000), run_root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_minibatch_is_its_share_of_the_rollout():
    config = TeacherConfig.state()
    found = []
    for steps, minibatches in ((16, 2), (16, 8), (32, 8)):
        changed = replace(config, rollout_steps=steps, ppo=replace(config.ppo, minibatches=minibatches))
        found += [part.per_world for part in memory.of_teacher(changed) if part.name == "minibatch"]
    assert found[0] == pytest.approx(4 * found[1]) and found[2] == pytest.approx(2 * found[1])
