"""The rules of docs/pose-json.md, schema and text, checked by a reader that shares nothing with the writer."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jsonschema
import numpy as np

SCHEMA = Path(__file__).resolve().parents[4] / "docs" / "schema" / "pose-v1alpha1.schema.json"


def load(folder):
    """The document and the arrays, checked against every rule."""
    def refuse(word):
        raise AssertionError(f"not JSON: {word}")

    def unique(pairs):
        assert len({k for k, _ in pairs}) == len(pairs)
        return dict(pairs)

    document = json.loads((folder / "pose.json").read_text("utf-8"), parse_constant=refuse, object_pairs_hook=unique)
    jsonschema.validate(document, json.loads(SCHEMA.read_text("utf-8")), cls=jsonschema.Draft202012Validator)
    with np.load(folder / "smpl.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    check_document(document)
    check_arrays(document, arrays)
    return document, arrays


def check_document(document):
    video, frames = document["video"], document["frames"]
    width, height = video["width"], video["height"]
    assert list(document)[-1] == "frames"
    assert [f["index"] for f in frames] == list(range(video["frames"]))  # R2
    times = [f["time"] for f in frames]
    assert all(a < b for a, b in zip(times, times[1:]))  # R13
    rows = [(f["index"], p) for f in frames for p in f["people"]]
    for f in frames:
        ids = [p["id"] for p in f["people"]]
        assert ids == sorted(set(ids))  # R3
    gaps = 0
    for entry in document["people"]:  # R4, R5, R12, R15
        mine = [(k, p) for k, p in rows if p["id"] == entry["id"]]
        observed = [k for k, p in mine if p.get("observed", True)]
        assert (mine[0][0], mine[-1][0], len(observed)) == (entry["firstFrame"], entry["lastFrame"], entry["framesSeen"])
        assert observed[0] == mine[0][0] and observed[-1] == mine[-1][0]
        gaps += sum(b > a + 1 for a, b in zip(observed, observed[1:]))
    assert {p["id"] for _, p in rows} == {p["id"] for p in document["people"]}
    for _, p in rows:
        x, y, w, h = p["bbox"]
        assert x < width and y < height and x + w > 0 and y + h > 0 and w <= 3 * width and h <= 3 * height  # R9
        assert len(p["joints2d"]) == len(p["joints3d"]) == 45  # R6
        assert all(-2 * width <= a <= 3 * width and -2 * height <= b <= 3 * height for a, b, _ in p["joints2d"])  # R10
        assert p.get("observed", True) or all(v == 0 for _, _, v in p["joints2d"])  # R12
        assert all(math.isfinite(v) for v in p["translation"])  # R14
    seen = sum(any(p.get("observed", True) for p in f["people"]) for f in frames)
    assert abs(document["quality"]["coverage"] - seen / len(frames)) <= 0.001 and document["quality"]["gaps"] == gaps


def check_arrays(document, arrays):
    rows = [(f["index"], p["id"], p.get("observed", True)) for f in document["frames"] for p in f["people"]]
    assert str(arrays["format"]) == "pose.dev/smpl/v1alpha1"
    assert list(zip(arrays["frame"].tolist(), arrays["id"].tolist(), arrays["observed"].tolist())) == rows
    kinds = {"frame": "<i4", "id": "<i4", "observed": "|b1", "global_orient": "<f4", "body_pose": "<f4", "betas": "<f4",
             "translation": "<f4", "person_id": "<i4", "rest_joints": "<f4", "parents": "<i4", "fps": "<f8", "capture_fps": "<f8"}
    assert {name: arrays[name].dtype.str for name in kinds} == kinds
    n, people = len(rows), len(document["people"])
    shapes = {"global_orient": (n, 3, 3), "body_pose": (n, 23, 3, 3), "betas": (n, 10), "translation": (n, 3),
              "person_id": (people,), "rest_joints": (people, 24, 3), "parents": (24,), "joint_names": (24,), "fps": ()}
    assert {name: arrays[name].shape for name in shapes} == shapes
    rotations = np.concatenate([arrays["global_orient"][:, None], arrays["body_pose"]], 1).astype(float)
    assert np.abs(rotations @ rotations.transpose(0, 1, 3, 2) - np.eye(3)).max(initial=0) < 0.01
