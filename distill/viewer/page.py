"""The web page: scenes side by side, what each policy sees, running plots, and controls that only leave requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
import viser
from numpy.typing import NDArray

from ...sims.scenes import SCENES
from ...sims.tasks.carry import NEAR
from ..report.film import MASK, OUTLINE, PANELS
from .bodies import bodies, poses
from .side_by_side import HIDE, Column, SideBySide

SPACING, TILE = 1.25, 144
"""m between two scenes; height of what an eye sees, pixels."""
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#bcbd22", "#7f7f7f")
"""Colours of the lines of a plot, in their order."""
TRAINED = "as trained"
"""What a dropdown says where the environment is that of the first policy's training."""
CURVES = ("success_at_end", "validation/success_at_end", "return")
"""Which metrics of a training are drawn."""


class Page:
    """One page, which any number of browsers may show. Everything happens in the loop's thread but the callbacks of the
    controls, and these only leave a request: a word and a value, which `Live.obey` knows."""

    def __init__(self, view: SideBySide, host: str, port: int) -> None:
        """host: the interface; port: the next one that is free is taken."""
        self.server = viser.ViserServer(host, port, label="Handsight", verbose=False)
        self.server.request_share_url = lambda verbose=True: None  # nobody at the page opens it to the world
        self.requests: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._scenes: dict[str, tuple[NDArray[np.int64], list[Any]]] = {}
        self._plots: dict[str, tuple[list[str], Any]] = {}
        self._stamp: Any = None
        gui, middle = self.server.gui, SPACING * (len(view.columns) - 1) / 2
        gui.configure_theme(show_logo=False, show_share_button=False)
        camera = self.server.initial_camera
        camera.position, camera.look_at = (1.5 + 1.0 * middle, middle, 0.6 + 0.3 * middle), (0.5, middle, 0.25)
        for n in range(len(view.columns)):
            self.server.scene.add_frame(f"/policy_{n}", show_axes=False, position=(0, SPACING * n, 0))
        label = partial(self.server.scene.add_label, text="", position=(0.3, 0, 1.0), anchor="bottom-center")
        self._names = [label(f"/policy_{n}/name") for n in range(len(view.columns))]
        left = gui.add_panel()
        with left.add_tab("policies"):
            self._eyes = [(gui.add_markdown(""), gui.add_image(np.zeros((8, 8, 3), np.uint8))) for _ in view.columns]
            self._together = gui.add_folder("all policies")
        self._tabs = [left.add_tab(f"{n + 1}: {one.name.split(':')[-1][-18:]}") for n, one in enumerate(view.columns)]
        self._training = left.add_tab("training") if any(one.watched for one in view.columns) else None
        left.dock_left()
        left.set_width(400)
        gui.main_panel.dock_right()
        self._controls(view)

    def _controls(self, view: SideBySide) -> None:
        gui, names = self.server.gui, [one.name for one in view.columns]
        kinds = next((one.env.kinds for one in view.sound), ())
        levels = max((one.loaded.env_config.task.levels for one in view.columns if one.loaded), default=0)
        self._status = gui.add_markdown("")
        with gui.add_folder("clock"):
            self._play = self._asks("play", gui.add_button("Pause"))
            self._asks("step", gui.add_button("Step"))
            self._asks("speed", gui.add_slider("speed", 0.1, 4.0, 0.1, 1.0))
            self._asks("goes_on", gui.add_checkbox("next by itself", True))
        with gui.add_folder("reset"):
            self._asks("next", gui.add_button("Next reset"))
            self._number = self._asks("reset", gui.add_number("number", view.setting.reset, min=0, step=1))
            if len(names) > 1:
                words = zip(("fails", "succeeds"), names, strict=False)
                pair = [gui.add_dropdown(word, names, initial_value=name) for word, name in words]
                find = gui.add_button("Find such a reset")
                self._find = self._asks("find", find, lambda: [one.value for one in pair])
        with gui.add_folder("environment"):
            choices = {"kind": kinds, "scene": SCENES, "level": map(str, range(levels + 1))}
            for (word, options), label in zip(choices.items(), ("object", "scene", "difficulty"), strict=True):
                self._asks(word, gui.add_dropdown(label, [TRAINED, *options]))
            self._asks("hidden", gui.add_dropdown("hide", list(HIDE), initial_value=view.setting.hidden))
            speed = gui.add_slider("push, m/s", -1.0, 1.0, 0.05, 0.4)
            self._asks("push", gui.add_button("Push the object"), lambda: speed.value)
        self._words = gui.add_markdown("")

    def _asks(self, word: str, control: Any, value: Any = None) -> Any:
        """Let a control leave a request, with its own value or what `value` returns; not where the loop sets it."""

        def leave(event: Any) -> None:
            if event.client is not None:
                self.requests.put((word, value() if value else event.target.value))

        (control.on_click if hasattr(control, "on_click") else control.on_update)(leave)
        return control

    def search(self, on: bool) -> None:
        """Show whether resets are being looked for; who looks cannot be asked again."""
        self._find.label, self._find.disabled = "Trying both ..." if on else "Find such a reset", on
        self.server.flush()

    def say(self, words: str) -> None:
        """Show a line below the controls until another takes its place."""
        self._words.content = _quoted(words)
        self.server.flush()

    def show(self, view: SideBySide, share: float, paused: bool) -> None:
        """Follow the policies. share: how much of the last step is to be seen, 0..1."""
        stamp = view.begun, view.t, view.setting.hidden, len(view.sound)
        with self.server.atomic():
            if self._stamp is None or self._stamp[0] != view.begun:
                for number, one in enumerate(view.columns):
                    self._stand(number, one)
            if self._stamp != stamp:
                self._tell(view)
            for one in view.sound:
                geoms, handles = self._scenes[one.name]
                for handle, *pose in zip(handles, *poses(one.was, one.now, geoms, share), strict=True):
                    handle.position, handle.wxyz = pose
            self._play.label = "Play" if paused else "Pause"
        self._stamp = stamp

    def _stand(self, number: int, one: Column) -> None:
        """Set up the scene of a column, counted by `number`, as its episode opens."""
        self._names[number].text = f"{one.name}: does not act" if one.error else one.name
        for handle in self._scenes.pop(one.name, (None, []))[1]:
            handle.remove()
        found = [] if one.error else [*bodies(one.env.engine.model, one.now)]
        add = partial(self.server.scene.add_mesh_simple, flat_shading=True)
        handles = [add(f"/policy_{number}/{geom}", mesh.vertices, mesh.faces, color=rgb) for geom, rgb, mesh in found]
        if not one.error and (goal := one.env.drawn().get("goal")) is not None:  # where a task commands to bring it
            ball = {"radius": NEAR, "color": (230, 159, 0), "opacity": 0.5}
            self.server.scene.add_icosphere(f"/policy_{number}/goal", position=goal[0].tolist(), **ball)
        self._scenes[one.name] = np.array([geom for geom, _, _ in found], int), handles

    def _tell(self, view: SideBySide) -> None:
        """Images, plots and words, which change from step to step."""
        self._number.value, self._status.content = view.setting.reset, f"**reset {view.setting.reset}, step {view.t}**"
        for (words, image), one, tab in zip(self._eyes, view.columns, self._tabs, strict=True):
            image.visible = not one.error
            if one.error:
                words.content = f"**{_quoted(one.name)}** does not act\n\n{_quoted(one.error)}"
                continue
            reads = ", ".join(one.eyes.obs_keys)
            words.content = f"**{_quoted(one.name)}** reads {reads}{one.over and f': **{one.over}**'}"
            image.image = eyes(one.sees())
            actions = np.array([row["action"] for row in one.history]).T
            self._plot(tab, f"{one.name}: action", {f"a{n}": line for n, line in enumerate(actions)})
            names = one.history[0]["terms"] if one.history else ()
            terms = {name: np.array([row["terms"][name] for row in one.history]) for name in names}
            self._plot(tab, f"{one.name}: reward terms", terms)
        for what in ("reward", "success", "value", "sigma"):
            lines = {one.name: np.array([row[what] for row in one.history]) for one in view.sound}
            self._plot(self._together, what, {name: line for name, line in lines.items() if np.isfinite(line).any()})

    def curves(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Draw what a training has logged so far."""
        for name in CURVES:
            if points := [(row["step"], row[name]) for row in rows if name in row]:
                steps, values = np.array(points).T
                self._plot(self._training, name, {name: values}, steps)

    def _plot(self, where: Any, title: str, lines: Mapping[str, NDArray], x: NDArray | None = None) -> None:
        """Draw lines (T,) by name over x (T,) or their steps, in a plot that is made where there is none with these."""
        longest = max(map(len, lines.values()), default=0)
        if not longest:
            return
        x = np.arange(1.0, longest + 1) if x is None else x
        data = (x, *(np.pad(line, (0, longest - len(line)), constant_values=np.nan) for line in lines.values()))
        names, plot = self._plots.get(title, ([], None))
        if names == [*lines]:
            plot.data = data
            return
        if plot is not None:
            plot.remove()
        styles = [{"label": n, "stroke": COLOURS[i % len(COLOURS)], "width": 2} for i, n in enumerate(lines)]
        scales = {"x": {"time": False}} | ({"y": {"range": [-0.05, 1.05]}} if "success" in title else {})
        how: Any = {"title": title, "scales": scales, "legend": {"live": False}, "height": 120}
        with where:
            self._plots[title] = [*lines], self.server.gui.add_uplot(data, ({}, *styles), **how)  # type: ignore[arg-type]


def eyes(panels: Mapping[str, NDArray]) -> NDArray[np.uint8]:
    """What a policy sees, side by side and enlarged without smoothing: (TILE, W, 3) uint8; the object is outlined where
    the left eye's pixels that show it are known."""
    factor, pictures = max(1, TILE // len(panels["depth"])), []
    for name in PANELS[1:]:
        picture = panels[name].repeat(factor, 0).repeat(factor, 1)
        if MASK in panels and name != "right eye":
            wide = np.pad(panels[MASK][..., 0].repeat(factor, 0).repeat(factor, 1), 1)
            inside = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
            picture[wide[1:-1, 1:-1] & ~inside] = tuple(bytes.fromhex(OUTLINE[1:]))
        pictures.append(np.pad(picture, ((0, 0), (0, 4), (0, 0)), constant_values=255))
    return np.concatenate(pictures, axis=1)


def _quoted(words: str) -> str:
    """Words as Markdown that means nothing but them."""
    return re.sub(r"([\\`*_{}\[\]<>()#+.!|-])", r"\\\1", words).replace("\n", "  \n")
