"""The tracker on made-up walkers: boxes 30 wide and 100 high that move along straight lines."""

import random

import pytest

from pose_mediapipe.track import Box, Observation, Sighting, Track, Tracker, TrackerConfig

WIDTH, HEIGHT = 800, 600


def seen(x, y=300.0, h=100.0, hints=frozenset(), supported=True, look=()):
    return Observation(Box(x, y, 0.3 * h, h), 0.9, hints, supported, look)


def play(frames, config=TrackerConfig()):
    """Runs a tracker over lists of observations, one list a frame."""
    tracker = Tracker(config, WIDTH, HEIGHT)
    for number, observations in enumerate(frames):
        tracker.predict()
        tracker.update(number, observations)
    return tracker


def path_of(track):
    return {s.frame: s.observation.box.cx for s in track.sightings}


def test_one_walker_is_one_track():
    tracker = play([[seen(100 + 6 * t)] for t in range(40)])
    assert [len(t.sightings) for t in tracker.all_tracks()] == [40]
    assert tracker.people_now() == 1


@pytest.mark.parametrize("noise", [0, 2])
def test_crossing_walkers_keep_their_ids(noise):
    rng = random.Random(1)
    left = [100 + 8 * t + rng.uniform(-noise, noise) for t in range(60)]
    right = [580 - 8 * t + rng.uniform(-noise, noise) for t in range(60)]
    tracks = play([[seen(a), seen(b)] for a, b in zip(left, right)]).all_tracks()
    assert [list(path_of(t).values()) for t in tracks] == [left, right]


def test_hidden_walker_comes_out_on_the_far_side_of_a_crossing():
    """While they overlap only the one in front is seen, and it is found from the squares of both."""
    frames = []
    for t in range(60):
        a, b = 100 + 8 * t, 580 - 8 * t
        if abs(a - b) < 40:
            frames.append([seen(a, hints=frozenset([1, 2]))])
        else:
            frames.append([seen(a, hints=frozenset([1])), seen(b, hints=frozenset([2]))] if t else [seen(a), seen(b)])
    tracks = play(frames).all_tracks()
    assert len(tracks) == 2
    assert path_of(tracks[0])[59] == 100 + 8 * 59
    assert path_of(tracks[1])[59] == 580 - 8 * 59


def test_wrong_hints_do_not_swap_people_apart():
    frames = [[seen(200), seen(228)]]
    frames += [[seen(200, hints=frozenset([2])), seen(228, hints=frozenset([1]))] for _ in range(10)]
    tracks = play(frames).all_tracks()
    assert [set(path_of(t).values()) for t in tracks] == [{200}, {228}]


def test_looks_decide_when_places_do_not():
    """Two people side by side vanish and come back with their places exchanged."""
    red, blue = (200.0, 50.0, 50.0), (50.0, 50.0, 200.0)
    frames = [[seen(300, look=red), seen(340, look=blue)] for _ in range(10)] + [[] for _ in range(3)]
    frames += [[seen(325, look=red), seen(315, look=blue)]]
    tracks = play(frames).all_tracks()
    assert [t.sightings[-1].observation.look for t in tracks] == [red, blue]


def test_gap_is_bridged_at_constant_velocity():
    frames = [[seen(100 + 10 * t)] if not 20 <= t < 28 else [] for t in range(40)]
    tracks = play(frames, TrackerConfig(max_gap=10)).all_tracks()
    assert [len(t.sightings) for t in tracks] == [32]
    assert tracks[0].presence == pytest.approx(32 / 40)


def test_too_long_a_gap_ends_the_track():
    frames = [[seen(400)] if not 10 <= t < 22 else [] for t in range(40)]
    tracks = play(frames, TrackerConfig(max_gap=10)).all_tracks()
    assert [(t.sightings[0].frame, t.sightings[-1].frame) for t in tracks] == [(0, 9), (22, 39)]


def test_walker_who_leaves_the_frame_is_not_kept_alive():
    tracker = play([[seen(740 + 20 * t)] if t < 3 else [] for t in range(6)])
    assert tracker.live == []


def test_single_false_find_is_never_a_person():
    tracker = play([[seen(100 + 6 * t)] + ([seen(500)] if t == 5 else []) for t in range(30)])
    assert [t.confirmed(3, 2) for t in tracker.all_tracks()] == [True, False]


def test_only_the_detector_gives_birth():
    assert play([[seen(300, hints=frozenset([9]), supported=False)]]).all_tracks() == []


def test_unsupported_track_is_not_confirmed():
    tracker = play([[seen(300)]] + [[seen(300, hints=frozenset([1]), supported=False)] for _ in range(10)])
    (track,) = tracker.all_tracks()
    assert len(track.sightings) == 11
    assert not track.confirmed(3, 2)


def test_track_that_the_detector_never_sees_again_ends():
    frames = [[seen(300)]] + [[seen(300, hints=frozenset([1]), supported=False)] for _ in range(30)]
    tracker = play(frames, TrackerConfig(birth_window=18))
    assert tracker.live == []
    assert tracker.all_tracks()[0].sightings[-1].frame == 19


def test_walker_whom_the_detector_saw_once_is_followed():
    frames = [[seen(300)]] + [[seen(300 + 5 * t, hints=frozenset([1]), supported=False)] for t in range(1, 31)]
    (track,) = play(frames, TrackerConfig(birth_window=18)).live
    assert len(track.sightings) == 31


def test_someone_of_another_size_is_another_person():
    tracks = play([[seen(300, h=100)], [seen(300, h=220)]]).all_tracks()
    assert len(tracks) == 2


def made_of(frames, heights=None):
    heights = heights or [100.0] * len(frames)
    return Track(1, Box(0, 0, 1, 1), sightings=[Sighting(f, seen(0, h=h)) for f, h in zip(frames, heights)])


@pytest.mark.parametrize(("frames", "kept"), [
    ([0, 10, 11, 12, 13], [10, 11, 12, 13]),
    ([0, 1, 10, 11, 12], [10, 11, 12]),
    ([0, 1, 2, 10, 11, 12], [0, 1, 2, 10, 11, 12]),
    ([0, 1, 2, 3, 20], [0, 1, 2, 3]),
    ([0, 8, 16, 17, 18, 30], [16, 17, 18]),
    ([5], [5]),
])
def test_lone_ends_are_cut(frames, kept):
    assert [s.frame for s in made_of(frames).trimmed().sightings] == kept


def test_flicker_is_the_usual_change_of_height():
    assert made_of([0, 1, 2], [100, 100, 100]).flicker == 0
    assert made_of([0, 1, 2, 3], [100, 110, 100, 110]).flicker == pytest.approx(0.0953, abs=1e-3)


def test_somebody_well_known_does_not_grow_at_once():
    """Two who walk side by side are sometimes seen as one large body."""
    tracks = play([[seen(300)] for _ in range(8)] + [[seen(300, h=145)]]).all_tracks()
    assert [len(t.sightings) for t in tracks] == [8, 1]
    tracks = play([[seen(300)] for _ in range(2)] + [[seen(300, h=145)]]).all_tracks()
    assert [len(t.sightings) for t in tracks] == [3], "nobody knows a newcomer's size that well"


def test_presence_does_not_hold_a_long_absence_against_a_person():
    assert made_of([*range(20), *range(60, 80)]).presence == pytest.approx(40 / 49)
    assert made_of(range(0, 90, 3)).presence == pytest.approx(30 / 88)
