"""The command: reads options, runs the stages in order, turns failures into exit codes."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path

from pose_onnx import __version__, cpus, log
from pose_onnx.boxes import GivenBoxes, read_boxes
from pose_onnx.decode import VideoInfo, probe, read_frames
from pose_onnx.errors import EngineError, Failure, one_line

FAMILIES = ("yolo-pose", "rtmpose")
DETECTORS = ("rtmdet", "yolox")
OVERLAYS = ("none", "blurred", "full")
MOST_CAPTURE_FPS = 100_000.0


@dataclass(frozen=True)
class Options:
    """What the user asked for. Paths are None where an option may be empty and is. source_start: number, in the original
    video, of this file's first frame. capture_fps: frames a second that the camera took, 0 if as many as the video has."""

    family: str
    model: Path
    detector: Path | None
    detector_family: str | None
    boxes: Path | None
    video: Path
    output_dir: Path
    overlay: str
    source_start: int
    capture_fps: float
    max_people: int
    device: str
    threads: int


class _Parser(argparse.ArgumentParser):
    """Reports wrong use like every other failure."""

    def error(self, message: str):
        raise EngineError(Failure.USAGE, message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="pose-onnx", description="Follows people in a video by ONNX models and writes their poses.")
    add = parser.add_argument
    add("--family", required=True, choices=FAMILIES, help="what --model is")
    add("--model", required=True, type=Path, help="ONNX file of the pose model")
    add("--detector", default="", help="rtmpose: ONNX file of the person detector")
    add("--detector-family", default="", choices=("", *DETECTORS), help="rtmpose: what --detector is")
    add("--boxes", default="", help="rtmpose: file with people's boxes, instead of a detector; empty: none")
    add("--video", required=True, type=Path, help="video file")
    add("--output-dir", required=True, type=Path, help="existing folder for the results")
    add("--overlay", choices=OVERLAYS, default="blurred", help="drawn video: none, heads hidden, as is")
    add("--source-start", type=int, default=0, metavar="N", help="number of the first frame in the video it was cut from")
    add("--capture-fps", type=float, default=0, help="frames a second that the camera took; 0: as the video")
    add("--focal-length-px", type=float, default=0, help="taken for the sake of other engines; nothing here depends on it")
    add("--max-people", type=int, default=0, metavar="N", help="keep the N people nearest and longest in sight; 0: all")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="where the models run")
    add("--threads", type=int, default=0, help="worker threads; 0: as many as the container may use")
    add("--version", action="version", version=__version__)
    return parser


def parse_options(arguments: list[str]) -> Options:
    given = _parser().parse_args(arguments)
    if min(given.source_start, given.threads, given.max_people) < 0:
        raise EngineError(Failure.USAGE, "--source-start, --max-people and --threads take no negative number")
    if not 0 <= given.capture_fps <= MOST_CAPTURE_FPS or not 0 <= given.focal_length_px < float("inf"):
        raise EngineError(Failure.USAGE, f"--capture-fps takes 0 to {MOST_CAPTURE_FPS:g}, --focal-length-px 0 or more")
    if given.family == "yolo-pose" and (given.detector or given.boxes):
        raise EngineError(Failure.USAGE, "--family yolo-pose finds people by itself: leave --detector and --boxes out")
    if given.family == "rtmpose" and not given.boxes and not (given.detector and given.detector_family):
        raise EngineError(Failure.USAGE, "--family rtmpose needs --detector and --detector-family (rtmdet or yolox), or --boxes")
    return Options(given.family, given.model, Path(given.detector) if given.detector else None, given.detector_family or None,
                   Path(given.boxes) if given.boxes else None, given.video, given.output_dir, given.overlay,
                   given.source_start, given.capture_fps, given.max_people, given.device, given.threads or cpus.available())


