"""The fold of two bilinear resizes into a quadratic form on the patch grid, for every grid and side."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zsr_core.methods.attention import folded, map_distance, min_max
from zsr_core.rng import generator

GRIDS = st.tuples(st.integers(1, 16), st.integers(1, 16))


def _up(maps: Tensor, side: int) -> Tensor:
    return F.interpolate(maps[:, None], (side, side), mode="bilinear").flatten(1)


@settings(max_examples=80, deadline=None)
@given(grid=GRIDS, extra=st.integers(0, 240), seed=st.integers(0, 999))
def test_folded_rows_have_the_inner_products_of_the_resized_maps(grid: tuple[int, int], extra: int, seed: int) -> None:
    side = max(grid) + extra
    a, b = torch.randn(2, 3, *grid, generator=generator(seed), dtype=torch.float64)
    ours = (folded(a, side) * folded(b, side)).sum(dim=1)
    theirs = (_up(a, side) * _up(b, side)).sum(dim=1)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9 * side * side)
    torch.testing.assert_close(folded(a, side).norm(dim=1), _up(a, side).norm(dim=1))


@settings(max_examples=40, deadline=None)
@given(
    cells=st.integers(2, 14),
    distance=st.sampled_from(["l2", "l1", "cos"]),
    minmax=st.sampled_from(["before", "after"]),
    seed=st.integers(0, 999),
    gain=st.floats(0.01, 100.0),
    shift=st.floats(-10.0, 10.0),
)
def test_distances_are_symmetric_and_blind_to_a_maps_scale_and_offset(
    cells: int, distance: str, minmax: str, seed: int, gain: float, shift: float
) -> None:
    a, b = torch.randn(2, 2, cells, cells, generator=generator(seed), dtype=torch.float64)
    value = map_distance(a, b, distance, 64, minmax)  # type: ignore[arg-type]
    assert (value >= 0).all()
    torch.testing.assert_close(map_distance(b, a, distance, 64, minmax), value)  # type: ignore[arg-type]
    torch.testing.assert_close(map_distance(gain * a + shift, b, distance, 64, minmax), value)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(grid=GRIDS, seed=st.integers(0, 999))
def test_a_scaled_map_spans_zero_to_one_or_is_all_zeros(grid: tuple[int, int], seed: int) -> None:
    maps = torch.randn(3, *grid, generator=generator(seed))
    scaled = min_max(maps).flatten(1)
    assert (scaled.amin(dim=1) == 0).all()
    assert (scaled.amax(dim=1) == (0 if grid == (1, 1) else 1)).all()
