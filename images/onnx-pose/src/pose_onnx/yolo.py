"""YOLO-pose: boxes and COCO's 17 keypoints of everybody in one run.

Facts of the exports (Ultralytics YOLOv8-pose, YOLO11-pose and YOLO26-pose; documentation and issues of that project):
input (1, 3, H, W), RGB, 0..1, letterboxed with grey on both sides. Output, one of
  (1, 56, N)   for each of N grid cells: box centre x, y, width, height, score, then 17 times x, y, visibility;
  (1, M, 57)   after suppression (exported with nms=True, or from an end-to-end head): left, top, right, bottom, score,
               class, then 17 times x, y, visibility; rows beyond the last person are zero.
All in pixels of the input; scores and visibilities are 0..1 already.
"""

from __future__ import annotations

import numpy as np

from pose_onnx import models
from pose_onnx.geometry import PIXEL_CENTRE, Letterbox, suppress
from pose_onnx.people import MOST_PEOPLE, Found, sane
from pose_onnx.skeleton import SKELETONS, Skeleton

JOINTS = 17
RAW, FINAL = 5 + 3 * JOINTS, 6 + 3 * JOINTS  # numbers for each candidate, for each person
LOWEST_SCORE = 0.1  # below it not even a known person is followed
OVERLAP = 0.7  # of two boxes above which they are one person; the exporter's own default


class YoloPose:
    """Finds people with their joints."""

    skeleton: Skeleton = SKELETONS[JOINTS]

    def __init__(self, model: models.Model, frame_size: tuple[int, int]) -> None:
        """model: one that check lets through. frame_size: (width, height) in pixels."""
        self._model = model
        self._letterbox = Letterbox.fit(frame_size, model.input_size, centred=True)

    def detect(self, frame: np.ndarray) -> Found:
        """People of a BGR frame."""
        output = self._model.run(picture(self._letterbox.apply(frame)))[0]
        return decode(output, self._letterbox)

    def estimate(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        raise NotImplementedError("YOLO-pose gives the joints with the boxes")


def check(model: models.Model) -> Skeleton:
    """Runs the model once. Its joints, or EngineError where it is no YOLO pose model."""
    task = model.metadata.get("task", "pose")
    if task != "pose":
        raise models.unreadable(f"model {model.file.name} was exported for the task {task[:40]!r}: expected a pose model, "
                                "as yolo11n-pose")
    outputs = model.try_out()
    if not outputs or not (is_raw(outputs[0]) or is_final(outputs[0])):
        raise models.unreadable(f"model {model.file.name}: expected a first output (1, {RAW}, N) or (1, M, {FINAL}) of "
                                f"a YOLO pose model with {JOINTS} joints, found {models.shapes_text(outputs)}")
    return SKELETONS[JOINTS]


def picture(letterboxed: np.ndarray) -> np.ndarray:
    """The model's input (1, 3, H, W) from BGR bytes."""
    return np.ascontiguousarray(letterboxed[None, :, :, ::-1].transpose(0, 3, 1, 2), np.float32) / 255


def is_raw(output: np.ndarray) -> bool:
    return output.ndim == 3 and output.shape[:2] == (1, RAW) and output.dtype.kind == "f"


def is_final(output: np.ndarray) -> bool:
    return output.ndim == 3 and output.shape[0] == 1 and output.shape[2] == FINAL and output.dtype.kind == "f"


def decode(output: np.ndarray, letterbox: Letterbox) -> Found:
    """People of the frame from a first output of either form."""
    if is_raw(output):
        rows = output[0].T
        rows = rows[(rows[:, 4] >= LOWEST_SCORE) & np.isfinite(rows).all(axis=1)]
        half = rows[:, 2:4] / 2
        corners, scores, joints = np.hstack([rows[:, :2] - half, rows[:, :2] + half]), rows[:, 4], rows[:, 5:]
    elif is_final(output):
        rows = output[0]
        rows = rows[(rows[:, 4] >= LOWEST_SCORE) & (rows[:, 5] == 0) & np.isfinite(rows).all(axis=1)]
        corners, scores, joints = rows[:, :4], rows[:, 4], rows[:, 6:]
    else:
        raise models.unreadable(f"the model's first output changed its shape to {models.shapes_text([output])}")
    boxes = letterbox.boxes_to_frame(corners)
    good = sane(boxes, scores, LOWEST_SCORE)
    boxes, scores, joints = boxes[good], scores[good], joints[good].reshape(-1, JOINTS, 3)
    # After the model's own suppression this only sets the order and the bound.
    best = suppress(boxes, scores, OVERLAP if is_raw(output) else 1.0, MOST_PEOPLE)
    points = joints[best]
    placed = letterbox.to_frame(points[:, :, :2]) + PIXEL_CENTRE
    return Found(boxes[best], scores[best], np.concatenate([placed, points[:, :, 2:]], axis=2))
