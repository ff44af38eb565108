"""`handsight view`: how fast it is, and what it looks like.

    python benchmarks/view.py           # frames a second while a client reads them: benchmarks/results/view.json
    python benchmarks/view.py --gif     # an episode of two policies in headless Chromium: docs/view.gif

Chromium is Debian's (`apt-get install chromium`); it renders in software.
"""

from __future__ import annotations

import argparse
import io
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from PIL import Image

from handsight.distill.runs.provenance import provenance
from handsight.files import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS, DOCS = ROOT / "benchmarks" / "results" / "view.json", ROOT / "docs"
POLICIES = ("zoo:state", "zoo:depth")
DRAWN = ("zoo:stereo", "zoo:stereo-from-state")
SECONDS = 20.0
"""How long frames are counted, after the first episode."""
FLAGS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")
STATUS = re.compile(r"reset \d+, step \d+")
SIZE, SHRUNK = (1600, 880), (1000, 550)
"""Width and height of the browser's window, and of the GIF, pixels."""


def speed(names: tuple[str, ...]) -> dict[str, float]:
    """Frames a second of real-time play (the loop makes no more than 30) while a client reads them all; how many cores
    that took, and so how many frames a core alone could make. Names: policies."""
    import viser
    from websockets.sync.client import connect

    from handsight.distill.viewer.live import Live
    from handsight.distill.viewer.page import Page
    from handsight.distill.viewer.side_by_side import Column, SideBySide

    view = SideBySide([Column(Path(name)) for name in names])
    page = Page(view, "127.0.0.1", 0)
    live, read = Live(view, page), [0]

    def client() -> None:
        """A browser that only reads."""
        words: list = [f"viser-v{viser.__version__}"]
        with connect(f"ws://127.0.0.1:{page.server.get_port()}", subprotocols=words, max_size=None) as socket:
            for message in socket:
                read[0] += len(message)

    threading.Thread(target=client, daemon=True).start()
    live.run(until=lambda: view.begun > 1)
    frames, cpu, wall, before = live.frames, time.process_time(), time.monotonic(), read[0]
    live.run(until=lambda: time.monotonic() > wall + SECONDS)
    frames, cpu, wall = live.frames - frames, time.process_time() - cpu, time.monotonic() - wall
    page.server.stop()
    return {
        "frames_per_second": round(frames / wall, 1),
        "cores": round(cpu / wall, 2),
        "frames_per_cpu_second": round(frames / cpu, 1),
        "kilobytes_per_second": round((read[0] - before) / wall / 1e3),
    }


def film(names: tuple[str, ...], reset: int) -> None:
    """Write the GIF: step by step, so that no frame is missing."""
    from playwright.sync_api import sync_playwright

    words = [sys.executable, "-m", "handsight.distill.commands.cli", "view", *names, "--port", "0"]
    frames: list[Image.Image] = []
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        assert server.stdout
        url = next(found[0] for line in server.stdout if (found := re.search(r"^http://\S+", line)))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*FLAGS])
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
        page.goto(url)
        page.get_by_role("button", name="Pause").click(timeout=60_000)
        page.get_by_role("button", name="Play").wait_for()
        page.locator("[class*=Notification-closeButton]").first.click()  # a word about rendering in software
        while (now := int(re.findall(r"\d+", page.get_by_text(STATUS).inner_text())[0])) < reset:
            page.get_by_role("button", name="Next reset").click()
            page.get_by_text(f"reset {now + 1}, step 0").wait_for()
        time.sleep(4)
        for step in range(1, 37):
            page.get_by_role("button", name="Step").click()
            page.get_by_text(f"reset {reset}, step {step}").wait_for()
            time.sleep(0.7)
            frames.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        browser.close()
        server.terminate()
    small = [frame.resize(SHRUNK, Image.Resampling.LANCZOS) for frame in frames]
    palette = small[27].quantize(192)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in small]
    drawn[0].save(
        DOCS / "view.gif", save_all=True, append_images=drawn[1:], duration=[120] * 35 + [2000], loop=0, optimize=True
    )


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gif", action="store_true", help="draw the page instead of measuring it")
    parser.add_argument("--reset", type=int, default=12, help="number of the reset that is drawn, some after the first")
    parser.add_argument("--policies", nargs="+", default=DRAWN, help="what is drawn, side by side")
    args = parser.parse_args()
    if args.gif:
        film(tuple(args.policies), args.reset)
        return
    found = {" and ".join(names): speed(names) for names in (POLICIES[:1], POLICIES[1:], POLICIES)}
    write_json(RESULTS, {"figures": found, "seconds": SECONDS, "provenance": provenance()})
    for names, figures in found.items():
        print(names, figures)


if __name__ == "__main__":
    main()
