"""Whole tracks of made-up walkers at 10 frames a second: boxes 30 wide and 100 high, in red or blue clothes."""

import pytest

from pose_mediapipe.link import join, link, untangle
from pose_mediapipe.track import Box, Observation, Sighting, Track

RED, BLUE, PINK = (150.0, 190.0, 160.0), (150.0, 128.0, 70.0), (150.0, 188.0, 159.0)
WIDTH, HEIGHT, FPS = 800, 600, 10.0


def sightings(path, look, h=100.0):
    """path: frame -> x, or pairs of them."""
    return [Sighting(f, Observation(Box(x, 300, 30, h), 0.9, supported=True, look=look)) for f, x in sorted(dict(path).items())]


def made(key, *parts):
    seen = [s for part in parts for s in part]
    return Track(key, seen[-1].observation.box, support=len(seen), sightings=seen)


def looks(track):
    return [s.observation.look for s in track.sightings]


def crossing(first, second, swapped_at):
    """Two who walk towards each other and meet at x = 300 in frame 25; from swapped_at on their tracks are exchanged."""
    going = {t: 100 + 8 * t for t in range(50)}
    coming = {t: 500 - 8 * t for t in range(50)}
    split = lambda path, look: (sightings({t: x for t, x in path.items() if t < swapped_at}, look),  # noqa: E731
                                sightings({t: x for t, x in path.items() if t >= swapped_at}, look))
    (a, a_later), (b, b_later) = split(going, first), split(coming, second)
    return [made(1, a, b_later), made(2, b, a_later)]


def test_exchanged_people_get_their_tracks_back():
    tracks = crossing(RED, BLUE, swapped_at=25)
    untangle(tracks, FPS)
    assert [set(looks(t)) for t in tracks] == [{RED}, {BLUE}]
    assert [len(t.sightings) for t in tracks] == [50, 50]
    assert [t.support for t in tracks] == [50, 50]


def test_tracks_that_were_right_stay():
    tracks = crossing(RED, BLUE, swapped_at=50)
    untangle(tracks, FPS)
    assert [set(looks(t)) for t in tracks] == [{RED}, {BLUE}]


def test_people_in_like_clothes_are_left_alone():
    tracks = crossing(RED, PINK, swapped_at=25)
    before = [looks(t) for t in tracks]
    untangle(tracks, FPS)
    assert [looks(t) for t in tracks] == before


def test_sizes_tell_people_apart_too():
    tall = sightings({t: 100 + 8 * t for t in range(50)}, RED, 100)
    short = sightings({t: 500 - 8 * t for t in range(50)}, RED, 60)
    tracks = [made(1, tall[:25], short[25:]), made(2, short[:25], tall[25:])]
    untangle(tracks, FPS)
    assert [{s.observation.box.h for s in t.sightings} for t in tracks] == [{100}, {60}]


def test_people_who_never_met_are_not_compared():
    tracks = [made(1, sightings({t: 100 for t in range(20)}, RED), sightings({t: 100 for t in range(20, 40)}, BLUE)),
              made(2, sightings({t: 400 for t in range(20)}, BLUE), sightings({t: 400 for t in range(20, 40)}, RED))]
    untangle(tracks, FPS)
    assert looks(tracks[0])[-1] == BLUE


def after_gap(gap, x=None, look=RED, h=100.0, speed=7):
    """A walker who is at 300 after two seconds, and somebody who appears gap frames later, by default where they would be."""
    first = made(1, sightings({t: 300 + speed * (t - 20) for t in range(21)}, RED))
    where = 300 + speed * min(gap, 10) if x is None else x
    return [first, made(2, sightings({20 + gap + t: where + speed * t for t in range(20)}, look, h))]


@pytest.mark.parametrize(("tracks", "people"), [
    (after_gap(10), 1),
    (after_gap(30), 1),
    (after_gap(10, x=310, speed=14), 1),  # stopped while hidden
    (after_gap(45), 2),  # too late
    (after_gap(10, x=600), 2),  # too far
    (after_gap(10, x=160), 2),  # far behind
    (after_gap(10, look=BLUE), 2),
    (after_gap(10, h=160), 2),
], ids=["hidden", "long hidden", "stopped", "late", "far", "behind", "other clothes", "other size"])
def test_who_comes_back(tracks, people):
    joined = join(tracks, FPS, WIDTH, HEIGHT)
    assert len(joined) == people
    if people == 1:
        assert len(joined[0].sightings) == 41 and joined[0].key == 1 and joined[0].support == 41


def test_who_walked_out_of_the_picture_does_not_come_back_as_another():
    first = made(1, sightings({t: 700 + 10 * t for t in range(10)}, RED))
    second = made(2, sightings({15 + t: 795 - 10 * t for t in range(10)}, RED))
    assert len(join([first, second], FPS, WIDTH, HEIGHT)) == 2


def test_who_shrinks_behind_a_sign_comes_back_at_full_size():
    """Half of the body is hidden in the last frames; what counts for distances is the whole."""
    first = made(1, sightings({t: 300 for t in range(15)}, RED), sightings({t: 300 for t in range(15, 21)}, RED, h=72))
    second = made(2, sightings({28 + t: 385 for t in range(20)}, RED))
    assert len(join([first, second], FPS, WIDTH, HEIGHT)) == 1


def test_three_parts_become_one():
    parts = [made(k, sightings({t: 100 + 3 * t for t in range(30 * k, 30 * k + 20)}, RED)) for k in range(3)]
    (joined,) = join(parts, FPS, WIDTH, HEIGHT)
    assert [s.frame for s in joined.sightings] == [*range(20), *range(30, 50), *range(60, 80)]


def test_link_leaves_its_input_alone():
    tracks = crossing(RED, BLUE, swapped_at=25)
    before = [looks(t) for t in tracks]
    assert [set(looks(t)) for t in link(tracks, FPS, WIDTH, HEIGHT)] == [{RED}, {BLUE}]
    assert [looks(t) for t in tracks] == before


def test_people_hidden_while_they_meet_are_compared_too():
    """Between frames 22 and 28 nobody sees the second one."""
    a, b = crossing(RED, BLUE, swapped_at=25)
    b.sightings = [s for s in b.sightings if not 22 < s.frame < 28]
    tracks = [a, b]
    untangle(tracks, FPS)
    assert looks(b)[-1] == BLUE and looks(a)[-1] == RED


def test_the_better_of_two_continuations_is_taken():
    first = made(1, sightings({t: 100 + 7 * t for t in range(21)}, RED))
    near, far = (made(k, sightings({30 + t: x + 7 * t for t in range(10)}, RED)) for k, x in ((2, 312), (3, 350)))
    joined = join([first, far, near], FPS, WIDTH, HEIGHT)
    assert sorted(len(t.sightings) for t in joined) == [10, 31]
    assert joined[0].sightings[-1].observation.box.cx == 312 + 63


def test_thousands_of_tracks_take_no_thousands_of_matchings():
    """A long video: a thousand people, each lost once."""
    tracks = [made(k, sightings({100 * k + 15 * part + t: 100 + t for t in range(10)}, RED))
              for k in range(1000) for part in (0, 1)]
    assert [len(t.sightings) for t in link(tracks, FPS, WIDTH, HEIGHT)] == [20] * 1000
