"""From a video to its results: the models, which are loaded once, and the steps of a clip, of which there may be many."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from pose_phalp import __version__, boxes, clips, config, image, log, video, weights
from pose_phalp.errors import EngineError, Failure
from pose_phalp.options import EngineOptions, PreflightOptions, RunOptions
from pose_phalp.overlay import NAME as OVERLAY_NAME
from pose_phalp.overlay import Overlay
from pose_phalp.tracking import Following, Frame, as_upstream, people_of

PICKLE_NAME = "phalp.pkl"
RESULT_NAMES = ("pose.json", "smpl.npz", PICKLE_NAME, OVERLAY_NAME)
ASPECT = [192, 256]  # width and height of the boxes that HMR2 was trained on, as 4D-Humans' configuration has them


def check_output(folder: Path) -> None:
    """Fails now rather than after an hour of work. Removes an older result: it must not pass for this run's."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in RESULT_NAMES:
            if (folder / name).exists():
                (folder / name).unlink()
    except OSError as error:
        raise EngineError(Failure.OUTPUT_NOT_WRITABLE, f"cannot write in {folder}: {error.strerror}; the folder must exist and "
                                                       "belong to the container's user") from None


def needed(detector: Optional[str], given_boxes: bool) -> List[weights.WeightFile]:
    """The files that a run reads; upstream wants more, and uses none of it."""
    return [f for f in weights.required(detector, given_boxes) if not f.optional]


def check_weights(detector: Optional[str], given_boxes: bool) -> List[weights.WeightFile]:
    """The files that are read, each there and plausible. Names every one that is not, and where it belongs."""
    files = needed(detector, given_boxes)
    wrong = [problem for problem in weights.verify(files) if problem.fatal]
    for problem in wrong:
        log.warning("WEIGHTS", str(problem))
    if wrong:
        gone = [p for p in wrong if p.code in ("Missing", "Unreadable", "Pointer", "Page")]
        code = Failure.WEIGHTS_MISSING if gone else Failure.MODEL_UNREADABLE
        more = f" (and {len(wrong) - 1} more, named above)" if len(wrong) > 1 else ""
        raise EngineError(code, f"{(gone or wrong)[0]}{more}")
    log.say(f"weights {weights.summary(files)}")
    return files


def places(files: List[weights.WeightFile]) -> Dict[str, Path]:
    """Where each file is, by the last part of its name. Those with two places are opened by upstream, not by us."""
    return {f.path.name: f.path for f in files}


class Engine:
    """Upstream's tracker with its models, which are loaded once for any number of clips."""

    def __init__(self, options: EngineOptions, detect: bool, draw: bool) -> None:
        """detect: whether a detector is loaded. draw: whether an overlay is wanted, or may be."""
        files = check_weights(options.detector, not detect)
        # Of a clip with given boxes the result does not name the detector.
        self._digests = {given: model_digests(needed(options.detector, given)) for given in {True, not detect}}
        renderer, self.no_renderer = image.choose_renderer() if draw else ("", "")
        image.prepare(renderer)
        from pose_phalp import models
        self.device = image.require_device(options.device)
        image.trusting_load()
        settings = models.make_config(config.engine_overrides(options))
        self.tracker = models.make_tracker(settings, self.device, places(files), detect, ASPECT)
        self.rest_joints = models.rest_joints(self.tracker.HMAR)

    def begin(self, options: RunOptions, given_ids: bool) -> None:
        """Makes upstream's settings those of a clip, all of them: none may be left from the one before."""
        from pose_phalp import models
        image.return_memory(self.device)
        self.tracker.cfg.merge_with(models.make_config(config.overrides(options, given_ids)))

    def digests(self, given_boxes: bool) -> List[Dict[str, str]]:
        """Names and digests of the networks that work on a clip."""
        return self._digests[given_boxes]

    def overlay(self, options: RunOptions, fps: float) -> Optional[Overlay]:
        """What draws a clip; None where no overlay is wanted or nothing can draw."""
        if options.overlay == "none":
            return None
        if self.no_renderer:
            log.warning("OVERLAY_UNAVAILABLE", f"no picture can be drawn off-screen ({self.no_renderer}); the result has no "
                                               "overlay")
            return None
        self.tracker.prepare_drawing()
        return Overlay(self.tracker, options.output_dir, fps / options.stride, options.overlay == "blurred")


