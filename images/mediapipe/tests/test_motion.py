import numpy as np
import pytest

from pose_mediapipe.motion import Motion

RNG = np.random.default_rng(1)
GROUND = np.kron(RNG.integers(40, 160, (15, 20, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))


def street(x=None, noise=2, shift=0):
    """A textured ground with noise, and somebody 20 wide and 60 high whose left side is at x."""
    picture = np.roll(GROUND, shift, axis=1).astype(np.int16) + RNG.integers(-noise, noise + 1, GROUND.shape)
    if x is not None:
        picture[100:160, x:x + 20] = (200, 30, 30)
    return picture.clip(0, 255).astype(np.uint8)


def joints(x, y=100):
    """33 joints inside of a body 20 wide and 60 high."""
    return np.column_stack([np.full(33, x + 10), np.linspace(y + 4, y + 56, 33)]).astype(np.float32)


def watched(pictures):
    motion = Motion(320, 240, 10)
    for picture in pictures:
        motion.feed(picture)
    return motion


@pytest.fixture(scope="module")
def walk():
    return watched([street()] * 20 + [street(40 + 6 * t) for t in range(20)])


def test_walker_moves_and_a_post_does_not(walk):
    assert walk.share(joints(154)) > 0.9
    assert walk.share(joints(250)) == 0


def test_what_moves_is_found_unless_it_is_known(walk):
    (spot,) = walk.unexplained([])
    assert spot == pytest.approx((154, 100, 20, 60), abs=4)
    assert walk.unexplained([np.array([154, 100, 20, 60])]) == []


def test_noise_is_no_motion():
    assert watched([street() for _ in range(30)]).unexplained([]) == []


def test_a_shadow_is_nobody():
    """The ground becomes a third darker, and keeps its colour."""
    dark = street()
    dark[100:160, 150:180] = (dark[100:160, 150:180] * 0.7).astype(np.uint8)
    assert watched([street() for _ in range(20)] + [dark]).unexplained([]) == []


def test_camera_that_moves_tells_nothing():
    motion = watched([street(shift=9 * t) for t in range(30)])
    assert not motion.known
    assert motion.share(joints(100)) is None and motion.unexplained([]) == []


def test_first_frames_tell_nothing():
    assert watched([street(40 + 6 * t) for t in range(3)]).share(joints(52)) is None


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 300), (5000, 3)])
def test_any_size(size):
    motion = Motion(*size, 25)
    for _ in range(8):
        motion.feed(np.zeros((size[1], size[0], 3), np.uint8))
    assert motion.unexplained([]) == []
    assert motion.share(np.full((33, 2), np.nan)) in (0.0, None)


def test_joints_beyond_the_frame_are_not_judged(walk):
    assert walk.share(joints(5000)) is None
