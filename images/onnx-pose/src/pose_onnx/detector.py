"""Person detectors for top-down models: RTMDet and YOLOX.

Facts of the exports (MMDeploy for both, YOLOX's own exporter for raw ones): the frame in the input's top left corner, grey
to the right and below. RTMDet wants BGR less its mean over its deviation, YOLOX plain BGR bytes. Output, one of
  dets (1, N, 5)     left, top, right, bottom, score, in pixels of the input, after suppression; beside it labels (1, N),
                     where 0 is a person; models for people alone may leave it out;
  raw (1, N, 5 + C)  YOLOX before decoding, for each cell of its three grids: centre from the cell's corner and logarithm of
                     the size, in strides, how sure that an object is there, and of each class; C = 1 or 80, class 0 a person.
"""

from __future__ import annotations

import numpy as np

from pose_onnx import models
from pose_onnx.geometry import Letterbox, suppress
from pose_onnx.people import MOST_PEOPLE, Found, sane

FAMILIES = ("rtmdet", "yolox")
STRIDES = (8, 16, 32)
LOWEST_SCORE = 0.1
OVERLAP = 0.65
_MEAN = np.array([103.53, 116.28, 123.675], np.float32)  # of ImageNet, blue, green, red, 0..255
_DEVIATION = np.array([57.375, 57.12, 58.395], np.float32)


class PersonDetector:
    """Finds people's boxes."""

    def __init__(self, model: models.Model, family: str, frame_size: tuple[int, int]) -> None:
        """model: one that check lets through. family: one of FAMILIES. frame_size: (width, height) in pixels."""
        self._model, self._family = model, family
        self._cells = cells(model.input_size)
        self._letterbox = Letterbox.fit(frame_size, model.input_size, centred=False)

    def detect(self, frame: np.ndarray) -> Found:
        """People of a BGR frame, without joints."""
        outputs = self._model.run(picture(self._letterbox.apply(frame), self._family))
        if is_final(outputs):
            corners, scores = people_of_final(outputs)
        elif is_raw(outputs, len(self._cells)):
            corners, scores = people_of_raw(outputs[0], self._cells)
        else:
            raise models.unreadable(f"the detector's outputs changed their shapes to {models.shapes_text(outputs)}")
        boxes = self._letterbox.boxes_to_frame(corners)
        good = sane(boxes, scores, LOWEST_SCORE)
        boxes, scores = boxes[good], np.clip(scores[good], 0, 1)
        best = suppress(boxes, scores, OVERLAP, MOST_PEOPLE)
        return Found(boxes[best], scores[best])


def check(model: models.Model, family: str) -> None:
    """Runs the model once; EngineError where it is no detector of the family."""
    outputs, count = model.try_out(), len(cells(model.input_size))
    if not is_final(outputs) and not (family == "yolox" and is_raw(outputs, count)):
        raw = f" or (1, {count}, 5 + classes)" if family == "yolox" else ""
        raise models.unreadable(f"detector {model.file.name}: expected outputs dets (1, N, 5) and labels (1, N){raw} of an "
                                f"exported {family}, found {models.shapes_text(outputs)}")


def picture(letterboxed: np.ndarray, family: str) -> np.ndarray:
    """The detector's input (1, 3, H, W) from BGR bytes."""
    values = letterboxed.astype(np.float32)
    if family == "rtmdet":
        values = (values - _MEAN) / _DEVIATION
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def is_final(outputs: list[np.ndarray]) -> bool:
    """Whether these are dets, with or without labels."""
    if not outputs or outputs[0].ndim != 3 or outputs[0].shape[0] != 1 or outputs[0].shape[2] != 5:
        return False
    return len(outputs) == 1 or outputs[1].shape == outputs[0].shape[:2]


def is_raw(outputs: list[np.ndarray], count: int) -> bool:
    """Whether this is YOLOX's output before decoding, for so many cells."""
    return len(outputs) == 1 and outputs[0].ndim == 3 and outputs[0].shape[:2] == (1, count) and outputs[0].shape[2] >= 6


def people_of_final(outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, 4) in input pixels and scores (n,) of the people among dets."""
    dets = outputs[0][0]
    if len(outputs) > 1:
        dets = dets[outputs[1][0] == 0]
    return dets[:, :4], dets[:, 4]


def cells(input_size: tuple[int, int]) -> np.ndarray:
    """(N, 3): column, row and stride in pixels of each cell of the three grids, row by row, finest grid first."""
    grids = []
    for stride in STRIDES:
        rows, columns = np.mgrid[:input_size[1] // stride, :input_size[0] // stride]
        grids.append(np.stack([columns, rows, np.full_like(rows, stride)], axis=-1).reshape(-1, 3))
    return np.concatenate(grids).astype(np.float32)


def people_of_raw(output: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners (n, 4) in input pixels and scores (n,) of the cells that show a person rather than another class."""
    rows = output[0]
    scores = rows[:, 4] * rows[:, 5]
    wanted = (scores >= LOWEST_SCORE) & (rows[:, 5:].argmax(axis=1) == 0)
    rows, grid, scores = rows[wanted], grid[wanted], scores[wanted]
    centre = (rows[:, :2] + grid[:, :2]) * grid[:, 2:]
    half = np.exp(np.clip(rows[:, 2:4], -20, 10)) * grid[:, 2:] / 2
    return np.hstack([centre - half, centre + half]), scores
