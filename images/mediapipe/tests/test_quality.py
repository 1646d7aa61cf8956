import numpy as np
import pytest

from pose_mediapipe.quality import Seen, hand_overs, swaps, switches_suspected


def seen(frames, x=0.0, step=0.0, h=100.0, y=0.0):
    frames = np.array(list(frames))
    return Seen(frames, np.array([[x + step * f, y, 30, h] for f in frames]))


@pytest.mark.parametrize(("later", "count"), [
    (seen(range(12, 20)), 1),
    (seen(range(19, 30)), 1),
    (seen(range(20, 30)), 0),  # after more than a second of 10 frames
    (seen(range(9, 20)), 0),  # both are there in frame 9
    (seen(range(12, 20), x=49), 1),
    (seen(range(12, 20), x=51), 0),
    (seen(range(12, 20), h=51, y=25), 1),
    (seen(range(12, 20), h=50, y=25), 0),
])
def test_hand_over(later, count):
    assert hand_overs([seen(range(10)), later], 10) == count


def test_each_ending_and_beginning_counts_once():
    assert hand_overs([seen(range(10)), seen(range(11, 15)), seen(range(12, 15))], 10) == 1
    assert hand_overs([seen(range(10)), seen(range(9)), seen(range(12, 15))], 10) == 1
    assert hand_overs([seen(range(10)), seen(range(11, 15)), seen(range(16, 20))], 10) == 2


def test_slow_video_waits_one_frame_at_least():
    assert hand_overs([seen([0]), seen([1])], 0.2) == 1


def test_people_who_exchange_places_in_one_step_are_a_swap():
    a, b = seen(range(10)), seen(range(10), x=40)
    a.boxes[5:], b.boxes[5:] = b.boxes[5:].copy(), a.boxes[5:].copy()
    assert swaps([a, b, seen(range(10), x=300)]) == 1
    assert switches_suspected([a, b], 10) == 1


def test_walkers_who_pass_each_other_are_none():
    assert swaps([seen(range(40), x=0, step=6), seen(range(40), x=240, step=-6)]) == 0


def test_what_is_not_observed_in_both_frames_is_not_compared():
    a, b = seen([0, 1, 3, 4]), seen([0, 1, 3, 4], x=40)
    a.boxes[2:], b.boxes[2:] = b.boxes[2:].copy(), a.boxes[2:].copy()
    assert swaps([a, b]) == 0


def test_nobody():
    assert switches_suspected([], 10) == 0
