"""Stand-ins for what PHALP gives: a body of 24 joints of our own making, posed by forward kinematics and seen through
upstream's camera. Nothing of the SMPL model is in here; only its kinematic tree and the shapes of its numbers."""

from __future__ import annotations

import numpy as np

from pose_phalp.results import skeleton

WIDTH, HEIGHT = 768, 576
FOCAL, RESOLUTION = 5000.0, 256.0
SHA = "0123456789abcdef" * 4

# Metres, y up, in T-pose; the pelvis lies a little off the origin, as in the real model.
REST = np.array([
    (0, -0.2, 0.03), (0.09, -0.29, 0.03), (-0.09, -0.29, 0.03), (0, -0.08, 0.01), (0.1, -0.68, 0.03), (-0.1, -0.68, 0.03),
    (0, 0.06, 0.03), (0.09, -1.08, -0.01), (-0.09, -1.08, -0.01), (0, 0.11, 0.03), (0.12, -1.14, 0.11), (-0.12, -1.14, 0.11),
    (0, 0.32, 0), (0.08, 0.23, 0), (-0.08, 0.23, 0), (0, 0.41, 0.05), (0.19, 0.24, 0), (-0.19, 0.24, 0), (0.45, 0.23, 0),
    (-0.45, 0.23, 0), (0.7, 0.23, 0), (-0.7, 0.23, 0), (0.79, 0.22, 0), (-0.79, 0.22, 0)], float)
# The 44 joints beside the origin: joint of the body that they move with, and where from it, in metres.
_OPENPOSE = [15, 12, 17, 19, 21, 16, 18, 20, 0, 2, 5, 8, 1, 4, 7, 15, 15, 15, 15, 10, 10, 7, 11, 11, 8]
_REGRESSED = [8, 5, 2, 1, 4, 7, 21, 19, 17, 16, 18, 20, 12, 15, 0, 9, 6, 15, 15]
CARRIERS = np.array(_OPENPOSE + _REGRESSED)
OFFSETS = np.random.default_rng(5).uniform(-0.05, 0.05, (44, 3))
OFFSETS[[i for i in range(15) if i not in (0,)]] = 0  # those of BODY_25 that are joints of the model


def rest_joints(betas):
    """A body that grows with its first shape coefficient."""
    return REST * (1 + 0.05 * float(betas[0]))


def about(axis, angle):
    """Rotation matrix about a unit axis by angle in radians (Rodrigues)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def pose(rng, bend=0.4):
    """24 rotations: an upright body in the camera's frame, every joint bent at random."""
    turns = [about(rng.normal(size=3), rng.uniform(-bend, bend)) for _ in range(24)]
    turns[0] = about((0, 1, 0), rng.uniform(-3, 3)) @ about((1, 0, 0), np.pi) @ turns[0]
    return np.array(turns)


def kinematics(rotations, rest):
    """Joints (24, 3) and their frames (24, 3, 3), the pelvis staying where it rests."""
    frames, places = [rotations[0]], [rest[0]]
    for j in range(1, 24):
        parent = skeleton.SMPL_PARENTS[j]
        frames.append(frames[parent] @ rotations[j])
        places.append(places[parent] + frames[parent] @ (rest[j] - rest[parent]))
    return np.array(places), np.array(frames)


def joints45(rotations, betas):
    """(45, 3) metres in the model's frame."""
    places, frames = kinematics(rotations, rest_joints(betas))
    points = places[CARRIERS] + np.einsum("nij,nj->ni", frames[CARRIERS], OFFSETS)
    return np.concatenate([points, np.zeros((1, 3))])


def seen(tid, center, height, rng, rotations=None, betas=None, weak=0.9, conf=0.95, width=WIDTH, tall=HEIGHT):
    """One person as the tracker records it, seen now around center (pixels), height pixels tall."""
    rotations = pose(rng) if rotations is None else rotations
    betas = rng.uniform(-1, 1, 10) if betas is None else betas
    joints = joints45(rotations, betas)
    side = max(width, tall)
    ratio = RESOLUTION / side
    left, top = (side - width) // 2, (side - tall) // 2
    middle = (np.array(center, float) + (left, top)) * ratio  # in upstream's square of 256
    depth = 2 * FOCAL / (weak * height * ratio)
    camera = np.array([0.01, 0.02, depth])
    camera[:2] += (middle - RESOLUTION / 2) * depth / FOCAL
    placed = joints + camera
    shares = FOCAL / RESOLUTION * placed[:, :2] / placed[:, 2:] + 0.5
    return {
        "tid": tid, "tracked_time": 0, "conf": np.float32(conf), "size": [tall, width],
        "bbox": np.array([center[0] - height / 5, center[1] - height / 2, height / 2.5, height], np.float32),
        "smpl": {"global_orient": rotations[:1].astype(np.float32), "body_pose": rotations[1:].astype(np.float32),
                 "betas": betas.astype(np.float32)},
        "camera": camera.astype(np.float32), "camera_bbox": np.array([weak, 0.01, 0.02], np.float32),
        "center": np.array(center), "scale": np.array([height, height]),
        "joints3d": joints.astype(np.float32), "joints2d": shares.astype(np.float32).reshape(-1)}


def lost(person, age):
    """The tracker's record of a person it follows and does not see: the last sighting again."""
    return {**person, "tracked_time": age}


def meta(frames=1, **other):
    """What the engine knows of the run."""
    return {"width": WIDTH, "height": HEIGHT, "fps": 10.0, "frames": frames, "source_start": 7, "capture_fps": 0,
            "focal_length_px": 0, "max_people": 0, "stride": 1, "people_filtered": 0, "engine_version": "0.1.0", "device": "CPU",
            "models": [{"name": "stand-in", "sha256": SHA}], "rest_joints": rest_joints, **other}


def frame(index, *people, time=None):
    return {"index": index, "time": index / 10 if time is None else time, "people": list(people)}


def walk(count, lose=(), tid=1, start=(200.0, 300.0), speed=6.0, seed=1):
    """A person who walks to the right and is not seen in the frames of lose."""
    rng = np.random.default_rng(seed)
    betas = rng.uniform(-1, 1, 10)
    last, age = None, 0
    for index in range(count):
        if index in lose:
            age += 1
            yield index, lost(last, age)
            continue
        age = 0
        last = seen(tid, (start[0] + speed * index, start[1]), 220 + index, rng, betas=betas)
        yield index, last
