"""The figures of a study: what each score does over two weights, and what clean accuracy costs in robustness."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import TriAnalyzer, Triangulation

from sweeps.engine.answer import chosen
from sweeps.engine.describe import (
    axis_label,
    criterion,
    leaf,
    published_text,
    scale_note,
    scoring_text,
    sentence,
    spread_text,
    training_text,
)
from sweeps.engine.plan import SPLIT
from sweeps.engine.select import OBJECTIVES, CellScore, pareto, scores, trial_rows
from sweeps.engine.stats import harmonic
from sweeps.engine.study import Study, read_results, read_study
from sweeps.engine.surface import Point, Surface, edges, surface
from zsr_core.codec import ConfigError
from zsr_core.files import write_whole
from zsr_core.space import Domain
from zsr_core.trial import TrialResult

MAP = matplotlib.colormaps["cividis"]  # reads the same with any colour vision, and in grey
INK, FAINT, FAILED = "#1a1a1a", "#5f5f5f", "#d9d9d9"
ACCENT = "#d1341f"  # the chosen cell and the front: the one colour that is not on the map
LEAST_RANGE = 2.0  # points of accuracy a colour bar spans at least, so that noise does not look like a cliff
PRINTED = 7  # grids up to 7 x 7 print each cell's value
UPRIGHT = 22  # characters that fit under a panel side by side; longer tick labels are slanted
TITLES = {"clean": "Clean accuracy", "robust": "Robust accuracy", "harmonic": "Harmonic mean"}
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "hatch.linewidth": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "zsr",  # the same study gives the same bytes
}


def plot_study(folder: Path) -> list[Path]:
    """Draw the study's figures under ``figures/`` as PNG and SVG, and return their paths."""
    study = read_study(folder)
    results = read_results(folder, study)
    cells = scores(study, results)
    if not any(row.n for row in cells):
        raise ConfigError(f"plot: {folder} has no finished trial to draw")
    winner, untouched = chosen(study, results), untouched_score(study, results)
    crowned = f"chosen: best {criterion(study)}"
    setting = (study.question, training_text(study), scoring_text(study, results.values()), sentence(scale_note(study)))
    paths: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for x, y in study.surfaces:
            data = surfaces_of(study, results, winner or cells[0], untouched, x, y)
            at, note = point_of(winner, x, y), spread_text(results.values())
            figure = surfaces_figure(data, study.space, at, crowned, setting, note)
            paths += save(figure, folder / "figures" / f"surface_{leaf(x)}_{leaf(y)}")
        figure = tradeoff_figure(cells, winner, crowned, untouched, study.published, setting)
        paths += save(figure, folder / "figures" / "clean_vs_robust")
    return paths


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write ``figure`` as PNG and SVG, by rename and without dates: equal data gives equal bytes."""
    FigureCanvasAgg(figure)
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    write_whole(png, lambda part: figure.savefig(part, format="png", dpi=220))
    write_whole(svg, lambda part: figure.savefig(part, format="svg", metadata={"Date": None}))
    return [png, svg]


def surfaces_of(
    study: Study,
    results: Mapping[str, TrialResult],
    through: CellScore,
    untouched: CellScore | None,
    x: str,
    y: str,
) -> list[Surface]:
    """Return the three scores over ``x`` and ``y``; in a grid with further axes, the slice through one cell."""
    rows = trial_rows(study, results)
    if study.mode == "matrix":
        others = {path: value for path, value in through.overrides.items() if path not in (x, y)}
        rows = [row for row in rows if all(row.get(path) == value for path, value in others.items())]
    return [
        surface(
            rows, x, y, z, domains=study.space, published=study.published,
            baseline=untouched.value(z) if untouched else None,
        )
        for z in OBJECTIVES
    ]  # fmt: skip


def untouched_score(study: Study, results: Mapping[str, TrialResult]) -> CellScore | None:
    """Return the untouched model's score on the split that the cells are scored on."""
    found = scores(study, results, "baseline")
    return next((score for score in found if score.overrides.get(SPLIT) != "report"), None)


def point_of(cell: CellScore | None, x: str, y: str) -> tuple[float, float] | None:
    """Return where a cell stands on two axes."""
    return (cell.overrides[x], cell.overrides[y]) if cell and x in cell.overrides and y in cell.overrides else None


