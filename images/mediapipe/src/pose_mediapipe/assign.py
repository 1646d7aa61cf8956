"""Minimum-cost one-to-one matching of two small sets (the assignment problem), without a numeric library."""

from __future__ import annotations

import math
from collections.abc import Sequence

FORBIDDEN = math.inf


def match(costs: Sequence[Sequence[float]], skip_cost: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of least total cost, where leaving a row alone costs skip_cost.

    A pair that costs more than skip_cost, or FORBIDDEN, is never made. Each row gets a private extra column that stands for
    staying alone; then every row can be matched and the shortest-augmenting-path method applies.
    """
    rows = len(costs)
    columns = len(costs[0]) if rows else 0
    if not rows or not columns:
        return []
    blocked = 1e6  # finite, so that sums stay comparable
    table = [[cost if cost <= skip_cost else blocked for cost in row]
             + [skip_cost if extra == r else blocked for extra in range(rows)]
             for r, row in enumerate(costs)]
    return [(r, c) for r, c in enumerate(_solve(table)) if c < columns]


def _solve(table: list[list[float]]) -> list[int]:
    """The column of each row; needs at least as many columns as rows."""
    columns = len(table[0])
    row_price = [0.0] * len(table)
    column_price = [0.0] * columns
    owner: list[int | None] = [None] * columns
    for row in range(len(table)):
        end, came_from = _shortest_path(table, row, row_price, column_price, owner)
        while True:  # hand each column on the path over to the row before it
            previous = came_from[end]
            owner[end] = row if previous is None else owner[previous]
            if previous is None:
                break
            end = previous
    chosen = [0] * len(table)
    for column, row_of in enumerate(owner):
        if row_of is not None:
            chosen[row_of] = column
    return chosen


def _shortest_path(table, start: int, row_price: list[float], column_price: list[float],
                   owner: list[int | None]) -> tuple[int, list[int | None]]:
    """Cheapest way from a free row to a free column in reduced costs; keeps the prices feasible.

    Returns that column, and for each column the one visited before it on the cheapest way (None: straight from start).
    """
    columns = len(table[0])
    distance = [math.inf] * columns
    came_from: list[int | None] = [None] * columns
    done = [False] * columns
    row, base, here = start, 0.0, None
    while True:
        for c in range(columns):
            through = base + table[row][c] - row_price[row] - column_price[c]
            if not done[c] and through < distance[c] - 1e-12:
                distance[c], came_from[c] = through, here
        here = min((c for c in range(columns) if not done[c]), key=lambda c: distance[c])
        base, done[here] = distance[here], True
        if owner[here] is None:
            break
        row = owner[here]
    row_price[start] += base
    for c in range(columns):
        if done[c] and c != here:
            column_price[c] -= base - distance[c]
            row_price[owner[c]] += base - distance[c]
    return here, came_from
