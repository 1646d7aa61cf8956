"""What people look like, roughly, and how to paint over those already found."""

from __future__ import annotations

import cv2
import numpy as np

from pose_mediapipe.geometry import Roi
from pose_mediapipe.landmarks import Pose

# Spots of the body whose colours tell clothes apart, each the mean of some joints: head, chest, belly, thighs, shins.
_SPOTS = ((0, 7, 8), (11, 12, 11, 12, 23, 24), (11, 12, 23, 24, 23, 24), (23, 24, 25, 26), (25, 26, 27, 28))
_SPOT_SIZE = 0.06  # of the square's side
_COARSE = 8  # painting over works on a picture this much smaller


def describe(frame: np.ndarray, pose: Pose) -> tuple[float, ...]:
    """Mean L*a*b* colours of five spots as 15 numbers of 0..255."""
    height, width = frame.shape[:2]
    reach = max(1, round(pose.roi.side * _SPOT_SIZE / 2))
    colours = np.empty((1, len(_SPOTS), 3), np.uint8)
    for k, joints in enumerate(_SPOTS):
        x, y = pose.points[list(joints)].mean(axis=0)
        column, row = int(min(max(x, 0), width - 1)), int(min(max(y, 0), height - 1))
        patch = frame[max(row - reach, 0):row + reach + 1, max(column - reach, 0):column + reach + 1]
        colours[0, k] = patch.reshape(-1, 3).mean(axis=0)
    return tuple(float(v) for v in cv2.cvtColor(colours, cv2.COLOR_BGR2LAB).ravel())


def paint_over(frame: np.ndarray, poses: list[Pose]) -> np.ndarray:
    """A copy of the frame in which the bodies are filled with the colours around them.

    The detector prefers one person of a group; with that one gone it finds the next.
    """
    mask = np.zeros(frame.shape[:2], np.uint8)
    for pose in poses:
        hull = cv2.convexHull(np.clip(pose.points, -30000, 30000).round().astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 255)
        cv2.polylines(mask, [hull], True, 255, max(2, round(pose.roi.side * 0.07)))
    size = (max(frame.shape[1] // _COARSE, 1), max(frame.shape[0] // _COARSE, 1))
    around = cv2.bitwise_and(frame, frame, mask=cv2.bitwise_not(mask))
    colour = cv2.blur(cv2.resize(around, size, interpolation=cv2.INTER_AREA).astype(np.float32), (9, 9))
    weight = cv2.blur(cv2.resize(255 - mask, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255, (9, 9))
    fill = (colour / np.maximum(weight, 0.02)[:, :, None]).clip(0, 255).astype(np.uint8)
    painted = frame.copy()
    full = cv2.resize(fill, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_LINEAR)
    cv2.copyTo(full, mask, painted)
    return painted


def surroundings(roi: Roi, share: float = 1.5) -> tuple[int, int, int]:
    """Left, top and side in pixels of a tile around a body with room for a neighbour."""
    side = max(round(roi.side * share), 16)
    return round(roi.cx - side / 2), round(roi.cy - side / 2), side
