"""The command: reads options, loads the models, turns failures into exit codes."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pose_mediapipe import __version__, clips, cpus, log, overlay
from pose_mediapipe.decode import parse_range
from pose_mediapipe.errors import EngineError, Failure, classify
from pose_mediapipe.run import Models, Options, Run

MAX_CAPTURE_FPS = 1e6
MAX_FOCAL_LENGTH = 1e7  # pixels


@dataclass(frozen=True)
class QueueOptions:
    """What holds for all clips of a queue."""

    threads: int


class _Parser(argparse.ArgumentParser):
    """Reports wrong use like every other failure."""

    def error(self, message: str):
        raise EngineError(Failure.USAGE, message)


def parse_options(arguments: list[str]) -> Options | QueueOptions:
    if any(a.split("=")[0] == "--clips" for a in arguments):
        return _parse_queue(arguments)
    parser = _parser()
    parser.add_argument("--video", required=True, type=Path, help="video file")
    parser.add_argument("--output-dir", required=True, type=Path, help="existing folder for the results")
    parser.add_argument("--frames", default="", metavar="START:END", help="frames from 0, END exclusive; empty: all")
    parser.add_argument("--overlay", choices=overlay.MODES, default="blurred", help="drawn video: none, heads hidden, as is")
    parser.add_argument("--source-start", type=int, default=0, metavar="N",
                        help="number of the file's first frame in the video that it was cut from")
    parser.add_argument("--capture-fps", type=float, default=0, metavar="X",
                        help="frames the camera took in a second; 0: the same as the file plays")
    parser.add_argument("--focal-length-px", type=float, default=0, metavar="X",
                        help="the camera's focal length in pixels, recorded in the result; 0: unknown")
    parser.add_argument("--max-people", type=int, default=0, metavar="N", help="keep those seen largest and longest; 0: all")
    parser.add_argument("--boxes", default="", metavar="FILE", help="the people's boxes (JSON or CSV); empty: find people")
    given = parser.parse_args(arguments)
    if given.source_start < 0 or given.threads < 0 or given.max_people < 0:
        raise EngineError(Failure.USAGE, "--source-start, --threads and --max-people take no negative number")
    if not (0 <= given.capture_fps <= MAX_CAPTURE_FPS and 0 <= given.focal_length_px <= MAX_FOCAL_LENGTH):
        raise EngineError(Failure.USAGE, f"--capture-fps lies between 0 and {MAX_CAPTURE_FPS:g}, "
                                         f"--focal-length-px between 0 and {MAX_FOCAL_LENGTH:g}")
    return Options(given.video, given.output_dir, parse_range(given.frames), given.overlay, given.source_start,
                   given.threads or cpus.available(), given.capture_fps, given.focal_length_px, given.max_people,
                   Path(given.boxes) if given.boxes else None)


def _parser() -> _Parser:
    """With the options that concern the process, not a clip."""
    parser = _Parser(prog="pose-mediapipe", description="Finds and follows people in a video and writes their poses.")
    parser.add_argument("--clips", choices=("-",), help="read clips from stdin, one after another, instead of --video and its "
                                                        "options (README.md says how)")
    parser.add_argument("--threads", type=int, default=0, help="worker threads; 0: as many as the container may use")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _parse_queue(arguments: list[str]) -> QueueOptions:
    given, others = _parser().parse_known_args(arguments)
    if others:
        raise EngineError(Failure.USAGE, f"{others[0]} does not go with --clips: what concerns one clip stands in its line")
    if given.threads < 0:
        raise EngineError(Failure.USAGE, "--threads takes no negative number")
    return QueueOptions(given.threads or cpus.available())


def run_one(options: Options) -> None:
    log.stage("start")
    run = Run(options)
    with ThreadPoolExecutor(options.threads) as executor:
        frames, people = run.execute(Models.load(executor, options.threads, with_detector=run.boxes is None))
    log.say(f"result frames={frames} people={people}")
    log.stage("done")


def run_queue(options: QueueOptions) -> None:
    queue = clips.take()
    log.stage("start")
    with ThreadPoolExecutor(options.threads) as executor:
        models = Models.load(executor, options.threads, with_detector=True)
        clips.serve(queue, lambda clip: Run(Options.of_clip(clip, options.threads)).execute(models))
    log.stage("done")


def _stop(signum, _frame) -> None:
    raise SystemExit(128 + signum)


def main(arguments: list[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, _stop)  # as process 1 of a container it would otherwise be ignored
    try:
        options = parse_options(sys.argv[1:] if arguments is None else arguments)
        run_queue(options) if isinstance(options, QueueOptions) else run_one(options)
        return 0
    except EngineError as error:
        log.error(error)
        return error.failure.value
    except (KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:  # the last line of defence: never a bare traceback without a code
        if not isinstance(error, MemoryError):
            traceback.print_exc()
        log.error(classify(error))
        return Failure.INTERNAL.value


if __name__ == "__main__":
    sys.exit(main())
