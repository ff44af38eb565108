"""`handsight robot init` and `robot check`: a user's arm and hand as one TOML file, proposed and looked at."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, get_args

import mujoco
import numpy as np
import torch
from scipy.optimize import OptimizeResult, least_squares
from scipy.spatial.transform import Rotation

from ... import sims
from ...errors import HandsightError
from ...files import write
from ...ranges import from_tree
from ...sims.assets import named
from ...sims.env_config import EnvConfig, GraspConfig, Postures
from ...sims.robots.description import RobotConfig, read_robot
from ...sims.robots.draft import draft_robot
from ...sims.robots.mjcf import MENAGERIE, load_robot, of_menagerie, parts_of, robot_of
from ...sims.robots.robot import Robot
from ...sims.scene import Scene
from ...sims.scenes import with_robot
from ...sims.tasks.resets import CENTRE, PostureBank, palm_rotation
from ..runs.progress import tell
from .arguments import RobotCheckArgs, RobotInitArgs
from .check_env import Finding
from .robot_picture import draw_robot

STARTS = 8
"""Postures from which the arm's home is searched."""
CLEARANCE = 0.12
"""m: links of the arm should stay above the table by this."""
DEEP = 0.003
"""m: geoms of two digits that are deeper in each other count as a collision."""
GRASPED = 0.5
"""Least share of scripted grasps that lift a box or a cylinder: below it there is little to learn from."""
WORLDS = 64
"""Scripted grasps of each kind of object."""


def robot_init(args: RobotInitArgs) -> Path:
    """What `handsight robot init` does: write a draft, and say what to do with it.

    Raises:
        HandsightError: a file that MuJoCo cannot compile, or a hand of which no draft can be made.
    """
    given = {"arm": str(args.arm), "hand": str(args.hand)}
    from_there = {name: word.startswith(MENAGERIE) for name, word in given.items()}
    files = [of_menagerie(w.removeprefix(MENAGERIE))[0] if from_there[n] else Path(w) for n, w in given.items()]
    out = args.out or Path(f"{files[0].stem}_{files[1].stem}.toml")
    near = {name: os.path.relpath(Path(word).resolve(), out.parent.resolve()) for name, word in given.items()}
    names = {name: word if from_there[name] else near[name] for name, word in given.items()}
    tables = {**names, **draft_robot(*files), "home": {}}
    home = solve_home(robot_of(out, from_tree(RobotConfig, tables)))
    tables["home"] = {joint.removeprefix("arm_").removeprefix("hand_"): round(q, 4) for joint, q in home.items()}
    write(out, f"# Drafted by `handsight robot init`; `handsight robot check` looks at it.\n{toml(tables)}")
    tell(f"{out}: a draft. Look at it: handsight robot check {out}")
    return out


def toml(tables: Mapping[str, Any]) -> str:
    """TOML of values, tables of values and lists of tables."""
    row = lambda name, one: f"{name if re.fullmatch(r'[A-Za-z0-9_-]+', name) else json.dumps(name)} = {json.dumps(one)}"  # noqa: E731
    values, rows = list[str](), list[str]()
    for key, one in tables.items():
        if isinstance(one, Mapping):
            rows += ["", f"[{key}]", *(row(*pair) for pair in one.items())]
        elif key == "digits":
            rows += [line for table in one for line in ("", f"[[{key}]]", *(row(*pair) for pair in table.items()))]
        else:
            values.append(row(key, one))
    return "\n".join([*values, *rows, ""])


def _nearest(
    robot: Robot, model: mujoco.MjModel, miss: Callable[[mujoco.MjData], np.ndarray], starts: Iterable[Any]
) -> OptimizeResult:
    """The arm's joints (A,) for which `miss` is least, searched within their limits from each of several postures."""
    data, joints = mujoco.MjData(model), slice(len(robot.arm))
    low, high = model.jnt_range[joints].T

    def posed(posture: np.ndarray) -> np.ndarray:
        data.qpos[joints] = posture
        mujoco.mj_kinematics(model, data)
        return miss(data)

    found = [least_squares(posed, np.clip(one, low + 1e-6, high - 1e-6), bounds=(low, high)) for one in starts]
    return min(found, key=lambda one: one.cost)


def solve_home(robot: Robot) -> dict[str, float]:
    """The arm's joints with the palm over the middle of the table, as episodes begin: rad, by name. From several
    postures the best is kept: it reaches, and its links are above the table."""
    model = Scene(robot=robot).build()
    palm, (low, high) = model.body(robot.palm).id, model.jnt_range[: len(robot.arm)].T
    goal = np.array([*CENTRE, 0.2]) - palm_rotation() @ np.array(robot.grasp_pos) * [1, 1, 0]
    links = [int(model.joint(joint).bodyid[0]) for joint in robot.arm[1:]]
    middle, rng = (low + high) / 2, np.random.default_rng(0)

    def miss(data: mujoco.MjData) -> np.ndarray:
        turn = Rotation.from_matrix(data.xmat[palm].reshape(3, 3) @ palm_rotation().T).as_rotvec()
        deep, bent = np.clip(CLEARANCE - data.xpos[links][:, 2], 0, None), data.qpos[: len(robot.arm)] - middle
        return np.concatenate([(data.xpos[palm] - goal) / 0.005, turn / 0.02, deep / 0.02, 0.5 * bent / (high - low)])

    starts = [middle, *(rng.uniform(np.maximum(low, -2.5), np.minimum(high, 2.5)) for _ in range(STARTS - 1))]
    return dict(zip(robot.arm, map(float, _nearest(robot, model, miss, starts).x), strict=True))


