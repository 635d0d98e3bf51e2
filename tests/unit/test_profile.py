"""The profile of a study: its rows beyond accuracy, and the published claims beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from whole_trial import CLASSES, TEXTS, records

from sweeps.engine.analysis.published.claims import Claim, ProfileRow, above_zero, claims, difference, follows
from sweeps.engine.analysis.published.paired import paired_gap
from sweeps.engine.analysis.stats import Number
from sweeps.engine.commands.main import main
from sweeps.engine.study.folder import Role, open_study, trial_folder, write_study
from sweeps.engine.study.plan import new_study
from sweeps.holistic_profile import SWEEP
from zsr_core.codec import to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.files import write_text
from zsr_core.records import write_samples
from zsr_core.trial.result import TrialResult

EPS = 2 / 255
ECE = {
    "untouched": (5.0, 3.0), "FT-Clean": (15.0, 9.0), "LP-FT": (12.0, 4.0), "FLYP": (14.0, 7.0), "TeCoA": (9.0, 9.0),
    "WiSE-FT": (9.0, 8.5),
}  # fmt: skip


def _number(value: float, half: float = 1.0) -> Number:
    return Number(value=value, low=value - half, high=value + half)


def _row(label: str, points: Mapping[str, Number]) -> ProfileRow:
    role: Role = "baseline" if label == "untouched" else "cell"
    return ProfileRow(label=label, role=role, points=points, shifts={})


def _of(found: tuple[Claim, ...], start: str) -> Claim:
    return next(claim for claim in found if claim.words.startswith(start))


def test_the_interval_of_a_difference_is_that_of_independent_numbers() -> None:
    gap = difference(Number(value=10.0, low=7.0, high=14.0), Number(value=4.0, low=1.0, high=8.0))
    assert (gap.value, gap.low, gap.high) == (6.0, 6.0 - 5.0, 6.0 + 5.0)  # 3-4-5 triangles on both sides


def test_a_difference_without_an_interval_is_not_told_apart() -> None:
    gap = difference(Number(value=10.0, low=None, high=None), _number(4.0))
    assert (gap.low, gap.high) == (None, None)
    assert above_zero(gap) == "not told apart"


def test_claims_are_supported_contradicted_or_not_told_apart_by_their_interval() -> None:
    rows = [
        _row(label, {"ece": _number(raw), "ece_source_t": _number(tempered)}) for label, (raw, tempered) in ECE.items()
    ]
    assert _of(claims(rows), "Fine-tuning").verdict == "supported"
    assert _of(claims(rows), "LP-FT").verdict == "supported"
    assert _of(claims(rows), "WiSE-FT").verdict == "not told apart"
    worse = [_row("untouched", {"ece": _number(20.0)}), *rows[1:]]
    assert _of(claims(worse), "Fine-tuning").verdict == "contradicted"


@pytest.mark.parametrize(("value", "verdict"), [(4.0, "supported"), (-4.0, "contradicted"), (0.5, "not told apart")])
def test_flyp_is_over_confident_where_its_signed_gap_is_above_zero(value: float, verdict: str) -> None:
    found = _of(claims([_row("FLYP", {"overconfidence_source_t": _number(value)})]), "FLYP")
    assert found.verdict == verdict


def test_a_claim_on_a_row_that_the_study_lacks_is_not_measured() -> None:
    found = claims([_row("untouched", {"ece": _number(5.0)})])
    assert {claim.verdict for claim in found} == {"not measured"}
    assert _of(found, "FLYP").measured == "No number of FLYP."


def test_retrieval_follows_where_pairs_that_both_tell_apart_have_one_order() -> None:
    def rows(*pairs: tuple[float, float]) -> list[ProfileRow]:
        return [_row(str(i), {"clean": _number(a), "t2i_r1": _number(b)}) for i, (a, b) in enumerate(pairs)]

    assert follows(rows((10, 20), (30, 40), (31, 41))).verdict == "supported"
    assert follows(rows((10, 40), (30, 20))).verdict == "contradicted"
    assert follows(rows((10, 20), (30, 40), (50, 30))).verdict == "not told apart"
    assert follows(rows((10, 20), (10.5, 40))).measured.startswith(
        "Clean accuracy and text-to-image R@1 both tell 0 of 1 pairs of rows apart"
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    planned = new_study(SWEEP, preset="miniature", search=None, seeds=(0,), objectives=SWEEP.objectives)
    write_study(tmp_path, planned)
    for trial in planned.plan:
        raw, tempered = ECE[trial.cell]
        numbers = [("clean", "none", 0.0, 80.0), ("robust", WORST, EPS, 30.0), ("ece", "none", 0.0, raw),
                   ("ece_source_t", "none", 0.0, tempered), ("factor_gap", "factor-colour", 0.0, -7.5),
                   ("factor_gap", "factor-colour-3", 0.0, -99.5),
                   ("corrupted_accuracy", "corruption-defocus_blur-3", 0.0, 41.5)]  # fmt: skip
        measured = tuple(
            Measurement(
                trial_id=trial.trial_id, weights_sha="w", task=task, split="selection", attack=attack, eps=eps,
                metric=metric, value=value, n=48, low=value - 1, high=value + 1,
            )
            for task in ("animals", ZERO_SHOT_MEAN)
            for metric, attack, eps, value in numbers
        )  # fmt: skip
        result = TrialResult(
            trial_id=trial.trial_id, config=planned.config(trial), status="done", measurements=measured
        )
        write_text(trial_folder(tmp_path, trial.trial_id) / "result.json", json.dumps(to_plain(result)))
    return tmp_path


def test_the_page_shows_claims_and_numbers_and_says_that_the_miniature_is_small(study: Path) -> None:
    assert main(["profile", "--study", str(study)]) == 0
    page = (study / "profile.html").read_text(encoding="utf-8")
    assert "The miniature says nothing about scale" in page
    assert "FT-Clean 15.0 [14.0, 16.0], the untouched model 5.0" in page.replace("\u00a0", " ")
    assert "supported" in page
    assert "defocus blur, severity 3" in page
    assert "-99.5" not in page  # one level of a factor


def test_one_row_has_a_page_of_its_own_beside_the_untouched_model(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", "--study", str(study), "--row", "LP-FT"]) == 0
    page = (study / "profile-LP-FT.html").read_text(encoding="utf-8")
    assert "TeCoA" not in page
    assert "untouched" in page
    assert main(["profile", "--study", str(study), "--row", "LP-TF"]) == 2
    assert "LP-FT" in capsys.readouterr().err


def _kept(study: Path, row: str, right: Sequence[bool], first: int = 0) -> None:
    """Write records of the row's trial: one set, whose images are right as said."""
    folder = open_study(study)
    trial = next(trial for trial in folder.study.plan if trial.cell == row)
    labels = np.arange(len(right)) % CLASSES
    shown = TEXTS.unit[np.where(right, labels, (labels + 1) % CLASSES)]
    own = records("none", 0.0, shown, labels, np.ones(len(right), bool), task="animals", trial_id=trial.trial_id)
    named = [replace(record, sample_id=str(first + i)) for i, record in enumerate(own)]
    write_samples(folder.trial_path(trial.trial_id) / "samples.parquet", named)


