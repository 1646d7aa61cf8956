"""What the user asked for, from the command line. Nothing here touches a file."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional

from pose_phalp import __version__
from pose_phalp.errors import EngineError, Failure

DETECTORS = ("vitdet", "maskrcnn", "none")
DEVICES = ("gpu", "cpu")
OVERLAYS = ("none", "blurred", "full")
MOST_PEOPLE = 1000
MOST_FRAMES = 10_000_000  # the contract's largest frame count


@dataclass(frozen=True)
class RunOptions:
    """One run.

    source_start: number, in the original video, of this file's first frame. capture_fps: frames a second at which the
    scene was filmed, 0 for the file's own rate. focal_length_px: of the camera, in pixels of this video, 0 if unknown.
    max_people: how many to keep, 0 for all. boxes: file of given boxes, None to detect. stride: every how many frames one
    is looked at.
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
    parser.add_argument("--keep-pickle", action="store_true", help="also write the result in upstream's own form")
    given = parser.parse_args(arguments)
    return _checked(RunOptions(given.video, given.output_dir, given.detector, given.device, given.overlay,
                               given.source_start, given.capture_fps, given.focal_length_px, given.max_people,
                               Path(given.boxes) if given.boxes else None, given.frame_stride, given.keep_pickle))


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
