"""Whole trials on a pretended CUDA device, with their audit, and the command ``evaluate``."""

from __future__ import annotations

from pathlib import Path

import pytest
from pretended_cuda import PretendedCuda

from zsr_core.attacks import Pgd
from zsr_core.attacks.detector import Detector
from zsr_core.audit.plan import Request
from zsr_core.audit.report import read_report
from zsr_core.cli.evaluate import evaluate_model
from zsr_core.cli.options import parser
from zsr_core.data import DataRef
from zsr_core.defences import Ttc, WiseFt
from zsr_core.defences.defence import Defence
from zsr_core.evaluation.retrieval.suite import RetrievalSuite, TokenAttack
from zsr_core.evaluation.scenes.suite import DetectionSuite
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import Method, PmgAft, TgaZsr, Ucat
from zsr_core.trial.audited import audit_trial
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.presets import base
from zsr_core.trial.result import TrialResult, read_result
from zsr_core.trial.run import run_trial

SUITE = EvalSuite(
    tasks=(DataRef(limit=6), DataRef(name="fruitveg", limit=4)), attacks=(Pgd(steps=2),), eps=(4 / 255,), batch_size=8
)


def config_of(method: Method, defence: Defence | None) -> TrialConfig:
    changes = {"epochs": 1, "batch_size": 8, "train_data": DataRef(limit=16), "defence": defence, "eval_suite": SUITE}
    return base(method, "miniature").with_(changes)


def numbers(result: TrialResult) -> dict[tuple[str, str, str], float | None]:
    assert result.status == "done", result.error
    accuracies = ("clean", "robust", "harmonic")  # a calibration error over six images jumps with the last digit
    return {(m.task, m.metric, m.attack): m.value for m in result.measurements if m.metric in accuracies}


TRIALS = [
    pytest.param(TgaZsr(), None, id="TGA-ZSR"),
    pytest.param(Ucat(), WiseFt(), id="UCAT, WiSE-FT", marks=pytest.mark.slow),
    pytest.param(PmgAft(), Ttc(), id="PMG-AFT, TTC", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("method", "defence"), TRIALS)
def test_a_trial_measures_what_it_measures_on_the_cpu(method: Method, defence: Defence, tmp_path: Path) -> None:
    config = config_of(method, defence)
    with PretendedCuda():
        pretended = run_trial(config, tmp_path / "cuda", RunContext(cache=tmp_path / "cache", device="cuda"))
    plain = run_trial(config, tmp_path / "cpu", RunContext(cache=tmp_path / "other", device="cpu"))
    assert numbers(pretended) == pytest.approx(numbers(plain), abs=1e-3, nan_ok=True)
    assert pretended.provenance["device"] == "cuda: pretended"


def test_kept_weights_are_used_again_and_the_cheap_audit_runs(tmp_path: Path) -> None:
    config, context = config_of(TgaZsr(), None), RunContext(cache=tmp_path / "cache", device="cuda")
    with PretendedCuda():
        first = run_trial(config, tmp_path / "first", context)
        second = run_trial(config.with_({"eval_suite.eps": (2 / 255,)}), tmp_path / "second", context)
        assert second.provenance["weights_sha"] == first.provenance["weights_sha"]
        audit_trial(first, tmp_path / "first", tmp_path / "cache", Request(tier="cheap"), device="cuda")
    audited = read_result(tmp_path / "first")
    assert audited is not None
    assert set(audited.audit.values()) & {"PASS", "WARN", "FAIL"}


EVERYTHING = EvalSuite(
    tasks=(DataRef(limit=4),), attacks=(Pgd(steps=1),), eps=(4 / 255,), batch_size=4, embeddings="all", attention=True,
    ood_near=(DataRef(name="near_objects", limit=3),), ood_far=(DataRef(name="far_noise", limit=3),),
    ood_attacks=(Detector(steps=1),),
    corruptions=("contrast:3",), factors=("rotation",), detection=DetectionSuite(n=1), n=4,
    retrieval=RetrievalSuite(
        n=4, pixel=("query",), attack=Pgd(steps=1), tokens=TokenAttack(block=1, budgets=(0.05,), steps=1),
        corruptions=("contrast:3",),
    ),
)  # fmt: skip


@pytest.mark.slow
def test_all_that_is_measured_beside_accuracy_is_what_the_cpu_measures(tmp_path: Path) -> None:
    config = base(TgaZsr(), "miniature").with_({"epochs": 0, "eval_suite": EVERYTHING})
    with PretendedCuda():
        pretended = run_trial(config, tmp_path / "cuda", RunContext(device="cuda"))
    plain = run_trial(config, tmp_path / "cpu", RunContext(device="cpu"))
    assert (pretended.status, plain.status) == ("done", "done"), (pretended.error, plain.error)
    found, expected = (
        {(m.task, m.metric, m.attack, m.eps): m.value for m in result.measurements if m.value is not None}
        for result in (pretended, plain)
    )
    assert len(expected) > 100
    assert found.keys() == expected.keys()
    unlike = {key: (found[key], value) for key, value in expected.items() if abs(found[key] - value) > 0.01}
    assert unlike == {}


def test_the_command_evaluate_runs_with_its_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--tasks", "source", "--n", "4", "--attacks", "pgd2", "--batch-size", "4"]
    tables = []
    for device in ("cuda", "cpu"):
        options = parser().parse_args([*words, "--out", str(tmp_path / device), "--device", device])
        if device == "cuda":
            with PretendedCuda():
                assert evaluate_model(options) == 0
        else:
            assert evaluate_model(options) == 0
        (folder,) = (tmp_path / device).iterdir()
        assert read_report(folder) is not None
        tables.append([line for line in (folder / "table.md").read_text().splitlines() if "pgd2" in line])
    assert tables[0] == tables[1]
