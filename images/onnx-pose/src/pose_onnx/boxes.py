"""People's boxes that the user brings, instead of a detector's. The file is outside input, read with bounds.

The format is the operator's PoseBoxes in JSON (docs/boxes.md); the operator turns CSV into it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose_onnx.errors import EngineError, Failure, one_line
from pose_onnx.people import Found

MAX_BYTES = 256 << 20
MAX_BOXES = 1000  # in one frame, as many as pose.json may hold
MAX_FRAMES = 10_000_000
MAX_ID = 2**31 - 1
MAX_PIXELS = 1e6


@dataclass(frozen=True)
class _Box:
    box: tuple[float, float, float, float]
    score: float
    id: int | None


def invalid(path: Path, message: str) -> EngineError:
    return EngineError(Failure.BOXES_INVALID, f"boxes {path}: {message}")


class GivenBoxes:
    """Stands in for a detector: detect gives the boxes of one frame after the other."""

    def __init__(self, by_frame: dict[int, list[_Box]], frame_size: tuple[int, int]) -> None:
        self._by_frame, self._size = by_frame, frame_size
        self._next = 0
        self.outside = 0
        ids = [b.id for boxes in by_frame.values() for b in boxes if b.id is not None]
        self.with_ids = bool(ids)
        # 0 is what many trackers begin with; a result's ids begin with 1.
        self.id_shift = 1 if 0 in ids else 0

    def detect(self, _frame: np.ndarray) -> Found:
        """The boxes of the next frame that touch the picture."""
        given = self._by_frame.get(self._next, [])
        self._next += 1
        boxes = [b for b in given if self._touches(b.box)]
        self.outside += len(given) - len(boxes)
        ids = np.array([b.id + self.id_shift for b in boxes], np.int64) if self.with_ids else None
        return Found(np.array([b.box for b in boxes], np.float64).reshape(-1, 4), np.array([b.score for b in boxes]),
                     given=True, ids=ids)

    def beyond_end(self) -> int:
        """Number of frames with boxes behind the last one asked for."""
        return sum(index >= self._next for index in self._by_frame)

    def _touches(self, box: tuple[float, float, float, float]) -> bool:
        x, y, w, h = box
        return x < self._size[0] and y < self._size[1] and x + w > 0 and y + h > 0


def read_boxes(path: Path, frame_size: tuple[int, int]) -> GivenBoxes:
    """The boxes of a file; frame_size is (width, height) in pixels."""
    try:
        if not path.is_file():
            raise invalid(path, "missing, or no regular file")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise invalid(path, f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_BYTES:
        raise invalid(path, f"larger than {MAX_BYTES >> 20} MiB")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise invalid(path, f"no JSON: {one_line(str(error), 120)}") from None
    if not isinstance(document, dict) or document.get("kind") != "PoseBoxes" or not isinstance(document.get("frames"), list):
        raise invalid(path, 'expected {"apiVersion": "pose.dev/v1alpha1", "kind": "PoseBoxes", "frames": [...]}')
    by_frame: dict[int, list[_Box]] = {}
    for k, entry in enumerate(document["frames"]):
        index, boxes = _frame(path, f"frames[{k}]", entry)
        if index in by_frame:
            raise invalid(path, f"frames[{k}]: frame {index} stands there twice")
        by_frame[index] = boxes
    every = [b for boxes in by_frame.values() for b in boxes]
    if len({b.id is None for b in every}) > 1:
        raise invalid(path, "some boxes have an id and some have none: give it to all, or to none")
    return GivenBoxes(by_frame, frame_size)


def _frame(path: Path, where: str, entry: object) -> tuple[int, list[_Box]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("boxes"), list):
        raise invalid(path, f'{where}: expected {{"index": N, "boxes": [...]}}')
    index = _whole(path, f"{where}.index", entry.get("index"), 0, MAX_FRAMES - 1)
    if len(entry["boxes"]) > MAX_BOXES:
        raise invalid(path, f"{where}: more than {MAX_BOXES} boxes")
    boxes = [_box(path, f"{where}.boxes[{k}]", value) for k, value in enumerate(entry["boxes"])]
    ids = [b.id for b in boxes if b.id is not None]
    if len(set(ids)) < len(ids):
        raise invalid(path, f"{where}: an id stands there twice")
    return index, boxes


def _box(path: Path, where: str, value: object) -> _Box:
    bbox = value.get("bbox") if isinstance(value, dict) else None
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(v) and abs(v) <= MAX_PIXELS for v in bbox):
        raise invalid(path, f"{where}.bbox: expected [left, top, width, height] in pixels")
    if bbox[2] <= 0 or bbox[3] <= 0:
        raise invalid(path, f"{where}.bbox: width and height must be above 0")
    score = value.get("score", 1.0)
    if not _is_number(score) or not 0 <= score <= 1:
        raise invalid(path, f"{where}.score: expected a number from 0 to 1")
    given = value.get("id")
    identity = None if given is None else _whole(path, f"{where}.id", given, 0, MAX_ID - 1)
    return _Box(tuple(float(v) for v in bbox), float(score), identity)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(path: Path, where: str, value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise invalid(path, f"{where}: expected a whole number from {low} to {high}")
    return value
