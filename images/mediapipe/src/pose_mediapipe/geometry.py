"""Plain geometry shared by detection, landmarks and tracking. Pixels, x to the right, y down."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

BODY_MARGIN = 1.25  # the landmark model was trained on squares this much larger than the body's circle


@dataclass(frozen=True)
class Roi:
    """A square of the frame, turned so that the body inside stands upright: centre and side in pixels, angle in radians."""

    cx: float
    cy: float
    side: float
    angle: float

    def moved(self, dx: float, dy: float) -> Roi:
        return Roi(self.cx + dx, self.cy + dy, self.side, self.angle)

    def to_frame(self, size: float) -> np.ndarray:
        """The 2x3 matrix from a point of the crop (0..size on both axes) to the frame."""
        scale = self.side / size
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        half = size / 2
        return np.array([[cos, -sin, self.cx - cos * half + sin * half],
                         [sin, cos, self.cy - sin * half - cos * half]])


def body_roi(hip: np.ndarray, reach: np.ndarray) -> Roi:
    """The square around a body from its mid hip and the point on its circle in the direction of the head."""
    dx, dy = float(reach[0] - hip[0]), float(reach[1] - hip[1])
    radius = math.hypot(dx, dy)
    return Roi(float(hip[0]), float(hip[1]), 2 * radius * BODY_MARGIN, math.atan2(dx, -dy))


def box_roi(x: float, y: float, w: float, h: float) -> Roi:
    """The square to look at for an upright body in the box [x, y, w, h] in pixels: the hips are near a box's middle."""
    return Roi(x + w / 2, y + h / 2, 1.1 * BODY_MARGIN * max(w, h), 0.0)


def same_place(a: Roi, b: Roi, distance: float = 0.2, ratio: float = 1.7) -> bool:
    """Whether two squares show the same body: centres within a share of the side, and of similar size."""
    small, large = sorted((a.side, b.side))
    return large <= ratio * small and math.hypot(a.cx - b.cx, a.cy - b.cy) < distance * large


def same_body(a: Roi, b: Roi) -> bool:
    """Whether b is a believable view of the body in a: same place, and turned by less than 40 degrees."""
    turn = (a.angle - b.angle + math.pi) % (2 * math.pi) - math.pi
    return abs(turn) < 0.7 and same_place(a, b, distance=0.25)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two boxes [x, y, w, h] over their union, 0..1."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return float(common / (a[2] * a[3] + b[2] * b[3] - common))
