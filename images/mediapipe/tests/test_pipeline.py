import numpy as np
import pytest

from pose_mediapipe.geometry import Roi
from pose_mediapipe.landmarks import Pose
from pose_mediapipe.pipeline import Schedule, fills_its_square, is_person, merge_same, recent_frames, spot_tile
from pose_mediapipe.track import Box, Observation, Sighting, Track


def pose(x, y, score=0.9):
    points = np.array([[x + 15 * (k % 2), y + 3 * k] for k in range(33)], np.float32)
    return Pose(points, np.ones(33, np.float32), np.zeros((33, 3), np.float32), score, Roi(x, y, 100, 0))


def seen(x, y, score=0.9, hints=(), supported=False):
    return Observation(Box(x, y, 30, 100), score, frozenset(hints), supported, payload=pose(x, y, score))


def test_two_views_of_one_body_become_one_with_the_hints_of_both():
    (merged,) = merge_same([seen(100, 50, 0.8, [1], True), seen(102, 51, 0.95, [2])])
    assert (merged.score, merged.hints, merged.supported) == (0.95, {1, 2}, True)


def test_neighbours_stay_two():
    assert len(merge_same([seen(100, 50), seen(125, 50)])) == 2


def track(frames, score=0.95, heights=(100,), motion=None, support=0, step=0):
    """Somebody 100 high who goes step pixels to the right from frame to frame."""
    boxes = [Box(step * f, 0, 30, heights[i % len(heights)]) for i, f in enumerate(frames)]
    return Track(1, boxes[-1], support=support, sightings=[
        Sighting(f, Observation(box, score, motion=motion)) for f, box in zip(frames, boxes, strict=True)])


@pytest.mark.parametrize(("candidate", "wanted"), [
    (track(range(40)), True),
    (track(range(40), score=0.8), False),  # clothes on the ground
    (track(range(0, 90, 3)), False),  # seen in every third frame only
    (track(range(8), heights=(100, 115)), False),  # short, and never of the same shape
    (track(range(40), heights=(100, 115)), True),  # somebody who jumps about
    (track(range(8)), True),
    (track(range(120), motion=0.0, support=3), False),  # a post that the landmark model clings to
    (track(range(120), motion=0.0, support=12), True),  # somebody who stands still
    (track(range(120), motion=0.0, support=3, step=2), True),  # walked; the background was wrong
    (track(range(120), motion=0.5, support=3), True),
    (track(range(120), support=3), True),  # the camera moves: nothing is known
    (track([f for f in range(90) if f % 5 < 2], motion=0.6), True),  # behind a fence, but surely moving
    (track([f for f in range(90) if f % 5 < 2], motion=0.2), False),
])
def test_who_counts_as_a_person(candidate, wanted):
    assert is_person(candidate, Schedule(3, 20, 15)) is wanted


def test_pose_that_collapsed_onto_a_spot_is_none():
    assert fills_its_square(pose(100, 50))
    spot = Pose(pose(100, 50).points * 0.1, np.ones(33, np.float32), np.zeros((33, 3), np.float32), 0.9, Roi(10, 5, 100, 0))
    assert not fills_its_square(spot)


def test_tile_around_a_spot_has_room_for_a_body():
    tile = spot_tile(100, 50, 20, 60)
    assert (tile.x, tile.y, tile.side) == (50, 20, 120)
    assert spot_tile(100, 50, 2, 3).side == 48


@pytest.mark.parametrize(("rate", "size", "frames"), [(10, (768, 576), 15), (2, (768, 576), 3), (240, (768, 576), 24),
                                                      (30, (3840, 2160), 4), (30, (8000, 4500), 1)])
def test_past_frames_take_little_memory(rate, size, frames):
    assert recent_frames(rate, *size) == frames


@pytest.mark.parametrize(("fps", "wanted"), [(1, (1, 4, 2)), (10, (3, 20, 15)), (30, (9, 60, 45)), (240, (10, 60, 360))])
def test_schedule_follows_the_frame_rate(fps, wanted):
    schedule = Schedule.for_rate(fps)
    assert (schedule.detect_every, schedule.max_gap, schedule.steady_frames) == wanted
