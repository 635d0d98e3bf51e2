"""The facts of a report beside the scores: the audit, the cost, the provenance, and what was not run."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sweeps.engine.analysis.comparison import world
from sweeps.engine.format import MINIATURES, NAMED, counted, eps_text, listed, value_text
from sweeps.engine.study.folder import PlannedRow, PlannedTrial, Study, StudyFolder
from sweeps.engine.study.plan import suggestions
from zsr_core.attacks import Adaptive, AnyAttack, Apgd, AutoAttack, Fab, Pgd, Square, Transfer
from zsr_core.audit.finding import SEVERITY, VerdictStatus
from zsr_core.audit.report import Report as AuditReport
from zsr_core.audit.report import read_report
from zsr_core.audit.rules import RULES
from zsr_core.codec import flatten
from zsr_core.data.tasks import SIXTEEN
from zsr_core.duration import duration
from zsr_core.records import read_samples
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

Facts = tuple[tuple[str, str], ...]  # what, and what it is


# ---- audit


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A rule's most severe verdict over the seeds of a configuration, with figure and advice if stored."""

    rule: str
    status: VerdictStatus
    figure: str = ""
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class Audited:
    """The findings on one row of the tables, one per rule; empty if no trial of it has been audited."""

    label: str
    trials: int
    audited: int
    depth: str  # tier, images and budget of the audits, if stored
    findings: tuple[Finding, ...]

    def rules(self, status: VerdictStatus) -> tuple[str, ...]:
        return tuple(finding.rule for finding in self.findings if finding.status == status)

    @property
    def status(self) -> VerdictStatus:
        """The most severe status; SKIP if nothing was tested."""
        return max((finding.status for finding in self.findings), key=SEVERITY.index, default="SKIP")


def audits(folder: StudyFolder) -> tuple[Audited, ...]:
    """Return the audit of every row that has a finished trial, in plan order."""
    rows = [(row, [trial for trial in row.trials if folder.is_done(trial)]) for row in folder.study.rows()]
    return tuple(_audited(folder, row, trials) for row, trials in rows if trials)


def _audited(folder: StudyFolder, row: PlannedRow, trials: Sequence[PlannedTrial]) -> Audited:
    kept = [read_report(folder.trial_path(trial.trial_id)) for trial in trials]
    each = [_findings(report, folder.results[t.trial_id]) for report, t in zip(kept, trials, strict=True)]
    return Audited(
        label=f"{row.cell}{' (report)' if row.is_report else ''}", trials=len(trials), audited=sum(map(bool, each)),
        depth=depth(kept), findings=tuple(gravest(one for trial in each for one in trial)),
    )  # fmt: skip


def gravest(findings: Iterable[Finding]) -> list[Finding]:
    """Return the most severe finding of each rule, in the rules' order."""
    kept: dict[str, Finding] = {}
    for finding in findings:
        before = kept.get(finding.rule)
        if before is None or SEVERITY.index(finding.status) > SEVERITY.index(before.status):
            kept[finding.rule] = finding
    return [kept[rule] for rule in RULES if rule in kept]


def _findings(kept: AuditReport | None, result: TrialResult) -> list[Finding]:
    """Return a trial's verdicts: with figures from its audit report, otherwise without from its result."""
    if kept is not None:
        return [Finding(rule=v.rule, status=v.status, figure=v.figure, advice=v.advice) for v in kept.verdicts]
    return [Finding(rule=rule, status=s) for rule, name in result.audit.items() for s in SEVERITY if s == name]


def depth(kept: Iterable[AuditReport | None]) -> str:
    """Return the distinct tiers, images and budgets of the audits."""
    depths = (f"{r.tier}, {counted(r.images, 'image')} at {eps_text(r.eps)}" for r in kept if r is not None)
    return "; ".join(dict.fromkeys(depths))


# ---- cost


def cost(folder: StudyFolder) -> Facts:
    """Return what the study cost, added up over its finished trials; weights that trials share were trained once."""
    done = list(folder.done().values())
    if not done:
        return ()
    total = [_seconds(result) for result in done]
    facts = [
        ("trials", f"{len(done)} of {counted(len(folder.study.plan), 'trial')}; the median took "
                   f"{duration(median(total))}"),
        ("wall time, added up", f"{duration(sum(total))}: {duration(_sum(done, 'seconds_train'))} of training, "
                                f"{duration(_sum(done, 'seconds_eval'))} of evaluation"),
        ("GPU", f"{_sum(done, 'gpu_seconds'):,.0f} GPU seconds" if _sum(done, "gpu_seconds") else "none used"),
    ]  # fmt: skip
    trained = list({result.config.training_id: result for result in done}.values())
    forward, inputs, full = (_sum(trained, f"passes_{name}") for name in ("forward", "input_backward", "full_backward"))
    if forward:
        facts.append(
            ("training", f"{forward:,.0f} forward, {inputs:,.0f} input-only and {full:,.0f} full backward passes of a "
                         f"batch through the image encoder: {forward + inputs + 2 * full:,.0f} forwards' worth")
        )  # fmt: skip
    queries = sum(_queries(folder.trial_path(result.trial_id)) for result in done)
    if queries:
        facts.append(("evaluation", f"{queries:,} images forwarded by attacks"))
    peak = max(result.cost.get("peak_bytes", 0.0) for result in done)
    return (*facts, ("memory of a trial, at most", f"{peak / 2**30:.1f} GiB")) if peak else tuple(facts)


def _seconds(result: TrialResult) -> float:
    parts = result.cost.get("seconds_train", 0.0) + result.cost.get("seconds_eval", 0.0)
    return result.cost.get("seconds_total", parts)


def _sum(results: Iterable[TrialResult], name: str) -> float:
    return sum(result.cost.get(name, 0.0) for result in results)


