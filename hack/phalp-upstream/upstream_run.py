"""Runs upstream's own 4D-Humans on a video: plain, or with what it lacks on a machine without a GPU.

    upstream_run.py TRACK_PY HOME VIDEO OUT plain|shimmed vitdet|maskrcnn

plain: track.py as a user would start it, asked for the CPU. shimmed: the same classes with .cuda() that stays, an inert
OpenGL, a z-buffer for neural_renderer, the video's frames without JPEG in between, and the part of the pose predictor that
upstream leaves random; so that the numbers can be compared with the adapter's.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import paths


def plain(script: Path, video: Path, out: Path, detector: str) -> None:
    sys.argv = [str(script), f"video.source={video}", f"video.output_dir={out}", "device=cpu", "render.enable=false",
                f"phalp.detector={detector}"]
    runpy.run_path(str(script), run_name="__main__")


def decoded(video: Path) -> dict[str, object]:
    import cv2
    frames, capture = {}, cv2.VideoCapture(str(video))
    while True:
        good, frame = capture.read()
        if not good:
            return frames
        frames[f"{len(frames) + 1:06d}.jpg"] = frame


def build(script: Path, out: Path, detector: str):
    """Upstream's tracker, loaded in upstream's order."""
    import shims
    shims.no_gpu()
    shims.depth_renderer()
    from omegaconf import OmegaConf
    from phalp.models.predictor.pose_transformer_v2 import Pose_transformer_v2
    original = Pose_transformer_v2.load_weights

    def load_all(self, path):
        import torch
        original(self, path)
        state = torch.load(path)["state_dict"]
        self.encoder.load_state_dict({k[len("encoder."):]: v for k, v in state.items()}, strict=False)

    Pose_transformer_v2.load_weights = load_all
    track = runpy.run_path(str(script), run_name="track")
    config = OmegaConf.merge(OmegaConf.structured(track["Human4DConfig"]), OmegaConf.create(
        {"device": "cpu", "render": {"enable": False}, "phalp": {"detector": detector},
         "video": {"source": "video", "output_dir": str(out), "end_frame": -1}}))
    return track["HMR2_4dhuman"](config)


def shimmed(script: Path, video: Path, out: Path, detector: str) -> None:
    tracker = build(script, out, detector)
    frames = decoded(video)
    tracker.io_manager.get_frames_from_source = lambda: {
        "list_of_frames": list(frames), "additional_data": {}, "video_name": "video"}
    tracker.io_manager.read_frame = frames.__getitem__
    found = tracker.track()
    if found and len(frames) < tracker.cfg.phalp.n_init:
        believe_all(tracker, list(frames), *found)


def believe_all(tracker, names: list[str], result: dict, path: str) -> None:
    """Upstream reports nobody in a video of fewer frames than it needs; the adapter reports who was seen in all of them."""
    import joblib
    for track in tracker.tracker.tracks:
        if track.hits == len(names):
            for back, name in enumerate(reversed(names), start=1):
                data, entry = track.track_data["history"][-back], result[name]
                entry["tid"].append(track.track_id)
                for key, values in entry.items():
                    if key in data and isinstance(values, list):
                        values.append(data[key])
    joblib.dump(result, path, compress=3)


def main() -> None:
    script, home, video, out = (Path(a).resolve() for a in sys.argv[1:5])
    paths.use(home)
    (plain if sys.argv[5] == "plain" else shimmed)(script, video, out, sys.argv[6])


if __name__ == "__main__":
    main()
