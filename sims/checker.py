"""The VecEnv contract as code: `check_vec_env` drives any VecEnv and names the first promise that it breaks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tensordict import TensorDict
from torch import Tensor

from ..errors import HandsightError
from .vec_env import Step, VecEnv

REPEATS, GOES_ON = "the same seed and actions repeat bit for bit", "a saved state goes on bit for bit"


class ContractError(HandsightError):
    """A VecEnv breaks its contract; the message says which promise, what was expected and what was found."""


def check_vec_env(env: VecEnv, seed: int = 0, episodes: int = 2) -> list[str]:
    """Drive `env` through `episodes` episodes of random actions and check every promise of `VecEnv`.

    Args:
        env: left in an undefined state.
        seed: of resets and actions.
        episodes: at least 2, so that every environment resets by itself.

    Returns:
        The promises that were checked, in words.

    Raises:
        ContractError: the first that does not hold.
    """
    passed = []
    for promise, check in promises(env, seed, episodes).items():
        try:
            check()
        except NotImplementedError as missing:
            passed.append(f"{promise}: not offered ({missing})")
        else:
            passed.append(promise)
    return passed


def promises(env: VecEnv, seed: int = 0, episodes: int = 2) -> dict[str, Callable[[], None]]:
    """Every promise in words, with what checks it and raises `ContractError`; arguments as for `check_vec_env`."""
    steps = episodes * (env.episode_steps + 1)
    return {
        "observations match obs_spec": lambda: _check_specs(env, env.reset(seed)),
        "the same seed begins the same way": lambda: _check_reset_repeats(env, seed),
        "flags follow NEXT_STEP autoreset": lambda: _check_flags(env, seed, steps),
        REPEATS: lambda: _check_repeats(env, seed),
        "actions are clipped at -1 and 1": lambda: _check_clipping(env, seed),
        GOES_ON: lambda: _check_saving(env, seed),
        "an action of the wrong shape is refused": lambda: _check_shape(env),
    }


def _expect(holds: bool, promise: str, found: object) -> None:
    if not holds:
        raise ContractError(f"VecEnv contract: expected {promise}, found {found}")


def random_actions(env: VecEnv, seed: int, steps: int) -> Tensor:
    """(steps, N, A) float32 on the environment's device, uniform in [-1, 1), the same for each seed."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, env.num_envs, env.action_dim, generator=generator) * 2 - 1).to(env.device)


def _check_specs(env: VecEnv, obs: TensorDict) -> None:
    _expect(set(obs.keys()) == set(env.obs_spec), f"groups {sorted(env.obs_spec)}", sorted(map(str, obs.keys())))
    for name, spec in env.obs_spec.items():
        value = obs.get(name)
        shape = (env.num_envs, *spec.shape)
        _expect(tuple(value.shape) == shape, f"{name} of shape {shape}", tuple(value.shape))
        _expect(value.dtype == spec.dtype, f"{name} of dtype {spec.dtype}", value.dtype)
        _expect(value.device.type == torch.device(env.device).type, f"{name} on {env.device}", value.device)
        if spec.dtype.is_floating_point:
            _expect(bool(value.isfinite().all()), f"finite {name}", "NaN or infinity")
        if spec.parts:
            _expect(sum(spec.parts.values()) == spec.shape[0], f"parts of {name} to add up", dict(spec.parts))


def _check_reset_repeats(env: VecEnv, seed: int) -> None:
    once, again, other = env.reset(seed), env.reset(seed), env.reset(seed + 1)
    _expect(_same(once, again), "reset(seed) to repeat", "another observation")
    _expect(not _same(once, other), "another seed to begin elsewhere", "the same observation")


def _check_flags(env: VecEnv, seed: int, steps: int) -> None:
    env.reset(seed)
    ended = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
    clock = torch.zeros(env.num_envs, dtype=torch.int64, device=env.device)
    seen = torch.zeros_like(ended)
    for action in random_actions(env, seed, steps):
        step = env.step(action)
        _check_step(env, step)
        over = step.terminated | step.truncated
        _expect(bool((step.first & ended == ended).all()), "first=True on the step after an end", "first=False")
        _expect(
            not bool((step.valid & step.first).any()), "valid=False where first", "a valid row that opens an episode"
        )
        _expect(not bool((over & step.first).any()), "no end where first", "an end on a reset row")
        _expect(not bool((step.terminated & step.truncated).any()), "one kind of end", "terminated and truncated")
        clock = torch.where(step.first, 0, clock + 1)
        _expect(
            bool((clock <= env.episode_steps).all()), f"episodes of at most {env.episode_steps} steps", int(clock.max())
        )
        ended = over
        seen |= over
    _expect(bool(seen.all()), f"every world to end within {steps} steps", f"{int((~seen).sum())} that never did")


def _check_step(env: VecEnv, step: Step) -> None:
    _check_specs(env, step.obs)
    _expect(bool(step.reward.isfinite().all()), "finite rewards", "NaN or infinity")
    flags = {name: getattr(step, name) for name in ("terminated", "truncated", "first", "valid")}
    for name, flag in flags.items():
        _expect(
            flag.dtype == torch.bool and flag.shape == (env.num_envs,), f"{name} (N,) bool", (flag.shape, flag.dtype)
        )
    for name, value in step.log.items():
        _expect(value.shape == (env.num_envs,), f"log[{name!r}] of shape ({env.num_envs},)", tuple(value.shape))


def _run(env: VecEnv, seed: int | None, actions: Tensor) -> list[Step]:
    """Steps from a reset with this seed, or on from where it is."""
    if seed is not None:
        env.reset(seed)
    return [env.step(action) for action in actions]


def _check_repeats(env: VecEnv, seed: int) -> None:
    once, again = (_run(env, seed, random_actions(env, seed, 5)) for _ in range(2))
    _expect(_same_steps(once, again), "the same steps again", "other observations or rewards")


def _check_clipping(env: VecEnv, seed: int) -> None:
    wild = 3.0 * random_actions(env, seed, 1)
    clipped, unclipped = (_run(env, seed, actions) for actions in (wild.clamp(-1.0, 1.0), wild))
    _expect(_same_steps(clipped, unclipped), "actions clipped at -1 and 1", "another step for larger actions")


def _check_saving(env: VecEnv, seed: int) -> None:
    before, after = random_actions(env, seed, 8).split(4)
    last = _run(env, seed, before)[-1].obs
    state = env.state_dict()
    once = _run(env, None, after)
    _expect(_same(last, env.load_state_dict(state)), "load_state_dict to return the saved observation", "another one")
    _expect(_same_steps(once, _run(env, None, after)), "the same steps after load_state_dict", "others")


def _check_shape(env: VecEnv) -> None:
    try:
        env.step(torch.zeros(env.num_envs + 1, env.action_dim, device=env.device))
    except ValueError as error:
        _expect("shape" in str(error), "the error to name the shape", error)
    else:
        _expect(False, "a ValueError for an action of the wrong shape", "none")


def _same(a: TensorDict, b: TensorDict) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a.keys())  # noqa: SIM118 (iterating runs over the worlds)


def _same_steps(once: list[Step], again: list[Step]) -> bool:
    return all(_same(a.obs, b.obs) and torch.equal(a.reward, b.reward) for a, b in zip(once, again, strict=True))
