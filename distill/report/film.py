"""What a policy sees while it acts: an mp4 and a contact sheet of both eyes beside the depth image."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ... import sims
from ...errors import HandsightError
from ...files import written
from ...policies.policy import Policy
from ...sims.env_config import EnvConfig
from ...sims.vec_env import VecEnv
from ..evaluation import HELD_OUT_SEED
from ..evaluation.evaluate import set_reset_kind
from ..evaluation.rollout import play
from .page import data_uri

DEPTH_RANGE = (50.0, 600.0)
"""mm shown from bright to dark; nearer and farther are clipped, so that colours mean the same in every picture."""
CAPTION = 22
"""Height of the line above a row of images, pixels."""
GAP = 4
"""Pixels between two images of a page."""
LARGE = 480
"""Height and width of the view from outside, pixels."""
PANELS = ("overview", "left eye", "right eye", "depth")
READ = {"stereo": ("left eye", "right eye"), "depth": ("depth",)}
"""Panels that show an observation group."""
ROW_NAMES = {"overview": "from outside"}
MASK = "object mask"
OUTLINE = "#ff2d95"
"""Colour of the object's outline; nothing in the scene has it."""


@dataclass(frozen=True, repr=False)
class Film:
    """E episodes side by side, T frames: the reset and each step; an episode that is over stands still."""

    images: dict[str, NDArray[np.uint8]]
    """By panel, each (T, E, H, W, 3) RGB; "overview" only where the environment offers it."""
    success: NDArray[np.bool_]
    """(T, E) lifted and held in this frame."""
    over: NDArray[np.bool_]
    """(T, E) this frame is the episode's last, or stands still after it."""
    lost: NDArray[np.bool_]
    """(E,) the world diverged."""
    kinds: tuple[str, ...]
    """Object kind of each of the E episodes."""
    control_dt: float
    """Seconds between two frames."""
    object_mask: NDArray[np.bool_] | None = None
    """(T, E, H, W) pixels of the left eye that show the object; None where the environment does not tell."""
    sigma: NDArray[np.floating] | None = None
    """(T, E) mean standard deviation of the action (in -1..1) that led to this frame; to the reset none, 0."""
    reads: tuple[str, ...] = ()
    """Observation groups that the policy sees."""
    names: tuple[str, ...] = ()
    """What each of the E episodes is called; empty: by its reset."""

    def caption(self, t: int, episode: int) -> str:
        """What stands above one episode's images."""
        if self.lost[episode] and self.over[t, episode]:
            state = "lost"
        elif self.over[t, episode]:
            state = "success" if self.success[t, episode] else "failure"
        else:
            state = "held" if self.success[t, episode] else ""
        name = self.names[episode] if self.names else f"reset {episode}"
        parts = [name, self.kinds[episode], f"step {self.step(t, episode)}", state]
        return "   ".join(part for part in parts if part)

    def step(self, t: int, episode: int) -> int:
        """Steps since the reset, counted until the episode is over."""
        return min(t, int(np.argmax(self.over[:, episode])) if self.over[:, episode].any() else t)

    def _repr_html_(self) -> str:
        """The film in a notebook's cell, again and again, in itself."""
        with TemporaryDirectory() as folder:
            write_video(Path(folder) / "film.mp4", self, tile=112)
            address = data_uri((Path(folder) / "film.mp4").read_bytes(), ".mp4")
        return f'<video controls loop autoplay muted style="max-width: 100%" src="{address}"></video>'


def make_film(
    policy: Policy,
    env_config: EnvConfig,
    episodes: int = 4,
    seed: int = HELD_OUT_SEED,
    reset_kind: str | None = None,
    device: str = "cpu",
    overview: int = LARGE,
    world_offset: int = 0,
) -> Film:
    """Let the policy act by its mean in worlds 0 .. episodes-1 of `seed`, rendering both eyes and depth; with
    `world_offset` in those from that one on. overview: height of the view from outside, pixels; 0: without."""
    groups, place = {*policy.obs_keys, "depth", "stereo"}, sims.worlds_device(env_config, device)
    env = sims.make(env_config, observe=groups, num_envs=episodes, world_offset=world_offset, device=place)
    try:
        set_reset_kind(env, reset_kind)
        return film_in(env, policy, seed, overview)
    finally:
        env.close()


