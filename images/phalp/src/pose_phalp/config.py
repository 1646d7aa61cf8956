"""From options to upstream's configuration: a plain dictionary of what differs from its defaults."""

from __future__ import annotations

from typing import Any, Dict

from pose_phalp.options import EngineOptions, RunOptions

N_INIT = 5  # upstream's: sightings in a row from which a track is reported


def torch_device(device: str) -> str:
    """torch's name of a device of ours."""
    return {"gpu": "cuda", "cpu": "cpu"}[device]


def engine_overrides(options: EngineOptions) -> Dict[str, Any]:
    """What to set while the models are loaded. A name of our own keeps the video's name out of upstream's paths."""
    return {
        "device": torch_device(options.device),
        "train": False,
        "detect_shots": False,
        "video_seq": "video",
        "video": {"source": "video", "start_frame": -1, "end_frame": -1},
        "render": {"enable": False, "blur_faces": False},
        "phalp": {"detector": "vitdet" if options.detector == "none" else options.detector, **options.settings},
    }


def overrides(options: RunOptions, given_ids: bool) -> Dict[str, Any]:
    """What to set for a clip.

    Given boxes count whatever their size, and given ids decide who is who (upstream's use_gt).
    """
    chosen = engine_overrides(options)
    chosen["use_gt"] = given_ids
    chosen["video"]["output_dir"] = str(options.output_dir)
    chosen["render"]["enable"] = options.overlay != "none"
    if options.boxes is not None:
        chosen["phalp"] = {"small_w": 0, "small_h": 0, **chosen["phalp"]}
    return chosen