def test_a_difference_of_two_rows_is_paired_by_image_where_their_records_are_kept(study: Path) -> None:
    random = np.random.default_rng(0)
    right = random.random(200) < 0.6
    worse = right & (np.arange(200) >= 20)  # wrong on some of the same images
    _kept(study, "untouched", right.tolist())
    _kept(study, "FT-Clean", worse.tolist())
    gap = paired_gap(open_study(study), "selection", ("untouched", "clean"), ("FT-Clean", "clean"))
    lost = right.astype(float) - worse
    draws = [100 * lost[random.integers(200, size=200)].mean() for _ in range(4000)]
    assert gap is not None
    assert gap.value == pytest.approx(100 * lost.mean())
    assert (gap.low, gap.high) == pytest.approx(tuple(np.percentile(draws, (2.5, 97.5))), abs=1.0)
    apart = 1.96 * 100 * np.sqrt((right.var() + worse.var()) / 200)
    assert gap.high is not None
    assert gap.high - gap.value < apart / 2  # much narrower than of different images


def test_rows_of_other_images_or_without_records_are_not_paired(study: Path) -> None:
    _kept(study, "untouched", [True, False, True])
    folder = open_study(study)
    assert paired_gap(folder, "selection", ("untouched", "clean"), ("FT-Clean", "clean")) is None
    _kept(study, "FT-Clean", [True, False, True], first=1)
    folder = open_study(study)
    assert paired_gap(folder, "selection", ("untouched", "clean"), ("FT-Clean", "clean")) is None
    assert paired_gap(folder, "selection", ("untouched", "robust"), ("FT-Clean", "robust")) is None
    assert paired_gap(folder, "selection", ("untouched", "t2i_r1"), ("FT-Clean", "t2i_r1")) is None


def test_a_claim_takes_the_paired_difference_and_says_so() -> None:
    rows = [_row("untouched", {"ece": _number(5.0, 3.0)}), _row("FT-Clean", {"ece": _number(6.0, 3.0)})]
    narrow = Number(value=1.0, low=0.5, high=1.5)
    found = _of(claims(rows, lambda a, b: narrow if a == ("FT-Clean", "ece") else None), "Fine-tuning")
    assert found.verdict == "supported"
    assert found.measured.endswith("difference 1.0 [0.5, 1.5] points, paired.")
    assert _of(claims(rows), "Fine-tuning").verdict == "not told apart"
