import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tensordict import TensorDict

from handsight.sims.gymnasium import GymnasiumError, GymnasiumVecEnv, VecEnvToGymnasium
from handsight.sims.vec_env import ArraySpec, Step, VecEnv


class Clock(gymnasium.Env):
    """Counts its steps; ends by itself after 3 steps, or is truncated after 2; remembers the last action."""

    observation_space = Box(-100, 100, (2,), np.float64)

    def __init__(self, truncates: bool, action_space=None):
        self.truncates = truncates
        self.action_space = action_space or Box(np.array([-1.0, 0.0]), np.array([3.0, 10.0]), dtype=np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.array([0.0, 0.0]), {}

    def step(self, action):
        self.time += 1
        over = self.time == (2 if self.truncates else 3)
        return (
            np.array([self.time, action[1]]),
            float(action[0]),
            over and not self.truncates,
            over and self.truncates,
            {},
        )


def clocks(mode=AutoresetMode.NEXT_STEP, action_space=None):
    return SyncVectorEnv([lambda t=t: Clock(t, action_space) for t in (False, True)], autoreset_mode=mode, copy=False)


@pytest.fixture
def env():
    env = GymnasiumVecEnv(clocks())
    yield env
    env.close()


def test_flags_follow_next_step_autoreset(env):
    env.reset(seed=0)
    steps = [env.step(torch.zeros(2, 2)) for _ in range(5)]
    flags = {
        name: [getattr(step, name).int().tolist() for step in steps] for name in ("terminated", "truncated", "first")
    }
    assert flags["terminated"] == [[0, 0], [0, 0], [1, 0], [0, 0], [0, 0]]
    assert flags["truncated"] == [[0, 0], [0, 1], [0, 0], [0, 0], [0, 1]]
    assert flags["first"] == [[0, 0], [0, 0], [0, 1], [1, 0], [0, 0]]
    assert all(torch.equal(step.valid, ~step.first) for step in steps)
    # The step of the end holds the episode's last observation, the next one the first of the new episode.
    assert [step.obs["state"][1, 0].item() for step in steps] == [1, 2, 0, 1, 2]


def test_actions_fill_the_box_and_are_clipped_to_it(env):
    env.reset(seed=0)
    for unit, first, second in ((-1.0, -1.0, 0.0), (0.0, 1.0, 5.0), (1.0, 3.0, 10.0), (7.0, 3.0, 10.0)):
        env.reset(seed=0)
        step = env.step(torch.full((2, 2), unit))
        assert step.reward.tolist() == [first] * 2
        assert step.obs["state"][:, 1].tolist() == [second] * 2


def test_what_a_step_returned_is_not_written_to_again(env):
    obs = env.reset(seed=0)
    step = env.step(torch.zeros(2, 2))
    before = step.obs["state"].clone()
    env.step(torch.ones(2, 2))
    assert torch.equal(step.obs["state"], before)
    assert (obs["state"] == 0).all()


def test_the_group_is_named(env):
    assert env.reset(seed=0).keys() == {"state"}
    other = GymnasiumVecEnv(clocks(), group="proprio")
    assert other.obs_spec == {"proprio": ArraySpec((2,), torch.float32)}
    assert other.reset(seed=0)["proprio"].dtype == torch.float32
    assert (other.num_envs, other.action_dim) == (2, 2)


def test_a_seed_repeats_the_episodes():
    env = GymnasiumVecEnv(gymnasium.make_vec("Pendulum-v1", num_envs=3, vectorization_mode="sync"))
    first, again, other = env.reset(seed=5)["state"], env.reset(seed=5)["state"], env.reset(seed=6)["state"]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert env.episode_steps == 200
    env.close()


def test_other_autoreset_modes_are_refused():
    with pytest.raises(GymnasiumError, match=r"expected autoreset mode NEXT_STEP, found .*SAME_STEP"):
        GymnasiumVecEnv(clocks(AutoresetMode.SAME_STEP))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Discrete(3), "actions: expected a Box, found Discrete"),
        (Box(-np.inf, np.inf, (2,)), "expected actions with bounds"),
    ],
)
def test_actions_that_do_not_fit_are_refused(space, message):
    with pytest.raises(GymnasiumError, match=message):
        GymnasiumVecEnv(clocks(action_space=space))


class Lamp(VecEnv):
    """Two worlds; world 0 is truncated at its 2nd step, world 1 diverges at its 3rd."""

    num_envs, action_dim, control_dt, episode_steps = 2, 3, 0.1, 2
    device = torch.device("cpu")
    obs_spec = {"state": ArraySpec((1,), torch.float32), "depth": ArraySpec((1, 2, 2), torch.int16)}  # noqa: RUF012
    signature = {}  # noqa: RUF012

    def reset(self, seed):
        self.time, self.seed = 0, seed
        return self.observe()

    def step(self, action):
        self.time += 1
        at = lambda world, time: torch.tensor([world == i and self.time == time for i in range(2)])  # noqa: E731
        first = at(0, 3) | at(1, 3)
        reward = torch.tensor([1.0, float("nan") if self.time == 3 else 1.0])
        log = {"success": torch.tensor([True, False])}
        return Step(self.observe(), reward, torch.zeros(2, dtype=torch.bool), at(0, 2), first, ~first, log)

    def observe(self):
        state = torch.full((2, 1), float(self.time))
        return TensorDict({"state": state, "depth": torch.full((2, 1, 2, 2), 7, dtype=torch.int16)}, [2])

    def close(self):
        self.closed = True


def test_our_worlds_have_dict_spaces():
    env = VecEnvToGymnasium(Lamp())
    assert env.single_observation_space["depth"] == Box(-32768, 32767, (1, 2, 2), np.int16)
    assert env.action_space == Box(-1.0, 1.0, (2, 3), np.float32)
    obs, _ = env.reset(seed=1)
    assert env.observation_space.contains(obs)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP


def test_our_flags_in_gymnasium_s_words():
    env = VecEnvToGymnasium(Lamp())
    env.reset(seed=1)
    steps = [env.step(env.action_space.sample()) for _ in range(3)]
    assert [step[3].tolist() for step in steps] == [[False, False], [True, False], [False, True]]  # lost: truncated
    assert [step[4]["first"].tolist() for step in steps][2] == [True, True]
    assert steps[2][1].tolist() == [0.0, 0.0]
    assert steps[0][4]["success"].tolist() == [True, False]
    assert all(isinstance(part, np.ndarray) for part in steps[0][:4] if not isinstance(part, dict))


def test_seeds_reach_our_worlds():
    env = VecEnvToGymnasium(Lamp())
    env.reset(seed=17)
    assert env.env.seed == 17
    env.reset(seed=3)
    env.reset()
    drawn = env.env.seed
    env.reset(seed=3)
    env.reset()
    assert env.env.seed == drawn
    with pytest.raises(GymnasiumError, match="expected one seed"):
        env.reset(seed=[1, 2])


def test_closing_closes_our_worlds():
    env = VecEnvToGymnasium(Lamp())
    env.close()
    assert env.env.closed


def test_both_ways_is_the_way_back():
    inner = VecEnvToGymnasium(GymnasiumVecEnv(clocks()))
    inner.reset(seed=0)
    flat = gymnasium.wrappers.vector.DictInfoToList  # a Gymnasium wrapper takes it as one of its own
    _, reward, *_ = flat(inner).step(np.zeros((2, 2), np.float32))
    assert reward.tolist() == [1.0, 1.0]
