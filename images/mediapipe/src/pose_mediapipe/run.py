"""From a video to its results: the models, which are loaded once, and the steps of a clip, of which there may be many."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pose_mediapipe import log, overlay
from pose_mediapipe.boxes import GivenBox, read_boxes
from pose_mediapipe.clips import Clip
from pose_mediapipe.decode import FrameRange, VideoInfo, probe, read_frames
from pose_mediapipe.errors import EngineError, Failure
from pose_mediapipe.result import LeftOut, People, Video, document, header, select, write_document

if TYPE_CHECKING:
    from pose_mediapipe.landmarks import LandmarkModel
    from pose_mediapipe.models import ModelPool


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

    @classmethod
    def of_clip(cls, clip: Clip, threads: int) -> Options:
        """The options of a clip from the queue, which is always read from its first frame to its last."""
        return cls(clip.video, clip.output_dir, FrameRange(), clip.overlay, clip.start_frame, threads, clip.capture_fps,
                   clip.focal_length_px, clip.max_people, clip.boxes)


def check_output(folder: Path) -> None:
    """Fails now rather than after an hour of work. Removes an older result: it must not pass for this run's."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in ("pose.json", overlay.VIDEO_NAME, overlay.SHEET_NAME):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(Failure.OUTPUT_NOT_WRITABLE, f"cannot write in {folder}: {error.strerror}") from None


@dataclass(frozen=True)
class Models:
    """What is loaded once. detector: None where only given boxes are looked at. ..._name: file name and sha256."""

    landmarks: LandmarkModel
    landmark_name: tuple[str, str]
    detector: ModelPool | None = None
    detector_name: tuple[str, str] | None = None

    @classmethod
    def load(cls, executor: ThreadPoolExecutor, threads: int, with_detector: bool) -> Models:
        # Imported here: the inference runtime takes a second to load, and its failure belongs to this stage.
        log.stage("model_load")
        from pose_mediapipe import detect, given, landmarks, models, pipeline  # noqa: F401 - so that no clip waits for it
        folder = models.models_dir()
        file = models.read_model(folder, models.LANDMARK_FILE)
        landmark_model = landmarks.LandmarkModel(models.ModelPool(file, executor, threads))
        if not with_detector:
            return cls(landmark_model, (file.name, file.sha256))
        log.stage("detector_load")
        second = models.read_model(folder, models.DETECTOR_FILE)
        pool = models.ModelPool(second, executor, threads)
        return cls(landmark_model, (file.name, file.sha256), pool, (second.name, second.sha256))


class Run:
    """One video from file to results. It keeps nothing in the models."""

    def __init__(self, options: Options) -> None:
        """Looks at everything that can be refused without a model."""
        self.options = options
        check_output(options.output_dir)
        self.info: VideoInfo = probe(options.video)
        self.boxes: dict[int, list[GivenBox]] | None = None
        if options.boxes is not None:
            self.boxes = read_boxes(options.boxes, self.info.width, self.info.height)

    def execute(self, models: Models) -> tuple[int, int]:
        """The numbers of frames and people of the result, once it is in place."""
        analysis = self._analysis(models)
        log.stage("track")
        self._track(analysis)
        log.stage("write")
        return self._write(analysis, models)

    def _analysis(self, models: Models):
        from pose_mediapipe import detect, given, pipeline
        info = self.info
        rate = self.options.capture_fps or info.fps  # people walk in the world's seconds
        schedule = pipeline.Schedule.for_rate(rate)
        if self.boxes is not None:
            return given.GivenAnalysis(self._boxes_in_range(), models.landmarks, schedule, info.width, info.height)
        detector = detect.Detector(models.detector, info.width, info.height)
        return pipeline.Analysis(detector, models.landmarks, schedule, info.width, info.height, rate)

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

        with closing(self._frames()) as frames:  # ends the decoder now, however this ends
            analyse(frames, analysis, progress)
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

    def _write(self, analysis, models: Models) -> tuple[int, int]:
        options, info = self.options, self.info
        video = Video(info.width, info.height, info.fps, analysis.frames, options.source_start + options.frames.start,
                      options.capture_fps, options.focal_length)
        found = analysis.people()
        chosen = select(found, options.max_people)
        people = People(chosen, info.width, info.height, analysis.keeps_ids, analysis.longest_gap)
        left_out = LeftOut(analysis.filtered, len(found) - len(chosen))
        self._write_pictures(analysis, people, video)
        used = [models.landmark_name] if self.boxes is not None else [models.detector_name, models.landmark_name]
        write_document(options.output_dir, document(header(video, used, people, left_out), people.frames(video.frames)))
        return video.frames, len(people)

    def _write_pictures(self, analysis, people: People, video: Video) -> None:
        folder, throttle = self.options.output_dir, log.Throttle()
        sheet = overlay.Sheet(video)
        if self.options.overlay == "none":
            overlay.draw_plain_sheet(people, video, sheet)
        else:
            hider = None
            if self.options.overlay == "blurred":
                noticed = People(analysis.noticed(), video.width, video.height)
                hider = overlay.HeadHider(noticed, video)

            def progress(written: int) -> None:
                if throttle.due():
                    log.say(f"written={written} total={video.frames}")

            with closing(self._frames()) as frames:
                overlay.write_video(overlay.draw_frames(frames, people, video, hider, sheet), video, folder, progress)
        overlay.write_sheet(sheet, folder)