def _queries(folder: Path) -> int:
    path = folder / "samples.parquet"
    return sum(read_samples(path, ["queries"])["queries"].to_pylist()) if path.is_file() else 0


def provenance(folder: StudyFolder, chosen: str | None) -> Facts:
    """Return the provenance of the numbers, and the hash of the chosen configuration's weights for each seed."""
    times = sorted(r.provenance[name] for r in folder.results.values() for name in ("started", "finished")
                   if r.provenance.get(name))  # fmt: skip
    weights = [
        f"{folder.results[t.trial_id].provenance['weights_sha']} (seed {t.seed})"
        for t in folder.study.plan
        if t.role == "cell" and t.cell == chosen and folder.result(t) is not None
        and folder.results[t.trial_id].provenance.get("weights_sha")
    ]  # fmt: skip
    return (
        ("study", f"{folder.study.study}, preset {folder.study.preset}, fingerprint {folder.study.fingerprint}"),
        ("planned", folder.study.created),
        *((("run", f"{times[0]} to {times[-1]}"),) if times else ()),
        *world(folder.results.values()).items(),
        *(((f"weights of {chosen}", ", ".join(weights)),) if weights else ()),
    )


def again(folder: StudyFolder) -> tuple[str, ...]:
    """Return the commands that repeat the study elsewhere and write the report again."""
    study = folder.study
    shas = Counter(r.provenance["git_sha"] for r in folder.results.values() if r.provenance.get("git_sha"))
    checkout = [f"git checkout {sha}" for sha, _ in shas.most_common(1)]
    flags = ["--preset", study.preset, "--seeds", str(len(study.seeds))]
    flags += ["--search", study.search, "--samples", str(len(suggestions(study)))] if study.search else []
    flags += ["--objectives", ",".join(study.objectives)]
    flags += ["--keep", *(keep.text for keep in study.keep)] if study.keep else []
    run = f"python {shlex.quote(f'sweeps/{study.name}.py')} {shlex.join(flags)} --results again"
    return (*checkout, run, f"zsr report --study {shlex.quote(str(folder.path))}")


def settings(study: Study) -> Facts:
    """Return the base configuration by path, with the names of sets and attacks."""
    suite = study.base.eval_suite
    named = {
        "eval_suite.tasks": ", ".join(task.called for task in suite.tasks),
        "eval_suite.attacks": ", ".join(attack.name for attack in suite.attacks),
    }
    return tuple((path, named.get(path, value_text(value))) for path, value in flatten(study.base).items())


# ---- what was not run


def not_run(folder: StudyFolder, audited: Sequence[Audited]) -> tuple[str, ...]:
    """Return one sentence for each gap: trials, the report split, attacks, sets, the audit."""
    plan = folder.study.plan
    failed = [trial for trial in plan if folder.status(trial) == "failed"]
    lines = [f"Failed: {trial.label}: {folder.results[trial.trial_id].error}" for trial in failed[:NAMED]]
    lines += [f"{len(failed) - NAMED} further trials failed."] if len(failed) > NAMED else []
    for kind, words in (("missing", "Not run"), ("pruned", "Stopped early")):
        labels = [trial.label for trial in plan if folder.status(trial) == kind]
        lines += [f"{words}, {counted(len(labels), 'trial')}: {listed(labels)}."] if labels else []
    if not any(trial.is_report and folder.is_done(trial) for trial in plan):
        lines.append("The report split: no number here comes from images that played no part in choosing.")
    configs = [result.config for result in folder.done().values()] or [folder.study.base]
    return (*lines, *untried(configs), *absent_sets(folder.study.base), *unaudited(audited))


# Attacks that break a defence which only misleads PGD; their docstrings name the papers.
STRONGER: tuple[tuple[type[AnyAttack], str], ...] = (
    (Apgd, "APGD"),
    (AutoAttack, "AutoAttack"),
    (Fab, "FAB"),
    (Square, "Square, which needs no gradient"),
    (Adaptive, "an attack on the defence's own terms"),
    (Transfer, "examples made on another model"),
)


def untried(configs: Iterable[TrialConfig]) -> tuple[str, ...]:
    """Return which attacks were run, and which kinds were not."""
    suites = [config.eval_suite for config in configs]
    attacks = [attack for suite in suites for attack in suite.attacks]
    ran = {type(part) for attack in attacks for part in (attack, *attack.stages(10))}
    lacking = [words for kind, words in STRONGER if kind not in ran]
    budgets = " and ".join(map(eps_text, sorted({eps for suite in suites for eps in suite.eps})))
    alone = " PGD alone is no proof of robustness." if ran == {Pgd} else ""
    names = " + ".join(dict.fromkeys(attack.name for attack in attacks))
    return (
        (f"Attacks: the evaluation ran {names} at {budgets}, and none of: {'; '.join(lacking)}.{alone}",)
        if lacking
        else ()
    )


def absent_sets(config: TrialConfig) -> tuple[str, ...]:
    """Return which of the papers' sixteen sets were not evaluated."""
    if config.model.name in MINIATURES:
        return ("The public image sets: the miniature's own sets stand in for them.",)
    here = {task.name or task.source for task in config.eval_suite.tasks if task.source != "miniature"}
    absent = [row.title for row in SIXTEEN if row.name not in here]
    return (f"Of the papers' {len(SIXTEEN)} sets: {', '.join(absent)}.",) if absent else ()


def unaudited(audited: Sequence[Audited]) -> tuple[str, ...]:
    """Return which rows have not been audited."""
    never = [row.label for row in audited if not row.audited]
    if not never:
        return ()
    which = "any configuration" if len(never) == len(audited) else listed(never)
    return (f"The audit of {which}: whether these robustness numbers may be believed has not been tested.",)
