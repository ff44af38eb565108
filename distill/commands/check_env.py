"""Does an environment keep the promises of `VecEnv`? For those who write an engine, a task or an adapter."""

from __future__ import annotations

from rich.console import Console

from ... import sims
from ...errors import HandsightError
from ...sims.checker import check_vec_env
from ...sims.vec_env import VecEnv
from .arguments import CheckEnvArgs
from .check_isaac import check_isaac


def check_env(args: CheckEnvArgs) -> list[str]:
    """What `handsight check-env` does: check, and print what holds.

    Raises:
        ContractError: the first promise that does not hold; with Isaac Gym all of them, after its report.
    """
    if args.gymnasium is None and args.env.engine == "isaacgym":
        return check_isaac(args.env, args.observe, args.num_envs, args.seed, args.episodes)
    env = _make(args)
    try:
        kept = check_vec_env(env, args.seed, args.episodes)
    finally:
        env.close()
    Console().print("\n".join(f"holds: {promise}" for promise in kept), markup=False, highlight=False)
    return kept


def _make(args: CheckEnvArgs) -> VecEnv:
    if args.gymnasium is None:
        return sims.make(args.env, args.observe, args.num_envs, device=sims.worlds_device(args.env, args.device))
    import gymnasium

    from ...sims.gymnasium import GymnasiumVecEnv

    try:
        return GymnasiumVecEnv(gymnasium.make_vec(args.gymnasium, args.num_envs, vectorization_mode="sync"))
    except gymnasium.error.Error as error:
        raise HandsightError(f"check-env: Gymnasium cannot make {args.gymnasium!r}: {error}") from error
