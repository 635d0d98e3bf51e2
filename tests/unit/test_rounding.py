from __future__ import annotations

import pytest

from sweeps.engine.analysis.rounding import round_values
from sweeps.engine.figures.lines import band_places


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (16.9, 83.3, False, [20.0, 40.0, 60.0, 80.0]),
        (2.29, 11.7, False, [4.0, 6.0, 8.0, 10.0]),
        (-1.0, 1.0, False, [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (0.0105, 0.767, True, [0.03, 0.1, 0.3]),
        (1e-5, 1.0, True, [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]),
        (0.021, 0.029, True, [0.022, 0.024, 0.026, 0.028]),
        (3.0, 3.0, False, [3.0]),
    ],
)
def test_ticks_are_round_and_inside_the_range(low: float, high: float, log: bool, expected: list[float]) -> None:
    assert round_values(low, high, log=log) == pytest.approx(expected)


def test_bands_fill_the_width_and_leave_equal_gaps_between_them() -> None:
    halves = [0.2, 0.1, 0.3]
    places = band_places(halves, 4.0)
    assert places[0] - halves[0] == pytest.approx(0.0)
    assert places[-1] + halves[-1] == pytest.approx(4.0)
    gaps = [places[i + 1] - halves[i + 1] - places[i] - halves[i] for i in (0, 1)]
    assert gaps == pytest.approx([1.4, 1.4])
