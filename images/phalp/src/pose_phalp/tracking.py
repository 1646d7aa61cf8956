"""The loop over frames: upstream's steps in upstream's order, with a memory that does not grow with the video.

Upstream's own loop, PHALP.track, keeps every frame's results in one dictionary until the end, writes all frames to disk
first, and turns every exception into a line on stdout. What it does in a frame is five calls; they are made here. A track
is reported from its fifth sighting on, and then the four before are added to frames already done: so a frame is handed on
when it is that old.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Optional, Set, Tuple

from pose_phalp.boxes import Boxes, corners

# What upstream records of a sighting, by its own names.
HISTORY_KEYS = ("center", "scale", "size", "img_path", "img_name", "class_name", "conf", "annotations", "smpl", "camera",
                "camera_bbox", "3d_joints", "2d_joints", "mask", "extra_data")


@dataclass
class Sighting:
    """A person in a frame. data is upstream's record; since: processed frames since the person was last seen, 0 for now."""

    tid: int
    since: int
    data: Dict[str, Any]


@dataclass
class Frame:
    """One processed frame. index counts the video's frames, number the processed ones; time in seconds.

    picture is kept only until the frame is handed on, and only if somebody wants to draw on it; found: all boxes that
    were detected, left, top, right, bottom in pixels.
    """

    index: int
    number: int
    time: float
    sightings: List[Sighting] = field(default_factory=list)
    picture: Any = None
    found: List[Tuple[float, float, float, float]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """As upstream names the pictures it extracts: from 1."""
        return f"{self.index + 1:06d}.jpg"


@dataclass
class Counts:
    """What happened on the way. small: most people in one frame that were too small; short: tracks too short to be reported."""

    frames: int = 0
    small: int = 0
    short: int = 0
    tracks: int = 0


def given_detections(boxes: Boxes, frame: Frame, height: int, width: int, widen: Callable[[Any], Any]) -> Tuple:
    """The boxes of a frame in the form of upstream's get_detections: the mask is the box, the note makes a track count at once.

    In order: boxes and widened boxes (N, 4) left, top, right, bottom; masks (N, height, width); scores; classes; ids; notes.
    """
    import numpy as np
    here = boxes.frames.get(frame.index, [])
    edges = np.array([corners(b, width, height) for b in here], dtype=np.float32).reshape(-1, 4)
    masks = np.zeros((len(here), height, width), dtype=bool)
    for mask, (left, top, right, bottom) in zip(masks, edges):
        mask[int(top):max(int(top) + 1, round(float(bottom))), int(left):max(int(left) + 1, round(float(right)))] = True
    ids = [b.id if b.id is not None else 1 for b in here]
    return (edges, widen(edges), masks, np.array([b.score for b in here], dtype=np.float32),
            np.zeros(len(here), dtype=np.int64), ids, [["given"] for _ in here])


class Following:
    """Feeds frames to upstream's tracker and collects who was where.

    tracker: upstream's PHALP with models loaded. boxes: given ones, None to detect. keep_pictures: for drawing.
    """

    def __init__(self, tracker: Any, boxes: Optional[Boxes], keep_pictures: bool, keep_masks: bool) -> None:
        self.tracker, self.boxes = tracker, boxes
        self.keep_pictures, self.keep_masks = keep_pictures, keep_masks
        self.counts = Counts()
        self.settings = tracker.cfg.phalp
        # A track is believed from its n_init-th sighting on, but never before its second; a given box at once.
        self.patience = 1 if boxes else max(int(self.settings.n_init), 2)
        self.believed: Set[int] = set()  # of the tracks alive
        self.waiting: Deque[Frame] = deque()
        tracker.setup_deepsort()
        self.settings.shot = 0

    def run(self, frames: Iterable[Tuple[int, float, Any]]) -> Iterator[Frame]:
        """Yields each frame once nothing can be added to it any more. frames: index, seconds, picture (BGR)."""
        for index, time, picture in frames:
            self._feed(Frame(index, self.counts.frames, time), picture)
            self.counts.frames += 1
            while len(self.waiting) >= self.patience:
                yield self._hand_on()
        if self.counts.frames < self.patience:
            self._report_all()
        self.counts.short = self._created() - self.counts.tracks
        while self.waiting:
            yield self._hand_on()

    def _hand_on(self) -> Frame:
        return self.waiting.popleft()

    def _created(self) -> int:
        return int(self.tracker.tracker._next_id) - 1

    def _feed(self, frame: Frame, picture: Any) -> None:
        detections = self._describe(frame, picture)
        follower = self.tracker.tracker
        follower.predict()
        follower.update(detections, frame.number, frame.name, 0)
        follower.tracked_cost.clear()  # upstream keeps every frame's cost matrix for a use that is not ours
        if self.keep_pictures:
            frame.picture = picture
        self.waiting.append(frame)
        for track in follower.tracks:
            if track.is_confirmed():
                self._record(track)
        self.believed &= {track.track_id for track in follower.tracks}

    def _describe(self, frame: Frame, picture: Any) -> List[Any]:
        """Finds the people of a frame and describes each by texture, pose and place."""
        tracker = self.tracker
        height, width = picture.shape[:2]
        side = max(height, width)
        measurements = [height, width, side, (side - width) // 2, (side - height) // 2]
        if self.boxes:
            found = given_detections(self.boxes, frame, height, width, tracker.widen)
        else:
            found = tracker.get_detections(picture, frame.name, frame.number, {}, measurements)
        edges, widened, masks, scores, classes, ids, notes = found
        frame.found = [tuple(float(v) for v in box) for box in edges]
        small = sum(right - left < self.settings.small_w or bottom - top < self.settings.small_h
                    for left, top, right, bottom in frame.found)
        self.counts.small = max(self.counts.small, small)
        extra = tracker.run_additional_models(picture, edges, masks, scores, classes, frame.name, frame.number, measurements,
                                              ids, notes)
        return tracker.get_human_features(picture, masks, edges, widened, scores, frame.name, classes, frame.number,
                                          measurements, ids, notes, extra)

    def _record(self, track: Any) -> None:
        """Adds a track to the frame just fed, and to those before it where it has only now been believed."""
        history = track.track_data["history"]
        self._add(self.waiting[-1], track, history[-1], int(track.time_since_update))
        if track.track_id not in self.believed:
            self.believed.add(track.track_id)
            self.counts.tracks += 1
            for back in range(1, min(track.hits, len(history), len(self.waiting))):
                self._add(self.waiting[-1 - back], track, history[-1 - back], 0)

    def _report_all(self) -> None:
        """In a video too short for the usual evidence, who was seen in every frame is believed."""
        for track in self.tracker.tracker.tracks:
            if track.hits == self.counts.frames and not track.is_confirmed():
                self.counts.tracks += 1
                for back in range(self.counts.frames):
                    self._add(self.waiting[-1 - back], track, track.track_data["history"][-1 - back], 0)

    def _add(self, frame: Frame, track: Any, data: Dict[str, Any], since: int) -> None:
        with_ids = self.boxes is not None and self.boxes.with_ids
        if not self.keep_masks:
            data.pop("mask", None)
        frame.sightings.append(Sighting(int(data["ground_truth"] if with_ids else track.track_id), since, data))


def people_of(frame: Frame) -> Dict[str, Any]:
    """A frame in the form of pose_phalp.results: see there for shapes and units."""
    people = []
    for seen in sorted(frame.sightings, key=lambda s: s.tid):
        data = seen.data
        people.append({
            "tid": seen.tid, "tracked_time": seen.since, "bbox": data["bbox"], "conf": float(data["conf"]),
            "smpl": data["smpl"], "camera": data["camera"], "camera_bbox": data["camera_bbox"], "center": data["center"],
            "scale": data["scale"], "size": data["size"], "joints3d": data["3d_joints"],
            "joints2d": data["2d_joints"].reshape(-1, 2),
        })
    return {"index": frame.index, "time": frame.time, "people": people}


def as_upstream(frame: Frame) -> Dict[str, Any]:
    """A frame's entry as upstream's pickle has it."""
    entry: Dict[str, Any] = {"time": frame.number, "shot": 0, "frame_path": frame.name}
    for key in ("tracked_ids", "tracked_bbox", "tid", "bbox", "tracked_time") + HISTORY_KEYS:
        entry[key] = []
    for seen in frame.sightings:
        entry["tid"].append(seen.tid)
        entry["bbox"].append(seen.data["bbox"])
        entry["tracked_time"].append(seen.since)
        for key in HISTORY_KEYS:
            entry[key].append(seen.data.get(key))
        if seen.since == 0:
            entry["tracked_ids"].append(seen.tid)
            entry["tracked_bbox"].append(seen.data["bbox"])
    return entry
