"""pose.json (docs/pose-json.md): numbers to text."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterable, List

import numpy as np

from pose_phalp.results import skeleton
from pose_phalp.results.facts import Facts
from pose_phalp.results.geometry import Camera
from pose_phalp.results.quality import Person

POSE_FILE, SMPL_FILE = "pose.json", "smpl.npz"


def video(facts: Facts, frames: int) -> Dict[str, Any]:
    """The member video."""
    entry: Dict[str, Any] = {
        "width": facts.width, "height": facts.height, "fps": facts.fps, "frames": frames, "startFrame": facts.source_start,
        "durationSeconds": round(frames / facts.fps, 3)}
    if facts.world_fps != facts.fps:
        entry["captureFPS"] = facts.world_fps
    return entry


def camera(view: Camera, error: float, clipped: int) -> Dict[str, Any]:
    """The member camera. error: mean distance in pixels between joints2d and the projected joints3d."""
    if view.given:
        caveats = [f"translation is the place at which joints3d, seen through the given focal length, come nearest to joints2d; "
                   f"on average they are {error:.1f} px apart, because the engine itself assumes a far longer focal length"]
    else:
        caveats = [f"the focal length was not given, and the engine assumes one of {view.focal:.0f} px, far longer than most "
                   "cameras have: people stand too far away by the same factor, and look right in the picture"]
    caveats.append("one camera cannot tell size from distance: metres follow from the body model's idea of a person")
    if clipped:
        caveats.append(f"{clipped} person-frames had numbers beyond the format's limits and were moved to them")
    return {"model": "pinhole", "focalLengthPx": round(view.focal, 3),
            "focalLengthOrigin": "Given" if view.given else "EngineDefault",
            "principalPoint": [round(float(v), 3) for v in view.centre], "caveats": caveats}


def head(facts: Facts, frames: int, camera_entry: Dict[str, Any], quality: Dict[str, Any],
         people: Iterable[Person]) -> Dict[str, Any]:
    """Everything before frames."""
    return {
        "apiVersion": "pose.dev/v1alpha1",
        "kind": "PoseResult",
        "video": video(facts, frames),
        "engine": {"name": "phalp", "version": facts.engine_version, "device": facts.device, "models": facts.models},
        "skeleton": {"name": skeleton.NAME, "joints": list(skeleton.JOINTS), "edges": [list(e) for e in skeleton.EDGES]},
        "units": {"bbox": "pixels", "joints2d": "pixels", "joints3d": "metres", "translation": "metres"},
        "coordinates": {"image": "x-right-y-down", "joints3d": "x-right-y-down-z-forward", "joints3dOrigin": "hip-centre"},
        "camera": camera_entry,
        "quality": quality,
        "parametric": {"model": "SMPL", "file": SMPL_FILE},
        "people": [{"id": p.id, "firstFrame": p.first, "lastFrame": p.last, "framesSeen": p.seen} for p in people],
    }


def person(number: int, seen: bool, value: np.ndarray) -> Dict[str, Any]:
    """One element of frames[].people[], rounded as the format says. Upstream has no measure of visibility: 1 where seen."""
    entry: Dict[str, Any] = {"id": number, "bbox": _rounded(value["box"], 1), "score": round(float(value["score"]), 3)}
    if not seen:
        entry["observed"] = False
    visible = 1 if seen else 0
    entry["joints2d"] = [[x, y, visible] for x, y in _rounded(value["points"], 1)]
    entry["joints3d"] = _rounded(value["joints"], 3)
    entry["translation"] = _rounded(value["place"], 3)
    return entry


def frame(index: int, time: float, people: List[Dict[str, Any]]) -> str:
    return text({"index": index, "time": round(time, 9), "people": people})


def text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _rounded(array: np.ndarray, digits: int) -> List[Any]:
    return np.round(array.astype(np.float64), digits).tolist()