def robot_check(args: RobotCheckArgs) -> list[Finding]:
    """What `handsight robot check` does: check, say what holds, and draw.

    Raises:
        HandsightError: a file or a name that means nothing; or, after everything was said and drawn, what is broken.
    """
    robot = load_robot(args.file)
    env = with_robot(EnvConfig(), named("robot", str(args.file)))
    model = Scene(env.scene).build()
    findings = [*_parts(args.file, robot, model), *_reach(robot, model), *_collisions(robot, model)]
    if not any(finding.verdict == "BROKEN" for finding in findings):
        findings += _grasps(env)
    tell("\n".join(f"{one.verdict}: {one.what}: {one.found}" for one in findings))
    picture = args.out or Path(f"{robot.name}.png")
    draw_robot(env.scene, robot, picture)
    tell(f"{picture}: the robot at home, its hand open and closed, and what the pair at its wrist sees")
    if broken := [f"{one.what}: {one.found}, expected {one.expected}" for one in findings if one.verdict == "BROKEN"]:
        raise HandsightError(f"{args.file}: {'; '.join(broken)}")
    return findings


def _parts(path: Path, robot: Robot, model: mujoco.MjModel) -> Iterator[Finding]:
    """What the files came to, and what of them was dropped."""
    geoms = sum(1 for geom in range(model.ngeom) if model.geom_contype[geom] == 1)
    joints = f"{len(robot.arm)} joints to the palm, {len(robot.hand)} in {len(robot.digits)} digits"
    yield Finding("the files", "holds", f"{joints}, {len(robot.actuators)} servos, {geoms} geoms that touch")
    for part in parts_of(path, read_robot(path)):
        if part.dropped:
            yield Finding(f"dropped of {part.path.name}", "measured", ", ".join(part.dropped))


def _reach(robot: Robot, model: mujoco.MjModel) -> Iterator[Finding]:
    """Whether episodes can begin, and how much of the workspace's corners the palm comes to."""
    for postures in get_args(Postures):
        try:
            PostureBank(robot, model, torch.device("cpu"), postures)
            yield Finding(f"postures in which episodes begin ({postures})", "holds", "all reached")
        except HandsightError as error:
            yield Finding(f"postures in which episodes begin ({postures})", "BROKEN", str(error), "an arm that reaches")
    palm = model.body(robot.palm).id
    away = lambda data, corner: data.xpos[palm] - corner  # noqa: E731
    corners = [np.array(corner) for corner in product(*zip(*robot.workspace, strict=True))]
    found = (_nearest(robot, model, partial(away, corner=corner), [robot.home]) for corner in corners)
    off = [float(np.linalg.norm(one.fun)) for one in found]
    reached = sum(miss_by < 0.01 for miss_by in off)
    words = f"the palm comes to {reached} of 8, and to all of them within {max(off):.2f} m"
    yield Finding("corners of the workspace", "measured", words)


def _collisions(robot: Robot, model: mujoco.MjModel) -> Iterator[Finding]:
    """Digits in each other, with the hand open and closed; physics lets them pass."""
    owners = {model.body(digit.root).id: digit.name for digit in robot.digits}
    geoms: dict[int, str] = {}
    for geom in np.flatnonzero(model.geom_contype == 1):
        body = int(model.geom_bodyid[geom])
        while body and body not in owners:
            body = int(model.body_parentid[body])
        if body:
            geoms[int(geom)] = owners[body]
    for what, hand in (("open", robot.open_hand), ("closed", robot.closed_hand)):
        data = mujoco.MjData(model)
        data.qpos[: len(robot.joints)] = [*robot.home, *hand]
        mujoco.mj_forward(model, data)
        pairs = {
            tuple(sorted((geoms[a], geoms[b])))
            for a, b in product(geoms, geoms)
            if geoms[a] < geoms[b] and mujoco.mj_geomDistance(model, data, a, b, 0.0, None) < -DEEP
        }
        words = ", ".join(" and ".join(pair) for pair in sorted(pairs)) or "no digit is in another"
        verdict = "BROKEN" if pairs and what == "open" else "measured" if pairs else "holds"
        yield Finding(f"the {what} hand", verdict, words, "no digit in another")


def _grasps(env: EnvConfig) -> Iterator[Finding]:
    """A scripted grasp of boxes and cylinders, and in how many of its steps an eye sees them."""
    for kind in ("box", "cylinder"):
        success, seen = scripted_grasp(env, kind)
        verdict = "holds" if success >= GRASPED else "BROKEN"
        yield Finding(f"a scripted grasp of a {kind}", verdict, f"{success:.0%} lifted", f"at least {GRASPED:.0%}")
        yield Finding(f"the pair at the wrist and the {kind}", "measured", f"seen in {seen:.0%} of the steps")


def scripted_grasp(config: EnvConfig, kind: str) -> tuple[float, float]:
    """Approach an object of a kind along the palm's normal, close, lift: share of `WORLDS` episodes that end in
    success, and share of steps in which an eye sees the object."""
    task, seen, step = GraspConfig(kinds=(kind,), reset_mix={"near": 1.0}), [], None
    with closing(sims.make(replace(config, task=task), ("state", "stereo"), WORLDS)) as env:
        env.reset(0)
        for t in range(env.episode_steps):
            body = env.engine.read()
            ahead = 0.07 * body.palm_rot[:, :, 0] * (t < 9)
            action = torch.zeros(env.num_envs, env.action_dim)
            reach = (body.object_pos - ahead - body.grasp_pos) / 0.035
            action[:, :3] = reach if t < 23 else torch.tensor([0.0, 0.0, 1.0])
            action[:, 4:] = 1.0 if t >= 16 else -1.0
            step = env.step(action.clamp(-1, 1))
            seen.append((step.log["visible"] > 0) | (step.log["visible_right"] > 0))
    assert step is not None
    return float(step.log["success"].float().mean()), float(torch.stack(seen).float().mean())
