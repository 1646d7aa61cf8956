"""Boxes of people that somebody else found, read from a PoseBoxes file (JSON or CSV). The file is hostile input and bounded.

JSON: {"apiVersion":"pose.dev/v1alpha1","kind":"PoseBoxes","frames":[{"index":0,"boxes":[{"bbox":[x,y,w,h],"score":0.9,"id":3}]}]}
CSV: a header `frame,x,y,w,h[,score][,id]`, then one box a line. Pixels are those of pose.json: left, top, width, height.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pose_mediapipe.errors import EngineError, Failure, one_line

API_VERSION, KIND = "pose.dev/v1alpha1", "PoseBoxes"
MAX_BYTES = 64 << 20
MAX_BOXES = 1_000_000
MAX_PER_FRAME = 1000
MAX_FRAME = 10_000_000
MAX_ID = 2**31 - 1
_REQUIRED = ["frame", "x", "y", "w", "h"]


@dataclass(frozen=True)
class GivenBox:
    """One person in one frame: left, top, width, height in pixels; score 0..1 and id None where the file has none."""

    x: float
    y: float
    w: float
    h: float
    score: float | None = None
    id: int | None = None


class Broken(Exception):
    """What is wrong with the file, and where."""


def read_boxes(path: Path, width: int, height: int) -> dict[int, list[GivenBox]]:
    """Frame -> its boxes, in the file's order. width and height are those of the video, in pixels."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Broken(f"it has more than {MAX_BYTES} bytes")
        text = path.read_text("utf-8-sig")
        rows = _json_rows(text) if text.lstrip()[:1] == "{" else _csv_rows(text)
        return _gather(rows, width, height)
    except OSError as error:
        raise EngineError(Failure.BOXES_INVALID, f"cannot read the boxes {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise EngineError(Failure.BOXES_INVALID, f"the boxes {path} are neither JSON nor CSV in UTF-8") from None
    except (Broken, RecursionError, csv.Error) as error:
        raise EngineError(Failure.BOXES_INVALID, one_line(f"the boxes {path}: {error}")) from None


def _gather(rows: Iterator[tuple[str, int, GivenBox]], width: int, height: int) -> dict[int, list[GivenBox]]:
    frames: dict[int, list[GivenBox]] = {}
    with_ids: bool | None = None
    for count, (place, frame, box) in enumerate(rows, 1):
        if count > MAX_BOXES:
            raise Broken(f"{place}: more than {MAX_BOXES} boxes")
        if with_ids is not None and with_ids != (box.id is not None):
            raise Broken(f"{place}: give an id to every box, or to none")
        with_ids = box.id is not None
        _check_box(place, box, width, height)
        mine = frames.setdefault(frame, [])
        if len(mine) >= MAX_PER_FRAME:
            raise Broken(f"{place}: more than {MAX_PER_FRAME} boxes in frame {frame}")
        if with_ids and any(other.id == box.id for other in mine):
            raise Broken(f"{place}: id {box.id} occurs twice in frame {frame}")
        mine.append(box)
    return frames


def _check_box(place: str, box: GivenBox, width: int, height: int) -> None:
    if not (0 < box.w <= 3 * width and 0 < box.h <= 3 * height):
        raise Broken(f"{place}: a box needs a width and a height above 0 and at most three times those of the "
                     f"{width}x{height} picture")
    if box.x >= width or box.y >= height or box.x + box.w <= 0 or box.y + box.h <= 0:
        raise Broken(f"{place}: the box lies outside of the {width}x{height} picture; pixels count from its top left corner")


def _json_rows(text: str) -> Iterator[tuple[str, int, GivenBox]]:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise Broken(f"not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("apiVersion") != API_VERSION or document.get("kind") != KIND:
        raise Broken(f'it must say "apiVersion":"{API_VERSION}","kind":"{KIND}"')
    seen = set()
    for n, frame in enumerate(_list(document, "frames", "the file")):
        place = f"frames[{n}]"
        index = _whole(frame.get("index") if isinstance(frame, dict) else None, f"{place}.index", MAX_FRAME - 1)
        if index in seen:
            raise Broken(f"{place}: frame {index} has an entry already")
        seen.add(index)
        for m, entry in enumerate(_list(frame, "boxes", place)):
            spot = f"{place}.boxes[{m}]"
            sides = _list(entry, "bbox", spot)
            if len(sides) != 4:
                raise Broken(f"{spot}.bbox must hold four numbers, not {len(sides)}")
            yield spot, index, _box(spot, sides, entry.get("score"), entry.get("id"))


def _list(holder: object, name: str, place: str) -> list:
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, list):
        raise Broken(f"{place} has no list named {name}")
    return value


def _csv_rows(text: str) -> Iterator[tuple[str, int, GivenBox]]:
    lines = csv.reader(io.StringIO(text), strict=True)
    header = [name.strip() for name in next(lines, [])]
    extra = [name for name in header if name not in _REQUIRED]
    if sorted(set(header)) != sorted(header) or any(n not in header for n in _REQUIRED) or set(extra) - {"score", "id"}:
        raise Broken("the first line must name the columns: frame,x,y,w,h[,score][,id]")
    for number, cells in enumerate(lines, 2):
        if not cells:
            continue
        place = f"line {number}"
        if len(cells) != len(header):
            raise Broken(f"{place} has {len(cells)} cells, the header has {len(header)}")
        row = {name: _number(cell, f"{place}, {name}") for name, cell in zip(header, cells, strict=True)}
        frame = _whole(row["frame"], f"{place}, frame", MAX_FRAME - 1)
        yield place, frame, _box(place, [row[side] for side in "xywh"], row.get("score"), row.get("id"))


def _number(cell: str, place: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise Broken(f"{place}: {cell[:40]!r} is no number") from None


def _box(place: str, sides: list, score: object, identity: object) -> GivenBox:
    if not all(_is_number(v) for v in sides):
        raise Broken(f"{place}: left, top, width and height must be finite numbers")
    if score is not None and not (_is_number(score) and 0 <= score <= 1):
        raise Broken(f"{place}: a score lies between 0 and 1")
    return GivenBox(*(float(v) for v in sides), None if score is None else float(score),
                    None if identity is None else _whole(identity, f"{place}, id", MAX_ID))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9 and math.isfinite(value)


def _whole(value: object, place: str, most: int) -> int:
    if not _is_number(value) or value != int(value) or not 0 <= value <= most:
        raise Broken(f"{place} must be a whole number from 0 to {most}")
    return int(value)
