import numpy as np
import pytest
import standin_smpl as standin

from pose_phalp.results import geometry, skeleton

RNG = np.random.default_rng(3)


def some_rotations(n):
    return np.array([standin.about(RNG.normal(size=3), RNG.uniform(0, np.pi)) for _ in range(n)])


def test_skeletons_are_well_formed():
    assert len(skeleton.JOINTS) == len(set(skeleton.JOINTS)) == 45
    assert len(skeleton.SMPL_JOINTS) == len(set(skeleton.SMPL_JOINTS)) == len(skeleton.SMPL_PARENTS) == 24
    assert all(p < j for j, p in enumerate(skeleton.SMPL_PARENTS))
    assert all(a != b for a, b in skeleton.EDGES)


def test_quaternions_and_matrices_are_inverse():
    turns = np.concatenate([some_rotations(200), [np.eye(3)], [standin.about(a, np.pi) for a in np.eye(3)]])
    np.testing.assert_allclose(geometry.matrices(geometry.quaternions(turns)), turns, atol=1e-9)


def test_between_is_half_of_the_shortest_turn():
    axis = np.array([1.0, 2.0, -0.5])
    first, last = standin.about(axis, 3.0)[None], standin.about(axis, -3.0)[None]  # 6 rad, or 0.28 the other way
    np.testing.assert_allclose(geometry.between(first, last, 0.5)[0], standin.about(axis, np.pi), atol=1e-9)


def turn(first, last):
    """Angle in radians from one rotation to another."""
    traces = np.trace(first.transpose(0, 2, 1) @ last, axis1=1, axis2=2)
    return np.arccos(np.clip((traces - 1) / 2, -1, 1))


def test_between_goes_the_shorter_way_at_constant_speed():
    first, last = some_rotations(300), some_rotations(300)
    np.testing.assert_allclose(turn(first, geometry.between(first, last, 0.25)), turn(first, last) / 4, atol=1e-6)


def test_between_meets_both_ends():
    first, last = some_rotations(50), some_rotations(50)
    np.testing.assert_allclose(geometry.between(first, last, 0.0), first, atol=1e-9)
    np.testing.assert_allclose(geometry.between(first, last, 1.0), last, atol=1e-9)
    np.testing.assert_allclose(geometry.between(first, first, 0.3), first, atol=1e-9)


@pytest.mark.parametrize(("width", "height"), [(768, 576), (576, 768), (641, 480), (500, 500)])
def test_upstreams_camera_sees_upstreams_joints(width, height):
    """Joints in metres through the camera of the frame fall on upstream's own 2D joints."""
    person = standin.seen(1, (0.7 * width, 0.4 * height), 200, RNG, width=width, tall=height)
    square = geometry.Square.around(width, height)
    shown = geometry.project(square.camera(5000, 256), person["joints3d"].astype(float) + person["camera"])
    np.testing.assert_allclose(shown, square.pixels(person["joints2d"].reshape(45, 2)), atol=0.02)


def test_translation_for_a_given_focal_length_is_found():
    """A scene made with a real focal length: the true place is recovered from joints and pixels."""
    camera = geometry.Camera(900.0, np.array([384.0, 288.0]), True)
    joints = standin.joints45(standin.pose(RNG), np.zeros(10))
    true = np.array([0.8, -0.1, 4.2])
    found = geometry.fit_translation(camera, joints, geometry.project(camera, joints + true), np.array([0, 0, 1.0]))
    np.testing.assert_allclose(found, true, atol=1e-6)


def test_translation_without_an_answer_keeps_the_start():
    camera = geometry.Camera(900.0, np.zeros(2), True)
    start = np.array([0, 0, 3.0])
    assert geometry.fit_translation(camera, np.zeros((45, 3)), np.zeros((45, 2)), start) is start


def test_overlap():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [50, 50, 1, 1]], float)
    np.testing.assert_allclose(geometry.overlap(boxes, boxes), [[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]])
