"""Sentences about two studies side by side."""

from __future__ import annotations

from sweeps.engine.analysis.comparison import Basis, Comparison, Matched, tested, unchanged
from sweeps.engine.format import counted, eps_text
from sweeps.engine.study.folder import SPLIT, PlannedRow
from sweeps.engine.wording.answer import where
from sweeps.engine.wording.matrix import gap_text
from zsr_core.codec import canonical, to_plain
from zsr_core.data import same_set
from zsr_core.space import short


def choice(comparison: Comparison) -> str:
    """Return a sentence on the configuration that each study chose."""
    first, second = comparison.first, comparison.second
    names = [where(cell) if cell else None for cell in comparison.chosen]
    if names[0] is None or names[1] is None:
        without = " and ".join(side for side, name in zip((first, second), names, strict=True) if name is None)
        return f"No configuration has finished in {without}."
    if names[0] == names[1]:
        return f"Both choose {names[0]}."
    return f"{first} chooses {names[0]}; {second} chooses {names[1]}."


def warnings(comparison: Comparison) -> tuple[str, ...]:
    """Return why the numbers of two studies are not comparable: other attacks, sets, images, model or budgets."""
    first, second = comparison.bases
    one, two = first.eval_suite, second.eval_suite
    reasons = []
    if first.model != second.model:
        reasons.append("The models differ, so all scores differ, whatever was tuned.")
    if canonical([to_plain(a) for a in one.attacks]) != canonical([to_plain(a) for a in two.attacks]):
        reasons.append("The attacks differ, so a difference of robust accuracies may be due to the attacks.")
    if comparison.unlike:
        reasons.append(f"Not compared, because other images have this name in each: {', '.join(comparison.unlike)}.")
    if {t.called for t in one.tasks} != {t.called for t in two.tasks} or comparison.unlike:
        reasons.append("The sets differ: differences are over the sets that both have.")
    if not same_set(first.train_data, second.train_data):
        reasons.append("The training sets differ.")
    if (one.n, one.split) != (two.n, two.split):
        reasons.append("The images differ: differences are over the images that both have.")
    if (one.norm, *map(eps_text, one.eps)) != (two.norm, *map(eps_text, two.eps)):
        reasons.append("The budgets differ.")
    return tuple(reasons)


def best_summary(comparison: Comparison) -> str:
    """Return the first study's best configuration against the second's in sentences; empty if they are not tested."""
    if not comparison.best:
        return ""
    row = comparison.best[0]
    names = f"{comparison.first}'s {where(row.first)} against {comparison.second}'s {where(row.second)}"
    split = "on the report split" if row.report else "on the selection split, whose images chose both"
    parts = []
    for score in comparison.scores:
        gap = row.differences.get(score.name)
        if gap is not None:
            untested = " (too few seeds for a test)" if gap.p_holm is not None and not gap.agrees else ""
            sure = untested or ("" if gap.p_holm is None else " (significant)" if gap.holds else " (not significant)")
            parts.append(f"{score.title} {gap_text(gap)} points{sure}")
    return f"Best against best, {names}, {split}: {', '.join(parts) or 'no score in common'}."


def best_key(comparison: Comparison) -> str:
    """Return the legend of the table of the best rows: their pairing and their family of tests."""
    n = sum(each.p_holm is not None for row in comparison.best for each in row.differences.values())
    tested_by = f" p is Holm-corrected over the {counted(n, 'comparison')} of this table." if n else ""
    return f"The chosen configuration of each study; seeds and images that both have are paired.{tested_by}"


def summary(comparison: Comparison) -> str:
    """Return in how many shared rows each score is significantly higher or lower."""
    if not comparison.rows:
        return "No configuration that both have has finished in both."
    parts = []
    for score in comparison.scores:
        gaps = [row.differences[score.name] for row in comparison.rows if score.name in row.differences]
        above, below = (sum(gap.holds and sign * gap.value > 0 for gap in gaps) for sign in (1, -1))
        counts = [f"{word} in {n}" for word, n in (("higher", above), ("lower", below)) if n]
        parts.append(f"{score.title} is {' and '.join(counts)}" if counts else f"{score.title} differs in none")
    same = unchanged(comparison.rows)
    alike = f" {same} {'is' if same == 1 else 'are'} the same image by image." if same else ""
    rows, n = counted(len(comparison.rows), "shared row"), tested(comparison)
    if not n:
        return f"In {rows}, nothing could be tested: the records of images are gone, or no seed is shared."
    return (
        f"In {rows}, {comparison.first} set against {comparison.second}, after Holm's correction over "
        f"{counted(n, 'comparison')}: {', '.join(parts)}.{alike}"
    )


def key(comparison: Comparison) -> str:
    """Return the legend of the differences, with the family of tests that p is corrected over."""
    n, rows = tested(comparison), counted(len(comparison.rows), "row")
    corrected = (
        f" p by that bootstrap, Holm-corrected over the {counted(n, 'comparison')} of this table ({rows}, each with "
        "the scores that both have); * p < 0.05, and with fewer than 5 seeds the seeds' own t-interval leaves out 0."
    )
    return (
        "Scores: mean ± sample standard deviation over seeds. Δ: points by which the first lies above the second, with "
        "the 95 % interval of a bootstrap over seeds, then images, both paired."
        f"{corrected if n else ' Without records of images there is no test.'}"
    )


def row_name(row: PlannedRow) -> str:
    """Return the name of a row in text: its label, or for a proposal of a search its values."""
    name = row.cell
    if row.proposal is not None:
        name = " ".join(
            f"{path.rsplit('.', 1)[-1]}={short(value)}" for path, value in row.overrides.items() if path != SPLIT
        )
    return f"{name} (report split)" if row.is_report else name


def basis_text(row: Matched) -> str:
    """Return the seeds and images that a row's differences are computed from, and their caveats."""
    notes = [_basis(row.basis)]
    if row.budgets[0] != row.budgets[1]:
        budgets = " and ".join(eps_text(eps) for eps in row.budgets)
        notes.append(f"robust accuracy is not compared: the budgets are {budgets}")
    if row.overrides:
        changed = "; ".join(f"{c.path}: {c.first or 'unset'}, {c.second or 'unset'}" for c in row.overrides)
        notes.append(f"the same name, other overrides: {changed}")
    return "; ".join(notes)


def _basis(basis: Basis) -> str:
    if basis.images:
        seeds, sets = counted(basis.seeds, "seed"), counted(basis.sets, "set")
        return f"{seeds} × {basis.images:,} image{'' if basis.images == 1 else 's'} of {sets}"
    if basis.seeds:
        return counted(basis.seeds, "seed")
    return "means of other seeds, unpaired" if basis.unpaired else "no score in common"