class Run:
    """The steps of one clip in order."""

    def __init__(self, options: RunOptions) -> None:
        """Refuses what can be refused before a model is loaded."""
        self.options = options
        self.overlay: Optional[Overlay] = None
        self.people_now = 0
        self.decoded = video.Decoded()
        check_output(options.output_dir)
        self.video = video.probe(options.video)
        self.boxes = self._read_boxes()

    def execute(self, engine: Engine) -> Tuple[int, int]:
        """The numbers of frames and people of the result, once it is in place."""
        options = self.options
        engine.begin(options, bool(self.boxes and self.boxes.with_ids))
        self.overlay = engine.overlay(options, self.video.fps)
        following = Following(engine.tracker, self.boxes, keep_pictures=self.overlay is not None, keep_masks=options.keep_pickle)
        log.stage("track")
        return self._write(following, engine)

    def _read_boxes(self) -> Optional[boxes.Boxes]:
        if self.options.boxes is None:
            return None
        given = boxes.read_boxes(self.options.boxes)
        frames = self.video.declared
        if given.last_frame() >= frames:  # the container's own count may be off: look before refusing
            frames = video.count_frames(self.video)
        boxes.check_fit(given, frames, self.video.width, self.video.height)
        return given

    def _frames(self, following: Following, kept: Optional[Dict[str, Any]]) -> Iterator[Frame]:
        """The finished frames, told and drawn on the way."""
        total, throttle = self.video.declared, log.Throttle()
        for frame in following.run(video.read_frames(self.video, self.options.stride, self.decoded)):
            if self.overlay is not None:
                self.overlay.add(frame)
                frame.picture = None
            if kept is not None:
                kept[frame.name] = as_upstream(frame)
            self.people_now = sum(s.since == 0 for s in frame.sightings)
            if throttle.due():
                log.say(f"frame={frame.index + 1} total={max(total, frame.index + 1)} people={self.people_now}")
            yield frame

    def _write(self, following: Following, engine: Engine) -> Tuple[int, int]:
        from pose_phalp import results
        kept: Optional[Dict[str, Any]] = {} if self.options.keep_pickle else None
        try:
            summary = results.write(self._items(following, kept), self._meta(following, engine), self.options.output_dir)
        except BaseException:
            self._clean()
            raise
        return summary["frames"], summary["people"]

    def _items(self, following: Following, kept: Optional[Dict[str, Any]]) -> Iterator[Dict[str, Any]]:
        """The frames for the result. Ends with an error where the video broke off.

        The other files are finished first: pose.json, which says that the run is complete, is the last to appear.
        """
        for frame in self._frames(following, kept):
            yield people_of(frame)
        video.check_complete(self.video, self.decoded.frames)
        log.say(f"frame={self.decoded.frames} total={self.decoded.frames} people={self.people_now}")
        log.stage("write")
        if self.overlay is not None:
            self.overlay.finish()
        if kept is not None:
            write_pickle(kept, self.options.output_dir)

    def _clean(self) -> None:
        if self.overlay is not None:
            self.overlay.abandon()
        for name in RESULT_NAMES:
            path = self.options.output_dir / name
            if path.exists():
                path.unlink()

    def _meta(self, following: Following, engine: Engine) -> Dict[str, Any]:
        """The facts of the run, in the form of pose_phalp.results; counts are asked for when the last frame is done."""
        options, seen = self.options, self.video
        return {
            "width": seen.width, "height": seen.height, "fps": seen.fps,
            "frames": lambda: self.decoded.frames,
            "source_start": options.source_start,
            "stride": options.stride,
            "capture_fps": options.capture_fps,
            "focal_length_px": options.focal_length_px,
            "max_people": options.max_people,
            "people_filtered": lambda: following.counts.small + following.counts.short,
            "engine_version": engine_version(),
            "device": options.device.upper(),
            "models": engine.digests(self.boxes is not None),
            "rest_joints": engine.rest_joints,
        }


def engine_version() -> str:
    """Of the adapter and of what it found in the image, at most the 128 characters of the contract."""
    found = image.versions()
    return " ".join([f"adapter {__version__}"] + [f"{name} {version}" for name, version in found.items()])[:128]


def model_digests(files: List[weights.WeightFile]) -> List[Dict[str, str]]:
    """Name and sha256 of the networks' files as their weights.sha256 gives them; without one they are not hashed again."""
    listed: Dict[Path, Dict[str, str]] = {}
    found = []
    for file in files:
        if file.kind in ("torch", "pickle", "smpl") and file.min_bytes >= 1_000_000:
            if file.root not in listed:
                listed[file.root] = weights.read_digests(file.root)[0]
            digest = listed[file.root].get(file.name)
            if digest:
                found.append({"name": file.path.name, "sha256": digest})
    return found


def write_pickle(kept: Dict[str, Any], folder: Path) -> None:
    """Upstream's own form, for its tools. Under a temporary name until it is whole."""
    import joblib
    partial = folder / f".{PICKLE_NAME}"
    joblib.dump(kept, os.fspath(partial), compress=3)
    os.replace(partial, folder / PICKLE_NAME)


def run_one(options: RunOptions) -> None:
    log.stage("start")
    run = Run(options)
    engine = Engine(options, detect=run.boxes is None, draw=options.overlay != "none")
    frames, people = run.execute(engine)
    log.say(f"result frames={frames} people={people}")
    log.stage("done")


def run_queue(options: EngineOptions, queue: int, unfinished: List[Path]) -> None:
    """unfinished: gets the folder of the clip at work, for whoever ends the process."""
    log.stage("start")
    engine = Engine(options, detect=options.detector != "none", draw=True)

    def work(clip: clips.Clip) -> Tuple[int, int]:
        unfinished[:] = [clip.output_dir]
        try:
            return Run(RunOptions.of_clip(clip, options)).execute(engine)
        finally:
            unfinished.clear()

    clips.serve(queue, work)
    log.stage("done")


def preflight(options: PreflightOptions) -> None:
    """Loads the detector alone; on a GPU it also runs once, so that kernels and memory are tried."""
    log.stage("start")
    if options.detector == "none":
        log.say("preflight detector=none")
        log.stage("done")
        return
    files = check_weights(options.detector, False)
    image.prepare("")
    from types import SimpleNamespace

    from pose_phalp import models
    device = image.require_device(options.device)
    image.trusting_load()
    settings = models.make_config({"device": config.torch_device(options.device), "phalp": {"detector": options.detector}})
    owner = SimpleNamespace(cfg=settings, setup_detectron2_with_RPN=lambda: None)
    models.prepare_detector(device, places(files))
    models.load_detector(owner)
    if options.device == "gpu":
        import numpy as np
        owner.detector(np.zeros((720, 1280, 3), dtype=np.uint8))
        import torch
        log.say(f"preflight detector={options.detector} gpu_peak_mib={torch.cuda.max_memory_allocated() >> 20}")
    else:
        log.say(f"preflight detector={options.detector}")
    log.stage("done")
