"""The command: reads options, loads the models, turns failures into exit codes."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from pathlib import Path

from pose_onnx import __version__, clips, cpus, log
from pose_onnx.errors import EngineError, Failure, classify
from pose_onnx.run import EngineOptions, Models, Options, Run

FAMILIES = ("yolo-pose", "rtmpose")
DETECTORS = ("rtmdet", "yolox")
OVERLAYS = ("none", "blurred", "full")
MOST_CAPTURE_FPS = 100_000.0


class _Parser(argparse.ArgumentParser):
    """Reports wrong use like every other failure."""

    def error(self, message: str):
        raise EngineError(Failure.USAGE, message)


def _engine_parser() -> _Parser:
    """With the options that concern the process, not a clip."""
    parser = _Parser(prog="pose-onnx", description="Follows people in a video by ONNX models and writes their poses.")
    add = parser.add_argument
    add("--family", required=True, choices=FAMILIES, help="what --model is")
    add("--model", required=True, type=Path, help="ONNX file of the pose model")
    add("--detector", default="", help="rtmpose: ONNX file of the person detector")
    add("--detector-family", default="", choices=("", *DETECTORS), help="rtmpose: what --detector is")
    add("--clips", choices=("-",), help="read clips from stdin, one after another, instead of --video and its options (README.md "
                                        "says how)")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="where the models run")
    add("--threads", type=int, default=0, help="worker threads; 0: as many as the container may use")
    add("--version", action="version", version=__version__)
    return parser


def _parser() -> _Parser:
    parser = _engine_parser()
    add = parser.add_argument
    add("--boxes", default="", help="rtmpose: file with people's boxes, instead of a detector; empty: none")
    add("--video", required=True, type=Path, help="video file")
    add("--output-dir", required=True, type=Path, help="existing folder for the results")
    add("--overlay", choices=OVERLAYS, default="blurred", help="drawn video: none, heads hidden, as is")
    add("--source-start", type=int, default=0, metavar="N", help="number of the first frame in the video it was cut from")
    add("--capture-fps", type=float, default=0, help="frames a second that the camera took; 0: as the video")
    add("--focal-length-px", type=float, default=0, help="taken for the sake of other engines; nothing here depends on it")
    add("--max-people", type=int, default=0, metavar="N", help="keep the N people nearest and longest in sight; 0: all")
    return parser


def parse_options(arguments: list[str]) -> Options | EngineOptions:
    """EngineOptions alone where clips come from a queue."""
    if any(a.split("=")[0] == "--clips" for a in arguments):
        return _parse_queue(arguments)
    given = _parser().parse_args(arguments)
    if min(given.source_start, given.threads, given.max_people) < 0:
        raise EngineError(Failure.USAGE, "--source-start, --max-people and --threads take no negative number")
    if not 0 <= given.capture_fps <= MOST_CAPTURE_FPS or not 0 <= given.focal_length_px < float("inf"):
        raise EngineError(Failure.USAGE, f"--capture-fps takes 0 to {MOST_CAPTURE_FPS:g}, --focal-length-px 0 or more")
    if given.family == "yolo-pose" and (given.detector or given.boxes):
        raise EngineError(Failure.USAGE, "--family yolo-pose finds people by itself: leave --detector and --boxes out")
    if given.family == "rtmpose" and not given.boxes and not (given.detector and given.detector_family):
        raise EngineError(Failure.USAGE, "--family rtmpose needs --detector and --detector-family (rtmdet or yolox), or --boxes")
    return Options(_engine_options(given), Path(given.boxes) if given.boxes else None, given.video, given.output_dir,
                   given.overlay, given.source_start, given.capture_fps, given.max_people)


def _parse_queue(arguments: list[str]) -> EngineOptions:
    given, others = _engine_parser().parse_known_args(arguments)
    if others:
        raise EngineError(Failure.USAGE, f"{others[0]} does not go with --clips: what concerns one clip stands in its line")
    if given.threads < 0:
        raise EngineError(Failure.USAGE, "--threads takes no negative number")
    if given.family == "yolo-pose" and given.detector:
        raise EngineError(Failure.USAGE, "--family yolo-pose finds people by itself: leave --detector out")
    if bool(given.detector) != bool(given.detector_family):
        raise EngineError(Failure.USAGE, "--detector and --detector-family (rtmdet or yolox) go together; without them every clip "
                                         "needs boxes")
    return _engine_options(given)


def _engine_options(given: argparse.Namespace) -> EngineOptions:
    return EngineOptions(given.family, given.model, Path(given.detector) if given.detector else None,
                         given.detector_family or None, given.device, given.threads or cpus.available())


def run_one(options: Options) -> None:
    log.stage("start")
    run = Run(options)
    frames, people = run.execute(Models.load(options.engine, detect=options.boxes is None))
    log.say(f"result frames={frames} people={people}")
    log.stage("done")


def run_queue(options: EngineOptions) -> None:
    queue = clips.take()
    log.stage("start")
    models = Models.load(options, detect=True)
    clips.serve(queue, lambda clip: Run(Options.of_clip(clip, options)).execute(models))
    log.stage("done")


def _stop(signum, _frame) -> None:
    raise SystemExit(128 + signum)


def main(arguments: list[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, _stop)  # as process 1 of a container it would otherwise be ignored
    try:
        options = parse_options(sys.argv[1:] if arguments is None else arguments)
        run_queue(options) if isinstance(options, EngineOptions) else run_one(options)
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
