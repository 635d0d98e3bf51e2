"""Sweeps and command lines that ask for detection of out-of-distribution images."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine import Sweep
from sweeps.engine.commands.main import main
from sweeps.engine.running.afterwards.measuring import measure_study
from sweeps.engine.study.folder import Study, open_study
from sweeps.engine.study.objectives import score_named
from sweeps.engine.study.plan import new_study
from zsr_core.attacks import Detector
from zsr_core.cli.evaluate import config_of, evaluate_model
from zsr_core.cli.options import add_evaluate_options
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef
from zsr_core.evaluation.metrics import METRICS
from zsr_core.evaluation.metrics.outside import OUTSIDE
from zsr_core.methods import TgaZsr
from zsr_core.space import Real
from zsr_core.trial.config import TrialConfig

MakeStudy = Callable[..., Study]
BASE = TrialConfig(method=TgaZsr())
NEAR = BASE.with_({"eval_suite.ood_near": (DataRef(name="near_objects"),)})


def _study(base: TrialConfig, *objectives: str) -> Study:
    sweep = Sweep(
        name="w", question="Where?", base={"miniature": base}, levels=2, space={"method.alpha": Real(low=0.1, high=1.0)}
    )
    return new_study(sweep, preset="miniature", search=None, seeds=(0,), objectives=objectives)


def test_a_sweep_that_selects_by_detection_keeps_embeddings_in_every_trial() -> None:
    study = _study(NEAR, "robust", "near_auroc_mcm")
    assert study.base.eval_suite.embeddings == "all"
    assert study.base.eval_suite.measured_ood == NEAR.eval_suite.ood_near
    assert _study(NEAR, "robust").base.eval_suite.measured_ood == ()
    assert score_named("near_auroc_mcm").condition == "none"
    assert score_named("near_auroc_mcm_adv_ood").condition == "worst"


@pytest.mark.parametrize(
    ("base", "objective", "said"),
    [(BASE, "near_auroc_mcm", "a sweep whose eval_suite.ood_near names a set"),
     (NEAR, "far_auroc_mcm", "a sweep whose eval_suite.ood_far names a set"),
     (NEAR, "near_auroc_mcm_adv_ood", "a sweep whose eval_suite.ood_attacks attacks a detector")],
)  # fmt: skip
def test_a_sweep_without_what_its_objective_needs_is_refused(base: TrialConfig, objective: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"objectives: got '{objective}', expected {said}"):
        _study(base, objective)


@pytest.mark.slow
def test_all_metrics_of_a_study_without_such_sets_are_those_that_it_can_have(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, levels=(0.1,))
    measure_study(tmp_path, METRICS)
    measured = {m.metric for result in open_study(tmp_path).results.values() for m in result.measurements}
    assert not measured & {metric.name for metric in OUTSIDE}
    assert "ood_auroc_msp" in measured
    assert main(["measure", "--study", str(tmp_path), "--metrics", "auroc_msp_vs_far_noise"]) == 0
    rows = [m for result in open_study(tmp_path).results.values() for m in result.measurements
            if m.metric == "auroc_msp_vs_far_noise"]  # fmt: skip
    assert {row.value for row in rows} == {None}
    assert all("no OOD set far_noise was evaluated" in row.reason or "not kept" in row.reason for row in rows)


def _options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_evaluate_options(parser)
    return parser.parse_args(["--tasks", "sport", "--attacks", "pgd2", "--n", "4", *words])


def test_the_flags_fill_the_suite() -> None:
    suite = config_of(_options("--ood", "far_noise,near:hearts", "--ood-attacks", "energy20,msp")).eval_suite
    assert suite.ood_near == (DataRef(name="hearts"),)
    assert suite.ood_far == (DataRef(name="far_noise"),)
    assert suite.ood_attacks == (Detector(score="energy", steps=20), Detector())
    assert config_of(_options()).eval_suite.ood == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--ood", "animals"), "--ood: got 'animals', expected near:animals or far:animals"),
     (("--ood", "far:sport"), "--ood: got 'sport', expected a name that no task has"),
     (("--ood-attacks", "msp"), "--ood-attacks: got 'msp', expected --ood with it"),
     (("--ood", "far_noise", "--ood-attacks", "mps"), "--ood-attacks: score: unknown value 'mps'"),
     (("--ood", "ninco", "--root", "nowhere"), "--ood.root: ")],
)  # fmt: skip
def test_a_wrong_flag_is_one_line_that_names_it(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert evaluate_model(_options("--out", str(tmp_path), *words)) == 2
    error: Any = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
