"""Poses of people whose boxes are given: the landmark model looks at each box, and nobody is searched for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pose_mediapipe.boxes import GivenBox
from pose_mediapipe.geometry import Roi, box_roi
from pose_mediapipe.landmarks import LandmarkModel, Pose
from pose_mediapipe.looks import describe
from pose_mediapipe.pipeline import POSE_MINIMUM, Schedule
from pose_mediapipe.track import Box, Observation, Sighting, Track, Tracker, TrackerConfig

TURNED = 0.35  # radians; a body that lies or leans more than this is looked at again, upright in its square


class GivenAnalysis:
    """Follows given boxes over the frames fed to it: by their ids where they have some, else by place, size and looks."""

    filtered = 0  # nobody is left out: whoever made the boxes has decided who counts

    def __init__(self, boxes: dict[int, list[GivenBox]], landmarks: LandmarkModel, schedule: Schedule,
                 width: int, height: int) -> None:
        self.frames = 0
        self.keeps_ids = any(box.id is not None for mine in boxes.values() for box in mine)
        self._boxes = boxes
        self._landmarks = landmarks
        # pose.json counts people from 1
        self.shift = int(any(box.id == 0 for mine in boxes.values() for box in mine))
        self._by_id: dict[int, Track] = {}
        self._tracker = Tracker(TrackerConfig(max_gap=schedule.max_gap, birth_hits=1, birth_support=1), width, height)
        self._now = 0
        self.longest_gap = schedule.max_gap

    def feed(self, frame: np.ndarray) -> None:
        """Takes the next frame, BGR."""
        boxes = self._boxes.get(self.frames, [])
        seen = self._look_at(frame, boxes)
        self._now = len(seen)
        if self.keeps_ids:
            for box, one in zip(boxes, seen, strict=True):
                key = box.id + self.shift
                track = self._by_id.setdefault(key, Track(key, one.box, support=1))
                track.box = one.box
                track.sightings.append(Sighting(self.frames, one))
        else:
            self._tracker.predict()
            self._tracker.update(self.frames, seen)
        self.frames += 1

    def people_now(self) -> int:
        return self._now

    def noticed(self) -> list[Track]:
        return self.people()

    def people(self) -> list[Track]:
        """Everybody of whom a box was given."""
        return list(self._by_id.values()) if self.keeps_ids else self._tracker.all_tracks()

    def beyond(self) -> int:
        """How many frames with boxes would come after the last one that was fed."""
        return sum(bool(mine) for index, mine in self._boxes.items() if index >= self.frames)

    def _look_at(self, frame: np.ndarray, boxes: list[GivenBox]) -> list[Observation]:
        rois = [box_roi(b.x, b.y, b.w, b.h) for b in boxes]
        poses = self._landmarks.estimate(frame, rois)
        again = [i for i, (roi, pose) in enumerate(zip(rois, poses, strict=True)) if _is_turned(roi, pose)]
        turned = self._landmarks.estimate(frame, [replace(rois[i], angle=poses[i].roi.angle) for i in again])
        for i, pose in zip(again, turned, strict=True):
            poses[i] = max(poses[i], pose, key=lambda p: p.score)
        return [_observe(frame, box, pose) for box, pose in zip(boxes, poses, strict=True)]


def _is_turned(roi: Roi, pose: Pose) -> bool:
    return pose.score >= POSE_MINIMUM and abs(pose.roi.angle - roi.angle) > TURNED


def _observe(frame: np.ndarray, box: GivenBox, pose: Pose) -> Observation:
    """The box as it was given, with the pose inside. A pose that the model does not believe in is marked as a guess."""
    if pose.score < POSE_MINIMUM:
        pose = replace(pose, visibility=np.zeros_like(pose.visibility))
    score = pose.score if box.score is None else box.score
    pose = replace(pose, score=score, outline=(box.x, box.y, box.w, box.h))
    where = Box(box.x + box.w / 2, box.y + box.h / 2, box.w, box.h)
    return Observation(where, score, supported=True, look=describe(frame, pose), payload=pose)
