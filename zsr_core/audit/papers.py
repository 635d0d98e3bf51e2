"""The audit of published tables: what the rules that need numbers alone say of each paper's claims.

A verdict here is about a printed number. It can show that a claim was tested, or that it was not. Whether a model masks
its gradients can only be measured on its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

from zsr_core.audit.facts import Row
from zsr_core.audit.finding import Finding, VerdictStatus, gravest, skipped
from zsr_core.audit.outcomes import TOLERANCE
from zsr_core.audit.rules.curves import g13_monotone, g15_curve
from zsr_core.audit.rules.gaps import g19_gap, g20_ensemble, g21_adaptive, g22_too_good
from zsr_core.audit.rules.identity import g25_identity
from zsr_core.audit.verdict import Verdict, worst
from zsr_core.published import SOURCES, UNTOUCHED, Published, published_numbers, same_eps
from zsr_core.published.names import FIXED_STEP, SETS

K = TypeVar("K")
ROUNDING = 0.05  # points: what two printings of one number may differ by
RULES_OF_NUMBERS = ("G13", "G15", "G19", "G20", "G21", "G22", "G25")
AUTOATTACK = ("AutoAttack", "APGD_CE+T-DLR_first2AA")  # as printed; the papers run different attacks under this name
BASELINE = "TeCoA"
WIDE = 8 / 255
BOTH = "Run PGD and AutoAttack on the same weights and images."


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What one paper prints of one method: means over its sets, in percent, at the budget the method is trained for."""

    source: str
    method: str  # as printed
    title: str | None  # ours
    variant: bool  # a setting of an ablation or of a study of weights
    eps: float  # in [0, 1] pixel units
    clean: Mapping[str, float]  # table -> clean accuracy
    beside_autoattack: Mapping[str, float]  # the same in tables of AutoAttack alone
    robust: Mapping[str, float]  # attack, as printed -> robust accuracy
    curve: Mapping[float, float] = field(default_factory=dict)  # eps -> robust accuracy under one attack
    curve_attack: str = ""
    wide: Mapping[str, float] = field(default_factory=dict)  # set -> robust accuracy at 8/255
    sets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # attack -> set -> robust accuracy

    @property
    def pgd(self) -> float | None:
        return next((value for attack, value in self.robust.items() if attack.startswith("PGD")), None)

    @property
    def autoattack(self) -> float | None:
        return next((value for attack, value in self.robust.items() if attack in AUTOATTACK), None)

    @property
    def adaptive(self) -> float | None:
        return self.robust.get("Adaptive")

    @property
    def worst(self) -> float:
        """The least printed mean. The worst case per image, which no paper prints, is at most as high."""
        return min(self.robust.values())


@dataclass(frozen=True, kw_only=True)
class Audited:
    """A claim and what the rules say of it."""

    claim: Claim
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]  # what single sets show

    @property
    def status(self) -> VerdictStatus:
        """The most severe verdict; SKIP if only one attack was printed, because nothing was tested then."""
        tested = any(v.status != "SKIP" for v in self.verdicts if v.rule in ("G19", "G20", "G21"))
        status = worst(self.verdicts)
        return status if tested or status in ("WARN", "FAIL") else "SKIP"

    def rules(self, status: VerdictStatus) -> tuple[str, ...]:
        """Return the rules with this verdict, in order."""
        return tuple(v.rule for v in self.verdicts if v.status == status)


def audit_published(rows: Sequence[Published] | None = None) -> tuple[Audited, ...]:
    """Return every claim of the papers' tables with the verdicts of :data:`RULES_OF_NUMBERS`."""
    every = claims(published_numbers() if rows is None else rows)
    baselines = {claim.source: claim for claim in every if claim.method == BASELINE}
    return tuple(
        Audited(claim=claim, verdicts=audit_claim(claim, baselines.get(claim.source)), notes=set_notes(claim))
        for claim in every
    )


def audit_claim(claim: Claim, baseline: Claim | None) -> tuple[Verdict, ...]:
    """Return the verdicts on one claim, in the rules' order."""
    pgd, autoattack, identity = claim.pgd, claim.autoattack, _identity(claim)
    findings = {
        "G13": g13_monotone(claim.curve),
        "G15": _curve(claim),
        "G19": g19_gap(pgd, autoattack)
        if pgd is not None and autoattack is not None
        else skipped("not both PGD and AutoAttack are printed", BOTH),
        "G20": g20_ensemble({}, worst=None, pgd=pgd, aa=autoattack),
        "G21": g21_adaptive(claim.adaptive, autoattack)
        if claim.adaptive is not None and autoattack is not None
        else skipped("no adaptive attack is printed", "Attack with the method's own regulariser in the loss."),
        "G22": _too_good(claim, baseline, identity),
        "G25": identity,
    }
    return tuple(Verdict.of(rule, findings[rule]) for rule in RULES_OF_NUMBERS)


