"""Films: what the eyes saw, frozen after an episode's end, written as a video that plays."""

import base64

import av
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from handsight.distill.commands.video import VideoArgs, run_video
from handsight.distill.report.film import (
    CAPTION,
    DEPTH_RANGE,
    GAP,
    _pages,
    _places,
    beside,
    colour_depth,
    contact_sheet,
    film_in,
    make_film,
    outline,
    write_video,
)
from handsight.errors import HandsightError

from ..toy_env import Scripted, ToyConfig, ToyEnv

EVERYTHING = ("state", "proprio", "depth", "stereo")


def test_depth_colours_have_a_fixed_range_and_black_for_no_return():
    near, far = (int(limit) for limit in DEPTH_RANGE)
    colours = colour_depth(torch.tensor([[0, near, far, far + 500, near // 2]], dtype=torch.int16))[0].astype(int)
    assert colours.shape == (5, 3)
    assert (colours[0] == 0).all()
    assert (colours[3] == colours[2]).all()
    assert (colours[4] == colours[1]).all()
    assert colours[1].sum() > colours[2].sum() > 0


def test_film_shows_what_the_policy_was_given(toy_sims):
    film = make_film(Scripted("state"), ToyConfig(), episodes=3, seed=7, reset_kind="near")
    env = ToyEnv(EVERYTHING, 3)
    env.set_reset_mix({"near": 1.0})
    stereo = env.reset(7)["stereo"].numpy()
    np.testing.assert_array_equal(film.images["left eye"][0], stereo[:, 0].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(film.images["right eye"][0], stereo[:, 1].transpose(0, 2, 3, 1))
    assert film.success.shape == (ToyEnv.episode_steps + 1, 3)
    assert film.over[-1].all()
    assert film.success[-1].all()
    assert film.caption(ToyEnv.episode_steps, 0) == f"reset 0   {film.kinds[0]}   step 8   success"


@pytest.mark.parametrize("name", ["x.gif", "x", "x.avi", "x.mp4.png"])
def test_a_name_of_another_kind_is_refused_before_anything_is_loaded(name, tmp_path):
    with pytest.raises(HandsightError, match=f"{name}: expected a name that ends in .mp4"):
        run_video(VideoArgs(tmp_path / "nowhere", out=tmp_path / name))


def test_lost_world_stands_still():
    film = film_in(ToyEnv(EVERYTHING, 2, diverge={(1, 3)}), Scripted("state"), seed=0)
    assert film.lost.tolist() == [False, True]
    assert film.over[:, 1].tolist() == [False] * 3 + [True] * 6
    for pictures in film.images.values():
        assert (pictures[2:, 1] == pictures[2, 1]).all()
    assert film.caption(8, 1).endswith("step 3   lost")
    assert not film.success[3:, 1].any()


def test_episode_that_ended_early_stands_still():
    film = film_in(ToyEnv(EVERYTHING, 8, end_on_success=True), Scripted("state"), seed=1)
    ends = film.over.argmax(axis=0)
    assert ends.min() < ends.max()
    early = int(ends.argmin())
    pictures = film.images["left eye"]
    assert (pictures[ends[early] :, early] == pictures[ends[early], early]).all()
    assert film.caption(len(film.over) - 1, early).endswith(f"step {ends[early]}   success")


def test_overview_is_shown_where_there_is_one_and_twice_as_large(monkeypatch):
    env = ToyEnv(EVERYTHING, 2)
    assert "overview" not in film_in(env, Scripted("state"), seed=1).images
    picture = np.arange(20 * 20 * 3).reshape(20, 20, 3).astype(np.uint8)
    asked = []
    monkeypatch.setattr(ToyEnv, "render_overview", lambda self, *how: asked.append(how) or picture, raising=False)
    film = film_in(env, Scripted("state"), seed=1)
    assert asked[1] == (1, 480, 480)
    assert film.images["overview"].shape == (9, 2, 20, 20, 3)
    np.testing.assert_array_equal(film.images["overview"][0, 0], picture)
    places, width, _ = _places(film, tile=50)
    assert places["overview"] == (0, 0, 122, 122) and places["right eye"] == (180, 0, 50, 50)
    assert places["depth"] == (126, 72, 50, 50) and width == 230
    assert places["sigma"] == (180, 72, 50, 50), "in the corner that is free"
    assert _places(film, tile=229)[0]["overview"] == (0, 0, 480, 480), "as large as a film usually is"
    assert "overview" not in film_in(env, Scripted("state"), seed=1, overview=0).images


def test_video_plays_in_a_browser(tmp_path):
    film = film_in(ToyEnv(EVERYTHING, 3), Scripted("stereo"), seed=1)
    path = tmp_path / "videos" / "film.mp4"
    write_video(path, film, title="toy student", tile=64)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert stream.codec_context.name == "h264"
    assert stream.codec_context.pix_fmt == "yuv420p"
    assert len(pictures) == 9 + 5
    assert pictures[0].shape[0] % 2 == pictures[0].shape[1] % 2 == 0
    assert np.abs(pictures[0].astype(int) - pictures[8]).max() > 50


def test_the_bar_is_as_long_as_the_policy_is_unsure_of_the_action_that_led_here():
    class Unsure(Scripted):
        def forward(self, obs, hidden):
            mean, std, hidden = super().forward(obs, hidden)
            return mean, torch.full_like(std, 0.25), hidden

    film = film_in(ToyEnv(EVERYTHING, 2), Unsure("state"), seed=1)
    assert film.sigma is not None
    np.testing.assert_allclose(film.sigma[[0, 1, -1], 1], [0, 0.25, 0.25])
    first, second, *_ = _pages(film, "toy", tile=101)
    for page, filled in ((first, 1), (second, 26)):  # the first pixel is drawn at 0, too
        left, top, _, _ = _places(film, 101)[0]["sigma"]
        row = page[2 * CAPTION + top + 5, GAP + left : GAP + left + 101]
        assert (row == (230, 159, 0)).all(1).sum() == filled


def test_a_teacher_and_a_student_stand_below_each_other_with_what_each_sees(monkeypatch):
    picture = np.zeros((20, 20, 3), np.uint8)
    monkeypatch.setattr(ToyEnv, "render_overview", lambda self, *how: picture, raising=False)
    policies = {"teacher": Scripted("depth"), "student": Scripted("stereo"), "knower": Scripted("state")}
    films = {name: film_in(ToyEnv(EVERYTHING, 2), policy, seed=1) for name, policy in policies.items()}
    figure = contact_sheet(films, ["#000000", "#111111", "#222222"], episode=1, moments=3)
    blocks = {block.get_suptitle(): block for block in figure.subfigs}
    assert [title.partition(":")[0] for title in blocks] == [*policies]
    rows = [[label for axis in block.axes if (label := axis.get_ylabel())] for block in blocks.values()]
    assert rows == [["from outside", "depth"], ["from outside", "left eye", "right eye"], ["from outside"]]
    for block in blocks.values():
        assert [axis.get_title().split()[1] for axis in block.axes[:3]] == ["0", "4", "8"]
    np.testing.assert_array_equal(films["teacher"].images["depth"][0], films["student"].images["depth"][0])


def test_films_of_one_reset_stand_side_by_side_and_the_shorter_one_stands_still():
    short = film_in(ToyEnv(EVERYTHING, 1, end_on_success=True), Scripted("state"), seed=3)
    long = film_in(ToyEnv(EVERYTHING, 1), Scripted("state"), seed=3)
    assert len(short.success) < len(long.success)
    left, top, side, _ = _places(short, 64)[0]["left eye"]
    block = _places(short, 64)[1] + 2 * GAP
    pages = [*_pages(beside({"one": short, "other": long}), "toy", tile=64)]
    assert len(pages) == 9 + 5
    for column, film in enumerate((short, long)):
        for t in (0, 4, 8):
            y, x = 2 * CAPTION + top, GAP + left + column * block
            shown = pages[t][y : y + side, x : x + side]
            wanted = film.images["left eye"][min(t, len(film.success) - 1), 0].repeat(4, 0).repeat(4, 1)
            np.testing.assert_array_equal(shown, wanted)
    both = beside({"one": short, "other": long})
    assert [both.caption(8, column).split()[0] for column in (0, 1)] == ["one", "other"]
    assert both.sigma is not None and long.sigma is not None
    np.testing.assert_array_equal(both.sigma[:, 1], long.sigma[:, 0])


def test_contact_sheet_goes_from_reset_to_the_end():
    film = film_in(ToyEnv(EVERYTHING, 2), Scripted("state"), seed=1)
    titles = [axis.get_title() for axis in contact_sheet(film, episode=1, moments=4).axes]
    assert titles[0] == "step 0"
    assert titles[3].startswith("step 8")


def test_film_knows_the_objects_pixels():
    env = ToyEnv(EVERYTHING, 2)
    film = film_in(env, Scripted("state"), seed=1)
    red = film.images["left eye"][..., 0] > 150
    assert film.object_mask is not None and film.object_mask.any()
    np.testing.assert_array_equal(film.object_mask, red)


def test_film_of_one_world_is_the_one_among_many(toy_sims):
    many = make_film(Scripted("state"), ToyConfig(), episodes=4, seed=7)
    one = make_film(Scripted("state"), ToyConfig(), episodes=1, seed=7, world_offset=3)
    np.testing.assert_array_equal(one.images["depth"][:, 0], many.images["depth"][:, 3])


def test_films_beside_each_other_are_a_row_for_each_reset_and_the_shorter_stands_still():
    long, short = (
        film_in(ToyEnv(EVERYTHING, 2, end_on_success=quick), Scripted("state"), seed=1) for quick in (False, True)
    )
    both, frames = beside({"teacher": long, "student": short}), len(short.over)
    assert frames < 9
    assert both.names == ("teacher, reset 0", "student, reset 0", "teacher, reset 1", "student, reset 1")
    assert both.kinds == tuple(long.kinds[reset] for reset in (0, 0, 1, 1)) and both.success.shape == (9, 4)
    for panel in ("left eye", "depth"):
        np.testing.assert_array_equal(both.images[panel][:, 2], long.images[panel][:, 1])
        np.testing.assert_array_equal(both.images[panel][:frames, 1], short.images[panel][:, 0])
        assert (both.images[panel][frames:, 3] == short.images[panel][-1, 1]).all()
    assert both.caption(0, 1).startswith("student, reset 0   ")


def test_films_of_other_resets_do_not_stand_beside_each_other():
    one, two = (film_in(ToyEnv(EVERYTHING, count), Scripted("state"), seed=1) for count in (1, 2))
    for films in ({"one": one, "two": two}, {}):
        with pytest.raises(HandsightError, match="expected the same resets and cameras, found"):
            beside(films)


def test_a_notebook_plays_a_film_that_lies_in_itself(tmp_path):
    film = film_in(ToyEnv(EVERYTHING, 2), Scripted("stereo"), seed=1)
    page = film._repr_html_()
    head, content = page.split('src="data:video/mp4;base64,')
    assert head.startswith("<video controls loop autoplay muted ")
    (tmp_path / "film.mp4").write_bytes(base64.b64decode(content.split('"')[0]))
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert len([*container.decode(video=0)]) == 9 + 5


def test_outline_runs_around_the_object_and_along_the_border():
    mask = np.zeros((3, 3), dtype=bool)
    mask[0, 1] = True
    axis = Figure().subplots()
    outline(axis, mask)
    (lines,) = axis.collections
    ends = {tuple(sorted(map(tuple, segment.tolist()))) for segment in lines.get_segments()}
    assert ends == {
        ((0.5, -0.5), (1.5, -0.5)),
        ((0.5, 0.5), (1.5, 0.5)),
        ((0.5, -0.5), (0.5, 0.5)),
        ((1.5, -0.5), (1.5, 0.5)),
    }
