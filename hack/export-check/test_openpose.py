"""OpenPose files have no reader of their own beside a JSON parser: the layout is OpenPose's documentation's."""

from __future__ import annotations

import json

import numpy as np
import pytest

# BODY_25 by number, as OpenPose's documentation of its output lists it.
BODY_25 = {0: "nose", 2: "right_shoulder", 4: "right_wrist", 5: "left_shoulder", 9: "right_hip", 11: "right_ankle", 12: "left_hip",
           14: "left_ankle", 15: "right_eye", 18: "left_ear", 21: "left_heel", 24: "right_heel"}


def test_a_file_a_frame(export, result):
    folder = export(result, "openpose")
    frames = result.document["frames"]
    assert [f.name for f in sorted(folder.iterdir())] == [f"pose_{i:012d}_keypoints.json" for i in range(len(frames))]
    for i, frame in enumerate(frames):
        document = json.loads((folder / f"pose_{i:012d}_keypoints.json").read_text())
        seen = [p for p in frame["people"] if p.get("observed", True)]
        assert [p["person_id"] for p in document["people"]] == [[p["id"]] for p in seen]
        for got, want in zip(document["people"], seen, strict=True):
            flat, solid = np.reshape(got["pose_keypoints_2d"], (25, 3)), np.reshape(got["pose_keypoints_3d"], (25, 4))
            for k, name in BODY_25.items():
                if name in result.names:
                    j = result.names.index(name)
                    assert flat[k] == pytest.approx(want["joints2d"][j], abs=1e-3)
                    place = np.array(want["joints3d"][j]) + want.get("translation", [0, 0, 0])
                    assert solid[k][:3] == pytest.approx(place, abs=1e-3)
            hips = [want["joints2d"][result.names.index(n)][:2] for n in ("left_hip", "right_hip")]
            if not {"pelvis", "mid_hip"} & set(result.names):
                assert flat[8][:2] == pytest.approx(np.mean(hips, 0), abs=1e-3)
