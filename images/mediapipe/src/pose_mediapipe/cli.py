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
from pose_mediapipe.boxes import GivenBox, read_boxes
from pose_mediapipe.decode import FrameRange, VideoInfo, parse_range, probe, read_frames
from pose_mediapipe.errors import EngineError, Failure
from pose_mediapipe.result import LeftOut, People, Video, document, header, select, write_document


MAX_CAPTURE_FPS = 1e6
MAX_FOCAL_LENGTH = 1e7  # pixels


@dataclass(frozen=True)
class Options:
    """What the user asked for. source_start: number, in the original video, of this file's first frame. capture_fps: frames
    that the camera took in a second; 0: as many as the file plays. focal_length: pixels, 0 if unknown. max_people: 0: all.
    boxes: file with the people's boxes; None: the engine finds people itself."""

    video: Path
    output_dir: Path
    frames: FrameRange
    overlay: str
    source_start: int
    threads: int
    capture_fps: float = 0.0
    focal_length: float = 0.0
    max_people: int = 0
    boxes: Path | None = None


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
    parser.add_argument("--capture-fps", type=float, default=0, metavar="X",
                        help="frames the camera took in a second; 0: the same as the file plays")
    parser.add_argument("--focal-length-px", type=float, default=0, metavar="X",
                        help="the camera's focal length in pixels, recorded in the result; 0: unknown")
    parser.add_argument("--max-people", type=int, default=0, metavar="N", help="keep those seen largest and longest; 0: all")
    parser.add_argument("--boxes", default="", metavar="FILE", help="the people's boxes (JSON or CSV); empty: find people")
    parser.add_argument("--version", action="version", version=__version__)
    given = parser.parse_args(arguments)
    if given.source_start < 0 or given.threads < 0 or given.max_people < 0:
        raise EngineError(Failure.USAGE, "--source-start, --threads and --max-people take no negative number")
    if not (0 <= given.capture_fps <= MAX_CAPTURE_FPS and 0 <= given.focal_length_px <= MAX_FOCAL_LENGTH):
        raise EngineError(Failure.USAGE, f"--capture-fps lies between 0 and {MAX_CAPTURE_FPS:g}, "
                                         f"--focal-length-px between 0 and {MAX_FOCAL_LENGTH:g}")
    return Options(given.video, given.output_dir, parse_range(given.frames), given.overlay, given.source_start,
                   given.threads or cpus.available(), given.capture_fps, given.focal_length_px, given.max_people,
                   Path(given.boxes) if given.boxes else None)


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
        self.boxes: dict[int, list[GivenBox]] | None = None
        self.models: list[tuple[str, str]] = []

    def execute(self) -> None:
        log.stage("start")
        check_output(self.options.output_dir)
        self.info = probe(self.options.video)
        if self.options.boxes is not None:
            self.boxes = read_boxes(self.options.boxes, self.info.width, self.info.height)
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
        from pose_mediapipe import detect, given, landmarks, models, pipeline
        folder, threads, info = models.models_dir(), self.options.threads, self.info
        rate = self.options.capture_fps or info.fps  # people walk in the world's seconds
        schedule = pipeline.Schedule.for_rate(rate)
        landmark_file = models.read_model(folder, models.LANDMARK_FILE)
        landmark_model = landmarks.LandmarkModel(models.ModelPool(landmark_file, executor, threads))
        if self.boxes is not None:
            self.models = [(landmark_file.name, landmark_file.sha256)]
            return given.GivenAnalysis(self._boxes_in_range(), landmark_model, schedule, info.width, info.height)
        log.stage("detector_load")
        detector_file = models.read_model(folder, models.DETECTOR_FILE)
        detector = detect.Detector(models.ModelPool(detector_file, executor, threads), info.width, info.height)
        self.models = [(f.name, f.sha256) for f in (detector_file, landmark_file)]
        return pipeline.Analysis(detector, landmark_model, schedule, info.width, info.height, rate)

    def _boxes_in_range(self) -> dict[int, list[GivenBox]]:
        """The boxes by frame of the range asked for; the file counts from the video's first frame."""
        start, end = self.options.frames.start, self.options.frames.end
        return {frame - start: boxes for frame, boxes in self.boxes.items() if frame >= start and (end is None or frame < end)}

    def _track(self, analysis) -> None:
        from pose_mediapipe.pipeline import analyse
        total, throttle = self._expected(), log.Throttle()

        def progress(frame: int, people: int) -> None:
            if throttle.due():
                log.say(f"frame={frame} total={max(total, frame)} people={people}")

        analyse(self._frames(), analysis, progress)
        log.say(f"frame={analysis.frames} total={analysis.frames} people={analysis.people_now()}")
        if analysis.frames < total:
            log.warning("INPUT_SHORT", f"decoded={analysis.frames} declared={total}")
        if self.boxes is not None and (beyond := analysis.beyond()):
            log.warning("BOXES_BEYOND_END", f"frames={beyond}")
        if self.boxes is not None and analysis.shift:
            log.warning("BOXES_IDS_SHIFTED", f"by={analysis.shift}")

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
        video = Video(info.width, info.height, info.fps, analysis.frames, options.source_start + options.frames.start,
                      options.capture_fps, options.focal_length)
        found = analysis.people()
        chosen = select(found, options.max_people)
        people = People(chosen, info.width, info.height, analysis.keeps_ids, analysis.longest_gap)
        left_out = LeftOut(analysis.filtered, len(found) - len(chosen))
        self._write_pictures(analysis, people, video)
        pieces = document(header(video, self.models, people, left_out), people.frames(video.frames))
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
                noticed = People(analysis.noticed(), video.width, video.height)
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
