"""Writes the made-up SMPL result that the tests of the exporters read.

    python make_smpl_result.py ../../internal/export/testdata/smpl

Two people of a skeleton that was drawn for this purpose (24 joints in SMPL's order; not one number comes from the SMPL
model) move through a camera's picture. Joint positions are computed here, by a forward kinematics that shares nothing with
the exporters. Person 1 is guessed in frame 5 and absent in frames 8 to 10; person 2 comes in frame 3 and leaves after 20.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

FRAMES, FPS, CAPTURE_FPS = 24, 25.0, 100.0
WIDTH, HEIGHT, FOCAL = 1280, 720, 1000.0

# name, parent, place at rest: metres, y up, facing +z, left is +x.
BODY = (
    ("pelvis", -1, (0.0, -0.22, 0.01)),
    ("left_hip", 0, (0.07, -0.31, 0.0)), ("right_hip", 0, (-0.07, -0.31, 0.0)), ("spine1", 0, (0.0, -0.10, -0.02)),
    ("left_knee", 1, (0.10, -0.70, 0.01)), ("right_knee", 2, (-0.10, -0.70, 0.01)), ("spine2", 3, (0.0, 0.03, -0.01)),
    ("left_ankle", 4, (0.09, -1.11, -0.03)), ("right_ankle", 5, (-0.09, -1.11, -0.03)), ("spine3", 6, (0.0, 0.09, 0.02)),
    ("left_foot", 7, (0.11, -1.17, 0.09)), ("right_foot", 8, (-0.11, -1.17, 0.09)), ("neck", 9, (0.0, 0.30, -0.02)),
    ("left_collar", 9, (0.08, 0.21, -0.01)), ("right_collar", 9, (-0.08, 0.21, -0.01)), ("head", 12, (0.0, 0.39, 0.03)),
    ("left_shoulder", 13, (0.19, 0.24, -0.03)), ("right_shoulder", 14, (-0.19, 0.24, -0.03)),
    ("left_elbow", 16, (0.45, 0.22, -0.05)), ("right_elbow", 17, (-0.45, 0.22, -0.05)),
    ("left_wrist", 18, (0.71, 0.23, -0.05)), ("right_wrist", 19, (-0.71, 0.23, -0.05)),
    ("left_hand", 20, (0.79, 0.22, -0.06)), ("right_hand", 21, (-0.79, 0.22, -0.06)),
)
NAMES = [b[0] for b in BODY]
PARENTS = np.array([b[1] for b in BODY], dtype=np.int32)
REST = np.array([b[2] for b in BODY])
LEFT_HIP, RIGHT_HIP = 1, 2


def turn(axis: tuple[float, float, float], radians: float) -> np.ndarray:
    """Rotation matrix about an axis (Rodrigues' formula)."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(radians) * k + (1 - np.cos(radians)) * k @ k


def positions(rest: np.ndarray, turns: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Joints in the camera's frame, as docs/pose-json.md has it for smpl.npz."""
    place, world = np.empty((24, 3)), np.empty((24, 3, 3))
    place[0], world[0] = rest[0], turns[0]
    for j in range(1, 24):
        p = PARENTS[j]
        place[j] = place[p] + world[p] @ (rest[j] - rest[p])
        world[j] = world[p] @ turns[j]
    return place + translation


def motion(person: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations and translation of a person in a frame; every joint turns, about an axis of its own."""
    t = 2 * np.pi * frame / FRAMES
    # An upright body faces the camera after half a turn about x, then turns about its height.
    turns = [turn((1, 0, 0), np.pi + 0.1 * np.sin(t)) @ turn((0, 1, 0), 0.5 * person + 0.8 * np.sin(t + person))]
    for j in range(1, 24):
        axis = (np.sin(1.3 * j), np.cos(2.1 * j), np.sin(0.7 * j + 1))
        turns.append(turn(axis, 0.5 * np.sin(t + 0.4 * j + person)))
    return np.array(turns), np.array([-1.2 + 0.05 * frame + person, 0.1 * np.sin(t), 4.0 + person + 0.02 * frame])


def main(folder: Path) -> None:
    rest = {1: REST, 2: 0.9 * REST}
    present = {1: [f for f in range(FRAMES) if not 8 <= f <= 10], 2: list(range(3, 21))}
    arrays: dict[str, list] = {k: [] for k in ("frame", "id", "observed", "global_orient", "body_pose", "betas", "translation")}
    frames = []
    for f in range(FRAMES):
        people = []
        for person in (1, 2):
            if f not in present[person]:
                continue
            observed = not (person == 1 and f == 5)
            turns, translation = motion(person, f)
            joints = positions(rest[person], turns, translation)
            hips = (joints[LEFT_HIP] + joints[RIGHT_HIP]) / 2
            pixels = FOCAL * joints[:, :2] / joints[:, 2:] + (WIDTH / 2, HEIGHT / 2)
            low, high = pixels.min(0), pixels.max(0)
            entry = {"id": person, "bbox": np.round([*low, *(high - low)], 1).tolist(), "score": 0.9}
            if not observed:
                entry["observed"] = False
            entry["joints2d"] = [[round(x, 1), round(y, 1), float(observed)] for x, y in pixels]
            entry["joints3d"] = np.round(joints - hips, 4).tolist()
            entry["translation"] = np.round(hips, 4).tolist()
            people.append(entry)
            for name, value in (("frame", f), ("id", person), ("observed", observed), ("global_orient", turns[0]),
                                ("body_pose", turns[1:]), ("betas", np.zeros(10)), ("translation", translation)):
                arrays[name].append(value)
        frames.append({"index": f, "time": round(2 + f / FPS, 4), "people": people})
    write(folder, rest, present, arrays, frames)


def write(folder: Path, rest: dict, present: dict, arrays: dict, frames: list) -> None:
    seen = sum(any(p.get("observed", True) for p in f["people"]) for f in frames)
    document = {
        "apiVersion": "pose.dev/v1alpha1", "kind": "PoseResult",
        "video": {"width": WIDTH, "height": HEIGHT, "fps": FPS, "frames": FRAMES, "startFrame": 50,
                  "durationSeconds": FRAMES / FPS, "captureFPS": CAPTURE_FPS},
        "engine": {"name": "synthetic", "version": "1", "device": "CPU", "models": []},
        "skeleton": {"name": "smpl-24", "joints": NAMES, "edges": [[int(p), j] for j, p in enumerate(PARENTS) if p >= 0]},
        "units": {"bbox": "pixels", "joints2d": "pixels", "joints3d": "metres", "translation": "metres"},
        "coordinates": {"image": "x-right-y-down", "joints3d": "x-right-y-down-z-forward", "joints3dOrigin": "hip-centre"},
        "camera": {"model": "pinhole", "focalLengthPx": FOCAL, "focalLengthOrigin": "Given",
                   "principalPoint": [WIDTH / 2, HEIGHT / 2]},
        "quality": {"coverage": round(seen / FRAMES, 4), "gaps": 2},
        "parametric": {"model": "SMPL", "file": "smpl.npz"},
        "people": [{"id": p, "firstFrame": present[p][0], "lastFrame": present[p][-1],
                    "framesSeen": len(present[p]) - (p == 1)} for p in present],
        "frames": frames,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pose.json").write_text(json.dumps(document, separators=(",", ":")) + "\n")
    types = {"frame": np.int32, "id": np.int32, "observed": np.bool_}
    np.savez_compressed(
        folder / "smpl.npz", format=np.array("pose.dev/smpl/v1alpha1"), parents=PARENTS, joint_names=np.array(NAMES),
        person_id=np.array(list(rest), dtype=np.int32), rest_joints=np.array(list(rest.values()), dtype=np.float32),
        fps=np.float64(FPS), capture_fps=np.float64(CAPTURE_FPS),
        **{k: np.array(v, dtype=types.get(k, np.float32)) for k, v in arrays.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
