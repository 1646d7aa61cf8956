"""Checks what the engine says of one person in one frame, and turns it into the numbers that are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Tuple

import numpy as np

from pose_phalp.errors import EngineError, Failure
from pose_phalp.results import geometry, skeleton
from pose_phalp.results.geometry import Camera, Square

MOST_ID = 2**31 - 1
WILDEST = 1e6  # no pixel, metre or share is larger: a number beyond is a broken model, not a far person
WILDEST_BETA = 100.0
WILDEST_CAMERA = 1e12  # metres; upstream divides by a predicted scale, which may come near 0
ORTHONORMAL = 0.01  # how far R times its transpose may be from the identity

# One sighting: pixels of the frame, metres, rotation matrices. Joints are relative to the middle of the hips, place is that
# middle in the camera's frame, and origin the model's translation.
VALUE = np.dtype([
    ("frame", "<i8"), ("score", "<f8"), ("box", "<f8", 4), ("points", "<f4", (45, 2)), ("joints", "<f4", (45, 3)),
    ("place", "<f8", 3), ("origin", "<f8", 3), ("rotations", "<f4", (24, 3, 3)), ("betas", "<f4", 10),
])


@dataclass(frozen=True)
class View:
    """How the video was looked at: size of its frames, upstream's camera, and the one that results are for."""

    width: int
    height: int
    square: Square
    upstream: Camera
    camera: Camera


@dataclass(frozen=True)
class Sighting:
    """One VALUE; clipped: whether a number had to be moved into the format's limits; error: mean distance in pixels between
    the joints as upstream saw them and as the camera sees them."""

    value: np.ndarray
    clipped: bool
    error: float


def invalid(frame: int, person: object, what: str) -> EngineError:
    whom = "" if person is None else f", person {person}"
    return EngineError(Failure.RESULT_INVALID, f"PHALP's result is broken in frame {frame}{whom}: {what}; the weights may be "
                                               "damaged or belong to another version")


def identity(frame: int, entry: Any) -> Tuple[int, bool]:
    """The person's id, and whether it is seen in this frame."""
    if not isinstance(entry, Mapping):
        raise invalid(frame, None, f"a person is a {type(entry).__name__}, a dictionary was expected")
    tid = _whole(frame, None, entry, "tid")
    if not 1 <= tid <= MOST_ID:
        raise invalid(frame, None, f"tid {tid} is not between 1 and {MOST_ID}")
    age = _whole(frame, tid, entry, "tracked_time")
    if age < 0:
        raise invalid(frame, tid, f"tracked_time is {age}, 0 or more was expected")
    return tid, age == 0


def read(frame: int, tid: int, entry: Mapping[str, Any], view: View) -> Sighting:
    """The checked sighting of person tid."""
    def numbers(name: str, *shape: int, source: Any = entry, limit: float = WILDEST) -> np.ndarray:
        return _numbers(frame, tid, source, name, shape, limit)

    size = numbers("size", 2)
    if tuple(size) != (view.height, view.width):
        raise invalid(frame, tid, f"its frame has {size[1]:g}x{size[0]:g} pixels, the video {view.width}x{view.height}")
    box = numbers("bbox", 4)
    if box[2] <= 0 or box[3] <= 0:
        raise invalid(frame, tid, f"bbox is {box[2]:g}x{box[3]:g} pixels large")
    smpl = entry.get("smpl")
    if not isinstance(smpl, Mapping):
        raise invalid(frame, tid, "smpl is missing or no dictionary")
    rotations = np.concatenate([numbers("global_orient", 1, 3, 3, source=smpl), numbers("body_pose", 23, 3, 3, source=smpl)])
    _check_rotations(frame, tid, rotations)
    betas = numbers("betas", 10, source=smpl, limit=WILDEST_BETA)
    joints = numbers("joints3d", 45, 3)
    points = view.square.pixels(numbers("joints2d", 45, 2))
    origin = _translation(view, joints, points, numbers("camera", 3, limit=WILDEST_CAMERA))
    return _fitted(frame, float(numbers("conf")), box, points, joints, origin, rotations, betas, view)


def _translation(view: View, joints: np.ndarray, points: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    if not view.camera.given:
        return upstream
    start = geometry.rescale_depth(upstream, view.upstream.focal, view.camera.focal)
    return geometry.fit_translation(view.camera, joints, points, start)


def _fitted(frame: int, score: float, box: np.ndarray, points: np.ndarray, joints: np.ndarray, origin: np.ndarray,
            rotations: np.ndarray, betas: np.ndarray, view: View) -> Sighting:
    """Brings numbers into the format's limits: a wild guess about one joint must not spoil a whole result."""
    middle = geometry.hips(joints, skeleton.RIGHT_HIP, skeleton.LEFT_HIP)
    value = np.zeros((), VALUE)
    value["frame"], value["score"] = frame, min(max(score, 0.0), 1.0)
    value["box"] = geometry.fit_box(box, view.width, view.height)
    value["points"] = geometry.fit_points(points, view.width, view.height)
    value["joints"] = np.clip(joints - middle, -geometry.JOINT_LIMIT, geometry.JOINT_LIMIT)
    value["place"], value["origin"] = geometry.fit_place(middle + origin), geometry.fit_place(origin)
    value["rotations"], value["betas"] = rotations, betas
    moved = (np.abs(value["points"] - points).max() > 0.1 or np.abs(value["joints"] + middle - joints).max() > 1e-3
             or np.abs(value["place"] - middle - origin).max() > 1e-3)
    seen = geometry.project(view.camera, np.maximum(joints + value["origin"], [-np.inf, -np.inf, geometry.NEAREST]))
    return Sighting(value, bool(moved), float(np.linalg.norm(seen - points, axis=1).mean()))


def _whole(frame: int, tid: object, entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise invalid(frame, tid, f"{name} is {_short(value)}, a whole number was expected")
    return int(value)


def _numbers(frame: int, tid: int, source: Mapping[str, Any], name: str, shape: Tuple[int, ...], limit: float) -> np.ndarray:
    """An array of exactly this shape, flattened or not, of finite numbers up to limit."""
    if name not in source:
        raise invalid(frame, tid, f"{name} is missing")
    try:
        array = np.asarray(source[name], np.float64)
    except (TypeError, ValueError):
        raise invalid(frame, tid, f"{name} is {_short(source[name])}, numbers were expected") from None
    if array.shape != shape and array.shape != (int(np.prod(shape)),):
        raise invalid(frame, tid, f"{name} has the shape {array.shape}, {shape} was expected")
    if not np.isfinite(array).all():
        raise invalid(frame, tid, f"{name} has a number that is not finite")
    largest = float(np.abs(array).max())
    if largest > limit:
        raise invalid(frame, tid, f"{name} has the number {largest:.3g}, at most {limit:g} was expected")
    return array.reshape(shape)


def _check_rotations(frame: int, tid: int, rotations: np.ndarray) -> None:
    products = rotations @ rotations.transpose(0, 2, 1)
    wrong = np.abs(products - np.eye(3)).max((1, 2)) > ORTHONORMAL
    wrong |= np.linalg.det(rotations) < 0
    if wrong.any():
        joint = skeleton.SMPL_JOINTS[int(np.argmax(wrong))]
        raise invalid(frame, tid, f"the matrix of joint {joint} in smpl is no rotation")


def _short(value: object) -> str:
    text = f"{type(value).__name__} {value!r}" if isinstance(value, (int, float, str, type(None))) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
