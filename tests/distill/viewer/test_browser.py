"""The page in a real browser: headless Chromium shows two policies and obeys its buttons; a bad run is a word in it."""

import io
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: uv sync")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
]
FLAGS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox")
STATUS = re.compile(r"reset \d+, step \d+")
SIZE = {"width": 1500, "height": 860}
SCENE = (430, 120, 1150, 800)
"""Left, top, right and bottom of what lies between the panels, pixels."""


@contextmanager
def served(*words, **environment):
    """The address of a page that the command line serves."""
    command = [sys.executable, "-m", "handsight.distill.commands.cli", "view", *words, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        assert process.stdout
        try:
            yield next(found[0] for line in process.stdout if (found := re.search(r"^http://\S+", line)))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def browser():
    """A browser without a window, which renders in software."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser):
    """A page with a state teacher, a depth teacher and a run that does not exist, as a browser shows it."""
    with served("zoo:state", "zoo:depth", "nowhere") as url:
        page = browser.new_page(viewport=SIZE)
        page.goto(url)
        page.get_by_text(STATUS).wait_for(timeout=60_000)
        yield page
        page.close()


def told(page):
    """Numbers of the reset and of the step that the page says."""
    return tuple(map(int, re.findall(r"\d+", page.get_by_text(STATUS).inner_text())))


def scene(page):
    """(H, W, 3) int: what is drawn between the panels."""
    left, top, right, bottom = SCENE
    clip = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")).astype(int)


def test_pause_stops_it_and_step_goes_on_once(page):
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play").wait_for()
    time.sleep(0.5)
    reset, step = told(page)
    time.sleep(1.5)
    assert told(page) == (reset, step)
    page.get_by_role("button", name="Step").click()
    page.get_by_text(f"reset {reset}, step {step + 1}").wait_for()
    time.sleep(1)
    assert told(page) == (reset, step + 1)


def test_two_policies_stand_side_by_side_and_are_not_blank(page):
    for _ in range(30):
        time.sleep(1)
        picture = scene(page)
        halves = np.array_split(picture, 3, axis=1)[:2]
        drawn = [(np.abs(half - picture[2, 2]).sum(-1) > 30).mean() for half in halves]
        colours = len(np.unique(picture.reshape(-1, 3) // 8, axis=0))
        if min(drawn) > 0.1 and colours > 60:
            break
    assert min(drawn) > 0.1 and colours > 60, (drawn, colours)
    assert page.get_by_text("zoo:state reads").count() and page.get_by_text("zoo:depth reads").count()
    sizes = page.evaluate("[...document.querySelectorAll('img')].map(i => i.naturalWidth)")
    assert sum(width > 300 for width in sizes) >= 2, "what two policies see"
    assert page.locator(".uplot canvas").count() >= 3, "running plots"


def test_a_bad_run_is_an_error_in_the_page(page):
    assert page.get_by_text("run nowhere does not exist: expected a folder with config.json").is_visible()
    assert page.get_by_text("nowhere does not act").count()


def test_the_next_reset_is_another_picture(page):
    before, (reset, _) = scene(page), told(page)
    page.get_by_role("button", name="Next reset").click()
    page.get_by_text(f"reset {reset + 1}, step 0").wait_for(timeout=30_000)
    deadline = time.monotonic() + 30
    while np.abs(scene(page) - before).max() < 60 and time.monotonic() < deadline:
        time.sleep(1)
    assert np.abs(scene(page) - before).max() >= 60


def test_with_a_password_the_page_lives_and_without_it_does_not(browser):
    with served("zoo:state", "--host", "127.0.0.2", HANDSIGHT_PASSWORD="sesame") as url:
        stranger = browser.new_context().new_page()
        with pytest.raises(sync_api.Error, match="INVALID_AUTH_CREDENTIALS"):
            stranger.goto(url)
        friend = browser.new_context(http_credentials={"username": "handsight", "password": "sesame"}).new_page()
        friend.goto(url)
        friend.get_by_text(STATUS).wait_for(timeout=60_000)  # which came by the websocket
