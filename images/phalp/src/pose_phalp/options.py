"""What the user asked for, from the command line. Nothing here touches a file."""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Union

from pose_phalp import __version__
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
class RunOptions:
    """One run.

    source_start: number, in the original video, of this file's first frame. capture_fps: frames a second at which the
    scene was filmed, 0 for the file's own rate. focal_length_px: of the camera, in pixels of this video, 0 if unknown.
    max_people: how many to keep, 0 for all. boxes: file of given boxes, None to detect. stride: every how many frames one
    is looked at. settings: of upstream's tracker, by their names below phalp.
    """

    video: Path
    output_dir: Path
    detector: str
    device: str
    overlay: str
    source_start: int
    capture_fps: float
    focal_length_px: float
    max_people: int
    boxes: Optional[Path]
    stride: int
    keep_pickle: bool
    settings: Dict[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True)
class PreflightOptions:
    """What to try before the work begins."""

    detector: str
    device: str


class Parser(argparse.ArgumentParser):
    """Reports wrong use like every other failure."""

    def error(self, message: str):
        raise EngineError(Failure.USAGE, message)


def parse_run(arguments: List[str]) -> RunOptions:
    parser = Parser(prog="pose-phalp run", description="Follows people in a video in 3D with PHALP and 4D-Humans.")
    parser.add_argument("--video", required=True, type=Path, help="video file")
    parser.add_argument("--output-dir", required=True, type=Path, help="existing folder for the results")
    _add_engine(parser)
    parser.add_argument("--overlay", choices=OVERLAYS, default="none", help="drawn video: none, heads hidden, as is")
    parser.add_argument("--source-start", type=_whole, default=0, metavar="N",
                        help="number of the file's first frame in the video that it was cut from")
    parser.add_argument("--capture-fps", type=_positive, default=0.0, metavar="X",
                        help="frames a second at which the scene was filmed; 0: as the file says")
    parser.add_argument("--focal-length-px", type=_positive, default=0.0, metavar="X", help="in pixels; 0: unknown")
    parser.add_argument("--max-people", type=_whole, default=0, metavar="N", help="keep the N largest and longest seen; 0: all")
    parser.add_argument("--boxes", default="", metavar="FILE", help="JSON or CSV of given boxes; no detector is loaded")
    parser.add_argument("--frame-stride", type=_whole, default=1, metavar="N", help="look at every Nth frame only")
    parser.add_argument("--set", action="append", default=[], metavar="phalp.NAME=VALUE", dest="settings",
                        help="a setting of upstream's tracker, as phalp.low_th_c=0.5; may be given often")
    parser.add_argument("--keep-pickle", action="store_true", help="also write the result in upstream's own form")
    given = parser.parse_args(arguments)
    return _checked(RunOptions(given.video, given.output_dir, given.detector, given.device, given.overlay,
                               given.source_start, given.capture_fps, given.focal_length_px, given.max_people,
                               Path(given.boxes) if given.boxes else None, given.frame_stride, given.keep_pickle,
                               dict(_setting(text) for text in given.settings)))


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
    if options.stride < 1:
        raise EngineError(Failure.USAGE, "--frame-stride takes a number from 1")
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
