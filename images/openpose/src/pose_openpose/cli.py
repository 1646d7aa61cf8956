"""The command: reads options, runs the stages in order, turns failures into exit codes."""

import argparse
import os
import pathlib
import re
import signal
import sys
import tempfile
import traceback

from pose_openpose import __version__, mp4, program, quality, report, result, track
from pose_openpose.report import EngineError, Failure

DEFAULT_PROGRAM = "./build/examples/openpose/openpose.bin"
MOST_CAPTURE_FPS = 100000.0


class _Parser(argparse.ArgumentParser):
    """Reports wrong use like every other failure."""

    def error(self, message):
        raise EngineError(Failure.USAGE, message)


def parse_options(arguments):
    parser = _Parser(prog="pose-openpose", description="Runs OpenPose on a video and writes pose.json.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command")
    run = commands.add_parser("run", help="run OpenPose on a video")
    add = run.add_argument
    add("--video", required=True, type=pathlib.Path, help="MP4 file")
    add("--output-dir", required=True, type=pathlib.Path, help="existing folder for the results")
    add("--openpose", default=DEFAULT_PROGRAM, help="OpenPose's program; default %(default)s, from the working directory")
    add("--model-folder", default="models", type=pathlib.Path, help="OpenPose's folder of models; default %(default)s")
    add("--net-resolution", default="", help="OpenPose's option of that name, as -1x256 for less memory")
    add("--device", choices=("cpu", "gpu"), default="gpu", help="what the image's OpenPose was built for; goes into the result")
    add("--overlay", choices=("none", "blurred", "full"), default="none", help="none is made; taken as other engines' is")
    add("--source-start", type=int, default=0, metavar="N", help="number of the first frame in the video it was cut from")
    add("--capture-fps", type=float, default=0, help="frames a second that the camera took; 0: as the video")
    add("--focal-length-px", type=float, default=0, help="taken for the sake of other engines; nothing here depends on it")
    add("--max-people", type=int, default=0, metavar="N", help="keep the N people nearest and longest in sight; 0: all")
    given = parser.parse_args(arguments)
    if given.command is None:
        raise EngineError(Failure.USAGE, "the command is missing: pose-openpose run ...")
    if min(given.source_start, given.max_people) < 0 or not 0 <= given.capture_fps <= MOST_CAPTURE_FPS:
        raise EngineError(Failure.USAGE, "--source-start and --max-people take no negative number, --capture-fps 0 to 100000")
    if given.net_resolution and not re.match(r"^-?[0-9]{1,5}x-?[0-9]{1,5}$", given.net_resolution):
        raise EngineError(Failure.USAGE,
                          "--net-resolution wants WIDTHxHEIGHT, as -1x256, not {!r}".format(given.net_resolution))
    return given


def check_output(folder):
    """Fails now rather than after an hour of work. Removes an older result: it must not pass for this run's."""
    try:
        with tempfile.TemporaryFile(dir=str(folder)):
            pass
        if (folder / result.FILE_NAME).exists():
            (folder / result.FILE_NAME).unlink()
    except OSError as failure:
        raise EngineError(Failure.OUTPUT_NOT_WRITABLE, "cannot write in {}: {}".format(folder, failure.strerror)) from None


def execute(options):
    report.stage("start")
    check_output(options.output_dir)
    video = mp4.probe(options.video)
    binary = program.check_program(options.openpose)
    models = program.model_digests(options.model_folder)
    if options.overlay != "none":
        report.warning("OVERLAY_UNAVAILABLE", "OpenPose's adapter draws none")
    tracker = follow(options, video, binary)
    report.stage("write")
    people, filtered, not_selected = track.select(tracker.tracks, tracker.frames, options.max_people)
    judged = quality.quality(people, filtered, not_selected, tracker.frames, video.fps)
    head = result.header(video, options, people, judged, tracker.frames, models)
    result.write_document(options.output_dir, result.document(head, result.frame_entries(people, tracker.frames)))
    report.say("result frames={} people={}".format(tracker.frames, len(people)))
    report.stage("done")


def follow(options, video, binary):
    """Runs OpenPose to its end; the tracker then knows everybody."""
    report.stage("model_load")
    tracker, throttle = track.Tracker(video.fps), report.Throttle()
    with tempfile.TemporaryDirectory(prefix="pose-openpose-") as name:
        folder = pathlib.Path(name)
        running = program.Program(program.command(options, binary, folder), folder)
        try:
            for people in running.frames(video.width, video.height):
                if tracker.frames == 0:
                    report.stage("track")
                tracker.update(people)
                if throttle.due():
                    total = max(video.frames, tracker.frames)
                    report.say("frame={} total={} people={}".format(tracker.frames, total, len(people)))
        finally:
            running.stop()
    if tracker.frames == 0:
        raise EngineError(Failure.NO_FRAMES, "OpenPose ended without a fault, but wrote nothing for any frame")
    report.say("frame={} total={} people=0".format(tracker.frames, tracker.frames))
    if tracker.frames < video.frames:
        report.warning("INPUT_SHORT", "decoded={} declared={}".format(tracker.frames, video.frames))
    return tracker


def _stop(signum, _frame):
    raise SystemExit(128 + signum)


def main(arguments=None):
    signal.signal(signal.SIGTERM, _stop)
    try:
        execute(parse_options(sys.argv[1:] if arguments is None else arguments))
        return 0
    except EngineError as failure:
        report.error(failure)
        if failure.signal:
            _end_as(failure.signal)
        return failure.failure.value
    except (KeyboardInterrupt, SystemExit):
        raise
    except MemoryError:
        report.error(EngineError(Failure.INTERNAL, "out of memory"))
        return Failure.INTERNAL.value
    except Exception as failure:  # the last line of defence: never a bare traceback without a code
        traceback.print_exc()
        report.error(EngineError(Failure.INTERNAL, "{}: {}".format(type(failure).__name__, failure)))
        return Failure.INTERNAL.value


def _end_as(number):
    """Ends this process by the signal that ended OpenPose: to the operator a crash is one, and no exit code."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
