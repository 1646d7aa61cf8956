import numpy as np
import pytest

from pose_onnx.analysis import Analysis, select
from pose_onnx.people import Found
from pose_onnx.track import Tracker, TrackerConfig


def play(frames, config=None):
    """Each frame is a list of (x, y, w, h, score). Returns for each frame the track of each box, None if it has none."""
    tracker, told = Tracker(config or TrackerConfig()), []
    for people in frames:
        rows = np.array(people, float).reshape(-1, 5)
        pairs = dict((row, key) for key, row in tracker.update(rows[:, :4], rows[:, 4]))
        told.append([pairs.get(row) for row in range(len(rows))])
    return told


def walker(x, score=0.9, y=100, h=100):
    return (x, y, 40, h, score)


def test_two_who_pass_each_other_keep_their_numbers():
    told = play([[walker(10 + 8 * t), walker(330 - 8 * t, y=115)] for t in range(40)])
    assert all(keys == [1, 2] for keys in told)


def test_doubtful_find_continues_a_person_but_begins_none():
    told = play([[walker(10 + 3 * t, 0.9 if t < 5 else 0.2)] for t in range(12)])
    assert all(keys == [1] for keys in told)
    assert play([[walker(10, 0.4)], [walker(12, 0.4)]]) == [[None], [None]]


def test_hidden_person_comes_back_as_the_same():
    frames = [[walker(10 + 5 * t)] if t < 10 or t >= 20 else [] for t in range(30)]
    assert play(frames)[25] == [1]


def test_hidden_for_too_long_is_somebody_new():
    frames = [[walker(100)] if t < 10 or t >= 50 else [] for t in range(60)]
    assert play(frames)[55] == [2]


def test_runner_in_a_video_of_few_frames_a_second():
    """Boxes that do not overlap from one frame to the next."""
    told = play([[walker(10 + 45 * t)] for t in range(8)])
    assert all(keys == [1] for keys in told)


def test_flicker_is_not_kept_alive():
    told = play([[walker(100)], [], [walker(100)]])
    assert told == [[1], [], [2]]


def test_size_matters():
    told = play([[walker(100, h=100)]] * 5 + [[walker(100, y=-400, h=600)]])
    assert told[-1] == [2]


class Script:
    """Stands in for a model: what it finds in each frame is written down."""

    def __init__(self, frames, **more):
        self._frames, self._more = iter(frames), more

    def detect(self, _frame):
        rows = np.array(next(self._frames), float).reshape(-1, 5)
        return Found(rows[:, :4], rows[:, 4], points=np.zeros((len(rows), 17, 3)), **self._more)


def analysed(frames, **more):
    analysis = Analysis(Script(frames, **more), fps=10)
    for _ in frames:
        analysis.feed(None)
    return analysis


def test_short_tracks_are_left_out_and_counted():
    analysis = analysed([[walker(10 + 3 * t), *([walker(500)] if t == 4 else [])] for t in range(10)])
    chosen = select(analysis.tracks(), 10, 0, given=False)
    assert [len(t.frames) for t in chosen.people] == [10]
    assert chosen.filtered == 1


def test_one_frame_is_enough_for_a_video_of_one_frame():
    assert len(select(analysed([[walker(10)]]).tracks(), 1, 0, given=False).people) == 1


@pytest.mark.parametrize(("most", "kept"), [(0, [100, 200, 50]), (1, [200]), (2, [100, 200])])
def test_the_nearest_and_longest_seen_are_kept(most, kept):
    frames = [[walker(0, h=100), *([walker(200, h=200)] if t > 2 else []), walker(400, h=50)] for t in range(12)]
    chosen = select(analysed(frames).tracks(), 12, most, given=False)
    assert sorted(t.boxes[0][3] for t in chosen.people) == sorted(kept)
    assert (chosen.filtered, chosen.not_selected) == (0, 3 - len(kept))


def test_what_belongs_to_nobody_is_remembered_for_hiding():
    analysis = analysed([[walker(10), walker(300, 0.3)]])
    assert analysis.strays[0].tolist() == [[300, 100, 40, 100]]
