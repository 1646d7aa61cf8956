"""The 33 landmarks of one person with MediaPipe's landmark model, in the frame and in metres."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from pose_mediapipe.geometry import Roi, body_roi
from pose_mediapipe.models import ModelPool, sigmoid

INPUT = 256
JOINTS = 33
_ALL = 39  # 33 joints, then mid hip and a point on the body's circle (for the next frame), then four unused
_HIP, _REACH = 33, 34
_EARS, _SHOULDERS = (7, 8), (11, 12)
CROWN = 0.5  # from the ears to the crown, as a share of the way from the shoulders to the ears
CLOTHES = 0.012  # of the body's length: cloth, hair and shoes around the joints
_COARSE = 4  # hidden people are filled in on a crop this much smaller
_HEAT_WINDOW = 3  # cells to each side
_HEAT_MINIMUM = 0.5


@dataclass(frozen=True)
class Pose:
    """What the model sees in one square.

    points: (33, 2) float32, pixels of the frame. visibility: (33,) float32, 0..1. world: (33, 3) float32, metres around
    the hips, axes of the camera. score: chance that there is a person, 0..1. roi: the square to look at in the next frame.
    outline: the box [x, y, w, h] in pixels where somebody else has drawn it.
    """

    points: np.ndarray
    visibility: np.ndarray
    world: np.ndarray
    score: float
    roi: Roi
    outline: tuple[float, float, float, float] | None = None

    @cached_property
    def box(self) -> np.ndarray:
        """[x, y, w, h] in pixels around the whole body, as a person would draw it: the crown of the head belongs to it.

        The topmost joints are the eyes and ears. The crown lies as far above the ears as half the way from there to the
        shoulders, along the body's own axis, so that it is right for a body that bends or lies too.
        """
        if self.outline is not None:
            return np.array(self.outline, np.float32)
        points = np.nan_to_num(self.points, posinf=1e6, neginf=-1e6)
        ears, shoulders = points[list(_EARS)].mean(axis=0), points[list(_SHOULDERS)].mean(axis=0)
        crown = ears + CROWN * (ears - shoulders)
        low, high = np.minimum(points.min(axis=0), crown), np.maximum(points.max(axis=0), crown)
        pad = CLOTHES * float(np.max(high - low)) + 0.5
        x, y = low - pad
        w, h = high - low + 2 * pad
        return np.array([x, y, w, h], np.float32)


def cut_body(frame: np.ndarray, roi: Roi) -> np.ndarray:
    """The square as the model's input: float32 (1, 256, 256, 3), RGB, 0..1."""
    matrix = roi.to_frame(INPUT)
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5  # warpAffine counts from the middle of a pixel, Roi from its corner
    crop = cv2.warpAffine(frame, matrix, (INPUT, INPUT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                          borderMode=cv2.BORDER_CONSTANT)
    return crop[None, :, :, ::-1].astype(np.float32) / 255.0


@dataclass(frozen=True)
class Scene:
    """Where a person's own joints are expected, (33, 2) pixels of the frame, and those of the people close by."""

    own: np.ndarray
    others: list[np.ndarray]


def hide_others(crop: np.ndarray, roi: Roi, scene: Scene) -> np.ndarray:
    """Fills the bodies of the others in a crop (256, 256, 3) with what is around them, but leaves the person's own.

    The model takes one body out of two side by side, or mixes their limbs; it should not have the choice.
    """
    mask = np.zeros(crop.shape[:2], np.uint8)
    for points in scene.others:
        _stamp(mask, points, roi, 255, 0.06)
    _stamp(mask, scene.own, roi, 0, 0.03)
    keep = (mask == 0).astype(np.float32)
    small = (INPUT // _COARSE, INPUT // _COARSE)  # what is smeared out needs no fine pixels
    weight = cv2.blur(cv2.resize(keep, small, interpolation=cv2.INTER_AREA), (15, 15))
    colour = cv2.blur(cv2.resize(crop * keep[:, :, None], small, interpolation=cv2.INTER_AREA), (15, 15))
    around = cv2.resize(colour / np.maximum(weight, 0.02)[:, :, None], (INPUT, INPUT), interpolation=cv2.INTER_LINEAR)
    return np.where(mask[:, :, None] > 0, around, crop)


def _stamp(mask: np.ndarray, points: np.ndarray, roi: Roi, value: int, margin: float) -> None:
    """Draws the outline of a body, filled and widened by a share of the crop, into the mask of a crop."""
    to_crop = cv2.invertAffineTransform(roi.to_frame(INPUT))
    inside = np.clip(points @ to_crop[:, :2].T + to_crop[:, 2], -4 * INPUT, 5 * INPUT)
    hull = cv2.convexHull(inside.round().astype(np.int32))
    cv2.fillConvexPoly(mask, hull, value)
    cv2.polylines(mask, [hull], True, value, max(1, round(2 * margin * INPUT)))


def refine(points: np.ndarray, heat_logits: np.ndarray) -> np.ndarray:
    """Moves each point (N, 2; 0..1 of the crop) to the centre of mass of its heat map (cells, cells, N) where that is clear."""
    cells = heat_logits.shape[0]
    refined = points.copy()
    for k, (x, y) in enumerate(points):
        column, row = int(x * cells), int(y * cells)
        if not (0 <= column < cells and 0 <= row < cells):
            continue
        c0, r0 = max(column - _HEAT_WINDOW, 0), max(row - _HEAT_WINDOW, 0)
        heat = sigmoid(heat_logits[r0:row + _HEAT_WINDOW + 1, c0:column + _HEAT_WINDOW + 1, k])
        total = float(heat.sum())
        if float(heat.max()) < _HEAT_MINIMUM or total <= 0:
            continue
        rows, columns = np.indices(heat.shape)
        refined[k] = ((heat * (columns + c0)).sum() / total / cells, (heat * (rows + r0)).sum() / total / cells)
    return refined


def to_pose(raw: np.ndarray, world: np.ndarray, heat: np.ndarray, score: float, roi: Roi) -> Pose:
    """Raw outputs, raw (195,) and world (117,), of the crop at roi as a pose in the frame."""
    raw = raw.reshape(_ALL, 5)
    crop_points = refine(raw[:, :2] / INPUT, heat)
    matrix = roi.to_frame(1.0)
    points = (crop_points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    cos, sin = math.cos(roi.angle), math.sin(roi.angle)
    turned = world.reshape(_ALL, 3)[:JOINTS].copy()
    turned[:, :2] = turned[:, :2] @ np.array([[cos, sin], [-sin, cos]], np.float32)
    visibility = sigmoid(raw[:JOINTS, 3]) * sigmoid(raw[:JOINTS, 4])
    return Pose(points[:JOINTS], visibility.astype(np.float32), turned, score, body_roi(points[_HIP], points[_REACH]))


class LandmarkModel:
    """Runs the landmark model on several squares of one frame."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def estimate(self, frame: np.ndarray, rois: list[Roi], scenes: list[Scene] | None = None) -> list[Pose]:
        """One pose for each square of a BGR frame, whatever its score; scenes tell, square by square, who else is there."""
        def work(infer, item: tuple[Roi, Scene | None]) -> Pose:
            roi, scene = item
            crop = cut_body(frame, roi)
            if scene is not None and scene.others:
                crop[0] = hide_others(crop[0], roi, scene)
            by_size = {int(np.prod(o.shape)): o for o in infer(crop)}
            score = float(by_size[1].reshape(()))
            return to_pose(by_size[_ALL * 5].ravel(), by_size[_ALL * 3].ravel(), by_size[64 * 64 * _ALL][0], score, roi)

        return self._pool.map(work, list(zip(rois, scenes or [None] * len(rois), strict=True)))
