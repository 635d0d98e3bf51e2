"""Non-dominated sorting: an order of points with several objectives, all to be maximised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Point = Sequence[float]


def dominates(a: Point, b: Point) -> bool:
    """Return whether ``a`` is at least as good as ``b`` everywhere and better somewhere."""
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def fronts(points: Mapping[str, Point]) -> list[list[str]]:
    """Return the names by fronts: those that nobody dominates, then those that only the fronts before dominate."""
    left, found = dict(points), []
    while left:
        front = [name for name, point in left.items() if not any(dominates(other, point) for other in left.values())]
        found.append(front)
        left = {name: point for name, point in left.items() if name not in front}
    return found


def order(points: Mapping[str, Point]) -> list[str]:
    """Return the names from best to worst: front by front, and within one the most isolated first (NSGA-II).

    With one objective this is the order of the values. Equal points keep the order of ``points``.
    """
    return [name for front in fronts(points) for name in _by_crowding({name: points[name] for name in front})]


def _by_crowding(front: Mapping[str, Point]) -> list[str]:
    distance = dict.fromkeys(front, 0.0)
    for axis in range(len(next(iter(front.values())))):
        names = sorted(front, key=lambda name: front[name][axis])
        low, high = front[names[0]][axis], front[names[-1]][axis]
        distance[names[0]] = distance[names[-1]] = float("inf")
        for before, name, after in zip(names, names[1:], names[2:], strict=False):
            distance[name] += (front[after][axis] - front[before][axis]) / ((high - low) or 1.0)
    return sorted(front, key=lambda name: -distance[name])
