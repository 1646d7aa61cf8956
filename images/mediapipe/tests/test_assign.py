import itertools
import random

import pytest

from pose_mediapipe.assign import FORBIDDEN, match


def best_total(costs, skip_cost):
    """The least total cost by trying everything."""
    rows, columns = len(costs), len(costs[0])
    options = [*range(columns), *[None] * rows]
    return min(sum(skip_cost if c is None or costs[r][c] > skip_cost else costs[r][c] for r, c in enumerate(chosen))
               for chosen in set(itertools.permutations(options, rows)))


@pytest.mark.parametrize("seed", range(30))
def test_total_cost_is_the_least_possible(seed):
    rng = random.Random(seed)
    rows, columns = rng.randint(1, 4), rng.randint(1, 4)
    costs = [[rng.choice([FORBIDDEN, rng.uniform(-0.2, 1.5)]) for _ in range(columns)] for _ in range(rows)]
    pairs = match(costs, skip_cost=1.0)
    assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    assert all(costs[r][c] <= 1.0 for r, c in pairs)
    total = sum(costs[r][c] for r, c in pairs) + (rows - len(pairs)) * 1.0
    assert total == pytest.approx(best_total(costs, 1.0))


def test_greedy_would_be_wrong():
    assert sorted(match([[0.1, 0.2], [0.15, 0.9]], skip_cost=1.0)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("costs", [[], [[]], [[], []]])
def test_nothing_to_match(costs):
    assert match(costs, skip_cost=1.0) == []
