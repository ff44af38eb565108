"""The loop obeys the page and keeps one clock; the command refuses what cannot be shown, and asks for a password."""

import base64
import io
import urllib.error
import urllib.request
from contextlib import redirect_stdout
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import pytest

from handsight.distill.commands import view as command
from handsight.distill.commands.view import PASSWORD, ViewArgs, guarded, run_view
from handsight.distill.runs import metrics
from handsight.distill.runs.run import Run
from handsight.distill.training.teacher_config import TeacherConfig
from handsight.distill.viewer.live import REST, Live
from handsight.distill.viewer.page import TRAINED, Page
from handsight.distill.viewer.side_by_side import Column, SideBySide
from handsight.errors import HandsightError
from handsight.sims.tasks.carry import NEAR


class Noted:
    """A page without a browser."""

    def __init__(self):
        self.requests, self.said, self.shown, self.searching = SimpleQueue(), [], [], []

    def search(self, on):
        self.searching.append(on)

    def say(self, words):
        self.said.append(words)

    def show(self, view, share, paused):
        self.shown.append((view.t, share, paused))


@pytest.fixture(scope="module")
def view():
    side = SideBySide([Column(Path("zoo:state")), Column(Path("zoo:depth"))])
    yield side
    for one in side.columns:
        one.close()


@pytest.fixture
def live(view):
    view.change(reset=0, kind=None, level=None, scene=None)
    return Live(view, Noted())


def frames(live, count):
    """Let the loop show so many frames."""
    last = live.frames + count
    live.run(until=lambda: live.frames >= last)


def test_the_clock_goes_at_its_speed_and_both_go_with_it(live):
    half = live.view.columns[0].env.control_dt / 2
    for n in range(9):
        live.advance(100 + n * half + n * 1e-6)
    assert live.view.t == 5 and [len(one.history) for one in live.view.columns] == [5, 5]
    live.speed = 2.0
    for n in range(9, 15):
        live.advance(100 + n * half + n * 1e-6)
    assert live.view.t == 10  # the step under way is not hurried


def test_pause_stops_the_clock_and_step_advances_once(live):
    live.page.requests.put(("play", None))
    frames(live, 3)
    assert live.view.t == 0 and live.page.shown[-1] == (0, 1.0, True)
    live.page.requests.put(("step", None))
    frames(live, 3)
    assert live.view.t == 1 and [len(one.history) for one in live.view.columns] == [1, 1]
    live.page.requests.put(("play", None))
    frames(live, 1)
    assert live.view.t == 2 and not live.paused
    live.page.requests.put(("step", None))
    frames(live, 1)
    assert live.paused and live.view.t == 3


def test_an_ended_episode_rests_and_the_next_comes_by_itself_or_not(live):
    while not live.view.over:
        live.view.step()
    live.view.columns[0].over = live.view.columns[1].over = ""
    live.view.step()  # nobody steps beyond the end
    for one in live.view.columns:
        one.over = "failure"
    live.goes_on = False
    live.advance(50.0)
    assert live.view.setting.reset == 0
    live.goes_on = True
    live.advance(50.0 + REST / 2)
    assert live.view.setting.reset == 0
    live.advance(50.0 + REST)
    assert live.view.setting.reset == 1 and live.view.t == 0


def test_requests_are_carried_out_in_their_order(live):
    for request in [("play", None), ("reset", 5), ("kind", "mug"), ("level", "10"), ("speed", 2.5), ("next", None)]:
        live.page.requests.put(request)
    frames(live, 1)
    setting = live.view.setting
    assert (setting.reset, setting.kind, setting.level, live.speed, live.view.t) == (6, "mug", 10, 2.5, 0)
    for request in [("level", TRAINED), ("kind", TRAINED), ("hidden", "both eyes"), ("goes_on", False), ("push", 0.5)]:
        live.page.requests.put(request)
    frames(live, 1)
    setting = live.view.setting
    assert (setting.kind, setting.level, setting.hidden, live.goes_on) == (None, None, "both eyes", False)
    assert float(live.view.columns[0].env.engine.read().object_linvel[0, 1]) == pytest.approx(0.5)
    live.view.change(hidden="nothing")


def test_what_cannot_be_done_is_said_and_the_loop_goes_on(live, monkeypatch):
    monkeypatch.setattr(live.view, "differing", lambda fails, succeeds: lambda: [3, 7])
    live.page.requests.put(("play", None))
    for reset in (3, 7):  # the first, then the next
        live.page.requests.put(("find", ("zoo:depth", "zoo:state")))
        live.run(until=lambda: live.page.searching[-2:] == [True, False])
        assert live.view.setting.reset == reset
        live.page.searching.clear()
    assert live.page.said[-1] == "2 resets in which zoo:depth fails and zoo:state succeeds: [3, 7]"
    monkeypatch.undo()
    live.page.requests.put(("find", ("zoo:depth", "nobody")))
    frames(live, 2)
    assert "expected two policies that act" in live.page.said[-1] and live.view.setting.reset == 7