def beside(films: Mapping[str, Film]) -> Film:
    """Films of the same E resets as one: a row for each reset, in it every policy by its name; shorter ones stand still
    at their end. Raises HandsightError: no films, or of other cameras or numbers of resets."""
    all_of = [*films.values()]
    shapes = {name: {panel: images.shape[1:4] for panel, images in one.images.items()} for name, one in films.items()}
    if len({str(one) for one in shapes.values()}) != 1:
        raise HandsightError(f"films beside each other: expected the same resets and cameras, found {shapes}")
    frames, resets = max(len(one.over) for one in all_of), range(len(all_of[0].kinds))

    def joined(each: Sequence[NDArray]) -> NDArray:
        longest = [np.pad(x, [(0, frames - len(x)), *[(0, 0)] * (x.ndim - 1)], mode="edge") for x in each]
        return np.stack(longest, axis=2).reshape(frames, -1, *each[0].shape[2:])

    sigmas = [one.sigma for one in all_of if one.sigma is not None]
    return Film(
        {panel: joined([one.images[panel] for one in all_of]) for panel in all_of[0].images},
        joined([one.success for one in all_of]),
        joined([one.over for one in all_of]),
        lost=np.stack([one.lost for one in all_of], axis=1).ravel(),
        kinds=tuple(one.kinds[reset] for reset in resets for one in all_of),
        control_dt=all_of[0].control_dt,
        sigma=joined(sigmas) if len(sigmas) == len(all_of) else None,
        names=tuple(f"{name}, reset {reset}" if reset or resets[1:] else name for reset in resets for name in films),
    )


def film_in(env: VecEnv, policy: Policy, seed: int, overview: int = LARGE) -> Film:
    """Film in an environment that exists already and observes depth and stereo."""
    obs, nothing = env.reset(seed), np.zeros(env.num_envs, dtype=bool)
    kind = env.measure().get("kind")
    frames, success, over = [look(env, obs, overview)], [nothing], [nothing]
    lost, sigma = nothing.copy(), [np.zeros(env.num_envs)]
    for moment in play(env, policy, obs):
        running, step = moment.running.cpu().numpy(), moment.step
        lost |= moment.aborted.cpu().numpy()
        moving = running & ~lost
        picture = look(env, step.obs, overview)
        frames.append(
            {name: np.where(moving[:, None, None, None], new, frames[-1][name]) for name, new in picture.items()}
        )
        holding = step.log["success"].cpu().numpy() if "success" in step.log else nothing
        sigma.append(np.where(moving, moment.std.mean(1).cpu().numpy(), sigma[-1]))
        success.append(np.where(moving, holding, success[-1] & ~lost))
        over.append(over[-1] | (moment.ended | moment.aborted).cpu().numpy())
    names: tuple[str, ...] = getattr(env, "kinds", ())
    numbers = [-1] * env.num_envs if kind is None else kind.tolist()
    images = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
    mask = images.pop(MASK, None)
    return Film(
        images=images,
        success=np.stack(success),
        over=np.stack(over),
        lost=lost,
        kinds=tuple(names[k] if 0 <= k < len(names) else "" for k in numbers),
        control_dt=env.control_dt,
        object_mask=None if mask is None else mask[..., 0],
        sigma=np.stack(sigma),
        reads=policy.obs_keys,
    )


def look(env: VecEnv, obs: Any, overview: int) -> dict[str, NDArray]:
    """The panels of all worlds, each (E, H, W, 3) uint8, and the object's pixels, (E, H, W, 1) bool."""
    stereo = obs["stereo"].cpu().numpy().transpose(1, 0, 3, 4, 2)
    panels: dict[str, NDArray] = {
        "left eye": stereo[0].copy(),
        "right eye": stereo[1].copy(),
        "depth": colour_depth(obs["depth"][:, 0]),
    }
    render = getattr(env, "render_overview", None)
    if overview and render is not None:
        panels["overview"] = np.stack([render(world, overview, overview) for world in range(env.num_envs)])
    mask = getattr(env, "object_mask", lambda: None)()
    if mask is not None:
        panels[MASK] = mask.cpu().numpy()[..., None].copy()
    return panels


