"""Between the pixels of a frame and those of a model's input, both ways.

Frame coordinates are those of pose.json: origin at the outer corner of the top left pixel, x to the right, y down.
Boxes are [left, top, width, height].
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

GREY = 114  # what YOLO, YOLOX and RTMDet were trained to see beside the picture
# COCO's keypoints number pixels: 0 is the left-most one, whose centre lies half a pixel from the frame's corner. Models
# trained on them answer in the same way. Boxes need no such step: COCO's are lengths from the corner.
PIXEL_CENTRE = 0.5


@dataclass(frozen=True)
class Letterbox:
    """A frame shrunk or grown to fit a model's input, its proportions kept, with grey bars.

    size: of the picture within the input. offset: of its left top corner. scale: input pixels for each frame pixel, on
    each axis, as the size is rounded to whole pixels. All (x, y).
    """

    input_size: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int]
    scale: tuple[float, float]

    @classmethod
    def fit(cls, frame_size: tuple[int, int], input_size: tuple[int, int], centred: bool) -> Letterbox:
        """frame_size and input_size are (width, height). centred: bars on both sides, else right and below only."""
        gain = min(input_size[0] / frame_size[0], input_size[1] / frame_size[1])
        size = tuple(min(max(round(side * gain), 1), limit) for side, limit in zip(frame_size, input_size, strict=True))
        offset = tuple((limit - side) // 2 if centred else 0 for side, limit in zip(size, input_size, strict=True))
        scale = tuple(side / full for side, full in zip(size, frame_size, strict=True))
        return cls(input_size, size, offset, scale)

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """The model's picture, uint8 (input height, input width, 3), colours as the frame's."""
        (x, y), (w, h) = self.offset, self.size
        canvas = np.full((self.input_size[1], self.input_size[0], 3), GREY, np.uint8)
        canvas[y:y + h, x:x + w] = cv2.resize(frame, (w, h), interpolation=cv2.INTER_LINEAR)
        return canvas

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the input as points of the frame."""
        return (points - np.asarray(self.offset)) / np.asarray(self.scale)

    def boxes_to_frame(self, corners: np.ndarray) -> np.ndarray:
        """Boxes (n, 4) as left, top, right, bottom of the input, as [x, y, w, h] of the frame."""
        first, last = self.to_frame(corners[:, :2]), self.to_frame(corners[:, 2:4])
        return np.concatenate([first, last - first], axis=1)


@dataclass(frozen=True)
class Crop:
    """The part of a frame that a top-down model looks at: centre and size in frame pixels, (x, y)."""

    centre: tuple[float, float]
    size: tuple[float, float]
    input_size: tuple[int, int]

    @classmethod
    def around(cls, box: np.ndarray, input_size: tuple[int, int], padding: float = 1.25) -> Crop:
        """The box, grown by padding, then in one direction to the proportions of the input (width, height)."""
        x, y, w, h = (float(v) for v in box)
        width, height = w * padding, h * padding
        ratio = input_size[0] / input_size[1]
        width, height = (width, width / ratio) if width > height * ratio else (height * ratio, height)
        return cls((x + w / 2, y + h / 2), (width, height), input_size)

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """The model's picture, uint8 (input height, input width, 3); black beyond the frame's edges, as in training."""
        return cv2.warpAffine(frame, self._matrix(), self.input_size, flags=cv2.INTER_LINEAR)

    def _matrix(self) -> np.ndarray:
        """2x3, from frame to input. The numbers of boxes and of pixels are taken for the same thing, as in training."""
        gain = [i / s for i, s in zip(self.input_size, self.size, strict=True)]
        shift = [i / 2 - g * c for i, g, c in zip(self.input_size, gain, self.centre, strict=True)]
        return np.array([[gain[0], 0, shift[0]], [0, gain[1], shift[1]]])

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of the input as points of the frame."""
        size = np.asarray(self.size)
        return points / np.asarray(self.input_size) * size + np.asarray(self.centre) - size / 2


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Overlap over union of each of the boxes a (n, 4) with each of b (m, 4): (n, m), 0..1."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    total = a[:, 2:].prod(axis=1)[:, None] + b[:, 2:].prod(axis=1)[None, :] - common
    return common / np.maximum(total, 1e-9)


def suppress(boxes: np.ndarray, scores: np.ndarray, overlap: float, most: int) -> np.ndarray:
    """Non-maximum suppression: indices of the boxes to keep, best first, at most `most`."""
    best = np.argsort(-scores, kind="stable")[:4 * most]
    kept = cv2.dnn.NMSBoxes(boxes[best].tolist(), scores[best].tolist(), 0.0, overlap)
    return best[np.asarray(kept, np.int64).reshape(-1)[:most]]
