import numpy as np
import pytest

from pose_mediapipe.geometry import Roi
from pose_mediapipe.landmarks import Pose
from pose_mediapipe.pipeline import Schedule, is_person, merge_same
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


def track(frames, score=0.95, heights=(100,)):
    return Track(1, Box(0, 0, 30, 100), sightings=[
        Sighting(f, Observation(Box(0, 0, 30, heights[i % len(heights)]), score)) for i, f in enumerate(frames)])


@pytest.mark.parametrize(("candidate", "wanted"), [
    (track(range(40)), True),
    (track(range(40), score=0.8), False),  # clothes on the ground
    (track(range(0, 90, 3)), False),  # seen in every third frame only
    (track(range(8), heights=(100, 115)), False),  # short, and never of the same shape
    (track(range(40), heights=(100, 115)), True),  # somebody who jumps about
    (track(range(8)), True),
])
def test_who_counts_as_a_person(candidate, wanted):
    assert is_person(candidate, steady_frames=15) is wanted


@pytest.mark.parametrize(("fps", "wanted"), [(1, (1, 4, 2)), (10, (3, 12, 15)), (30, (9, 36, 45)), (240, (10, 60, 360))])
def test_schedule_follows_the_frame_rate(fps, wanted):
    schedule = Schedule.for_rate(fps)
    assert (schedule.detect_every, schedule.max_gap, schedule.steady_frames) == wanted
