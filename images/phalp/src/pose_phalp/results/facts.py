"""What write is told of the video and the run, checked."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional

import numpy as np

from pose_phalp.errors import EngineError, Failure
from pose_phalp.results.geometry import Camera, Square
from pose_phalp.results.sighting import View

MOST_FRAMES = 10_000_000
FOCAL, RESOLUTION = 5000.0, 256.0  # upstream's EXTRA.FOCAL_LENGTH and render.res


@dataclass(frozen=True)
class Facts:
    """See results/__init__.py. world_fps: frames that the camera took in a second. frames and filtered are asked at the end."""

    width: int
    height: int
    fps: float
    world_fps: float
    source_start: int
    stride: int
    max_people: int
    engine_version: str
    device: str
    models: List[Dict[str, str]]
    rest_joints: Callable[[np.ndarray], np.ndarray]
    frames: Callable[[], int]
    filtered: Callable[[], Optional[int]]
    view: View


def read(meta: Mapping[str, Any]) -> Facts:
    """The facts of meta; a fault in them is the caller's, and INTERNAL."""
    width, height = _number(meta, "width", 1, 16384), _number(meta, "height", 1, 16384)
    fps = round(_number(meta, "fps", 1e-6, 1000), 6)
    capture = _number(meta, "capture_fps", 0, 1_000_000, 0)
    square = Square.around(int(width), int(height))
    upstream = square.camera(_number(meta, "upstream_focal_length", 1e-3, 1e7, FOCAL),
                             _number(meta, "upstream_resolution", 1, 1e5, RESOLUTION))
    given = _number(meta, "focal_length_px", 0, 1e7, 0)
    camera = Camera(given, upstream.centre, True) if given else upstream
    return Facts(
        width=int(width), height=int(height), fps=fps, world_fps=round(capture, 6) or fps,
        source_start=int(_number(meta, "source_start", 0, 2**31 - 1, 0)), stride=int(_number(meta, "stride", 1, MOST_FRAMES, 1)),
        max_people=int(_number(meta, "max_people", 0, 2**31 - 1, 0)), engine_version=str(meta["engine_version"])[:128],
        device=_device(meta), models=[_model(m) for m in meta["models"]][:32],
        rest_joints=meta["rest_joints"], frames=_late(meta, "frames"), filtered=_late(meta, "people_filtered"),
        view=View(int(width), int(height), square, upstream, camera))


def _number(meta: Mapping[str, Any], name: str, low: float, high: float, default: Optional[float] = None) -> float:
    value = meta.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value) \
            or not low <= value <= high:
        raise EngineError(Failure.INTERNAL, f"{name} of the result is {value!r}, a number from {low:g} to {high:g} was expected")
    return float(value)


def _model(model: Mapping[str, Any]) -> Dict[str, str]:
    digest = str(model["sha256"])
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise EngineError(Failure.INTERNAL, f"sha256 of model {model['name']} is {digest[:80]!r}, 64 hex digits were expected")
    return {"name": str(model["name"])[:256], "sha256": digest}


def _device(meta: Mapping[str, Any]) -> str:
    if meta.get("device") not in ("CPU", "GPU"):
        raise EngineError(Failure.INTERNAL, f"device of the result is {meta.get('device')!r}, CPU or GPU was expected")
    return meta["device"]


def _late(meta: Mapping[str, Any], name: str) -> Callable[[], Any]:
    """A value that may be known only when the last frame is through."""
    value = meta.get(name)
    return value if callable(value) else lambda: value