def colour_depth(depth: torch.Tensor | NDArray[np.int16]) -> NDArray[np.uint8]:
    """(..., H, W) int16 millimetres -> (..., H, W, 3): near is bright, no return is black."""
    millimetres = np.asarray(depth.cpu() if isinstance(depth, torch.Tensor) else depth, dtype=np.float32)
    near, far = DEPTH_RANGE
    shade = np.clip((far - millimetres) / (far - near), 0.0, 1.0)
    coloured = colormaps["viridis"](shade)[..., :3] * (millimetres > 0)[..., None]
    return np.rint(coloured * 255).astype(np.uint8)


def write_video(path: Path, film: Film, title: str = "", speed: float = 0.5, tile: int = 229) -> None:
    """Write an mp4 (h264, yuv420p, playable in browsers).

    Args:
        path: of the file; folders above are made.
        film: what to show, episodes in two columns.
        title: who acts, in the line at the top.
        speed: 1 is real time.
        tile: width of one image, pixels, which are enlarged without smoothing; that from outside is twice as wide.
    """
    pages = _pages(film, f"{title}   (played at {speed:g}x)".strip(), tile)
    rate = max(round(speed / film.control_dt), 1)
    options = {"movflags": "+faststart"}
    with written(path) as draft, av.open(str(draft), "w", format="mp4", options=options) as container:
        stream = None
        for page in pages:
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options={"crf": "30", "preset": "veryfast"})
                stream.height, stream.width, stream.pix_fmt = *page.shape[:2], "yuv420p"
            for packet in stream.encode(av.VideoFrame.from_ndarray(page, format="rgb24")):
                container.mux(packet)
        if stream is not None:
            container.mux(stream.encode())