def test_the_loop_goes_on_while_resets_are_looked_for_and_says_what_went_wrong(live, monkeypatch):
    answer = Event()

    def look():
        answer.wait(30)
        raise HandsightError("the search failed")

    monkeypatch.setattr(live.view, "differing", lambda fails, succeeds: look)
    live.page.requests.put(("find", ("zoo:depth", "zoo:state")))
    frames(live, 5)
    assert live.page.searching == [True] and len(live.page.shown) == 5
    answer.set()
    live.run(until=lambda: bool(live.page.said))
    assert live.page.said == ["the search failed"] and live.page.searching == [True, False]


def test_a_commanded_point_stands_in_the_scene(monkeypatch):
    side = SideBySide([Column(Path("zoo:state-carry"))])
    with redirect_stdout(io.StringIO()):
        page = Page(side, "127.0.0.1", 0)
    balls, ball = [], page.server.scene.add_icosphere
    monkeypatch.setattr(
        page.server.scene, "add_icosphere", lambda name, **how: balls.append((name, how)) or ball(name, **how)
    )
    try:
        for reset in (0, 1):
            side.change(reset=reset)
            page.show(side, 1.0, False)
            (name, how), goal = balls.pop(), side.columns[0].env.goal[0]
            assert name == "/policy_0/goal" and how["position"] == pytest.approx(goal.tolist()) and not balls
            assert how["radius"] == NEAR
    finally:
        page.server.stop()
        side.columns[0].close()


def test_nothing_starts_where_nobody_can_act(tmp_path):
    with pytest.raises(HandsightError, match="found none"):
        run_view(ViewArgs())
    with pytest.raises(HandsightError, match=r"none of these policies can act:\n  run .*/a does not exist") as found:
        run_view(ViewArgs((tmp_path / "a", tmp_path / "b")))
    assert "/b does not exist" in str(found.value)
    with pytest.raises(HandsightError, match="does not exist"):
        run_view(ViewArgs(watch=tmp_path / "a"))


def test_a_missing_viser_is_one_line(monkeypatch):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HandsightError, match=r"pip install 'handsight\[view\]'"):
        run_view(ViewArgs((Path("zoo:state"),)))


def get(url, password=None):
    """Status of a page asked for with a password or without."""
    request = urllib.request.Request(url)
    if password:
        request.add_header("Authorization", "Basic " + base64.b64encode(f"handsight:{password}".encode()).decode())
    try:
        return urllib.request.urlopen(request, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code


def test_other_machines_need_a_password(view, monkeypatch):
    monkeypatch.delenv(PASSWORD, raising=False)
    with pytest.raises(HandsightError, match=f"{PASSWORD} must hold a password"), guarded("0.0.0.0"):
        pytest.fail("the page must not start")
    monkeypatch.setenv(PASSWORD, "sesame")
    with guarded("0.0.0.0"):
        page = Page(view, "127.0.0.1", 0)  # guarded, but not opened to the world by a test
    try:
        url = f"http://127.0.0.1:{page.server.get_port()}"
        assert (get(url), get(url, "wrong"), get(url, "sesame")) == (401, 401, 200)
        websocket = urllib.request.Request(url, headers={"Upgrade": "websocket", "Connection": "Upgrade"})
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(websocket, timeout=20)
    finally:
        page.server.stop()
    with pytest.raises(HandsightError, match="starts its server in another way"), guarded("0.0.0.0"):
        pass  # a server that would not have asked


def test_a_training_is_drawn_before_it_has_a_checkpoint(tmp_path):
    run = Run.create("teacher-state", TeacherConfig.state(), tmp_path)
    metrics.write(run.path / "metrics.csv", [{"step": 100, "return": 3}, {"step": 200, "return": 4, "success/wide": 0}])
    waiting = SideBySide([Column(run.path, watched=True)])
    page = Page(waiting, "127.0.0.1", 0)
    try:
        live = Live(waiting, page)
        frames(live, 2)
        assert {name: plot.data[1].tolist() for name, (_, plot) in page._plots.items()} == {"return": [3, 4]}
        assert "no complete checkpoint" in waiting.columns[0].error and not waiting.sound
        assert "does not act" in page._names[0].text
    finally:
        page.server.stop()


def test_a_page_on_loopback_asks_nobody(view):
    with guarded("127.0.0.1"):
        page = Page(view, "127.0.0.1", 0)
    try:
        assert get(f"http://127.0.0.1:{page.server.get_port()}") == 200
        assert page.server.request_share_url() is None
    finally:
        page.server.stop()
