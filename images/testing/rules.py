"""The rules of docs/pose-json.md that the JSON Schema cannot express, for the tests of every engine. Returns the broken ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = REPOSITORY / "docs" / "schema" / "pose-v1alpha1.schema.json"
EXAMPLE = REPOSITORY / "docs" / "schema" / "pose-v1alpha1.example.json"


def load(path: Path) -> dict:
    """The document; refuses NaN and Infinity, which Python's reader would accept (R1), and repeated keys."""
    def refuse(word: str):
        raise ValueError(f"not JSON: {word}")

    def unique(pairs: list) -> dict:
        assert len({k for k, _ in pairs}) == len(pairs), f"repeated key in {[k for k, _ in pairs]}"
        return dict(pairs)

    return json.loads(path.read_text("utf-8"), parse_constant=refuse, object_pairs_hook=unique)


def broken(document: dict) -> list[str]:
    """Names of the rules that the document breaks, in order, each once."""
    video, frames = document["video"], document["frames"]
    joints = len(document["skeleton"]["joints"])
    people = [(k, p) for k, frame in enumerate(frames) for p in frame["people"]]
    with_3d = "joints3d" in document["units"]
    checks = {
        "R1": all(math.isfinite(v) for _, p in people for v in _numbers(p)),
        "R2": [f["index"] for f in frames] == list(range(video["frames"])),
        "R3": all(_ascending([p["id"] for p in f["people"]]) for f in frames)
              and _ascending([p["id"] for p in document["people"]]),
        "R4": {p["id"] for _, p in people} == {p["id"] for p in document["people"]},
        "R5": all(_agrees(entry, people) for entry in document["people"]),
        "R6": all(len(p["joints2d"]) == joints and len(p.get("joints3d", [0] * joints)) == joints for _, p in people),
        "R7": all(("joints3d" in p) == with_3d for _, p in people)
              and all((key in document["coordinates"]) == with_3d for key in ("joints3d", "joints3dOrigin")),
        "R8": all(0 <= a < joints and 0 <= b < joints and a != b for a, b in document["skeleton"]["edges"]),
        "R9": all(_touches(p["bbox"], video) for _, p in people),
        "R10": all(_near(x, video["width"]) and _near(y, video["height"]) for _, p in people for x, y, _ in p["joints2d"]),
        "R11": all(abs(v) <= 10 for _, p in people for joint in p.get("joints3d", []) for v in joint),
        "R12": all(_estimate_is_marked(k, p, document["people"]) for k, p in people),
        "R15": _quality_agrees(document),
        "frames last": list(document)[-1] == "frames",
    }
    return [rule for rule, holds in checks.items() if not holds]


def _quality_agrees(document: dict) -> bool:
    """coverage is the share of frames with somebody observed, gaps the runs of frames in which a person is lost in between."""
    quality = document.get("quality")
    if quality is None:
        return True
    seen = [{p["id"] for p in f["people"] if p.get("observed", True)} for f in document["frames"]]
    covered = sum(map(bool, seen)) / max(len(seen), 1)
    gaps = 0
    for entry in document["people"]:
        at = [k for k, ids in enumerate(seen) if entry["id"] in ids]
        gaps += sum(b - a > 1 for a, b in zip(at, at[1:]))
    return abs(quality["coverage"] - covered) <= 0.001 and quality["gaps"] == gaps


def _numbers(person: dict):
    yield from person["bbox"]
    yield person["score"]
    for joint in person["joints2d"] + person.get("joints3d", []):
        yield from joint


def _ascending(ids: list[int]) -> bool:
    return all(a < b for a, b in zip(ids, ids[1:]))


def _agrees(entry: dict, people: list) -> bool:
    mine = [(k, p) for k, p in people if p["id"] == entry["id"]]
    seen = [k for k, p in mine if p.get("observed", True)]
    return bool(mine) and (entry["firstFrame"], entry["lastFrame"], entry["framesSeen"]) == (
        mine[0][0], mine[-1][0], len(seen))


def _touches(box: list, video: dict) -> bool:
    (x, y, w, h), width, height = box, video["width"], video["height"]
    return x < width and y < height and x + w > 0 and y + h > 0 and w <= 3 * width and h <= 3 * height


def _near(value: float, size: int) -> bool:
    return -2 * size <= value <= 3 * size


def _estimate_is_marked(frame: int, person: dict, entries: list) -> bool:
    if person.get("observed", True):
        return True
    entry = next(e for e in entries if e["id"] == person["id"])
    return all(j[2] == 0 for j in person["joints2d"]) and entry["firstFrame"] < frame < entry["lastFrame"]