def _pages(film: Film, title: str, tile: int) -> Iterator[NDArray[np.uint8]]:
    """One picture per frame, even height and width; the last one is held for a second."""
    frames, episodes = film.success.shape
    places, block, row = _places(film, tile)
    columns, rows = min(2, episodes), -(-episodes // 2)
    size = (columns * (block + 2 * GAP) // 2 * 2, (CAPTION + rows * row + GAP) // 2 * 2)
    font = ImageFont.load_default(14 if tile < LARGE // 3 else 16)
    for t in [*range(frames), *[frames - 1] * max(round(0.5 / film.control_dt), 1)]:
        page = Image.new("RGB", size, "white")
        pen = ImageDraw.Draw(page)
        pen.text((GAP, 1), title.replace("→", "to"), fill="black", font=font)  # the font has no arrow
        for episode in range(episodes):
            x, y = episode % 2 * (block + 2 * GAP) + GAP, CAPTION + episode // 2 * row
            pen.text((x, y + 1), film.caption(t, episode).replace("→", "to"), fill="#333333", font=font)
            for panel, (left, top, width, height) in places.items():
                corner, told = (x + left, y + CAPTION + top), ROW_NAMES.get(panel, panel)
                if panel == "sigma":
                    sigma, height = float(np.asarray(film.sigma)[t, episode]), CAPTION
                    right, bottom = corner[0] + width - 1, corner[1] + height
                    pen.rectangle((*corner, right, bottom), outline="#999999")
                    pen.rectangle((*corner, corner[0] + min(sigma, 1.0) * (width - 1), bottom), fill="#e69f00")
                    told = f"sigma {sigma:.2f}"
                else:
                    smooth = Image.Resampling.BILINEAR if panel == "overview" else Image.Resampling.NEAREST
                    picture = Image.fromarray(film.images[panel][t, episode])
                    page.paste(picture.resize((width, height), smooth), corner)
                pen.text((corner[0], corner[1] + height + 1), told, fill="#777777", font=font)
        yield np.asarray(page)


def _places(film: Film, tile: int) -> tuple[dict[str, tuple[int, int, int, int]], int, int]:
    """Where the panels of one episode stand, (left, top, width, height) pixels from below its caption, and how wide and
    high all are: the view from outside is as large as the others together, which stand two in a row."""
    height = film.images["depth"].shape[2] * tile // film.images["depth"].shape[3]
    large = 2 * height + CAPTION if "overview" in film.images else 0
    places = {"overview": (0, 0, large, large)} if large else {}
    for number, name in enumerate((*PANELS[1:], *["sigma"] * (film.sigma is not None))):
        column, line = (number % 2, number // 2) if large else (number, 0)
        places[name] = (large + GAP + column * (tile + GAP), line * (height + CAPTION), tile, height)
    right = max(left + width for left, _, width, _ in places.values())
    return places, right, CAPTION + max(top + tall for _, top, _, tall in places.values()) + CAPTION


def contact_sheet(
    films: Film | Mapping[str, Film], colours: Sequence[str] = (), episode: int = 0, moments: int = 8
) -> Figure:
    """One reset as a grid: a row per panel (from outside, left eye, right eye, depth), a column per moment.

    Args:
        films: one; or several of the same reset, by name of the policy, each from outside and as far as that sees.
        colours: of the names; if not given, black.
        episode: of each film.
        moments: from the reset to the end of the longest episode, the same in all.
    """
    films = {"": films} if isinstance(films, Film) else films
    last = max(film.step(len(film.success) - 1, episode) for film in films.values())
    times = np.unique(np.linspace(0, last, moments).round().astype(int))
    rows = {name: _rows(film, alone=not name) for name, film in films.items()}
    size, heights = 9.6 / (len(times) + 0.35), [len(panels) + 0.35 for panels in rows.values()]
    figure = Figure(figsize=(9.6, size * sum(heights)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)  # type: ignore[union-attr]
    blocks = figure.subfigures(len(films), 1, hspace=0.02, height_ratios=heights, squeeze=False)[:, 0]
    for block, (name, film), colour in zip(blocks, films.items(), colours or ["black"] * len(films), strict=True):
        if name:
            end = film.caption(len(film.success) - 1, episode).split()[-1]
            block.suptitle(f"{name}: {end}", color=colour, fontsize=10, fontweight="bold", x=0.02, ha="left")
        grid = block.subplots(len(rows[name]), len(times), squeeze=False)
        for row, panel in enumerate(rows[name]):
            for axis, step in zip(grid[row], times, strict=True):
                t = min(int(step), len(film.success) - 1)
                show(axis, film, panel, t, episode)
                if row == 0:
                    held = "  held" if film.success[t, episode] else ""
                    axis.set_title(f"step {film.step(t, episode)}{held}", fontsize=8, loc="center")
            grid[row, 0].set_ylabel(ROW_NAMES.get(panel, panel), fontsize=8)
    return figure


def _rows(film: Film, alone: bool) -> list[str]:
    """Panels of a film in a sheet: beside others the view from outside and what the policy sees, if there is any."""
    there = [panel for panel in PANELS if panel in film.images]
    wanted = {"overview", *(panel for group in film.reads for panel in READ.get(group, ()))}
    return [panel for panel in there if alone or panel in wanted] or there


def show(axis: Axes, film: Film, panel: str, t: int, episode: int) -> None:
    """One picture; the object is outlined where it is seen from the left eye's place, if its pixels are known."""
    axis.imshow(film.images[panel][t, episode], interpolation="nearest")
    if film.object_mask is not None and panel in ("left eye", "depth"):
        outline(axis, film.object_mask[t, episode])
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)


def outline(axis: Axes, mask: NDArray[np.bool_]) -> None:
    """Draw the edges between pixels that are in the mask (H, W) and those that are not, or the picture's border."""
    inside = np.pad(mask, 1).astype(int)
    down, across = np.diff(inside, axis=0)[:, 1:-1], np.diff(inside, axis=1)[1:-1]
    segments = [((x - 0.5, y - 0.5), (x + 0.5, y - 0.5)) for y, x in np.argwhere(down)]
    segments += [((x - 0.5, y - 0.5), (x - 0.5, y + 0.5)) for y, x in np.argwhere(across)]
    axis.add_collection(LineCollection(segments, colors=OUTLINE, linewidths=1.0, capstyle="projecting"))


def file_name(role: str) -> str:
    """A role or name as a file name: "depth → stereo (seed 1)" is depth-to-stereo-seed-1."""
    return "-".join(re.findall(r"\w+", role.replace("→", "to")))