# The surfaces: three panels side by side.


def surfaces_figure(
    surfaces: Sequence[Surface],
    domains: Mapping[str, Domain],
    winner: tuple[float, float] | None,
    crowned: str,
    setting: Sequence[str],
    note: str = "",
) -> Figure:
    """Return one panel a score: a grid's cells as they were measured, scattered points contoured in their hull."""
    slanted = 0.17 if crowded(x_ticks(surfaces[0], domains)) else 0.0  # inches that slanted tick labels need
    figure, top = _headed(7.2, 3.15 + slanted, setting)
    height = figure.get_figheight()
    grid = figure.add_gridspec(1, len(surfaces), left=0.088, right=0.962, top=top - 0.37 / height,
                               bottom=(0.93 + slanted) / height, wspace=0.2)  # fmt: skip
    for i, data in enumerate(surfaces):
        axes = figure.add_subplot(grid[0, i])
        norm = colour_range(data)
        (_draw_cells if data.is_grid else _draw_scattered)(axes, data, norm)
        _draw_marks(axes, data, winner)
        _dress(axes, data, domains, first=i == 0)
        _draw_bar(figure, axes, norm)
    entries = _legend(surfaces, crowned if winner else "")
    figure.legend(handles=entries, loc="lower center", ncols=6, handletextpad=0.4, columnspacing=1.4,
                  bbox_to_anchor=(0.5, 0.28 / height))  # fmt: skip
    words = textwrap.fill(f"{caption(surfaces)} {note}".strip(), 150)
    figure.text(0.5, 0.3 / height, words, ha="center", va="top", fontsize=6.3, color=FAINT)
    return figure


def colour_range(data: Surface) -> Normalize:
    """Return the colour scale: the measured range, widened to :data:`LEAST_RANGE` around its middle."""
    means = [p.mean for p in data.points if p.mean is not None] or [0.0]
    low, high = min(means), max(means)
    spare = max(0.0, LEAST_RANGE - (high - low)) / 2
    return Normalize(low - spare, high + spare)


def caption(surfaces: Sequence[Surface]) -> str:
    """Return how the surface was made from the points, and which points its axes cannot show."""
    data = surfaces[0]
    many = any(p.n > 1 for p in data.points)
    text = (
        f"Each cell is {'the mean of the seeds of ' if many else ''}one configuration, nothing is interpolated."
        if data.is_grid
        else "Linear interpolation between sampled points (Delaunay triangles on the drawn axes); nothing beyond."
    )
    if data.is_grid and any(p.failed and p.n for p in data.points):
        text += " Half hatched: some seeds failed."
    elif not data.is_grid and any(p.failed for p in data.points):
        text += " Left open: triangles around a failure."
    if data.off_axis:
        off = ", ".join(f"({p.x:g}, {p.y:g})" for p in data.off_axis)
        text += f" Off the log axes, in the table: {off}."
    return text


