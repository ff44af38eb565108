import pytest
import torch

from handsight import sims
from handsight.errors import HandsightError
from handsight.sims.adapters.transitions import Transitions
from handsight.sims.env_config import TASKS, EnvConfig
from handsight.sims.gymnasium import GymnasiumVecEnv

N, SHORT = 4, 5
GROUPS = ("state", "proprio", "depth")


def made(task="grasp"):
    config = EnvConfig(task=TASKS[task](episode_steps=SHORT))
    return sims.make(config, (*GROUPS, *config.task.told), N)


@pytest.mark.parametrize("task", TASKS)
def test_rows_are_those_of_the_environment_without_its_resets_bit_for_bit(task):
    """Each environment is given its k-th action at its k-th row that counts, whoever steps it."""
    steps = 3 * SHORT
    plain, adapted = made(task), Transitions(made(task), stagger=True)
    actions = torch.rand(steps, N, plain.action_dim, generator=torch.Generator().manual_seed(0)) * 2 - 1
    before = plain.reset(2)
    plain.stagger()
    rows: list[list] = [[] for _ in range(N)]
    taken = torch.zeros(N, dtype=torch.long)
    while min(map(len, rows)) < steps:
        step = plain.step(actions[taken.clamp(max=steps - 1), torch.arange(N)])
        for i in range(N):
            if step.valid[i]:
                rows[i].append((before[i], step.obs[i], step.reward[i], step.terminated[i], step.truncated[i]))
        taken += step.valid
        before = step.obs
    obs, ends = adapted.reset(2), 0
    for t in range(steps):
        found, last = adapted.step(actions[t])
        for i in range(N):
            acted_on, led_to, reward, terminated, truncated = rows[i][t]
            assert all(torch.equal(obs[name][i], acted_on[name]) for name in obs.keys())  # noqa: SIM118
            assert all(torch.equal(last[name][i], led_to[name]) for name in obs.keys())  # noqa: SIM118
            assert (found.reward[i], found.terminated[i], found.truncated[i]) == (reward, terminated, truncated)
            ends += int(terminated | truncated)
        obs = found.obs
    assert ends >= 2 * N
    plain.close()
    adapted.env.close()


def test_a_world_that_diverged_is_cut_at_what_was_seen_last():
    adapted = Transitions(made(), False)
    before = adapted.reset(0)
    engine = adapted.env.engine
    simulate, lost = engine.step, torch.tensor([False, True, False, False])
    engine.step = lambda ctrl, active: simulate(ctrl, active) | lost
    found, last = adapted.step(torch.zeros(N, adapted.env.action_dim))
    assert found.truncated.tolist() == lost.tolist() and not found.terminated.any()
    assert found.reward[1] == 0
    for name in GROUPS:
        assert torch.equal(last[name][1], before[name][1])
        assert torch.equal(last[name][0], found.obs[name][0])
    assert not torch.equal(found.obs["state"][1], before["state"][1])
    adapted.env.close()


def test_what_a_task_keeps_does_not_reach_the_next_episode():
    env = made("carry")
    env.reset(0)
    for _ in range(SHORT):
        env.step(torch.zeros(N, env.action_dim))
    env._steady = torch.full((N,), 9)
    env.renew()
    assert env._steady.tolist() == [0] * N and not env.measure()["success"].any()
    env.step(torch.zeros(N, env.action_dim))
    env._steady = torch.full((N,), 3)
    env.renew()  # nothing ended
    assert env._steady.tolist() == [3] * N
    env.close()


def test_environments_that_cannot_renew_are_refused():
    import gymnasium

    env = GymnasiumVecEnv(gymnasium.make_vec("Pendulum-v1", num_envs=2, vectorization_mode="sync"))
    with pytest.raises(HandsightError, match="GymnasiumVecEnv cannot `renew`"):
        Transitions(env, False)
    env.close()
