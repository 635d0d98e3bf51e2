"""Descriptions that a tracked run or model version shows, in Markdown: of a trial, of a study, of tuned weights."""

from __future__ import annotations

from collections.abc import Iterable

from sweeps.engine.documents.forms.markdown import document, heading_text
from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder
from sweeps.engine.study.objectives import shown_headline
from sweeps.engine.wording.answer import answer
from sweeps.engine.wording.study import scale_note
from zsr_core.evaluation.measure import Measurement
from zsr_core.trial.result import TrialResult

NOTE_LIMIT = 7500  # characters


def trial_note(study: Study, trial: PlannedTrial, result: TrialResult) -> str:
    """Return a trial's description: its headline scores with intervals, or the reason of its failure."""
    lines = [f"{heading_text(trial.label)} ({trial.role}) of study {study.study}.", "", *_scale_line(study)]
    if result.error:
        lines += [f"**{result.status}**: {result.error}", ""]
    scores = shown_headline(result, study.score_eps, study.objectives)
    if scores:
        lines += ["| zero-shot mean | % | 95 % interval |", "|---|---|---|"]
        values = {name: f"– ({m.reason})" if m.value is None else f"{m.value:.1f}" for name, m in scores.items()}
        lines += [f"| {name} | {values[name]} | {_interval(m)} |" for name, m in scores.items()]
    return document(lines)[:NOTE_LIMIT].rstrip("\n")


def _interval(measured: Measurement) -> str:
    """Return the interval, or a dash for a harmonic mean, which is no proportion of images and has none."""
    return "–" if measured.low is None or measured.high is None else f"{measured.low:.1f} to {measured.high:.1f}"


def study_note(folder: StudyFolder, link: str) -> str:
    """Return a study's description: question, link to the comparison of the cells, answer, and table if it fits."""
    study = folder.study
    compare = f" [Compare the cells]({link})" if link else ""  # at the top, because the page hides all but three lines
    lines = [f"**{heading_text(study.question)}**{compare}", "", *_markdown(answer(folder)), "", *_scale_line(study)]
    text = document(lines).removesuffix("\n")
    table = folder.path / "table.md"
    rows = table.read_text(encoding="utf-8") if table.is_file() else ""
    room = NOTE_LIMIT - len(text)
    return text + (rows if len(rows) <= room else "The table is too long for here: see the artifact table.md.")


def _markdown(lines: Iterable[str]) -> list[str]:
    """Return lines that Markdown does not join; an indented line becomes an item of a list."""
    return [f"- {line.strip()}" if line.startswith("  ") else f"{line}  " for line in lines]


def version_note(study: Study, trial: PlannedTrial, result: TrialResult, *, run_id: str, file: str) -> str:
    """Return the description of tuned weights in the model registry, with the commands that load them."""
    model = result.config.model
    texts = f" --text-from {model.text_from or model.pretrained}" if model.text_from or model.pretrained else ""
    defended = (
        "" if result.config.defence is None else " Its scores were measured within the defence that the run names."
    )
    return "\n".join([
        trial_note(study, trial, result), "",
        f"An image tower tuned from {model.name} on {result.config.train_data.called}, as safetensors.{defended}", "",
        "```",
        f"mlflow artifacts download --run-id {run_id} --artifact-path weights/{file} --dst-path .",
        f"zsr evaluate --model {model.name} --weights {file}{texts}",
        "```",
    ])  # fmt: skip


def _scale_line(study: Study) -> list[str]:
    note = scale_note(study)
    return [f"**Numbers {note}.**", ""] if note else []
