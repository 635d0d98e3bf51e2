"""The claims of a study of CLIP's robustness, each beside what a study of ours has measured.

A claim is a difference of two numbers whose sign is said beforehand. Rows share their images, so that the interval of a
difference is a paired bootstrap over images where trials have kept what it needs. Elsewhere it is made of the two
numbers' intervals (Zou and Donner, Statistics in Medicine 2008), as if they were of different images, and is then too
wide rather than too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from sweeps.engine.analysis.published.paired import Side
from sweeps.engine.analysis.shifts import shift_numbers
from sweeps.engine.analysis.stats import Number, mean_of_seeds
from sweeps.engine.study.folder import Role, StudyFolder
from sweeps.engine.study.objectives import headline
from zsr_core.codec import ConfigError
from zsr_core.data import Split
from zsr_core.data.shifts.names import CORRUPTION, FACTOR

Verdict = Literal["supported", "contradicted", "not told apart", "not measured"]
RAW, AT_SOURCE, SURER = "ece", "ece_source_t", "overconfidence_source_t"
FOLLOWS = ("clean", "t2i_r1")  # classification, then what follows it
Gap = Callable[[Side, Side], Number | None]  # the difference of two numbers of the same images; None where not paired


@dataclass(frozen=True, kw_only=True)
class ProfileRow:
    """One row of a study, over its seeds: zero-shot means by score, and numbers under corruptions and factors."""

    label: str
    role: Role
    points: Mapping[str, Number]
    shifts: Mapping[str, Mapping[tuple[str, str], Number]]  # by kind: under corruptions and factors, as they were made


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published claim, what was measured, and whether that supports it."""

    words: str
    measured: str
    verdict: Verdict


def profile_rows(folder: StudyFolder, split: Split = "selection") -> tuple[ProfileRow, ...]:
    """Return the rows of a split that have finished, in plan order.

    Raises:
        ConfigError: if none has.
    """
    found = []
    for row in folder.study.rows(split=split):
        results = list(folder.done(row.trials).values())
        if not results:
            continue
        means = [headline(result, folder.study.score_eps) for result in results]
        shared = set.intersection(*(set(each) for each in means))
        points = {name: mean_of_seeds([each[name] for each in means]) for name in shared}
        found.append(ProfileRow(
            label=row.cell, role=row.role,
            shifts={kind: shift_numbers(folder, row, kind) for kind in (CORRUPTION, FACTOR)},
            points={name: point for name, point in points.items() if point is not None},
        ))  # fmt: skip
    if not found:
        raise ConfigError(f"profile: no trial of {folder.study.study} has finished on the {split} split")
    return tuple(found)


def difference(a: Number, b: Number) -> Number:
    """Return ``a - b``; without an interval if one of them has none."""
    value = a.value - b.value
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return Number(value=value, low=None, high=None)
    below = math.hypot(a.value - a.low, b.high - b.value)
    above = math.hypot(a.high - a.value, b.value - b.low)
    return Number(value=value, low=value - below, high=value + above)


def above_zero(number: Number) -> Verdict:
    """Return whether the claim that a number is above 0 is supported: its interval lies wholly on one side."""
    if number.low is not None and number.low > 0:
        return "supported"
    return "contradicted" if number.high is not None and number.high < 0 else "not told apart"


def unpaired(a: Side, b: Side) -> Number | None:
    """Return None: nothing was kept to pair two numbers by."""
    return None


def claims(rows: Sequence[ProfileRow], paired: Gap = unpaired) -> tuple[Claim, ...]:
    """Return the study's claims in its order. Rows are found by their labels, the methods' titles."""
    by_label = {row.label: row.points for row in rows}
    before = next((row for row in rows if row.role == "baseline"), None)
    old = "" if before is None else before.label
    found = [_pair("Fine-tuning raises the calibration error.", by_label, ("FT-Clean", RAW), (old, RAW),
                   ("FT-Clean", "the untouched model"), paired)]  # fmt: skip
    for label in ("LP-FT", "WiSE-FT"):
        words = f"{label} recovers with a temperature: its calibration error falls."
        names = (f"{label} raw", "at the source's temperature")
        found.append(_pair(words, by_label, (label, RAW), (label, AT_SOURCE), names, paired))
    return (*found, _surer(by_label.get("FLYP", {}).get(SURER)), follows(rows, paired))


def _pair(
    words: str, points: Mapping[str, Mapping[str, Number]], first: Side, second: Side, names: tuple[str, str],
    paired: Gap,
) -> Claim:  # fmt: skip
    a, b = (points.get(label, {}).get(score) for label, score in (first, second))
    if a is None or b is None:
        lacking = names[0] if a is None else names[1]
        return Claim(words=words, measured=f"No number of {lacking}.", verdict="not measured")
    same = paired(first, second)
    gap = same or difference(a, b)
    how = "" if same is None else ", paired"
    text = f"{names[0]} {number_text(a)}, {names[1]} {number_text(b)}; difference {number_text(gap)} points{how}."
    return Claim(words=words, measured=f"{text[0].upper()}{text[1:]}", verdict=above_zero(gap))


def _surer(number: Number | None) -> Claim:
    words = "FLYP stays over-confident at the source's temperature."
    if number is None:
        return Claim(words=words, measured="No number of FLYP.", verdict="not measured")
    measured = f"Confidence minus accuracy {number_text(number)} points."
    return Claim(words=words, measured=measured, verdict=above_zero(number))


def follows(rows: Sequence[ProfileRow], paired: Gap = unpaired) -> Claim:
    """Return whether retrieval orders pairs of rows as classification does, of pairs that both tell apart."""
    words, (first, second) = "Retrieval follows classification.", FOLLOWS
    known = [row for row in rows if first in row.points and second in row.points]
    if len(known) < 2:
        return Claim(words=words, measured="Fewer than two rows have both numbers.", verdict="not measured")
    same = opposite = 0
    for a, b in combinations(known, 2):
        gaps = [paired((a.label, name), (b.label, name)) or difference(a.points[name], b.points[name])
                for name in FOLLOWS]  # fmt: skip
        signs = [above_zero(gap) for gap in gaps]
        if "not told apart" not in signs:
            same, opposite = same + (signs[0] == signs[1]), opposite + (signs[0] != signs[1])
    pairs = math.comb(len(known), 2)
    measured = (
        f"Clean accuracy and text-to-image R@1 both tell {same + opposite} of {pairs} pairs of rows apart: "
        f"{same} in the same order, {opposite} in the opposite one."
    )
    verdict: Verdict = "supported" if same and not opposite else "contradicted" if opposite and not same else (
        "not told apart")  # fmt: skip
    return Claim(words=words, measured=measured, verdict=verdict)


def number_text(number: Number) -> str:
    """Return ``12.3 [10.1, 14.5]``, or the value alone where it has no interval."""
    interval = "" if number.low is None or number.high is None else f" [{number.low:.1f}, {number.high:.1f}]"
    return f"{number.value:.1f}{interval}"
