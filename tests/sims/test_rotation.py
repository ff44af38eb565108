"""Rotations by hand, and that no environment's result depends on how many there are."""

import math

import pytest
import torch

from handsight.sims import rotation

S = math.sqrt(0.5)
QUARTER = {
    "x": ([S, S, 0, 0], [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "y": ([S, 0, S, 0], [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
    "z": ([S, 0, 0, S], [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
}
"""A quarter turn about each axis: quaternion and matrix."""


@pytest.mark.parametrize("axis", QUARTER)
def test_a_quarter_turn_is_the_same_as_quaternion_matrix_and_vector(axis):
    q, matrix = (torch.tensor(value, dtype=torch.float32) for value in QUARTER[axis])
    v = torch.zeros(3)
    v["xyz".index(axis)] = math.pi / 2
    assert torch.allclose(rotation.quat_to_matrix(q), matrix, atol=1e-6)
    assert torch.allclose(rotation.exp_quat(v), q, atol=1e-6)
    assert torch.allclose(rotation.log_matrix(matrix[None]), v[None], atol=1e-6)


def test_products_of_quaternions_are_hamiltons():
    one, i, j, k = torch.eye(4)
    assert torch.equal(rotation.quat_multiply(i, j), k) and torch.equal(rotation.quat_multiply(j, i), -k)
    assert torch.equal(rotation.quat_multiply(j, k), i) and torch.equal(rotation.quat_multiply(k, i), j)
    for unit in (i, j, k):
        assert torch.equal(rotation.quat_multiply(unit, unit), -one)
    a, b = torch.tensor([1.0, 2, 3, 4]), torch.tensor([5.0, 6, 7, 8])
    assert rotation.quat_multiply(a, b).tolist() == [-60.0, 12.0, 30.0, 24.0]


def test_no_rotation_is_the_identity_and_its_vector_zero():
    assert torch.equal(rotation.exp_matrix(torch.zeros(2, 3)), torch.eye(3).repeat(2, 1, 1))
    assert not rotation.log_matrix(torch.eye(3)[None]).any()


@pytest.mark.parametrize("count", [1, 7, 64])
def test_a_result_does_not_depend_on_the_number_of_environments(count):
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randn(64, 3, 3, generator=draw) for _ in range(2))
    v, w = torch.randn(64, 3, generator=draw), torch.randn(64, 10, 3, generator=draw)
    for f, arguments in (
        (rotation.times, (a, b)), (rotation.rotate, (a, v)), (rotation.rotate_back, (a, w)),
        (rotation.log_matrix, (rotation.exp_matrix(v),)), (rotation.exp_matrix, (v,)),
    ):  # fmt: skip
        assert torch.equal(f(*(part[:count] for part in arguments)), f(*arguments)[:count]), f.__name__


def test_rotating_by_a_matrix_sums_its_rows():
    turn = torch.arange(1.0, 10.0).reshape(1, 3, 3)
    assert rotation.rotate(turn, torch.tensor([1.0, 10, 100])).tolist() == [[321.0, 654.0, 987.0]]
    assert rotation.rotate_back(turn, torch.tensor([[[1.0, 10, 100]]])).tolist() == [[[741.0, 852.0, 963.0]]]
