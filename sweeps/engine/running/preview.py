"""The plan of a launch and its cost as lines, without starting anything."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from sweeps.engine.format import MINIATURES, counted, eps_text, listed
from sweeps.engine.running.options import Options
from sweeps.engine.running.pace import Pace
from sweeps.engine.running.spending.meter import Meter
from sweeps.engine.study.folder import SPLIT, UNTOUCHED, Study, StudyFolder
from sweeps.engine.study.limits import CLIFF
from sweeps.engine.study.plan import closing_to_come, to_come
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.study.workload import Gpu, listing
from sweeps.engine.wording.study import sizes_text
from zsr_core.codec import canonical
from zsr_core.data import Split, set_size, zero_shot_names
from zsr_core.data.shifts.names import CORRUPTION
from zsr_core.duration import size_text
from zsr_core.model.load import image_size_of
from zsr_core.trial.cards import TABLE, Cards
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.cost import Estimate, evaluation_parts
from zsr_core.trial.provenance import set_notes

REFERENCE = Cards(card=TABLE["rtx3090"])  # the papers' card (Comp-TGA, section V)


def own_cells(sweep: Sweep, options: Options) -> frozenset[str]:
    """Return the cells that the sweep itself lists, without those that refining added."""
    return frozenset(cell.label for cell in sweep.cells(options.preset))


def plan_lines(folder: StudyFolder, options: Options) -> list[str]:
    study = folder.study
    pace, slots = planned(folder, options)
    coming = to_come(study, options.samples, len(options.seeds))
    elsewhere = study.base.model.name not in MINIATURES and not torch.cuda.is_available()
    on = options.on or (REFERENCE if elsewhere else None)
    gpu = None if on is None else Gpu(name=on.text, seconds=lambda c: pace.estimate(c).seconds_on(on.card))
    closing = closing_to_come(study, options.samples, len(options.seeds))
    lines = listing(folder, pace.seconds, slots=slots, to_come=coming, closing=closing, gpu=gpu)
    if options.limit is not None:
        lines.append(f"--limit {options.limit}: this launch starts at most {counted(options.limit, 'trial')} of them.")
    lines += sets_lines(study)
    lines += stopping_lines(study, pace)
    lines += budget_lines(folder, options, pace, slots)
    kept = embeddings_kept(study, [study.config(trial) for trial in folder.unfinished()], coming, pace)
    if kept:
        lines.append(f"Embeddings to keep beside the records: {size_text(kept)}.")
    lines += corrupted_lines(study)
    if pace.absent:
        lines.append(f"Not on this machine, so their published sizes are used: {', '.join(pace.absent)}.")
    return lines


def corrupted_lines(study: Study) -> list[str]:
    """Return how many corrupted images will be made, which is in no estimate of passes; nothing where none is."""
    base = study.base.with_(UNTOUCHED)
    suite = base.eval_suite
    if not suite.corruptions and (suite.retrieval is None or not suite.retrieval.corruptions):
        return []
    read = {task.called for task in suite.tasks if task.corrupted is not None}
    parts = [part for part in evaluation_parts(base) if part.condition == CORRUPTION and part.task not in read]
    n = sum(part.images for part in parts)
    if not n:
        return []
    return [
        f"Making {n:,} corrupted images on a split comes on top, once for all trials of a process: on one core about "
        "30 ms each at 96 pixels, 150 ms at 224."
    ]


def planned(folder: StudyFolder, options: Options) -> tuple[Pace, int]:
    """Return the pace of the study's trials and how many run at a time: on the cards of ``--on``, on this machine's
    GPUs, or on its cores.

    A trial that has a share of a card takes so much longer, one that has several so much shorter. With ``--on`` the
    seconds of finished trials do not count, because they ran elsewhere.
    """
    gpus = options.on.count if options.on is not None else torch.cuda.device_count() * (options.gpus_per_trial != 0)
    share = options.gpus_per_trial or 1.0
    places = max(1, int(gpus / share)) if gpus else len(os.sched_getaffinity(0))
    slots = 1 if options.local else min(places, options.max_concurrent or places)
    held = min(share, gpus) if gpus else 1.0  # cards of one trial

    def seconds(cost: Estimate) -> float:
        return (cost.seconds if options.on is None else cost.seconds_on(options.on.card)) / held

    return Pace(folder.done().values() if options.on is None else (), seconds), slots


def stopping_lines(study: Study, pace: Pace) -> list[str]:
    """Return when trials are scored and stopped early, on what, and what that is expected to cost."""
    rule = study.stop
    if rule is None:
        return []
    rungs = rule.rungs(study.score_eps)
    suite = rungs.suite(study.base)
    cost = len(rungs.shares) * rungs.passes(study.base) / pace.estimate(study.base).forwards
    shares = " and ".join(f"{share:.0%}" for share in rungs.shares)
    names = listed([task.called for task in suite.tasks])
    decides = (
        f"The best 1 in {rule.keep} of a rung go on. Another trial is stopped only if a rival is better at every one "
        f"of {', '.join(study.objectives)} by more than the noise of their paired difference; the best cell is stopped "
        f"wrongly with a probability of at most {rule.error:.0%}. With many trials plain ASHA takes "
        f"{rule.plain_share():.0%} of all training steps; this caution takes more, up to all of them."
    )
    return [
        f"Early stopping ({rule.rule}): trials are scored after {shares} of their training steps, on {suite.n} images "
        f"of the selection split of each of {names}, the same for all, under {rungs.attack.name} at "
        f"{eps_text(rungs.eps)}. That adds at most {cost:.0%} to a trial.",
        "Nothing is stopped: `zsr replay` can then try the other rules." if rule.rule == "watch" else decides,
    ]


def budget_lines(folder: StudyFolder, options: Options, pace: Pace, slots: int) -> list[str]:
    """Return how far the budget goes by the costs that are known; nothing without one."""
    if options.budget is None:
        return []
    study, budget = folder.study, options.budget
    meter = Meter(budget, pace, folder.results.values())
    meter.use(1.0 if options.gpus_per_trial is None else options.gpus_per_trial)
    count = closing_to_come(study, options.samples, len(options.seeds)) + sum(t.is_report for t in folder.unfinished())
    side_by_side = slots if budget.kind == "seconds" else 1
    kept_back = -(-count // side_by_side) * meter.scoring(study.base)
    each, left = meter.expected(study.base), max(0.0, meter.left({}) - kept_back)
    left_to_run = sum(not t.is_report for t in folder.unfinished()) + to_come(
        study, options.samples, len(options.seeds)
    )
    fits = min(left_to_run, int(left / each) * side_by_side if each else left_to_run)
    source = "as trials of this study took" if meter.measured(study.base) else "by an estimate"
    first = (
        "" if meter.measured(study.base) else " The first trial runs alone and is measured; the rest is planned by it."
    )
    return [
        f"Budget of {budget.text()}: enough for about {fits} of the {left_to_run} trials of cells, at "
        f"{budget.text(each)} each ({source}); {budget.text(kept_back)} are kept back to score the choice again.{first}"
    ]


def sets_lines(study: Study) -> list[str]:
    """Return how many images train and measure the study's base, at which budget it is scored, and notes on sets."""
    base, size = study.base, image_size_of(study.base.model)
    suite, train = base.eval_suite, base.train_data
    lines = [f"Trained on {sizes_text({train.called: set_size(train, 'train', size).images})} images."]
    splits: tuple[Split, ...] = ("selection", "report")
    sizes = {
        split: {task.called: set_size(task, split, size, suite.n, trained_on=train).images for task in suite.tasks}
        for split in splits
    }
    lines.append(f"Images: {'; '.join(f'{sizes_text(sizes[split])} on the {split} split' for split in splits)}.")
    budget = f"at {eps_text(study.score_eps)}" if suite.eps and suite.attacks else "nowhere: the suite has no attack"
    scored = zero_shot_names(suite.tasks, train)
    over = f"the mean of {', '.join(scored)}" if scored else f"{train.called}, the training set: not zero-shot"
    lines.append(f"Scored on {over}; robust accuracy is read {budget}.")
    return [*lines, *note_lines(study)]


