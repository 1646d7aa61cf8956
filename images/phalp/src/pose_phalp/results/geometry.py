"""Upstream's numbers in the frame's pixels and the camera's metres, and what lies between two sightings.

Upstream pads a frame of W x H pixels to a square of side S = max(W, H), scales that to r = 256 and looks at it through a
pinhole with a focal length of f = 5000 pixels of that square (phalp/models/hmar/hmar.py). A point X of the model at
translation t is seen, as a share of the square, at 1/2 + f/r * (X + t).xy / (X + t).z. In pixels of the frame that is a
pinhole of focal length f*S/r around the frame's centre. Axes: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAREST, FARTHEST = 0.01, 100_000.0  # metres in front of the camera, rule R14
POINT_FRAMES = 2.0  # frame sizes that a joint may lie outside the frame, rule R10
JOINT_LIMIT = 10.0  # metres, rule R11


@dataclass(frozen=True)
class Camera:
    """A pinhole. focal and centre ((2,)) in pixels of the frame; given: whether the user told the focal length."""

    focal: float
    centre: np.ndarray
    given: bool


@dataclass(frozen=True)
class Square:
    """The padded square: its side and the frame's left top corner ((2,)) in it, in pixels."""

    side: int
    corner: np.ndarray

    @staticmethod
    def around(width: int, height: int) -> "Square":
        side = max(width, height)
        return Square(side, np.array([(side - width) // 2, (side - height) // 2], np.float64))

    def pixels(self, shares: np.ndarray) -> np.ndarray:
        """Shares of the square (n, 2) in pixels of the frame (n, 2)."""
        return shares * self.side - self.corner

    def camera(self, focal: float, resolution: float) -> Camera:
        """Upstream's own camera."""
        return Camera(focal * self.side / resolution, self.side / 2 - self.corner, False)


def project(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Points (n, 3) of the camera's frame in pixels (n, 2)."""
    return camera.focal * points[:, :2] / points[:, 2:] + camera.centre


def fit_translation(camera: Camera, joints: np.ndarray, pixels: np.ndarray, start: np.ndarray) -> np.ndarray:
    """The translation (3,) at which joints (n, 3) are seen best at pixels (n, 2).

    Each joint wants f * (x + tx) = u * (z + tz), and the same in y, with u = pixel - centre: linear in the translation, and
    solved by least squares. start is given back where that has no answer in front of the camera.
    """
    seen = pixels - camera.centre
    rows = np.zeros((2 * len(joints), 3))
    rows[0::2, 0] = rows[1::2, 1] = camera.focal
    rows[0::2, 2], rows[1::2, 2] = -seen[:, 0], -seen[:, 1]
    wanted = (seen * joints[:, 2:] - camera.focal * joints[:, :2]).reshape(-1)
    found, _, rank, _ = np.linalg.lstsq(rows, wanted, rcond=1e-9)
    depths = joints[:, 2] + found[2]
    if rank < 3 or not np.isfinite(found).all() or depths.min() < NEAREST or found[2] > FARTHEST:
        return start
    return found


def rescale_depth(translation: np.ndarray, before: float, after: float) -> np.ndarray:
    """The same weak-perspective view through another focal length: only the distance changes."""
    return translation * np.array([1.0, 1.0, after / before])


def fit_box(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """The box [x, y, w, h] moved and shrunk by as little as makes it touch the frame (rule R9) and keeps its size positive."""
    x, y, w, h = (float(v) for v in box)
    w, h = min(max(w, 1.0), 3.0 * width), min(max(h, 1.0), 3.0 * height)
    x = min(max(x, 0.5 - w), width - 0.5)
    y = min(max(y, 0.5 - h), height - 0.5)
    return np.array([x, y, w, h])


def fit_points(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """Pixels (n, 2) within the format's limits around the frame."""
    size = np.array([width, height], np.float64)
    return np.clip(points, -POINT_FRAMES * size, (1 + POINT_FRAMES) * size)


def fit_place(place: np.ndarray) -> np.ndarray:
    """A translation (3,) in front of the camera; one that is too far away keeps its direction."""
    if place[2] > FARTHEST:
        place = place * (FARTHEST / place[2])
    return np.clip(place, [-FARTHEST, -FARTHEST, NEAREST], FARTHEST)


def quaternions(matrices: np.ndarray) -> np.ndarray:
    """Unit quaternions (n, 4) as w, x, y, z of rotation matrices (n, 3, 3).

    Of the four ways to write one, each divides by a different component; the largest is chosen (Shepperd, 1978).
    """
    m = matrices
    trace = m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2]
    squares = np.stack([trace, m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]], 1)
    x, y, z = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    xy, xz, yz = m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]
    diagonal = 1 - trace[:, None] + 2 * squares[:, 1:]
    ways = np.stack([
        np.stack([1 + trace, x, y, z], 1),
        np.stack([x, diagonal[:, 0], xy, xz], 1),
        np.stack([y, xy, diagonal[:, 1], yz], 1),
        np.stack([z, xz, yz, diagonal[:, 2]], 1),
    ], 1)
    best = ways[np.arange(len(m)), np.argmax(squares, 1)]
    return best / np.linalg.norm(best, axis=1, keepdims=True)


def matrices(quaternion: np.ndarray) -> np.ndarray:
    """Rotation matrices (n, 3, 3) of unit quaternions (n, 4)."""
    w, x, y, z = quaternion.T
    return np.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ], 1).reshape(-1, 3, 3)


def between(first: np.ndarray, last: np.ndarray, share: float) -> np.ndarray:
    """Rotations (n, 3, 3) at share of the shortest way from first to last, at constant speed (slerp)."""
    a, b = quaternions(first), quaternions(last)
    cosine = np.sum(a * b, 1, keepdims=True)
    b, cosine = np.where(cosine < 0, -b, b), np.minimum(np.abs(cosine), 1.0)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    near = sine < 1e-6
    safe = np.where(near, 1.0, sine)
    start = np.where(near, 1 - share, np.sin((1 - share) * angle) / safe)
    end = np.where(near, share, np.sin(share * angle) / safe)
    mixed = start * a + end * b
    return matrices(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))


def overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of boxes (n, 4) and (m, 4) as x, y, w, h."""
    a, b = first[:, None], second[None]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    common = np.prod(np.maximum(high - low, 0), -1)
    return common / np.maximum(np.prod(a[..., 2:], -1) + np.prod(b[..., 2:], -1) - common, 1e-9)


def hips(joints: np.ndarray, right: int, left: int) -> np.ndarray:
    """The middle between the hips (3,), origin of joints3d."""
    return (joints[right] + joints[left]) / 2
