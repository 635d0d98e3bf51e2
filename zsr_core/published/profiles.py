"""The attacks that the papers ran, by name, as attacks of ours: numbers under one profile had the same attacker."""

from __future__ import annotations

from collections.abc import Mapping

from zsr_core.attacks import AnyAttack, Pgd

# Step 1/255 whatever the budget, one uniform start, the last iterate. zhyblue424/TGA-ZSR, attacks.py; AGFT, main.py.
# Ours in both: fp32 and a per-sample summed loss, where theirs are half precision and a mean.
PROFILES: Mapping[str, AnyAttack] = {
    "pgd100-tga": Pgd(steps=100, step_size=1 / 255, keep="last"),
    "pgd20-agft": Pgd(steps=20, step_size=1 / 255, keep="last"),
}


def profile_of(attack: AnyAttack) -> str:
    """Return the profile that an attack is, or its own name where it is none."""
    return next((name for name, profile in PROFILES.items() if profile == attack), attack.name)
