"""The rules G01 to G27, one file for each group; this table joins the groups.

Sources: Athalye et al. 2018 (what masking looks like), Carlini et al. 2019 (the checklist), Pintor et al. 2022
(indicators of attack failure), AutoAttack's own flags; the limits in points are ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from zsr_core.audit.rules import (
    collapse,
    curves,
    gaps,
    gradients,
    identity,
    loss,
    official,
    other_attacks,
    outputs,
    strength,
)
from zsr_core.audit.rules.rule import Rule

RULES: Mapping[str, Rule] = {
    rule.id: rule
    for rule in (
        *outputs.RULES,  # G01, G02
        *gradients.RULES,  # G03, G04
        *strength.RULES,  # G05 to G12
        *curves.RULES,  # G13 to G15
        *other_attacks.RULES,  # G16 to G18
        *gaps.RULES,  # G19 to G22
        *loss.RULES,  # G23, G24
        *identity.RULES,  # G25
        *official.RULES,  # G26
        *collapse.RULES,  # G27
    )
}

__all__ = ["RULES", "Rule"]
