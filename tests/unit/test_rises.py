"""For which rows uncertainty rises under attack: as data, in sentences with their mark, and drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.analysis.rises import Rise, RisePoint, Rises, rises
from sweeps.engine.figures.kinds import Request, draw
from sweeps.engine.running.afterwards.measuring import measure_study
from sweeps.engine.study.folder import Study, open_study, trial_folder
from sweeps.engine.wording.rises import MARK, rise_lines
from zsr_core.codec import ConfigError
from zsr_core.evaluation.metrics import metric_named
from zsr_core.records import SampleRecord, from_table, read_samples, write_samples

MakeStudy = Callable[..., Study]
EPS = (1 / 255, 2 / 255)


def _row(label: str, attack: str, value: float, low: float | None, high: float | None) -> Rise:
    point = RisePoint(eps=1 / 255, value=value, low=low, high=high)
    return Rise(label=label, role="cell", attack=attack, points=(point,), seeds=1)


def _found(*attacks: str) -> Rises:
    rows = [
        row
        for attack in attacks
        for row in (_row("A", attack, 0.3, 0.1, 0.5), _row("B", attack, -0.3, -0.4, -0.2),
                    _row("C", attack, 0.1, -0.1, 0.3), _row("D", attack, 0.1, None, None))
    ]  # fmt: skip
    return Rises(study="s", eps=1 / 255, split="selection", attacks=attacks, rows=tuple(rows))


def test_a_sentence_says_for_which_rows_it_falls_rises_or_does_neither_with_certainty() -> None:
    first, second = rise_lines(_found("pgd10", "confidence-away-mu1"))
    assert first == ("Under pgd10 at 1/255 the entropy falls for B; rises for A; does neither with certainty for C, D.")
    assert second.startswith("Under confidence-away-mu1 at 1/255 the entropy falls for B")


def test_a_claim_without_the_adaptive_confidence_attack_carries_a_mark() -> None:
    line, note = rise_lines(_found("pgd10"))
    assert line.endswith(f"C, D{MARK}.")
    assert note.startswith(f"{MARK} Not tested under an adaptive attack")


def _flatten_attacked(path: Path) -> None:
    """Let the entropy of a trial's images rise by 0.2 and 0.4 nats under attack, and a little by the image."""

    def moved(record: SampleRecord) -> SampleRecord:
        own = 0.01 * int(record.sample_id)
        return dataclasses.replace(record, entropy=0.1 + own * (record.eps > 0) + 0.2 * 255 * record.eps)

    write_samples(path, [moved(record) for record in from_table(read_samples(path))])


def test_rises_are_read_at_every_budget_with_their_intervals(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), eps=EPS, report=False)
    with pytest.raises(ConfigError, match=r"no trial of weights has measured 'rise'; expected it: zsr measure"):
        rises(open_study(tmp_path))
    for trial in study.plan:
        _flatten_attacked(trial_folder(tmp_path, trial.trial_id) / "samples.parquet")
    measure_study(tmp_path, (metric_named("rise"),))
    found = rises(open_study(tmp_path))
    assert {(row.label, row.attack) for row in found.rows} == {("untouched", "pgd10"), ("alpha=0.1 beta=0.1", "pgd10")}
    for row in found.rows:
        assert [point.eps for point in row.points] == list(EPS)
        assert row.points[1].value - row.points[0].value == pytest.approx(0.2, abs=1e-6)
        assert [point.verdict for point in row.points] == ["rises", "rises"]
    drawn = draw(open_study(tmp_path), Request(kinds=("uncertainty",)))
    assert len(drawn.paths) == 3
