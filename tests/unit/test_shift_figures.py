"""Corruptions and factors of a study: measured from its files, as figures, and in what a tracked run shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.analysis.shifts import corruption_maps, factor_profiles
from sweeps.engine.commands.main import main
from sweeps.engine.figures.kinds import Request, draw
from sweeps.engine.running.afterwards.measuring import measure_study
from sweeps.engine.study.folder import Study, StudyFolder, open_study, trial_folder
from sweeps.engine.tracking.points import final_points
from sweeps.engine.wording.study import attacks_of, images_per_set
from zsr_core.codec import ConfigError
from zsr_core.data.shifts.kinds import Cell
from zsr_core.evaluation.embeddings import SHIFTED
from zsr_core.evaluation.metrics import METRICS
from zsr_core.records import SampleRecord, from_table, read_samples, write_samples

MakeStudy = Callable[..., Study]
KINDS = ("fog", "snow")
OURS = [metric for metric in METRICS if metric.reads in ("corruptions", "factors")]


def _shifted(clean: list[SampleRecord], levels: bool) -> list[SampleRecord]:
    """Under fog every third image is wrong and under snow every fourth, of the untouched model every second."""

    def under(condition: str, step: int) -> list[SampleRecord]:
        return [dataclasses.replace(r, condition=condition, correct=i % step > 0) for i, r in enumerate(clean)]

    found = []
    for k, kind in enumerate(KINDS):
        for severity in (1, 5):
            found += under(f"corruption-{kind}-{severity}", 3 + k)
            found += under(f"untouched-corruption-{kind}-{severity}", 2)
    found += under("factor-none", 6)
    names = [f"factor-colour-{k}" for k in range(1, 6)] if levels else ["factor-pose", "factor-partial_view"]
    return found + [r for k, name in enumerate(names) for r in under(name, max(2, 6 - k))]


def _measured(path: Path, make_study: MakeStudy, *, levels: bool = True) -> StudyFolder:
    study = make_study(path, levels=(0.1,), report=False)
    for trial in study.plan:
        folder = trial_folder(path, trial.trial_id)
        clean = [r for r in from_table(read_samples(folder / "samples.parquet")) if r.condition == "none"]
        write_samples(folder / SHIFTED, _shifted(clean, levels))
    measure_study(path, OURS)
    return open_study(path)


def test_a_map_holds_accuracy_by_kind_and_severity_and_the_error_of_each_kind(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    shown = corruption_maps(_measured(tmp_path, make_study))
    assert (shown.split, shown.images) == ("selection", 3 * 24)
    one = shown.corruptions[0]
    assert one.label == "untouched"
    assert set(one.accuracy) == {Cell(kind=kind, severity=s) for kind in KINDS for s in (1, 5)}
    assert one.accuracy[Cell(kind="fog", severity=1)].value == pytest.approx(100 * 2 / 3)
    assert one.errors["fog"].value == pytest.approx(100 * 2 / 3)
    assert one.errors["snow"].value == pytest.approx(50)
    assert one.mean_error is not None
    assert one.mean_error.value == pytest.approx((100 * 2 / 3 + 50) / 2)


def test_images_per_set_are_those_of_the_scores_and_not_of_corruptions_or_factors(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    results = list(_measured(tmp_path, make_study).results.values())
    assert {m.n for m in results[0].measurements if m.metric == "factor_gap"} > {24}
    assert set(images_per_set(results).values()) == {24}


def test_a_profile_holds_the_gap_of_each_level_and_the_ratio_of_each_factor(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    shown = factor_profiles(_measured(tmp_path, make_study))
    one = shown.factors[0]
    assert shown.images == 3 * 24
    assert set(one.gaps) == {("colour", level) for level in (None, 1, 2, 3, 4, 5)}
    assert one.gaps["colour", 1].value == 0
    assert one.gaps["colour", 5].value == pytest.approx(100 * (1 / 2 - 5 / 6))
    assert set(one.ratios) == {"colour"}


@pytest.mark.parametrize("levels", [True, False])
def test_the_figures_are_drawn(tmp_path: Path, make_study: MakeStudy, levels: bool) -> None:
    folder = _measured(tmp_path, make_study, levels=levels)
    drawn = draw(folder, Request(kinds=("corruptions", "factors")))
    assert {path.name for path in drawn.paths if path.suffix == ".svg"} == {"corruptions.svg", "factors.svg"}


def test_a_figure_of_what_no_trial_measured_is_refused(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    assert main(["plot", "--study", str(tmp_path), "--kind", "corruptions"]) == 2
    assert "eval_suite.corruptions" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"eval_suite\.annotations"):
        factor_profiles(open_study(tmp_path))


def test_corruptions_are_no_attacks_and_a_tracked_run_has_their_means_alone(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    folder = _measured(tmp_path, make_study)
    result = next(iter(folder.done().values()))
    assert attacks_of([result]) == ["pgd10"]
    names = [point.name for point in final_points(result, 0, folder.study.score_eps)]
    assert "corrupted_accuracy_corruption-fog-5_zero_shot_mean" in names
    assert "corruption_error_animals" in names
    assert not [name for name in names if "fog-5_animals" in name]