def drawn(data: Surface, points: Sequence[Point]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the points' coordinates as they are drawn: log10 on a log axis."""
    xs = [math.log10(p.x) if data.x_log else p.x for p in points]
    ys = [math.log10(p.y) if data.y_log else p.y for p in points]
    return np.asarray(xs, dtype=float), np.asarray(ys, dtype=float)


def place(data: Surface, at: tuple[float, float]) -> tuple[float, float] | None:
    """Return where ``at`` is drawn; None for a value that a log axis does not have."""
    if (data.x_log and at[0] <= 0) or (data.y_log and at[1] <= 0):
        return None
    return (math.log10(at[0]) if data.x_log else at[0], math.log10(at[1]) if data.y_log else at[1])


def _draw_cells(axes: Axes, data: Surface, norm: Normalize) -> None:
    x_cuts, y_cuts = _cuts(data.xs, data.x_log), _cuts(data.ys, data.y_log)
    values = np.array([[np.nan if v is None else v for v in row] for row in data.table()], dtype=float)
    axes.pcolormesh(x_cuts, y_cuts, np.ma.masked_invalid(values), cmap=MAP, norm=norm, edgecolors="white", lw=0.5)
    printed = max(len(data.xs), len(data.ys)) <= PRINTED
    for i, y in enumerate(data.ys):
        for j, x in enumerate(data.xs):
            point = data.at(x, y)
            box = (x_cuts[j], y_cuts[i], x_cuts[j + 1] - x_cuts[j], y_cuts[i + 1] - y_cuts[i])
            _draw_cell(axes, point, box, norm, printed)


def _draw_cell(
    axes: Axes, point: Point | None, box: tuple[float, float, float, float], norm: Normalize, printed: bool
) -> None:
    left, bottom, width, height = box
    measured = point is not None and point.mean is not None
    if point is not None and point.failed:
        low = bottom + height * 0.55 if measured else bottom  # leaves a measured cell its number
        axes.add_patch(Rectangle((left, low), width, bottom + height - low, fc=FAILED, ec=FAINT, hatch="/////", lw=0))
    elif not measured:
        axes.add_patch(Rectangle((left, bottom), width, height, fc="white", ec=FAILED, lw=0.5))
    if printed and point is not None and point.mean is not None:
        axes.text(left + width / 2, bottom + height * 0.09, f"{point.mean:.1f}", ha="center", va="baseline",
                  fontsize=6.2, color=text_colour(norm(point.mean)))  # fmt: skip


def text_colour(share: float) -> str:
    """Return black or white, whichever reads better on the map at ``share`` of its range."""
    red, green, blue, _ = MAP(share)
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "white"


def _cuts(levels: Sequence[float], log: bool) -> list[float]:
    return [math.log10(v) if log else v for v in edges(levels, log)]


def _draw_scattered(axes: Axes, data: Surface, norm: Normalize) -> None:
    good = [p for p in data.points if p.mean is not None]
    x, y = drawn(data, good)
    z = np.array([p.mean for p in good], dtype=float)
    if spans_a_plane(x, y):
        triangles = Triangulation(x, y)
        slivers = TriAnalyzer(triangles).get_flat_tri_mask(0.02)
        hidden = slivers | holding(triangles, *drawn(data, [p for p in data.points if p.failed]))
        if not hidden.all():
            triangles.set_mask(hidden)
            levels = np.linspace(float(norm.vmin or 0), float(norm.vmax or 0), 13)
            axes.tricontourf(triangles, z, levels=levels, cmap=MAP, norm=norm)
            axes.tricontour(triangles, z, levels=levels[2:-1:3], colors="white", linewidths=0.4, alpha=0.7)
    axes.scatter(x, y, c=z, cmap=MAP, norm=norm, s=13, edgecolors="white", linewidths=0.6, zorder=3)


def spans_a_plane(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> bool:
    """Return whether three points at least are not on one line, so that triangles exist between them."""
    return len(x) >= 3 and int(np.linalg.matrix_rank(np.stack([x - x[0], y - y[0]]), tol=1e-9)) == 2


def holding(
    triangles: Triangulation, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return [T] bool: triangles with one of these points inside. There the value is known to fail, not to vary."""
    mask = np.zeros(len(triangles.triangles), dtype=bool)
    found = np.atleast_1d(triangles.get_trifinder()(x, y)) if len(x) else np.array([], dtype=int)
    mask[found[found >= 0]] = True
    return mask


def _draw_marks(axes: Axes, data: Surface, winner: tuple[float, float] | None) -> None:
    if data.is_grid:
        x, y = drawn(data, [p for p in data.points if p.mean is not None])
        axes.scatter(x, y, s=3, color="white", edgecolors=INK, linewidths=0.35, zorder=3)
    else:
        x, y = drawn(data, [p for p in data.points if p.mean is None and p.failed])
        axes.scatter(x, y, s=14, marker="x", color=INK, linewidths=0.9, zorder=3)
    published = place(data, data.published) if data.published else None
    if published:
        axes.scatter(*published, s=24, marker="D", facecolors="none", edgecolors="white", linewidths=2.4, zorder=4)
        axes.scatter(*published, s=24, marker="D", facecolors="none", edgecolors=INK, linewidths=1.1, zorder=5)
    if data.optimum:
        star = star_place(data, data.optimum)
        axes.scatter(*star, s=52, marker="*", color="white", edgecolors=INK, linewidths=0.7, zorder=6)
    if winner and (at := place(data, winner)):
        _draw_winner(axes, data, winner, at)


def star_place(data: Surface, best_point: Point) -> tuple[float, float]:
    """Return where the best point's star goes: on the point, or in a grid above its cell's number."""
    x, y = drawn(data, [best_point])
    if not data.is_grid:
        return float(x[0]), float(y[0])
    cuts = _cuts(data.ys, data.y_log)
    row = data.ys.index(best_point.y)
    return float(x[0]), cuts[row] + 0.72 * (cuts[row + 1] - cuts[row])


def _draw_winner(axes: Axes, data: Surface, winner: tuple[float, float], at: tuple[float, float]) -> None:
    if not data.is_grid:
        axes.scatter(*at, s=130, marker="o", facecolors="none", edgecolors=ACCENT, linewidths=1.4, zorder=7)
        return
    x_cuts, y_cuts = _cuts(data.xs, data.x_log), _cuts(data.ys, data.y_log)
    j, i = data.xs.index(winner[0]), data.ys.index(winner[1])
    width, height = x_cuts[j + 1] - x_cuts[j], y_cuts[i + 1] - y_cuts[i]
    axes.add_patch(Rectangle((x_cuts[j], y_cuts[i]), width, height, fc="none", ec=ACCENT, lw=1.6, zorder=7))


def _dress(axes: Axes, data: Surface, domains: Mapping[str, Domain], *, first: bool) -> None:
    untouched = "" if data.baseline is None else f"\nuntouched model {data.baseline:.1f} %"
    axes.set_title(TITLES.get(data.z, data.z), pad=13 if untouched else 5, fontweight="bold")
    axes.text(0.5, 1.03, untouched.strip(), transform=axes.transAxes, ha="center", fontsize=6.8, color=FAINT)
    axes.set_xlabel(axis_label(data.x), labelpad=2)
    axes.set_ylabel(axis_label(data.y) if first else "", labelpad=2)
    x_marks = x_ticks(data, domains)
    y_marks = ticks(data.ys, [p.y for p in data.points], domains.get(data.y), data.y_log)
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks([v for v, _ in x_marks], [name for _, name in x_marks], **(slanted if crowded(x_marks) else {}))
    axes.set_yticks([v for v, _ in y_marks], [name if first else "" for _, name in y_marks])
    if data.is_grid:
        axes.set_xlim(*_ends(_cuts(data.xs, data.x_log)))
        axes.set_ylim(*_ends(_cuts(data.ys, data.y_log)))
    else:
        axes.set_xlim(*limits([p.x for p in data.points], domains.get(data.x), data.x_log))
        axes.set_ylim(*limits([p.y for p in data.points], domains.get(data.y), data.y_log))
    axes.set_facecolor("#f4f4f4")


def x_ticks(data: Surface, domains: Mapping[str, Domain]) -> list[tuple[float, str]]:
    """Return the ticks of the x axis."""
    return ticks(data.xs, [p.x for p in data.points], domains.get(data.x), data.x_log)


def crowded(marks: Sequence[tuple[float, str]]) -> bool:
    """Return whether tick labels side by side would run into each other."""
    return sum(len(name) for _, name in marks) > UPRIGHT


def _ends(cuts: Sequence[float]) -> tuple[float, float]:
    return cuts[0], cuts[-1]


def limits(values: Sequence[float], domain: Domain | None, log: bool) -> tuple[float, float]:
    """Return the ends of a scattered axis as drawn: the domain, or the samples where there is none, and a margin."""
    bounds = [b for b in (getattr(domain, "low", None), getattr(domain, "high", None)) if b is not None]
    at = [math.log10(v) if log else float(v) for v in (bounds or values)]
    margin = 0.04 * (max(at) - min(at)) or 0.5
    return min(at) - margin, max(at) + margin


def ticks(
    levels: Sequence[float], values: Sequence[float], domain: Domain | None, log: bool
) -> list[tuple[float, str]]:
    """Return (place, label): a grid's own levels; else 1, 2, 5 per decade on a log axis, or five even steps."""
    if levels:
        chosen = list(levels)
    else:
        low, high = limits(values, domain, log)
        if log:
            decades = range(math.floor(low), math.ceil(high) + 1)
            steps = (1, 2, 5) if high - low < 1.5 else (1,) if high - low > 3 else (1, 3)
            chosen = [s * 10.0**d for d in decades for s in steps if low <= math.log10(s * 10.0**d) <= high]
        else:
            chosen = [float(v) for v in np.linspace(low, high, 7)[1:-1]]
    return [(math.log10(v) if log else v, f"{v:.2g}") for v in chosen]


def _draw_bar(figure: Figure, axes: Axes, norm: Normalize) -> None:
    bar = figure.colorbar(ScalarMappable(norm=norm, cmap=MAP), ax=axes, fraction=0.05, pad=0.03)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(length=2, width=0.5, labelsize=6.3, pad=1.5)
    bar.locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
    bar.update_ticks()
    bar.ax.set_title("%", fontsize=6.5, pad=3)


def _headed(width: float, body: float, setting: Sequence[str]) -> tuple[Figure, float]:
    """Return a figure ``width`` inches wide with the question and the setting on top, and where the body begins."""
    question, *lines = setting
    title = textwrap.wrap(question, round(10.5 * width))
    words = [part for line in lines if line for part in textwrap.wrap(line, round(19 * width))]
    below = 0.1 + 0.175 * len(title)  # inches from the top
    head = below + 0.13 * len(words)
    figure = Figure(figsize=(width, head + body))
    left, height = 0.1 / width, head + body
    figure.text(left, 1 - 0.08 / height, "\n".join(title), va="top", fontsize=9.5, fontweight="bold")
    figure.text(left, 1 - below / height, "\n".join(words), va="top", fontsize=6.8, color=FAINT, linespacing=1.35)
    return figure, body / (head + body)


def _legend(surfaces: Sequence[Surface], crowned: str) -> list[Line2D | Patch]:
    points = [p for data in surfaces for p in data.points]
    dot: dict[str, Any] = {"color": "none", "markeredgecolor": INK, "linestyle": "none"}
    entries: list[Line2D | Patch] = [
        Line2D([], [], marker="o", ms=3, mfc="white", mew=0.5, label="sampled", **dot),
        Line2D([], [], marker="*", ms=8, mfc="white", mew=0.7, label="highest in the panel", **dot),
    ]
    data = surfaces[0]
    if crowned and data.is_grid:
        entries.append(Patch(fc="none", ec=ACCENT, lw=1.4, label=crowned))
    elif crowned:
        ring = {**dot, "markeredgecolor": ACCENT}
        entries.append(Line2D([], [], marker="o", ms=8, mfc="none", mew=1.3, label=crowned, **ring))
    if data.published:
        label = f"published ({published_text(dict(zip((data.x, data.y), data.published, strict=True)))})"
        entries.append(Line2D([], [], marker="D", ms=5, mfc="none", mew=1.1, label=label, **dot))
    if any(p.failed for p in points) and not data.is_grid:
        entries.append(Line2D([], [], marker="x", ms=4, label="failed", **dot))
    elif any(p.failed for p in points):
        entries.append(Patch(fc=FAILED, ec=FAINT, hatch="/////", lw=0, label="failed"))
    return entries


# The trade-off: one point a cell.


def tradeoff_figure(
    cells: Sequence[CellScore],
    winner: CellScore | None,
    crowned: str,
    untouched: CellScore | None,
    published: Mapping[str, float],
    setting: Sequence[str],
) -> Figure:
    """Return clean against robust accuracy: a point a cell, the Pareto front, and curves of equal harmonic mean."""
    figure, top = _headed(4.2, 3.3, setting)
    bottom = 0.98 / figure.get_figheight()
    axes = figure.add_axes((0.125, bottom, 0.845, top - 0.045 - bottom))
    shown = [cell for cell in cells if cell.clean is not None and cell.robust is not None]
    box = frame(shown, untouched)
    _draw_iso(axes, box)
    _draw_points(axes, shown)
    _draw_front(axes, pareto(cells), box)
    _draw_landmarks(axes, shown, winner, crowned, untouched, published, box)
    axes.set_xlim(box[0], box[1])
    axes.set_ylim(box[2], box[3])
    axes.set_xlabel("clean accuracy, %", labelpad=2)
    axes.set_ylabel("robust accuracy, %", labelpad=2)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=2, bbox_to_anchor=(0.53, 0.62 / figure.get_figheight()),
                  handletextpad=0.4, columnspacing=1.2)  # fmt: skip
    return figure


def frame(shown: Sequence[CellScore], untouched: CellScore | None) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top): the cells with a margin, and the untouched model if it is not far off."""
    left, right = _padded([cell.clean for cell in shown if cell.clean is not None])
    bottom, top = _padded([cell.robust for cell in shown if cell.robust is not None])
    if untouched and untouched.clean is not None and untouched.robust is not None:
        wide, tall = 0.8 * (right - left), 0.8 * (top - bottom)
        near = left - wide < untouched.clean < right + wide and bottom - tall < untouched.robust < top + tall
        if near:
            left, right = _padded([left, right, untouched.clean], margin=0.04)
            bottom, top = _padded([bottom, top, untouched.robust], margin=0.04)
    return max(left, 0.0), min(right, 101.0), max(bottom, -0.5), min(top, 101.0)


def _padded(values: Sequence[float], margin: float = 0.12) -> tuple[float, float]:
    low, high = min(values), max(values)
    spare = margin * max(high - low, LEAST_RANGE)
    return low - spare, high + spare


def pair(cell: CellScore) -> tuple[float, float]:
    """Return clean and robust accuracy, NaN where unknown."""
    return (math.nan if cell.clean is None else cell.clean, math.nan if cell.robust is None else cell.robust)


def _draw_iso(axes: Axes, box: tuple[float, float, float, float]) -> None:
    left, right, bottom, top = box
    clean, robust = np.meshgrid(np.linspace(max(left, 1e-3), right, 120), np.linspace(max(bottom, 1e-3), top, 120))
    lines = axes.contour(clean, robust, harmonic(clean, robust), levels=6, colors="#b5b5b5",
                         linewidths=0.6)  # fmt: skip
    axes.clabel(lines, fmt="%g", fontsize=5.8, inline_spacing=2)
    axes.plot([], [], color="#b5b5b5", lw=0.6, label="equal harmonic mean of the two")


def _draw_points(axes: Axes, shown: Sequence[CellScore]) -> None:
    x, y = np.array([pair(cell) for cell in shown], dtype=float).T
    if any(cell.n > 1 for cell in shown):
        axes.errorbar(x, y, xerr=[cell.clean_sd or 0 for cell in shown], yerr=[cell.robust_sd or 0 for cell in shown],
                      fmt="none", ecolor=FAINT, elinewidth=0.5, zorder=2)  # fmt: skip
    axes.scatter(x, y, s=13, color=MAP(0.3), edgecolors="white", linewidths=0.4, zorder=3, label="configuration")


def _draw_front(axes: Axes, front: Sequence[CellScore], box: tuple[float, float, float, float]) -> None:
    if not front:
        return
    clean, robust = zip(*map(pair, front), strict=True)
    # What the front dominates: level with its first cell to the left, below its last, and steps between.
    axes.plot([box[0], *clean, clean[-1]], [robust[0], *robust, box[2]], color=MAP(0.3), lw=1.0, drawstyle="steps-pre",
              zorder=2, label="Pareto front")  # fmt: skip


def _draw_landmarks(
    axes: Axes,
    shown: Sequence[CellScore],
    winner: CellScore | None,
    crowned: str,
    untouched: CellScore | None,
    published: Mapping[str, float],
    box: tuple[float, float, float, float],
) -> None:
    if winner:
        axes.scatter(*pair(winner), s=85, marker="*", color=ACCENT, edgecolors="white", linewidths=0.5,
                     zorder=6, label=crowned)  # fmt: skip
    theirs = next((c for c in shown if published and all(c.overrides.get(k) == v for k, v in published.items())), None)
    if theirs:
        axes.scatter(*pair(theirs), s=48, marker="D", facecolors="none", edgecolors=INK, linewidths=1.0,
                     zorder=5, label="published weights")  # fmt: skip
    if untouched is None or untouched.clean is None or untouched.robust is None:
        return
    if box[0] <= untouched.clean <= box[1] and box[2] <= untouched.robust <= box[3]:
        axes.scatter(untouched.clean, untouched.robust, s=30, marker="s", color="white", edgecolors=INK, linewidths=1.0,
                     zorder=5, label="untouched model")  # fmt: skip
    else:
        words = f"untouched model, beyond the axes: clean {untouched.clean:.1f} %, robust {untouched.robust:.1f} %"
        axes.text(0.5, 1.02, words, transform=axes.transAxes, fontsize=6.8, color=FAINT, ha="center")
