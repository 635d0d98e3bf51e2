"""A trial's identity is the hash of its whole config: changing a field, a default or the codec changes every id.

The ids were printed by this repository when these tests were written, by

    python -c "from zsr_core.trial import TrialConfig; print(TrialConfig().trial_id)"
    python -c "from zsr_core import methods, presets; print(presets.miniature(methods.TgaZsr()).trial_id)"

If a test here fails, results on disk no longer count as done and are computed anew: change the id knowingly.
"""

from __future__ import annotations

from zsr_core.attacks import Pgd
from zsr_core.methods import TgaZsr
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.presets import miniature

# The preset of the miniature of 48 pixels, before that of 96 pixels took its place.
EARLIER = {
    "model.name": "miniature", "threat.eps": 4 / 255, "eval_suite.eps": (4 / 255,), "optim.lr": 0.00026,
    "method.alpha": 0.00659, "method.beta": 0.00377, "train_attack": Pgd(steps=2, step_ratio=0.5, keep="last"),
}  # fmt: skip


def test_the_default_trial_has_this_id() -> None:
    assert TrialConfig().trial_id == "1be7145627a9"


def test_a_trial_of_the_earlier_miniature_keeps_its_id() -> None:
    assert miniature(TgaZsr()).with_(EARLIER).trial_id == "e4b4ecb88c0e"