def check_output(folder: Path) -> None:
    """Fails now rather than after an hour of work. Removes an older result: it must not pass for this run's."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in ("pose.json", "overlay.mp4"):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(Failure.OUTPUT_NOT_WRITABLE, f"cannot write in {folder}: {error.strerror}") from None


class Run:
    """One video from file to results."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.info: VideoInfo | None = None
        self.given: GivenBoxes | None = None
        self.models: list = []

    def execute(self) -> None:
        log.stage("start")
        options = self.options
        check_output(options.output_dir)
        self.info = probe(options.video)
        if options.boxes:
            self.given = read_boxes(options.boxes, (self.info.width, self.info.height))
        finder = self._load()
        log.stage("track")
        analysis = self._track(finder)
        log.stage("write")
        self._write(analysis, finder.skeleton)
        log.stage("done")

    def _load(self):
        # Imported here: the inference runtime takes a second to load, and its failure belongs to this stage.
        log.stage("model_load")
        from pose_onnx import models
        options, size = self.options, (self.info.width, self.info.height)
        pose_model = self._model(models, options.model)
        if options.family == "yolo-pose":
            from pose_onnx.yolo import YoloPose
            return YoloPose(pose_model, size)
        from pose_onnx.detector import PersonDetector
        from pose_onnx.rtmpose import RTMPose
        if self.given:
            return RTMPose(pose_model, self.given)
        log.stage("detector_load")
        return RTMPose(pose_model, PersonDetector(self._model(models, options.detector), options.detector_family, size))

    def _model(self, models, path: Path):
        model = models.Model(models.read_model(path), self.options.device, self.options.threads)
        self.models.append(model)
        if model.staged:
            log.warning("RANDOM_WEIGHTS", f'model="{one_line(path.name, 100)}"')
        return model

    def _track(self, finder):
        from pose_onnx.analysis import Analysis, analyse
        analysis = Analysis(finder, self.info.fps)
        total, throttle = self.info.declared_frames or 0, log.Throttle()

        def progress(frame: int, people: int) -> None:
            if throttle.due():
                log.say(f"frame={frame} total={max(total, frame)} people={people}")

        analyse(self._frames(), analysis, progress)
        log.say(f"frame={analysis.frames} total={analysis.frames} people={analysis.people_now}")
        if analysis.frames < total:
            log.warning("INPUT_SHORT", f"decoded={analysis.frames} declared={total}")
        if self.given:
            self._warn_of_boxes(self.given)
        return analysis

    def _warn_of_boxes(self, given: GivenBoxes) -> None:
        if given.beyond_end():
            log.warning("BOXES_BEYOND_END", f"frames={given.beyond_end()}")
        if given.outside:
            log.warning("BOXES_OUTSIDE", f"boxes={given.outside}")
        if given.id_shift:
            log.warning("BOXES_IDS_SHIFTED", "by=1")

    def _frames(self):
        return read_frames(self.options.video, self.info, self.options.threads)

    def _write(self, analysis, skeleton) -> None:
        from pose_onnx import result
        from pose_onnx.analysis import select
        from pose_onnx.quality import quality
        options, info = self.options, self.info
        keep_ids = bool(self.given and self.given.with_ids)
        tracks = analysis.tracks()
        chosen = select(tracks, analysis.frames, options.max_people, keep_ids)
        video = result.Video(info.width, info.height, info.fps, analysis.frames, options.source_start, options.capture_fps)
        people = result.People(chosen.people, info.width, info.height, keep_ids)
        if options.overlay != "none":
            noticed = result.People(tracks, info.width, info.height) if options.overlay == "blurred" else None
            self._write_overlay(analysis, people, noticed, video, skeleton)
        device = "GPU" if all(m.runs_on_gpu for m in self.models) else "CPU"
        engine = result.Engine(options.family, device, [(m.file.name, m.file.sha256) for m in self.models],
                               any(m.staged for m in self.models))
        judged = quality(chosen.people, chosen.filtered, chosen.not_selected, video.frames, video.fps)
        head = result.header(video, engine, skeleton, people, judged)
        result.write_document(options.output_dir, result.document(head, people.frames(video.frames)))
        log.say(f"result frames={video.frames} people={len(people)}")

    def _write_overlay(self, analysis, people, noticed, video, skeleton) -> None:
        from pose_onnx import overlay
        hider = overlay.HeadHider(noticed, analysis.strays, skeleton, video.fps) if noticed is not None else None
        throttle = log.Throttle()

        def progress(written: int) -> None:
            if throttle.due():
                log.say(f"written={written} total={video.frames}")

        pictures = overlay.draw_frames(self._frames(), people, video, skeleton, hider,
                                       any(m.staged for m in self.models))
        overlay.write_video(pictures, video, self.options.output_dir, progress)


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
