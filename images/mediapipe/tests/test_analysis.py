"""The whole analysis with models that see a made-up walker: 100 high, 6 pixels a frame to the right."""

import numpy as np

from pose_mediapipe.detect import Detection, Tile, TileMemory, shrink
from pose_mediapipe.geometry import Roi
from pose_mediapipe.landmarks import Pose
from pose_mediapipe.pipeline import Analysis, Schedule

WIDTH, HEIGHT = 640, 360


def frame(number):
    """A picture that carries its number, for models that have to know which one they are shown."""
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[0, 0, 0] = number
    return picture


class World:
    """Detector and landmark model at once. found_from: first frame in which the detector finds the walker; hidden: frames in
    which nobody sees them."""

    def __init__(self, found_from=0, hidden=()):
        self.found_from, self.hidden = found_from, set(hidden)

    def roi(self, number):
        return Roi(100 + 6 * number, 200, 137, 0.0)

    def detect(self, picture):
        number = int(picture[0, 0, 0])
        return [Detection(self.roi(number), 0.9)] if number >= self.found_from and number not in self.hidden else []

    def detect_in(self, picture, tiles):
        return [d for d in self.detect(picture) if any(t.x <= d.roi.cx <= t.x + t.side for t in tiles)]

    def estimate(self, picture, rois, _scenes=None):
        number = int(picture[0, 0, 0])
        here = self.roi(number)
        points = np.array([[here.cx + 12 * (k % 2), here.cy - 44 + 2.9 * k] for k in range(33)], np.float32)
        seen = [number not in self.hidden and abs(roi.cx - here.cx) < 30 for roi in rois]
        return [Pose(points, np.ones(33, np.float32), np.zeros((33, 3), np.float32), 0.95 if s else 0.1, here) for s in seen]


def people(world, frames):
    analysis = Analysis(world, world, Schedule.for_rate(10), WIDTH, HEIGHT, 10)
    for number in range(frames):
        analysis.feed(frame(number))
    return [[s.frame for s in t.sightings] for t in analysis.people()]


def test_a_walker_is_followed():
    assert people(World(), 40) == [list(range(40))]


def test_somebody_found_late_is_traced_back():
    """Found in frame 15 and known in frame 18, when 15 frames are kept."""
    assert people(World(found_from=15), 40) == [list(range(3, 40))]


def test_nobody_is_traced_back_further_than_they_are_seen():
    assert people(World(found_from=12, hidden=range(7)), 40) == [list(range(7, 40))]


def test_hidden_for_a_while():
    assert people(World(hidden=range(20, 34)), 60) == [[*range(20), *range(34, 60)]]


def test_an_unchanged_tile_is_not_looked_at_again():
    memory, tile, found = TileMemory(), Tile(64, 64, 128), [Detection(Roi(100, 100, 50, 0), 0.8)]
    street = np.random.default_rng(1).integers(50, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert memory.recall(tile, shrink(street)) is None
    memory.keep(tile, shrink(street), found)
    elsewhere = street.copy()
    elsewhere[250:, 300:] = 0
    assert memory.recall(tile, shrink(elsewhere)) == found
    here = street.copy()
    here[100:124, 80:104] = 0
    assert memory.recall(tile, shrink(here)) is None
