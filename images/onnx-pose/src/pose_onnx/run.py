"""From a video to its results: the models, which are loaded once, and the steps of a clip, of which there may be many."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pose_onnx import log
from pose_onnx.boxes import GivenBoxes, read_boxes
from pose_onnx.clips import Clip
from pose_onnx.decode import VideoInfo, probe, read_frames
from pose_onnx.errors import EngineError, Failure, one_line
from pose_onnx.skeleton import Skeleton

if TYPE_CHECKING:
    from pose_onnx.models import Model


@dataclass(frozen=True)
class EngineOptions:
    """What the models are and where they run. detector and its family are None where there is none."""

    family: str
    model: Path
    detector: Path | None
    detector_family: str | None
    device: str
    threads: int


@dataclass(frozen=True)
class Options:
    """What the user asked for of one video. boxes is None where none are given. source_start: number, in the original
    video, of this file's first frame. capture_fps: frames a second that the camera took, 0 if as many as the video has."""

    engine: EngineOptions
    boxes: Path | None
    video: Path
    output_dir: Path
    overlay: str
    source_start: int
    capture_fps: float
    max_people: int

    @classmethod
    def of_clip(cls, clip: Clip, engine: EngineOptions) -> Options:
        """The options of a clip from the queue. Refuses what these models cannot do."""
        if engine.family == "yolo-pose" and clip.boxes is not None:
            raise EngineError(Failure.USAGE, "yolo-pose finds people by itself: give the clip no boxes, or use rtmpose")
        if engine.family == "rtmpose" and clip.boxes is None and engine.detector is None:
            raise EngineError(Failure.USAGE, "the clip has no boxes, and no detector was loaded: give boxes, or start the engine "
                                             "with --detector")
        return cls(engine, clip.boxes, clip.video, clip.output_dir, clip.overlay, clip.start_frame, clip.capture_fps,
                   clip.max_people)


def check_output(folder: Path) -> None:
    """Fails now rather than after an hour of work. Removes an older result: it must not pass for this run's."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in ("pose.json", "overlay.mp4"):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(Failure.OUTPUT_NOT_WRITABLE, f"cannot write in {folder}: {error.strerror}") from None


@dataclass(frozen=True)
class Models:
    """What is loaded once. detector: None where only given boxes are looked at, or the pose model finds people itself."""

    pose: Model
    skeleton: Skeleton
    detector: Model | None = None

    @classmethod
    def load(cls, options: EngineOptions, detect: bool) -> Models:
        """detect: whether a detector is wanted, if there is one."""
        # Imported here: the inference runtime takes a second to load, and its failure belongs to this stage.
        log.stage("model_load")
        from pose_onnx import analysis, detector, result, rtmpose, yolo  # noqa: F401 - all, so that no clip waits for it
        pose = _load(options, options.model)
        if options.family == "yolo-pose":
            return cls(pose, yolo.check(pose))
        finder = None
        if detect and options.detector is not None:
            log.stage("detector_load")
            finder = _load(options, options.detector)
            detector.check(finder, options.detector_family)
        return cls(pose, rtmpose.check(pose), finder)


def _load(options: EngineOptions, path: Path) -> Model:
    from pose_onnx import models
    model = models.Model(models.read_model(path), options.device, options.threads)
    if model.staged:
        log.warning("RANDOM_WEIGHTS", f'model="{one_line(path.name, 100)}"')
    return model


class Run:
    """One video from file to results. It keeps nothing in the models."""

    def __init__(self, options: Options) -> None:
        """Looks at everything that can be refused without a model."""
        self.options = options
        check_output(options.output_dir)
        self.info: VideoInfo = probe(options.video)
        self._size = (self.info.width, self.info.height)
        self.given: GivenBoxes | None = read_boxes(options.boxes, self._size) if options.boxes else None

    def execute(self, models: Models) -> tuple[int, int]:
        """The numbers of frames and people of the result, once it is in place."""
        used = [models.pose] if self.given or models.detector is None else [models.pose, models.detector]
        log.stage("track")
        analysis = self._track(self._finder(models))
        log.stage("write")
        return self._write(analysis, models.skeleton, used)

    def _finder(self, models: Models):
        from pose_onnx.detector import PersonDetector
        from pose_onnx.rtmpose import RTMPose
        from pose_onnx.yolo import YoloPose
        engine = self.options.engine
        if engine.family == "yolo-pose":
            return YoloPose(models.pose, self._size)
        finder = self.given or PersonDetector(models.detector, engine.detector_family, self._size)
        return RTMPose(models.pose, models.skeleton, finder)

    def _track(self, finder):
        from pose_onnx.analysis import Analysis, analyse
        analysis = Analysis(finder, self.info.fps)
        total, throttle = self.info.declared_frames or 0, log.Throttle()

        def progress(frame: int, people: int) -> None:
            if throttle.due():
                log.say(f"frame={frame} total={max(total, frame)} people={people}")

        with closing(self._frames()) as frames:  # ends the decoder now, however this ends
            analyse(frames, analysis, progress)
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
        return read_frames(self.options.video, self.info, self.options.engine.threads)

    def _write(self, analysis, skeleton: Skeleton, used: list[Model]) -> tuple[int, int]:
        from pose_onnx import result
        from pose_onnx.analysis import select
        from pose_onnx.quality import quality
        options, info = self.options, self.info
        keep_ids = bool(self.given and self.given.with_ids)
        tracks = analysis.tracks()
        chosen = select(tracks, analysis.frames, options.max_people, keep_ids)
        video = result.Video(info.width, info.height, info.fps, analysis.frames, options.source_start, options.capture_fps)
        people = result.People(chosen.people, info.width, info.height, keep_ids)
        staged = any(m.staged for m in used)
        if options.overlay != "none":
            noticed = result.People(tracks, info.width, info.height) if options.overlay == "blurred" else None
            self._write_overlay(analysis, people, noticed, video, skeleton, staged)
        device = "GPU" if all(m.runs_on_gpu for m in used) else "CPU"
        engine = result.Engine(options.engine.family, device, [(m.file.name, m.file.sha256) for m in used], staged)
        judged = quality(chosen.people, chosen.filtered, chosen.not_selected, video.frames, video.fps)
        head = result.header(video, engine, skeleton, people, judged)
        result.write_document(options.output_dir, result.document(head, people.frames(video.frames)))
        return video.frames, len(people)

    def _write_overlay(self, analysis, people, noticed, video, skeleton: Skeleton, staged: bool) -> None:
        from pose_onnx import overlay
        hider = overlay.HeadHider(noticed, analysis.strays, skeleton, video) if noticed is not None else None
        throttle = log.Throttle()

        def progress(written: int) -> None:
            if throttle.due():
                log.say(f"written={written} total={video.frames}")

        with closing(self._frames()) as frames:
            pictures = overlay.draw_frames(frames, people, video, skeleton, hider, staged)
            overlay.write_video(pictures, video, self.options.output_dir, progress)
