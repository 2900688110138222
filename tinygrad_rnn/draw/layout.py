"""Where the boxes of a graph stand: in rows, each below all that it comes from.

Sugiyama, Tagawa & Toda (1981), in its simplest form: rows by the longest path, stations on long
arrows so that those bend around boxes, the order in a row by the mean place of the neighbours, and
places pulled towards them as far as the order allows.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

Place = tuple[float, float]
GAP, DROP, MARGIN = 14.0, 34.0, 8.0
SWEEPS = 12


def placed(boxes: Sequence[tuple[str, Place]], edges: Sequence[tuple[str, str]],
           ) -> tuple[dict[str, Place], list[list[Place]], Place]:
    """Centres of the boxes (name, (width, height)), the points that each arrow goes through, and
    the size of the whole. Boxes come in an order in which no arrow runs backward."""
    sizes = dict(boxes)
    row = _rows([name for name, _ in boxes], edges)
    rows: dict[int, list[str]] = defaultdict(list)
    for name, _ in boxes:
        rows[row[name]].append(name)
    up: dict[str, list[str]] = defaultdict(list)
    down: dict[str, list[str]] = defaultdict(list)
    chains = []
    for k, (source, end) in enumerate(edges):
        chain = [source]
        for r in range(row[source] + 1, row[end]):  # stations of a long arrow
            station = f"{k}/{r}"
            sizes[station] = (1.0, 1.0)
            rows[r].append(station)
            chain.append(station)
        chain.append(end)
        chains.append(chain)
        for a, b in itertools.pairwise(chain):
            down[a].append(b)
            up[b].append(a)
    x = _across(rows, sizes, up, down)
    y, top = {}, MARGIN
    for r in sorted(rows):
        tall = max(sizes[name][1] for name in rows[r])
        y.update(dict.fromkeys(rows[r], top + tall / 2))
        top += tall + DROP
    left = min(x[name] - sizes[name][0] / 2 for name in x) - MARGIN
    right = max(x[name] + sizes[name][0] / 2 for name in x) + MARGIN
    paths = []
    for chain in chains:
        points = [(x[name] - left, y[name]) for name in chain]
        points[0] = points[0][0], points[0][1] + sizes[chain[0]][1] / 2
        points[-1] = points[-1][0], points[-1][1] - sizes[chain[-1]][1] / 2
        paths.append(points)
    where = {name: (x[name] - left, y[name]) for name, _ in boxes}
    return where, paths, (right - left, top - DROP + MARGIN)


def _rows(names: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    comes_from, goes_to = defaultdict(list), defaultdict(list)
    for source, end in edges:
        comes_from[end].append(source)
        goes_to[source].append(end)
    row: dict[str, int] = {}
    waiting = list(names)
    while waiting:  # names are nearly in order: what comes from a later one waits a round
        later = []
        for name in waiting:
            if all(source in row for source in comes_from[name]):
                row[name] = max((row[source] + 1 for source in comes_from[name]), default=0)
            else:
                later.append(name)
        waiting = later
    for name in reversed(names):  # what comes from nothing stands right above where it is used
        if not comes_from[name] and goes_to[name]:
            row[name] = min(row[end] for end in goes_to[name]) - 1
    return row


def _across(rows: dict[int, list[str]], sizes: dict[str, Place], up: dict[str, list[str]],
            down: dict[str, list[str]]) -> dict[str, float]:
    x: dict[str, float] = {}
    for names in rows.values():
        _spread(names, dict.fromkeys(names, 0.0), sizes, x)
    for sweep in range(SWEEPS):
        near = down if sweep % 2 else up
        for r in sorted(rows, reverse=bool(sweep % 2)):
            wish = {name: sum(x[n] for n in near[name]) / len(near[name]) if near[name] else x[name]
                    for name in rows[r]}  # fmt: skip
            rows[r].sort(key=wish.__getitem__)
            _spread(rows[r], wish, sizes, x)
    return x


def _spread(names: list[str], wish: dict[str, float], sizes: dict[str, Place],
            x: dict[str, float]) -> None:
    """Places in this order, as near to the wishes as a gap between neighbours allows: the mean of
    what comes out from the left and from the right."""
    halves = [sizes[name][0] / 2 for name in names]
    left: list[float] = []
    right: list[float] = []
    for i, name in enumerate(names):
        edge = left[-1] + halves[i - 1] + halves[i] + GAP if left else wish[name]
        left.append(max(wish[name], edge))
    for i in range(len(names) - 1, -1, -1):
        edge = right[-1] - halves[i + 1] - halves[i] - GAP if right else wish[names[i]]
        right.append(min(wish[names[i]], edge))
    for name, a, b in zip(names, left, reversed(right), strict=True):
        x[name] = (a + b) / 2