def _curve(claim: Claim) -> Finding:
    """G15, the more severe of two: on the mean at the training budget and its double, and on the sets at 8/255.

    Larger budgets are left out, because every model loses more than half when a budget above its own is doubled.
    """
    near = {eps: value for eps, value in claim.curve.items() if any(same_eps(eps, k * claim.eps) for k in (1, 2))}
    shrinks = claim.curve_attack in FIXED_STEP and len(near) == 2
    parts = {"mean": g15_curve(near, step_shrinks=True)} if shrinks else {}
    parts |= {name: g15_curve({WIDE: value}, step_shrinks=False) for name, value in claim.wide.items()}
    if not parts:
        return skipped("neither twice the budget nor single sets at 8/255 are printed", "Attack at 1, 2, 4, 8/255.")
    status = gravest(part.status for part in parts.values())
    of = {name: f"{name} {value:.2f} % at 8/255" for name, value in claim.wide.items()}
    figures = [of.get(name, part.figure) for name, part in parts.items() if part.status == status]
    advice = next(part.advice for part in parts.values() if part.status == status)
    many = status == "PASS" and len(figures) > 2
    figure = f"mean and {len(claim.wide)} sets within limits" if many else "; ".join(figures)
    return Finding(status=status, figure=figure, advice=advice)


def _too_good(claim: Claim, baseline: Claim | None, identity: Finding) -> Finding:
    """G22 against the source's own TeCoA, skipped if its AutoAttack numbers are of other weights than its gains."""
    advice = f"Attack {BASELINE} and this method alike, each with one set of weights."
    if baseline is None or claim.title in (UNTOUCHED, BASELINE):
        return skipped(f"nothing to compare with {BASELINE}", advice)
    own, base = _row(claim), _row(baseline)
    if own is None or base is None or not same_eps(claim.eps, baseline.eps):
        return skipped(f"clean, PGD and AutoAttack are not printed of both this method and {BASELINE}", advice)
    clean, pgd = own.clean - base.clean, own.pgd - base.pgd
    if identity.status == "FAIL" and clean > 3 and pgd > 5:
        gains = f"clean {clean:+.2f} and PGD {pgd:+.2f} points over {BASELINE}"
        return skipped(f"{gains}, but AutoAttack was run on other weights", advice)
    return g22_too_good(own, base)


def _row(claim: Claim) -> Row | None:
    if claim.pgd is None or claim.autoattack is None or not claim.clean:
        return None
    return Row(clean=next(iter(claim.clean.values())), pgd=claim.pgd, worst=claim.worst)


def _identity(claim: Claim) -> Finding:
    """G25 by clean accuracy: if it is printed again for the weights under AutoAttack, both numbers must be the same."""
    if not claim.clean or not claim.beside_autoattack:
        missing = "clean accuracy is not printed once more for the weights under AutoAttack"
        return skipped(missing, "Publish the weights' hash beside every number.")
    (table, main), (other, again) = (next(iter(t.items())) for t in (claim.clean, claim.beside_autoattack))
    same = abs(main - again) <= ROUNDING
    columns = {
        f"the other attacks (table {table})": f"clean {main:.2f} %",
        f"AutoAttack (table {other})": f"clean {main if same else again:.2f} %",
    }
    return g25_identity(columns)


def set_notes(claim: Claim) -> tuple[str, ...]:
    """Return on which sets AutoAttack leaves more standing than PGD, which a mean may hide."""
    autoattack = next((claim.sets[name] for name in AUTOATTACK if name in claim.sets), {})
    pgd = next((sets for name, sets in claim.sets.items() if name.startswith("PGD")), {})
    above = [
        f"{name} {autoattack[name]:.2f} over {pgd[name]:.2f}"
        for name in pgd
        if name in autoattack and autoattack[name] > pgd[name] + TOLERANCE
    ]
    if not above:
        return ()
    return (f"AutoAttack leaves more standing than PGD on {len(above)} of {len(pgd)} sets: {', '.join(above)}.",)


def claims(rows: Iterable[Published]) -> tuple[Claim, ...]:
    """Return the claims: per source and printed method, where a mean under attack is printed at its own budget."""
    groups: dict[tuple[str, str], list[Published]] = {}
    for row in rows:
        if row.metric in ("clean", "robust"):
            groups.setdefault((row.source, row.printed), []).append(row)
    every = (_claim(source, method, own) for (source, method), own in groups.items())
    return tuple(claim for claim in every if claim.robust)


