"""Mass, moments, reach and resting poses of convex pieces, beside values by hand."""

import mujoco
import numpy as np
import pytest

from handsight.sims.objects.solids import (
    MAX_PLANES,
    Solid,
    SolidError,
    directions,
    moments,
    planes,
    simplified,
    support,
)


def block(x, y, z):
    return np.array([[a, b, c] for a in x for b in y for c in z], float)


BRICK = block((-0.03, 0.03), (-0.02, 0.02), (-0.05, 0.05))


def test_a_brick_of_triangles_weighs_and_turns_as_a_brick():
    brick = Solid.of("brick", [BRICK], density=500)
    assert brick.mass == pytest.approx(500 * 0.06 * 0.04 * 0.1)
    np.testing.assert_allclose(brick.inertia, np.array([0.04**2 + 0.1**2, 0.06**2 + 0.1**2, 0.06**2 + 0.04**2]) / 12)
    np.testing.assert_allclose(brick.com, 0, atol=1e-12)
    np.testing.assert_allclose(brick.half, [0.03, 0.02, 0.05])
    assert Solid.of("heavy", [BRICK], mass=0.7).mass == 0.7


def test_two_blocks_weigh_as_their_parts_about_the_common_centre():
    """A rod of two cubes, 4 cm each, end to end; then one of them alone, moved: covariance by parallel axes."""
    cubes = [block((low, low + 0.04), (0, 0.04), (0, 0.04)) for low in (0.0, 0.04)]
    volume, com, covariance = moments(cubes)
    assert volume == pytest.approx(2 * 0.04**3)
    np.testing.assert_allclose(com, [0.04, 0.02, 0.02])
    np.testing.assert_allclose(covariance, volume * np.diag([0.08**2, 0.04**2, 0.04**2]) / 12, atol=1e-15)


def test_a_solid_stands_in_its_principal_axes_wherever_it_was_given():
    turn = np.empty(9)
    mujoco.mju_quat2Mat(turn, np.array([0.9, 0.1, -0.2, 0.3]) / np.linalg.norm([0.9, 0.1, -0.2, 0.3]))
    tilted = Solid.of("tilted", [BRICK @ turn.reshape(3, 3).T + 0.3])
    np.testing.assert_allclose(np.sort(tilted.half), [0.02, 0.03, 0.05])
    np.testing.assert_allclose(np.sort(tilted.inertia), np.sort(Solid.of("brick", [BRICK]).inertia))
    _, com, covariance = moments(tilted.pieces)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-15)
    np.testing.assert_allclose(com, tilted.com, atol=1e-12)


def test_the_reach_of_a_brick_is_that_of_its_corner():
    ways = directions()
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1)
    np.testing.assert_allclose(support(BRICK, ways), np.abs(ways) @ [0.03, 0.02, 0.05])
    assert len(ways) == 32 and np.abs(ways.mean(0)).max() < 0.03


def test_a_brick_rests_on_each_of_its_sides_and_a_pole_on_its_long_ones():
    brick = Solid.of("brick", [BRICK])
    assert sorted(np.round(brick.heights, 6)) == [0.02, 0.02, 0.03, 0.03, 0.05, 0.05]
    pole = Solid.of("pole", [block((-0.01, 0.01), (-0.01, 0.01), (-0.1, 0.1))])  # upright it leans by 5.7 degrees
    assert sorted(np.round(pole.heights, 6)) == [0.01] * 4
    for solid in (brick, pole):
        for quat, height in zip(solid.rests, solid.heights, strict=True):
            turn = np.empty(9)
            mujoco.mju_quat2Mat(turn, quat)
            assert (solid.pieces[0] @ turn.reshape(3, 3).T)[:, 2].min() == pytest.approx(-height)


def test_a_top_heavy_thing_does_not_rest_on_its_point():
    """A pyramid on its tip would stand on no face; on its base its middle is 3/8 of its height from the ground."""
    pyramid = np.array([[0.03, 0.03, 0], [-0.03, 0.03, 0], [0.03, -0.03, 0], [-0.03, -0.03, 0], [0, 0, 0.08]])
    solid = Solid.of("pyramid", [pyramid])
    assert solid.com[2] == pytest.approx(0.08 / 4 - 0.04)
    assert len(solid.rests) == 5 and max(solid.heights) == pytest.approx(0.04)


def test_a_fine_ball_is_simplified_to_what_can_be_shown():
    ball = directions(500) * 0.05
    assert len(planes(ball)) > MAX_PLANES
    few = simplified(ball)
    assert len(planes(few)) <= MAX_PLANES and moments([few])[0] > 0.75 * moments([ball])[0]
    assert simplified(BRICK).shape == (8, 3) and len(planes(BRICK)) == 6


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ([BRICK * [1, 1, 0]], "sides of 0.06 x 0.04 x 0 m"),
        ([BRICK * 1000], r"sides of 60 x 40 x 100 m, expected 0.004 to 0.4 m: are its units metres\?"),
        ([BRICK + np.nan], "coordinates that are not finite"),
        ([BRICK, np.tile(BRICK[:1], (5, 1))], "no volume"),
        ([directions(200) * 0.05], "a piece of [0-9]+ faces, at most 64 can be shown"),
        ([], "no pieces"),
    ],
)
def test_what_cannot_be_an_object_is_named(pieces, words):
    with pytest.raises(SolidError, match=f"thing: {words}"):
        Solid.of("thing", pieces)
