"""The whole audit of a tuned miniature, as a study runs it: no rule fails, and every verdict is about this model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from zsr_core.audit.plan import Request
from zsr_core.methods import TeCoA
from zsr_core.trial.audited import audit_trial
from zsr_core.trial.context import RunContext
from zsr_core.trial.presets import miniature
from zsr_core.trial.run import run_trial

pytestmark = pytest.mark.slow


def test_a_miniature_trained_with_tecoa_fails_no_rule_of_the_full_tier(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    result = run_trial(miniature(TeCoA()), tmp_path / "trial", RunContext(cache=tmp_path, device="cpu"))
    report = audit_trial(result, tmp_path / "trial", tmp_path, Request(tier="full", images=26), device="cpu")
    failing = {v.rule: v.figure for v in report.verdicts if v.status == "FAIL"}
    assert failing == {}
    # The miniature is attacked at 2/255 and has no baseline beside it; everything else can be tested.
    assert {v.rule for v in report.verdicts if v.status == "SKIP"} == {"G22"}
