"""Given boxes: the people of each frame as somebody else found them, from a JSON or CSV file.

The file is outside input: its size is bounded, it is never a pickle, and everything in it is checked against the video
before any model is loaded. An error names the frame and what to mend.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, NoReturn, Optional, Tuple

from pose_phalp.errors import EngineError, Failure

MOST_BYTES = 256 * 1024 * 1024
MOST_BOXES = 4_000_000
MOST_IN_A_FRAME = 1000  # the contract's largest number of people in a frame
MOST_FRAMES = 10_000_000
LARGEST_ID = 2_147_483_647
API_VERSION, KIND = "pose.dev/v1alpha1", "PoseBoxes"


@dataclass(frozen=True)
class Box:
    """left, top, width, height in pixels of the video; score 0..1; id is None where the file gives none."""

    x: float
    y: float
    w: float
    h: float
    score: float
    id: Optional[int]


@dataclass(frozen=True)
class Boxes:
    """The boxes of each frame that has any, by frame index. with_ids: every box names its person."""

    frames: Dict[int, List[Box]]
    with_ids: bool

    def last_frame(self) -> int:
        """The largest frame index named, -1 if none is."""
        return max(self.frames, default=-1)


def invalid(message: str) -> NoReturn:
    raise EngineError(Failure.BOXES_INVALID, message)


def read_boxes(path: Path) -> Boxes:
    """Reads a boxes file; the name's end says which form it has."""
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        invalid(f"cannot read the boxes file {path.name}: {error.strerror}")
    if len(data) > MOST_BYTES:
        invalid(f"the boxes file {path.name} has more than {MOST_BYTES >> 20} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        invalid(f"the boxes file {path.name} is not UTF-8 text; give JSON or CSV, a pickle is never read")
    return parse_csv(text) if path.suffix.lower() == ".csv" else parse_json(text)


def parse_json(text: str) -> Boxes:
    def refuse(word: str) -> NoReturn:
        invalid(f"the boxes file holds {word}, which is no number")

    try:
        document = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        invalid(f"the boxes file is not JSON: {error}")
    if not isinstance(document, dict) or document.get("apiVersion") != API_VERSION or document.get("kind") != KIND:
        invalid(f'the boxes file must be an object with "apiVersion": "{API_VERSION}" and "kind": "{KIND}"')
    frames = document.get("frames")
    if not isinstance(frames, list):
        invalid('the boxes file has no list "frames"')
    return _collect(_json_rows(frames))


def _json_rows(frames: list) -> Iterator[Tuple[int, Box]]:
    seen = set()
    for place, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("boxes"), list):
            invalid(f'frames[{place}] of the boxes file must be an object with "index" and a list "boxes"')
        index = _frame_index(frame.get("index"), f"frames[{place}]")
        if index in seen:
            invalid(f"the boxes file lists frame {index} twice; put all its boxes into one entry")
        seen.add(index)
        for box in frame["boxes"]:
            if not isinstance(box, dict) or not isinstance(box.get("bbox"), list) or len(box["bbox"]) != 4:
                invalid(f'a box of frame {index} must be an object with "bbox": [left, top, width, height]')
            yield index, _box(index, box["bbox"], box.get("score"), box.get("id"))


def parse_csv(text: str) -> Boxes:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    allowed = {"frame", "x", "y", "w", "h", "score", "id"}
    try:
        header = reader.fieldnames or []
        if len(header) != len(set(header)) or not {"frame", "x", "y", "w", "h"} <= set(header) <= allowed:
            invalid("the first line of the boxes file must be frame,x,y,w,h and may add score and id")
        return _collect(_csv_rows(reader))
    except csv.Error as error:
        invalid(f"line {reader.line_num} of the boxes file is not CSV: {error}")


