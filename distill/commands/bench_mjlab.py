"""mjlab's camera sensor on the same scene, where mjlab can be imported: the peer that also renders with mujoco_warp."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch

from ...sims.env_config import EnvConfig
from .bench_gpu import timed


def measure(
    env: EnvConfig, images: Collection[str], worlds: Collection[int], device: str, steps: int
) -> dict[str, Any]:
    """{"rows": [...]}, or {"absent": why}. A row: left eye's depth images per second of resting worlds."""
    try:
        from mjlab.sensor.camera_sensor import CameraSensorCfg  # type: ignore[import-not-found]
        from mjlab.sensor.sensor_context import SensorContext  # type: ignore[import-not-found]
    except ImportError as error:
        return {"absent": f"mjlab cannot be imported ({error}); mjlab 1.6 asks for mujoco-warp 3.11, Handsight for 4"}
    rows = []
    for count in worlds:
        for image in images:
            width, height = (int(side) for side in image.split("x"))
            sensor = CameraSensorCfg(
                name="left", camera_name="left", width=width, height=height, data_types=("depth",), use_textures=False
            ).build()
            rate = _rate(env, sensor, SensorContext, count, device, steps)
            rows.append({"worlds": count, "image": image, "images_per_second": rate})
    return {"rows": rows}


def _rate(env: EnvConfig, sensor: Any, context_class: Any, count: int, device: str, steps: int) -> float:
    import mujoco
    import mujoco_warp as mjw
    import warp as wp

    from ...sims.scene import build_model

    wp.init()
    model = build_model(env.scene)
    begin = mujoco.MjData(model)
    mujoco.mj_forward(model, begin)
    place = wp.device_from_torch(torch.device(device))
    with wp.ScopedDevice(place):
        warp_model = mjw.put_model(model)
        data = mjw.put_data(model, begin, nworld=count, nconmax=env.warp.nconmax, njmax=env.warp.njmax)
        sensor.initialize(model, warp_model, data, device)
        context = context_class(model, warp_model, data, [sensor], [], device)

        def render(_: int) -> None:
            mjw.refit_bvh(warp_model, data, context.render_context)
            mjw.render(warp_model, data, context.render_context)
            context.finalize()
            assert math.prod(sensor.data.depth.shape) == count * sensor.cfg.width * sensor.cfg.height

        render(0)
        return count / timed(render, steps, device)


def shown(found: dict[str, Any]) -> str:
    """A line for people."""
    if "absent" in found:
        return f"mjlab's camera sensor: {found['absent']}"
    rates = [f"{row['worlds']:,} x {row['image']}: {row['images_per_second']:,.0f}/s" for row in found["rows"]]
    return f"mjlab's camera sensor, depth images: {'; '.join(rates)}"
