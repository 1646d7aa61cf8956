"""What the user asked for, from the command line. Nothing here touches a file."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Union

from pose_phalp import __version__
from pose_phalp.clips import Clip
from pose_phalp.errors import EngineError, Failure

DETECTORS = ("vitdet", "maskrcnn", "none")
DEVICES = ("gpu", "cpu")
OVERLAYS = ("none", "blurred", "full")
MOST_PEOPLE = 1000
# Upstream's settings that are the adapter's own to choose.
CHOSEN_ELSEWHERE = {"detector": "--detector", "shot": "nothing: shots are not detected"}
Setting = Union[bool, int, float, str]
MOST_FRAMES = 10_000_000  # the contract's largest frame count


@dataclass(frozen=True)
class EngineOptions:
    """What holds for every clip of a process. stride: every how many frames one is looked at. settings: of upstream's tracker,
    by their names below phalp."""

    detector: str
    device: str
    stride: int
    keep_pickle: bool
    settings: Dict[str, Setting]


@dataclass(frozen=True)
class RunOptions(EngineOptions):
    """One clip.

    source_start: number, in the original video, of this file's first frame. capture_fps: frames a second at which the
    scene was filmed, 0 for the file's own rate. focal_length_px: of the camera, in pixels of this video, 0 if unknown.
    max_people: how many to keep, 0 for all. boxes: file of given boxes, None to detect.
    """

    video: Path
    output_dir: Path
    overlay: str
    source_start: int
    capture_fps: float
    focal_length_px: float
    max_people: int
    boxes: Optional[Path]

    @classmethod
    def of_clip(cls, clip: Clip, engine: EngineOptions) -> RunOptions:
        """The options of a clip from the queue. Refuses one for which nothing was loaded."""
        if engine.detector == "none" and clip.boxes is None:
            raise EngineError(Failure.USAGE, "the clip has no boxes, and no detector was loaded: give boxes, or start the engine "
                                             "with --detector vitdet or maskrcnn")
        return cls(**vars(engine), video=clip.video, output_dir=clip.output_dir, overlay=clip.overlay,
                   source_start=clip.start_frame, capture_fps=clip.capture_fps, focal_length_px=clip.focal_length_px,
                   max_people=clip.max_people, boxes=clip.boxes)


@dataclass(frozen=True)
class PreflightOptions:
    """What to try before the work begins."""

    detector: str
    device: str


class Parser(argparse.ArgumentParser):
    """Reports wrong use like every other failure."""

    def error(self, message: str):
        raise EngineError(Failure.USAGE, message)


def parse_run(arguments: List[str]) -> Union[RunOptions, EngineOptions]:
    """EngineOptions alone where clips come from a queue."""
    if any(a.split("=")[0] == "--clips" for a in arguments):
        return _parse_queue(arguments)
    parser = _run_parser()
    parser.add_argument("--video", required=True, type=Path, help="video file")
    parser.add_argument("--output-dir", required=True, type=Path, help="existing folder for the results")
    parser.add_argument("--overlay", choices=OVERLAYS, default="none", help="drawn video: none, heads hidden, as is")
    parser.add_argument("--source-start", type=_whole, default=0, metavar="N",
                        help="number of the file's first frame in the video that it was cut from")
    parser.add_argument("--capture-fps", type=_positive, default=0.0, metavar="X",
                        help="frames a second at which the scene was filmed; 0: as the file says")
    parser.add_argument("--focal-length-px", type=_positive, default=0.0, metavar="X", help="in pixels; 0: unknown")
    parser.add_argument("--max-people", type=_whole, default=0, metavar="N", help="keep the N largest and longest seen; 0: all")
    parser.add_argument("--boxes", default="", metavar="FILE", help="JSON or CSV of given boxes; no detector is loaded")
    given = parser.parse_args(arguments)
    return _checked(RunOptions(**vars(_engine_options(given)), video=given.video, output_dir=given.output_dir,
                               overlay=given.overlay, source_start=given.source_start, capture_fps=given.capture_fps,
                               focal_length_px=given.focal_length_px, max_people=given.max_people,
                               boxes=Path(given.boxes) if given.boxes else None))


def _parse_queue(arguments: List[str]) -> EngineOptions:
    given, others = _run_parser().parse_known_args(arguments)
    if others:
        raise EngineError(Failure.USAGE, f"{others[0]} does not go with --clips: what concerns one clip stands in its line")
    return _engine_options(given)


def _run_parser() -> Parser:
    """With the options that concern the process, not a clip."""
    parser = Parser(prog="pose-phalp run", description="Follows people in a video in 3D with PHALP and 4D-Humans.")
    _add_engine(parser)
    parser.add_argument("--clips", choices=("-",), help="read clips from stdin, one after another, instead of --video and its "
                                                        "options (README.md says how)")
    parser.add_argument("--frame-stride", type=_whole, default=1, metavar="N", help="look at every Nth frame only")
    parser.add_argument("--set", action="append", default=[], metavar="phalp.NAME=VALUE", dest="settings",
                        help="a setting of upstream's tracker, as phalp.low_th_c=0.5; may be given often")
    parser.add_argument("--keep-pickle", action="store_true", help="also write the result in upstream's own form")
    return parser


def _engine_options(given: argparse.Namespace) -> EngineOptions:
    if given.frame_stride < 1:
        raise EngineError(Failure.USAGE, "--frame-stride takes a number from 1")
    return EngineOptions(given.detector, given.device, given.frame_stride, given.keep_pickle,
                         dict(_setting(text) for text in given.settings))


def parse_preflight(arguments: List[str]) -> PreflightOptions:
    parser = Parser(prog="pose-phalp preflight", description="Loads the detector alone and runs it once on a GPU.")
    _add_engine(parser)
    given = parser.parse_args(arguments)
    return PreflightOptions(given.detector, given.device)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--detector", choices=DETECTORS, default="vitdet", help="what finds people; none with --boxes")
    parser.add_argument("--device", choices=DEVICES, default="gpu", help="where the models run")
    parser.add_argument("--version", action="version", version=__version__)


def _checked(options: RunOptions) -> RunOptions:
    """Refuses what each option allows but all together do not."""
    if options.max_people > MOST_PEOPLE:
        raise EngineError(Failure.USAGE, f"--max-people takes at most {MOST_PEOPLE}")
    if options.detector == "none" and options.boxes is None:
        raise EngineError(Failure.USAGE, "--detector none finds nobody: give boxes with --boxes, or choose vitdet or maskrcnn")
    return options


def _setting(text: str) -> "tuple[str, Setting]":
    """phalp.NAME=VALUE as name and value: true or false, a number, or text."""
    found = re.fullmatch(r"phalp\.([a-z][a-z0-9_]*)=(.+)", text, re.IGNORECASE)
    if found is None:
        raise EngineError(Failure.USAGE, f"--set {text}: write phalp.NAME=VALUE, as phalp.low_th_c=0.5. What is not of upstream's "
                                         "tracker (video, device, rendering) has options of its own")
    name, value = found.groups()
    if name in CHOSEN_ELSEWHERE:
        raise EngineError(Failure.USAGE, f"--set {text}: use {CHOSEN_ELSEWHERE[name]}")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            pass
    return name, value


def _whole(text: str) -> int:
    value = int(text)
    if not 0 <= value <= MOST_FRAMES:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {MOST_FRAMES}")
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0 <= value <= 1e6):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1000000")
    return value