def _csv_rows(reader: csv.DictReader) -> Iterator[Tuple[int, Box]]:
    for row in reader:
        where = f"line {reader.line_num}"
        if None in row or None in row.values():
            invalid(f"{where} of the boxes file has more or fewer fields than the first line")
        index = _frame_index(_number(row["frame"], where), where)
        corner = [_number(row[name], where) for name in ("x", "y", "w", "h")]
        score, person = row.get("score", ""), row.get("id", "")
        yield index, _box(index, corner, _number(score, where) if score else None, _number(person, where) if person else None)


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        invalid(f"{where} of the boxes file holds {text[:40]!r} where a number belongs")


def _is_number(value: object) -> bool:
    """A finite number; JSON's true and false do not count, and an integer too large for a float is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _frame_index(value: object, where: str) -> int:
    if not _is_number(value) or value != int(value) or not 0 <= value < MOST_FRAMES:
        invalid(f"{where} of the boxes file has no frame index: a whole number from 0")
    return int(value)


def _box(index: int, corner: list, score: object, person: object) -> Box:
    if not all(_is_number(v) for v in corner):
        invalid(f"a box of frame {index} holds something that is no finite number: {str(corner)[:80]}")
    x, y, w, h = (float(v) for v in corner)
    if w <= 0 or h <= 0:
        invalid(f"a box of frame {index} has width {w:g} and height {h:g}; both must be above 0 (left, top, width, height)")
    if score is not None and not (_is_number(score) and 0 <= score <= 1):
        invalid(f"a box of frame {index} has the score {str(score)[:40]}; it must lie between 0 and 1")
    if person is not None and not (_is_number(person) and person == int(person) and 1 <= person <= LARGEST_ID):
        invalid(f"a box of frame {index} has the id {str(person)[:40]}; it must be a whole number from 1")
    return Box(x, y, w, h, 1.0 if score is None else float(score), None if person is None else int(person))


def _collect(rows: Iterable[Tuple[int, Box]]) -> Boxes:
    frames: Dict[int, List[Box]] = {}
    count = with_ids = 0
    for index, box in rows:
        here = frames.setdefault(index, [])
        here.append(box)
        count += 1
        with_ids += box.id is not None
        if len(here) > MOST_IN_A_FRAME or count > MOST_BOXES:
            invalid(f"frame {index}: more than {MOST_IN_A_FRAME} boxes in a frame or {MOST_BOXES} in the file")
    if with_ids not in (0, count):
        invalid(f"{with_ids} of {count} boxes have an id; give one to all of them or to none")
    for index, here in frames.items():
        if with_ids and len({b.id for b in here}) != len(here):
            invalid(f"frame {index} has two boxes with the same id")
    return Boxes(frames, bool(with_ids))


def check_fit(boxes: Boxes, frames: int, width: int, height: int) -> None:
    """Fails unless every box lies, at least in part, in a frame that the video has. Sizes in pixels."""
    for index in sorted(boxes.frames):
        if index >= frames:
            invalid(f"the boxes file names frame {index}, but the video has {frames} (0 to {frames - 1}); "
                    "frames are those of the prepared video, counted from 0")
        for box in boxes.frames[index]:
            if box.x >= width or box.y >= height or box.x + box.w <= 0 or box.y + box.h <= 0:
                invalid(f"frame {index}: the box [{box.x:g}, {box.y:g}, {box.w:g}, {box.h:g}] lies outside the picture of "
                        f"{width}x{height} pixels; boxes are left, top, width, height in pixels")
            if box.w > 3 * width or box.h > 3 * height:
                invalid(f"frame {index}: the box [{box.x:g}, {box.y:g}, {box.w:g}, {box.h:g}] is more than three times as "
                        f"large as the picture of {width}x{height} pixels")


def corners(box: Box, width: int, height: int) -> Tuple[float, float, float, float]:
    """left, top, right, bottom, cut at the picture's edges, as a detector would give them."""
    return max(box.x, 0.0), max(box.y, 0.0), min(box.x + box.w, float(width)), min(box.y + box.h, float(height))
