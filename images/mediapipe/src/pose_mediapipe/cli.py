"""The command: reads options, runs the stages in order, turns failures into exit codes."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pose_mediapipe import __version__, cpus, log, overlay
from pose_mediapipe.decode import FrameRange, VideoInfo, parse_range, probe, read_frames
from pose_mediapipe.errors import EngineError, Failure
from pose_mediapipe.result import People, Video, document, header, write_document


@dataclass(frozen=True)
class Options:
    """What the user asked for. source_start: number, in the original video, of this file's first frame."""

    video: Path
    output_dir: Path
    frames: FrameRange
    overlay: str
    source_start: int
    threads: int


class _Parser(argparse.ArgumentParser):
    """Reports wrong use like every other failure."""

    def error(self, message: str):
        raise EngineError(Failure.USAGE, message)


def parse_options(arguments: list[str]) -> Options:
    parser = _Parser(prog="pose-mediapipe", description="Finds and follows people in a video and writes their poses.")
    parser.add_argument("--video", required=True, type=Path, help="video file")
    parser.add_argument("--output-dir", required=True, type=Path, help="existing folder for the results")
    parser.add_argument("--frames", default="", metavar="START:END", help="frames from 0, END exclusive; empty: all")
    parser.add_argument("--overlay", choices=overlay.MODES, default="blurred", help="drawn video: none, heads hidden, as is")
    parser.add_argument("--source-start", type=int, default=0, metavar="N",
                        help="number of the file's first frame in the video that it was cut from")
    parser.add_argument("--threads", type=int, default=0, help="worker threads; 0: as many as the container may use")
    parser.add_argument("--version", action="version", version=__version__)
    given = parser.parse_args(arguments)
    if given.source_start < 0 or given.threads < 0:
        raise EngineError(Failure.USAGE, "--source-start and --threads take no negative number")
    return Options(given.video, given.output_dir, parse_range(given.frames), given.overlay, given.source_start,
                   given.threads or cpus.available())


def check_output(folder: Path) -> None:
    """Fails now rather than after an hour of work. Removes an older result: it must not pass for this run's."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in ("pose.json", overlay.VIDEO_NAME, overlay.SHEET_NAME):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(Failure.OUTPUT_NOT_WRITABLE, f"cannot write in {folder}: {error.strerror}") from None


class Run:
    """One video from file to results."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.info: VideoInfo | None = None
        self.models: list[tuple[str, str]] = []

    def execute(self) -> None:
        log.stage("start")
        check_output(self.options.output_dir)
        self.info = probe(self.options.video)
        with ThreadPoolExecutor(self.options.threads) as executor:
            analysis = self._load(executor)
            log.stage("track")
            self._track(analysis)
        log.stage("write")
        self._write(analysis)
        log.stage("done")

    def _load(self, executor: ThreadPoolExecutor):
        # Imported here: the inference runtime takes a second to load, and its failure belongs to this stage.
        log.stage("model_load")
        from pose_mediapipe import detect, landmarks, models, pipeline
        folder, threads, info = models.models_dir(), self.options.threads, self.info
        landmark_file = models.read_model(folder, models.LANDMARK_FILE)
        landmark_model = landmarks.LandmarkModel(models.ModelPool(landmark_file, executor, threads))
        log.stage("detector_load")
        detector_file = models.read_model(folder, models.DETECTOR_FILE)
        detector = detect.Detector(models.ModelPool(detector_file, executor, threads), info.width, info.height)
        self.models = [(f.name, f.sha256) for f in (detector_file, landmark_file)]
        schedule = pipeline.Schedule.for_rate(info.fps)
        return pipeline.Analysis(detector, landmark_model, schedule, info.width, info.height)

    def _track(self, analysis) -> None:
        from pose_mediapipe.pipeline import analyse
        total, throttle = self._expected(), log.Throttle()

        def progress(frame: int, people: int) -> None:
            if throttle.due():
                log.say(f"frame={frame} total={max(total, frame)} people={people}")

        analyse(self._frames(), analysis, progress)
        log.say(f"frame={analysis.frames} total={analysis.frames} people={analysis.tracker.people_now()}")
        if analysis.frames < total:
            log.warning("INPUT_SHORT", f"decoded={analysis.frames} declared={total}")

    def _frames(self):
        return read_frames(self.options.video, self.info, self.options.frames, self.options.threads)

    def _expected(self) -> int:
        """Frames to come, by the container's own count; 0 if it does not say."""
        wanted, declared = self.options.frames, self.info.declared_frames
        if declared is None:
            return wanted.limit or 0
        end = declared if wanted.end is None else min(wanted.end, declared)
        return max(end - wanted.start, 0)

    def _write(self, analysis) -> None:
        options, info = self.options, self.info
        video = Video(info.width, info.height, info.fps, analysis.frames, options.source_start + options.frames.start)
        people = People(analysis.people(), info.width, info.height)
        self._write_pictures(analysis, people, video)
        pieces = document(header(video, self.models, people), people.frames(video.frames))
        write_document(options.output_dir, pieces)
        log.say(f"result frames={video.frames} people={len(people)}")

    def _write_pictures(self, analysis, people: People, video: Video) -> None:
        folder, throttle = self.options.output_dir, log.Throttle()
        sheet = overlay.Sheet(video)
        if self.options.overlay == "none":
            overlay.draw_plain_sheet(people, video, sheet)
        else:
            hider = None
            if self.options.overlay == "blurred":
                noticed = People(analysis.tracker.all_tracks(), video.width, video.height)
                hider = overlay.HeadHider(noticed, video.frames, margin=max(1, round(0.3 * video.fps)))
            pictures = overlay.draw_frames(self._frames(), people, video, hider, sheet)

            def progress(written: int) -> None:
                if throttle.due():
                    log.say(f"written={written} total={video.frames}")

            overlay.write_video(pictures, video, folder, progress)
        overlay.write_sheet(sheet, folder)


def _stop(signum, _frame) -> None:
    raise SystemExit(128 + signum)


def main(arguments: list[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, _stop)  # as process 1 of a container it would otherwise be ignored
    try:
        Run(parse_options(sys.argv[1:] if arguments is None else arguments)).execute()
        return 0
    except EngineError as error:
        log.error(error)
        return error.failure.value
    except (KeyboardInterrupt, SystemExit):
        raise
    except MemoryError:
        log.error(EngineError(Failure.INTERNAL, "out of memory"))
        return Failure.INTERNAL.value
    except Exception as error:  # the last line of defence: never a bare traceback without a code
        traceback.print_exc()
        log.error(EngineError(Failure.INTERNAL, f"{type(error).__name__}: {error}"))
        return Failure.INTERNAL.value


if __name__ == "__main__":
    sys.exit(main())
