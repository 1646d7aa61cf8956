"""Who is who over time. Pure: boxes and scores in, track numbers out; no pictures, no models, no clock.

ByteTrack (Zhang et al. 2022): sure finds are matched with all tracks first, doubtful ones then continue tracks only, so a
person who is half hidden is not lost. Each track moves by a Kalman filter with constant velocity, as in SORT (Bewley et al.
2016); matching is the assignment of least cost. Who moved farther than boxes overlap, as in videos of few frames a second, is
matched by boxes grown on all sides (C-BIoU, Yang et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from pose_onnx.geometry import iou

SURE = 0.5  # score from which a find may be matched first
BIRTH = 0.6  # score from which a find that nobody claims is a new person
_STATE, _MEASURED = 8, 4  # centre x, y, width, height and their velocities in pixels a frame
# Deviations as shares of the height: of what is measured, and of how place and velocity change by themselves in a frame.
_PLACE, _VELOCITY = 1 / 20, 1 / 160


@dataclass(frozen=True)
class TrackerConfig:
    """max_gap: frames a person may stay unseen. birth_hits: frames in a row by which a new track is believed.
    overlap...: least overlap of two matched boxes: of sure finds, doubtful finds, and grown boxes; growth: by how much of
    its size a box is grown on each side."""

    max_gap: int = 30
    birth_hits: int = 3
    overlap_sure: float = 0.2
    overlap_doubtful: float = 0.5
    overlap_grown: float = 0.2
    growth: float = 0.5


class Motion:
    """Where a box [x, y, w, h] is going."""

    def __init__(self, box: np.ndarray) -> None:
        self._filter = cv2.KalmanFilter(_STATE, _MEASURED, 0, cv2.CV_64F)
        self._filter.transitionMatrix = np.eye(_STATE) + np.eye(_STATE, k=_MEASURED)
        self._filter.measurementMatrix = np.eye(_MEASURED, _STATE)
        self._filter.statePost = np.concatenate([_centred(box), np.zeros(_MEASURED)])[:, None]
        place, velocity = 2 * _PLACE * box[3], 10 * _VELOCITY * box[3]
        self._filter.errorCovPost = np.diag([place**2] * _MEASURED + [velocity**2] * _MEASURED)

    @property
    def box(self) -> np.ndarray:
        cx, cy, w, h = self._filter.statePost[:_MEASURED, 0]
        w, h = max(w, 1.0), max(h, 1.0)
        return np.array([cx - w / 2, cy - h / 2, w, h])

    def predict(self) -> None:
        """Goes on to the next frame."""
        height = self.box[3]
        self._filter.processNoiseCov = np.diag([(_PLACE * height) ** 2] * _MEASURED + [(_VELOCITY * height) ** 2] * _MEASURED)
        # OpenCV copies the prediction into statePost, so that a frame without a measurement needs no further step.
        self._filter.predict()

    def correct(self, box: np.ndarray) -> None:
        self._filter.measurementNoiseCov = np.eye(_MEASURED) * (_PLACE * max(float(box[3]), 1.0)) ** 2
        self._filter.correct(_centred(box)[:, None])


def _centred(box: np.ndarray) -> np.ndarray:
    x, y, w, h = (float(v) for v in box)
    return np.array([x + w / 2, y + h / 2, w, h])


@dataclass
class _Live:
    key: int
    motion: Motion
    hits: int = 1
    misses: int = 0


@dataclass
class Tracker:
    """Give it the boxes of one frame after the other."""

    config: TrackerConfig
    _live: list[_Live] = field(default_factory=list)
    _next_key: int = 1

    def update(self, boxes: np.ndarray, scores: np.ndarray) -> list[tuple[int, int]]:
        """boxes (n, 4), scores (n,). Returns (track, row of boxes) for each box that belongs to a track, old or new."""
        for track in self._live:
            track.motion.predict()
        sure = [int(i) for i in np.flatnonzero(scores >= SURE)]
        doubtful = [int(i) for i in np.flatnonzero(scores < SURE)]
        config, tracks = self.config, list(self._live)
        pairs = _match(tracks, boxes, sure, config.overlap_sure)
        tracks = [t for t in tracks if t.key not in {k for k, _ in pairs} and t.misses == 0]
        pairs += _match(tracks, boxes, doubtful, config.overlap_doubtful)
        tracks = [t for t in tracks if t.key not in {k for k, _ in pairs}]
        taken = {i for _, i in pairs}
        pairs += _match(tracks, boxes, [i for i in sure if i not in taken], config.overlap_grown, config.growth)
        self._see(dict(pairs), boxes)
        taken = {i for _, i in pairs}
        return pairs + [(self._begin(boxes[i]), i) for i in sure if i not in taken and scores[i] >= BIRTH]

    def _see(self, seen: dict[int, int], boxes: np.ndarray) -> None:
        for track in self._live:
            if track.key in seen:
                track.motion.correct(boxes[seen[track.key]])
                track.hits, track.misses = track.hits + 1, 0
            else:
                track.misses += 1
        # One that was not yet believed ends at its first miss, or flicker would live on.
        self._live = [t for t in self._live if t.misses <= (self.config.max_gap if t.hits >= self.config.birth_hits else 0)]

    def _begin(self, box: np.ndarray) -> int:
        key = self._next_key
        self._next_key += 1
        self._live.append(_Live(key, Motion(box)))
        return key


def _match(tracks: list[_Live], boxes: np.ndarray, rows: list[int], least: float, growth: float = 0.0) -> list[tuple[int, int]]:
    """Pairs (track, row) of greatest total overlap, none below least."""
    if not tracks or not rows:
        return []
    expected, seen = _grown(np.stack([t.motion.box for t in tracks]), growth), _grown(boxes[rows], growth)
    overlap = iou(expected, seen)
    # Pairs below the limit count as none at all, so that they cannot draw others away from theirs.
    chosen = linear_sum_assignment(np.where(overlap >= least, 1 - overlap, 1.0))
    return [(tracks[t].key, rows[r]) for t, r in zip(*chosen, strict=True) if overlap[t, r] >= least]


def _grown(boxes: np.ndarray, growth: float) -> np.ndarray:
    step = boxes[:, 2:] * growth
    return np.concatenate([boxes[:, :2] - step, boxes[:, 2:] + 2 * step], axis=1)
