"""What the fields of C3D are too small for: more than 65535 frames, more than 255 labels."""

from __future__ import annotations

import json
import subprocess

import c3d
import ezc3d
import pytest


def write(path, joints: int, frames: int, present: list[int]) -> None:
    """One person; joint 0 moves 1 mm to the right every frame."""
    there = set(present)
    names = [f"j{i}" for i in range(joints)]
    document = {
        "apiVersion": "pose.dev/v1alpha1", "kind": "PoseResult",
        "video": {"width": 100, "height": 100, "fps": 1000, "frames": frames, "startFrame": 0, "durationSeconds": frames / 1000},
        "engine": {"name": "e", "version": "1", "device": "CPU", "models": []},
        "skeleton": {"name": "many", "joints": names, "edges": []},
        "units": {"bbox": "pixels", "joints2d": "pixels", "joints3d": "metres"},
        "coordinates": {"image": "x-right-y-down", "joints3d": "x-right-y-down-z-forward", "joints3dOrigin": "hip-centre"},
        "people": [{"id": 1, "firstFrame": present[0], "lastFrame": present[-1], "framesSeen": len(present)}],
        "frames": [{"index": i, "people": [{
            "id": 1, "bbox": [1, 1, 9, 9], "score": 1, "joints2d": [[1, 1, 1]] * joints,
            "joints3d": [[round(i % 9000 / 1000, 3), 0, 0]] * joints}] if i in there else []} for i in range(frames)],
    }
    path.write_text(json.dumps(document))


@pytest.fixture
def exported(command, tmp_path):
    def run(joints: int, frames: int, present: list[int]):
        write(tmp_path / "pose.json", joints, frames, present)
        subprocess.run([command, "export", tmp_path, "--format", "c3d", "--out", tmp_path / "out"], check=True, capture_output=True)
        return tmp_path / "out" / "person-1.c3d"

    return run


def test_more_frames_than_16_bits_count(exported):
    frames = 70_000
    file = exported(1, frames, list(range(frames)))
    whole = ezc3d.c3d(str(file))["data"]["points"]
    assert whole.shape == (4, 1, frames)
    assert whole[0, 0, frames - 1] == pytest.approx((frames - 1) % 9000)
    with open(file, "rb") as f:
        reader = c3d.Reader(f)
        assert reader.frame_count == frames
        numbers = [n for n, _, _ in reader.read_frames()]
    assert (numbers[0], numbers[-1]) == (1, frames)


def test_a_person_who_comes_late_in_a_long_video(exported):
    present = list(range(66_000, 66_100))
    file = exported(1, 66_200, present)
    points = ezc3d.c3d(str(file))["data"]["points"]
    assert points.shape[2] == len(present)
    assert points[0, 0, 0] == pytest.approx(66_000 % 9000)
    with open(file, "rb") as f:
        reader = c3d.Reader(f)
        assert (reader.first_frame, reader.last_frame) == (1, 100)
        low, high = reader.get("POSE:FIRST_FRAME").uint16_array
        assert int(low) + (int(high) << 16) == 66_001


def test_more_labels_than_one_parameter_holds(exported):
    file = exported(256, 2, [0, 1])
    point = ezc3d.c3d(str(file))["parameters"]["POINT"]
    assert point["LABELS"]["value"] == [f"j{i}" for i in range(255)]
    assert point["LABELS2"]["value"] == ["j255"]
    with open(file, "rb") as f:
        reader = c3d.Reader(f)
        labels = [*reader.get("POINT:LABELS").string_array, *reader.get("POINT:LABELS2").string_array]
        assert [n.strip() for n in labels] == [f"j{i}" for i in range(256)]
