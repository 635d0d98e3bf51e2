"""The numbers of a sensitivity analysis as text."""

from __future__ import annotations

from sweeps.engine.analysis.sensitivity import MOSTLY, Sensitivity
from sweeps.engine.format import NBSP, leaf, setting_text


def sensitivity_lines(result: Sensitivity) -> list[str]:
    """Return the numbers as Markdown lines: the optimum, then one row per number with its method."""
    best = result.optimum
    where = f"{leaf(result.x)} = {setting_text(result.x, best.x)}, {leaf(result.y)} = {setting_text(result.y, best.y)}"
    lines = [
        f"**{result.z}**: best sampled {best.mean:.2f} at {where}.",
        "",
        "| number | value | how |",
        "|---|---|---|",
    ]
    if result.s20_max is None:
        lines.append("| S20, largest and mean drop within 20 % | – | unresolved: a cliff or the rim is in between |")
    else:
        how = f"{result.s20_n} sampled" if result.s20_how == "measured" else "interpolated, nothing was sampled within"
        largest = f"{result.s20_max:.2f} %{ends_text(result.s20_max_ends)}"
        mean = f"{result.s20_mean:.2f} %{ends_text(result.s20_mean_ends)}"
        lines.append(f"| S20, largest and mean drop within 20 % | {largest}, {mean} | {how} |")
    for s in result.slopes:
        to = f"{leaf(s.path)} {100 * s.step:+.3g} % to {setting_text(s.path, s.to)}"
        drop = f"{s.drop:.2f} %{ends_text(s.ends)}"
        lines.append(f"| drop, and per 10 % of step: {to} | {drop}, {s.per_10:.2f} % | {s.how} |")
    if result.log_sensitivity is not None:
        value = f"{result.log_sensitivity:.2f} %{ends_text(result.log_sensitivity_ends)}"
        lines.append(f"| log-sensitivity, per e-fold | {value} | largest of the nearest points |")
    how = f"{result.plateau_cells} of {result.cells} points; {100 * result.unresolved:.0f} % of the area unresolved"
    area = f"{100 * result.plateau:.0f} % of the area" if result.unresolved < MOSTLY else "–"
    lines.append(f"| plateau, within 2 % of the best | {area} | {how} |")
    if result.curvature is not None:
        c = result.curvature
        pairs = zip(c.eigenvalues, c.directions, strict=True)
        first, second = (f"{value:.2f} along ({d[0]:.2f}, {d[1]:.2f})" for value, d in pairs)
        how = f"quadratic over {c.n} points, R² {c.r2:.2f}; a unit of a log axis is a decade"
        lines.append(f"| curvature, points per unit² | {first}; {second} | {how} |")
    ends = (result.s20_max_ends, result.log_sensitivity_ends, *(slope.ends for slope in result.slopes))
    if any(ends):
        lines += ["", f"In brackets 95 % intervals over resamples of {result.over}, with the optimum's place held."]
    return lines


def ends_text(ends: tuple[float, float] | None) -> str:
    """Return an interval in brackets; empty without one."""
    return "" if ends is None else f" [{ends[0]:.1f}, {ends[1]:.1f}]"


def sensitivity_note(result: Sensitivity) -> str:
    """Return the numbers in one line, for the caption of a figure."""
    words = []
    if result.s20_max is None:
        words.append("S20 unresolved")
    else:
        read = "" if result.s20_how == "measured" else ", interpolated"
        words.append(f"S20 {result.s20_max:.1f} % (mean {result.s20_mean:.1f} %{read})")
    steepest = [(path, result.slope(path)) for path in (result.x, result.y)]
    per_10 = [f"{leaf(path)} {s.per_10:.1f} %" for path, s in steepest if s is not None]
    words += [f"per 10 % step: {', '.join(per_10)}"] if per_10 else []
    if result.unresolved < MOSTLY:
        words.append(f"plateau {100 * result.plateau:.0f} % of the area")
    return "; ".join(words).replace(" %", f"{NBSP}%")
