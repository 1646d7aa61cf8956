"""The table of angles, read by Python's csv and computed anew from pose.json by numpy."""

from __future__ import annotations

import csv

import numpy as np
import pytest


def between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def test_angles(export, result):
    with open(export(result, "csv") / "angles.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert {"knee_flexion", "elbow_flexion", "hip_flexion", "shoulder_elevation", "trunk_inclination"} <= {r["angle"] for r in rows}
    checked = 0
    for r in rows:
        frame, person, side = int(r["frame"]), int(r["person_id"]), r["side"]
        assert float(r["time_s"]) == pytest.approx(result.seconds(frame), abs=1e-5)
        p = dict(zip(result.names, result.points(frame, person), strict=True))
        at = lambda part: p[f"{side}_{part}"]  # noqa: E731
        trunk = lambda: (p["left_shoulder"] + p["right_shoulder"] - p["left_hip"] - p["right_hip"]) / 2  # noqa: E731
        want = {
            "knee_flexion": lambda: 180 - between(at("hip") - at("knee"), at("ankle") - at("knee")),
            "elbow_flexion": lambda: 180 - between(at("shoulder") - at("elbow"), at("wrist") - at("elbow")),
            "trunk_inclination": lambda: between(trunk(), np.array([0, 1, 0])),
            "shoulder_elevation": lambda: between(at("elbow") - at("shoulder"), -trunk()),
        }.get(r["angle"])
        if want:
            checked += 1
            assert float(r["value_deg"]) == pytest.approx(want(), abs=0.02)
    assert checked > 7 * len(result.people) - 1
