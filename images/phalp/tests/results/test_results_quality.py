import numpy as np

from pose_phalp.results.quality import Person, Swaps, handovers, select


def person(number, first, last, at=(100, 100), to=(100, 100), height=100.0, seen=1):
    box = lambda p: np.array([p[0] - 20, p[1] - height / 2, 40, height])  # noqa: E731 - one formula
    return Person(number, first, box(at), last, box(to), seen=seen, tall=height * seen)


def test_the_tallest_and_longest_seen_are_selected():
    people = [person(1, 0, 9, height=50, seen=10), person(2, 0, 9, height=200, seen=3), person(3, 0, 9, height=100, seen=4)]
    assert list(select(people, 2)) == [1, 2]
    assert list(select(people, 0)) == [1, 2, 3]
    assert list(select(people, 9)) == [1, 2, 3]


def test_of_equals_the_first_id_is_selected():
    assert list(select([person(2, 0, 9), person(1, 0, 9)], 1)) == [1]


def test_handover_where_one_ends_and_another_begins():
    assert handovers([person(1, 0, 10), person(2, 12, 20, at=(120, 100))], 10) == 1


def test_no_handover():
    for other in (person(2, 12, 20, at=(160, 100)),  # too far
                  person(2, 12, 20, at=(100, 100), height=250),  # too tall
                  person(2, 22, 30),  # too late
                  person(2, 10, 20)):  # at the same time
        assert handovers([person(1, 0, 10), other], 10) == 0


def test_each_end_and_each_begin_counts_once():
    assert handovers([person(1, 0, 10), person(2, 12, 20), person(3, 12, 20)], 10) == 1
    assert handovers([person(1, 0, 10), person(2, 0, 10), person(3, 12, 20)], 10) == 1
    assert handovers([person(1, 0, 10), person(2, 12, 20), person(3, 22, 30)], 10) == 2


def swapped(before, after):
    swaps = Swaps()
    swaps.frame([1, 2], [np.array(b, float) for b in before])
    swaps.frame([1, 2], [np.array(b, float) for b in after])
    return swaps.count({1: None, 2: None})


def test_exchanged_boxes_are_a_swap():
    a, b = [0, 0, 50, 100], [60, 0, 50, 100]
    assert swapped([a, b], [b, a]) == 1
    assert swapped([a, b], [a, b]) == 0
    assert swapped([a, b], [[5, 0, 50, 100], [55, 0, 50, 100]]) == 0


def test_swaps_of_people_who_are_left_out_do_not_count():
    swaps = Swaps()
    for x, y in ((0, 60), (60, 0)):
        swaps.frame([1, 2], [np.array([x, 0, 50, 100.0]), np.array([y, 0, 50, 100.0])])
    assert swaps.count({1: None}) == 0


def test_gaps_are_counted_when_they_close():
    p = Person(1, 0, np.zeros(4))
    for frame in (0, 1, 4, 5, 9):
        p.sight(frame, np.zeros(4), np.zeros(10), 0)
    assert (p.gaps, p.seen, p.last) == (2, 5, 9)