def _claim(source: str, method: str, rows: Sequence[Published]) -> Claim:
    eps = rows[0].train_eps or SOURCES[source].train_eps
    means = [row for row in rows if row.dataset == SOURCES[source].mean]
    robust = [row for row in means if row.metric == "robust" and len(row.eps) == 1]
    at_home = [row for row in robust if same_eps(row.eps[0], eps)]
    other = {row.table for row in robust if row.attack not in AUTOATTACK}
    strong = {row.table for row in robust if other} - other
    clean = [row for row in means if row.metric == "clean"]
    curve_attack = max(dict.fromkeys(row.attack for row in robust), key=lambda name: _budgets(robust, name), default="")
    return Claim(
        source=source,
        method=method,
        title=rows[0].method,
        variant=bool(rows[0].setting) or "=" in method,
        eps=eps,
        clean=_firsts((row.table, row.value) for row in clean if row.table not in strong),
        beside_autoattack=_firsts((row.table, row.value) for row in clean if row.table in strong),
        robust=_firsts((row.attack, row.value) for row in at_home),
        curve=_firsts((row.eps[0], row.value) for row in robust if row.attack == curve_attack),
        curve_attack=curve_attack,
        wide={
            row.dataset: row.value
            for row in rows
            if row.dataset in SETS and row.attack == curve_attack and len(row.eps) == 1 and same_eps(row.eps[0], WIDE)
        },
        sets=_sets(rows, eps),
    )


def _budgets(robust: Sequence[Published], attack: str) -> int:
    return len({row.eps for row in robust if row.attack == attack})


def _firsts(pairs: Iterable[tuple[K, float]]) -> dict[K, float]:
    firsts: dict[K, float] = {}
    for key, value in pairs:
        firsts.setdefault(key, value)
    return firsts


def _sets(rows: Sequence[Published], eps: float) -> dict[str, dict[str, float]]:
    by_attack: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.metric == "robust" and row.dataset in SETS and len(row.eps) == 1 and same_eps(row.eps[0], eps):
            by_attack.setdefault(row.attack, {}).setdefault(row.dataset, row.value)
    return by_attack


@dataclass(frozen=True, kw_only=True)
class Misprint:
    """A printed mean that is not the mean of the printed numbers of its sets."""

    row: Published
    recomputed: float


def misprints(rows: Sequence[Published] | None = None) -> tuple[Misprint, ...]:
    """Return the printed means of clean and robust accuracy that differ from their sets' mean by over 0.03 points."""
    rows = [r for r in (published_numbers() if rows is None else rows) if r.metric in ("clean", "robust")]
    sets: dict[tuple[object, ...], dict[str, float]] = {}
    for row in rows:
        if row.task is not None:
            sets.setdefault(_series(row), {})[row.task] = row.value
    wrong = []
    for row in rows:
        own = sets.get(_series(row), {})
        if len(row.tasks) > 1 and set(row.tasks) <= set(own):
            mean = fmean(own[task] for task in row.tasks)
            wrong += [Misprint(row=row, recomputed=mean)] if abs(mean - row.value) > 0.03 else []
    return tuple(wrong)


def _series(row: Published) -> tuple[object, ...]:
    return row.source, row.table, row.printed, row.attack, row.eps, row.metric


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """Means that the papers describe alike, but that are different numbers."""

    rows: tuple[Published, ...]  # the first printing of each value

    @property
    def spread(self) -> float:
        """Points between the largest and the smallest."""
        values = [row.value for row in self.rows]
        return max(values) - min(values)


def disagreements(rows: Sequence[Published] | None = None, least: float = 1.0) -> tuple[Disagreement, ...]:
    """Return the methods' main means under one profile and budget, on the same sets, that differ by ``least`` points.

    Each paper trained the method anew: the difference is what a method's name alone does not fix.
    """
    groups: dict[tuple[object, ...], dict[float, Published]] = {}
    for row in published_numbers() if rows is None else rows:
        if row.metric in ("clean", "robust") and len(row.tasks) > 1 and not row.why and _is_main(row):
            sets = tuple(sorted(row.tasks))
            key = (row.method, row.model, row.trained_on, row.train_eps, sets, row.profile, row.eps, row.metric)
            groups.setdefault(key, {}).setdefault(row.value, row)
    every = (Disagreement(rows=tuple(values.values())) for values in groups.values())
    return tuple(sorted((d for d in every if d.spread >= least), key=lambda d: -d.spread))


def _is_main(row: Published) -> bool:
    """Return whether a row is its method's own, not one of an ablation's."""
    return not row.setting and row.printed.partition("[")[0] in (row.method, "Base") and "=" not in row.printed
