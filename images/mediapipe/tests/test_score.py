"""The measure itself, and that the engine reaches it on people drawn by eye."""

from collections import Counter

import pytest
from score import IOU, TRUTH, Drawn, Score, pair, read_truth, reported_boxes, run_engine, score_sequence

A, B, FAR = [10, 10, 20, 60], [60, 10, 20, 60], [200, 10, 20, 60]


def sequence(*frames, ignored=()):
    return [Drawn(k, people, list(ignored)) for k, people in enumerate(frames)]


def scored(drawn, reported, **how):
    return score_sequence("s", sequence(*drawn, **how), lambda k: reported[k])


def test_perfect():
    score = scored([{1: A, 2: B}] * 3, [{7: A, 8: B}] * 3)
    assert (score.precision, score.recall, score.switches, score.idf1) == (1, 1, 0, 1)


def test_misses_and_wrong_finds():
    score = scored([{1: A, 2: B}], [{7: A, 9: FAR}])
    assert (score.precision, score.recall) == (0.5, 0.5)
    assert (score.missed, score.wrong) == ([(0, 2)], [(0, 9)])


def test_a_box_that_overlaps_too_little_is_no_find():
    assert pair({1: [0, 0, 10, 10]}, {1: [4.2, 0, 10, 10]}) == {1: 1}  # 0.408
    assert pair({1: [0, 0, 10, 10]}, {1: [4.4, 0, 10, 10]}) == {}  # 0.389
    assert IOU == 0.4


def test_pairs_are_the_best_together():
    """The first box fits the first person best, but then nothing is left for the second."""
    assert pair({1: [0, 0, 10, 10], 2: [4, 0, 10, 10]}, {5: [1, 0, 10, 10], 6: [-4, 0, 10, 10]}) == {1: 6, 2: 5}


def test_exchanged_ids_are_two_switches():
    score = scored([{1: A, 2: B}] * 4, [{7: A, 8: B}] * 2 + [{8: A, 7: B}] * 2)
    assert (score.precision, score.recall, score.switches, score.idf1) == (1, 1, 2, 0.5)


def test_new_id_after_a_miss_is_a_switch():
    assert scored([{1: A}] * 3, [{7: A}, {}, {8: A}]).switches == 1
    assert scored([{1: A}] * 3, [{7: A}, {}, {7: A}]).switches == 0


def test_ids_of_two_sequences_have_nothing_to_do_with_each_other():
    score = Score()
    for name in "ab":
        score.add(score_sequence(name, sequence({1: A}), lambda _: {7: A} if name == "a" else {9: A}))
    assert score.idf1 == 1 and score.pairs == Counter({("a", 1, 7): 1, ("b", 1, 9): 1})


def test_ignored_people_count_neither_way():
    assert scored([{1: A}], [{7: A, 8: FAR}], ignored=[FAR]).precision == 1
    assert scored([{1: A}], [{7: A}], ignored=[FAR]).recall == 1


@pytest.mark.parametrize("name", ["tuning", "held-back"])
def test_truth_is_sound(name):
    sequences = read_truth(TRUTH / f"{name}.json")
    boxes = [box for frames in sequences for frame in frames for box in [*frame.people.values(), *frame.ignored]]
    assert [len(frames) for frames in sequences] == [8, 8, 8]
    assert len(boxes) >= 148
    assert all(0 <= x and 0 <= y and 6 <= w <= 80 and 20 <= h <= 160 and x + w <= 768 and y + h <= 576 for x, y, w, h in boxes)


def test_engine_finds_people_and_keeps_them_apart(pedestrians, tmp_path):
    """Eight people who cross, hide each other and stand behind a sign, and one far away: the first held-back sequence."""
    first = read_truth(TRUTH / "held-back.json")[0]
    document, _ = run_engine(pedestrians, tmp_path, "--frames", f"{first[0].index - 25}:{first[-1].index + 5}")
    score = score_sequence(0, first, reported_boxes(document))
    said = (score.precision, score.recall, score.switches, score.missed, score.wrong)
    assert score.precision >= 0.93 and score.recall >= 0.88 and score.switches <= 1 and score.idf1 >= 0.9, said