def note_lines(study: Study) -> list[str]:
    """Return a line for everything that was odd in reading the study's sets, such as skipped files."""
    configs = [study.base, *(study.config(trial) for trial in study.plan)]
    used = {
        canonical([c.model, c.train_data, c.eval_suite.tasks, c.eval_suite.split, c.epochs > 0]): c for c in configs
    }
    notes = (note for c in used.values() for note in set_notes(c, image_size_of(c.model)))
    return [f"note: {note}" for note in dict.fromkeys(notes)]


def earlier_lines(folder: StudyFolder, options: Options, own: frozenset[str]) -> list[str]:
    """Return what earlier launches left in the study that this launch would not plan: cells and seeds.

    ``own``: the cells that the sweep itself lists.
    """
    study = folder.study
    cells = study.rows(role="cell")
    others = [row.cell for row in cells if row.cell not in own] if study.search is None else []
    seeds = [seed for seed in study.seeds if seed not in options.seeds]
    lines = []
    if others:
        was = f"{counted(len(others), 'cell')} that this launch does not list: {listed(others)}"
        lines.append(f"Kept from earlier launches or refining, and part of the choice: {was}. --fresh begins without.")
    if seeds:
        was = f"the finished trials of {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
        lines.append(f"Kept from earlier launches, and part of every mean: {was}. --fresh begins without.")
    return lines


def embeddings_kept(study: Study, unfinished: Sequence[TrialConfig], coming: int, pace: Pace) -> int:
    """Return the bytes of embeddings that the trials left will keep, with those on the report split that follow.

    Args:
        coming: the number of trials that a search has yet to propose.
    """
    configs = [*unfinished, *[study.base] * coming]
    if not study.rows(split="report"):  # the best cell and the untouched model
        configs += [study.base.with_({SPLIT: "report"})] * 2 * len(study.seeds)
    return sum(pace.estimate(config).embedding_bytes for config in configs)


def refine_lines(sweep: Sweep, folder: StudyFolder, options: Options) -> list[str]:
    """Return the trials that --refine would add, or a note that cells without scores come first."""
    if not options.refine:
        return []
    from sweeps.engine.analysis.cliffs import rounds  # noqa: PLC0415
    from sweeps.engine.analysis.score_query import shown_readings  # noqa: PLC0415
    from sweeps.engine.wording.cliffs import proposal_lines  # noqa: PLC0415

    study = folder.study
    if any(t.trial_id not in folder.results for t in study.plan if t.role == "cell"):
        return ["--refine adds trials between these cells after all of them have a score."]
    grown, proposals = rounds(folder, own_cells(sweep, options), options.refine)
    new = {trial.cell for trial in grown.plan} - {trial.cell for trial in study.plan}
    open_ones = [proposal for proposal in proposals if proposal.label in new]
    return ["", *proposal_lines(study, open_ones, shown_readings(study.objectives), CLIFF)]
