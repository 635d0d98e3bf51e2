"""A trial's identity is the hash of its whole config: changing a field, a default or the codec changes every id.

Both ids were printed by this repository when these tests were written, by

    python -c "from zsr_core.trial import TrialConfig; print(TrialConfig().trial_id)"
    python -c "from zsr_core import methods, presets; print(presets.miniature(methods.TgaZsr()).trial_id)"

If a test here fails, results on disk no longer count as done and are computed anew: change the id knowingly.
"""

from __future__ import annotations

from zsr_core.methods import TgaZsr
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.presets import miniature


def test_the_default_trial_has_this_id() -> None:
    assert TrialConfig().trial_id == "1be7145627a9"


def test_the_miniatures_tga_zsr_trial_has_this_id() -> None:
    assert miniature(TgaZsr()).trial_id == "e4b4ecb88c0e"
