"""Given boxes with a landmark model that sees what the test wants."""

from dataclasses import replace

import numpy as np
import pytest

from pose_mediapipe.boxes import GivenBox
from pose_mediapipe.geometry import Roi, box_roi
from pose_mediapipe.given import GivenAnalysis
from pose_mediapipe.landmarks import Pose
from pose_mediapipe.pipeline import Schedule

FRAME = np.zeros((200, 300, 3), np.uint8)


class Seer:
    """Sees a body in the middle of every square, with this score and turn."""

    def __init__(self, score=0.9, angle=0.0):
        self.score, self.angle, self.asked = score, angle, []

    def estimate(self, _frame, rois):
        self.asked.append(list(rois))
        return [self._pose(roi) for roi in rois]

    def _pose(self, roi):
        points = np.array([[roi.cx, roi.cy + k - 16] for k in range(33)], np.float32)
        return Pose(points, np.ones(33, np.float32), np.zeros((33, 3), np.float32), self.score, replace(roi, angle=self.angle))


def play(boxes, frames, seer=None):
    analysis = GivenAnalysis(boxes, seer or Seer(), Schedule(3, 5, 15), 300, 200)
    for _ in range(frames):
        analysis.feed(FRAME)
    return analysis


def walk(frames, x0=20.0, step=5.0, **more):
    return {t: [GivenBox(x0 + step * t, 50, 30, 80, **more)] for t in frames}


def test_boxes_without_ids_become_tracks():
    boxes = {t: [GivenBox(20 + 5 * t, 50, 30, 80), GivenBox(250 - 5 * t, 60, 30, 80)] for t in range(10)}
    tracks = play(boxes, 10).people()
    assert [[s.frame for s in t.sightings] for t in tracks] == [list(range(10))] * 2


def test_a_single_box_is_a_person():
    (track,) = play(walk([4]), 10).people()
    assert [s.frame for s in track.sightings] == [4]


def test_ids_decide_even_against_the_eye():
    boxes = {t: [GivenBox(20, 50, 30, 80, id=9 - t % 2), GivenBox(200, 50, 30, 80, id=8 + t % 2)] for t in range(4)}
    analysis = play(boxes, 4)
    assert analysis.keeps_ids
    assert {t.key: [s.observation.box.cx for s in t.sightings] for t in analysis.people()} == {
        9: [35, 215, 35, 215], 8: [215, 35, 215, 35]}


def test_ids_that_count_from_zero_are_moved_by_one():
    boxes = {0: [GivenBox(20, 50, 30, 80, id=0), GivenBox(200, 50, 30, 80, id=4)]}
    assert [t.key for t in play(boxes, 1).people()] == [1, 5]


def test_the_box_is_reported_as_given():
    (track,) = play({0: [GivenBox(20.5, 50, 30, 80, score=0.25)]}, 1).people()
    pose = track.sightings[0].observation.payload
    assert pose.box == pytest.approx([20.5, 50, 30, 80]) and pose.score == 0.25


def test_a_pose_that_the_model_does_not_believe_in_is_a_guess():
    for score, visible in ((0.3, 0.0), (0.9, 1.0)):
        (track,) = play({0: [GivenBox(20, 50, 30, 80)]}, 1, Seer(score)).people()
        assert set(track.sightings[0].observation.payload.visibility) == {visible}


def test_somebody_who_lies_is_looked_at_upright():
    seer = Seer(angle=1.5)
    play({0: [GivenBox(20, 50, 80, 30)]}, 1, seer)
    assert seer.asked == [[box_roi(20, 50, 80, 30)], [Roi(60, 65, box_roi(20, 50, 80, 30).side, 1.5)]]


def test_boxes_after_the_end_are_counted():
    assert play(walk([0, 1, 7, 8]), 3).beyond() == 2
