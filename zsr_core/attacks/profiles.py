"""Attacks by name: what papers ran, reproduced, and what we run ourselves. Every attack has a name of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from zsr_core.attacks import (
    CONFIDENCE,
    Adaptive,
    AnyAttack,
    Apgd,
    AutoAttack,
    Fab,
    Noise,
    OfficialAutoAttack,
    Pgd,
    Square,
    Transfer,
)
from zsr_core.codec import ConfigError, unknown
from zsr_core.names import ATTACKS, rows_of


@dataclass(frozen=True, kw_only=True)
class Profile:
    """An attack with its source and what of the published run differs from ours."""

    attack: AnyAttack
    source: str
    differs: str = ""  # beside what always differs: ours is in fp32, on a per-sample sum, with noise drawn per image


HALF = "theirs climbs the mean cross-entropy under fp16 autocast, where small gradients vanish"
TORCH_AA = "theirs is a derivative of torchattacks seeded by the clock, under fp16 autocast"

_ROWS: Mapping[str, Profile] = {
    # what papers ran
    "pgd100-tga": Profile(
        attack=Pgd(steps=100, step_size=1 / 255, keep="last", label="pgd100-tga"),
        source="zhyblue424/TGA-ZSR, attacks.py; arXiv 2603.18598, section V; UCAT's PGD-100 likewise",
        differs=f"{HALF}; its step equals the budget of 1/255, and the last iterate is judged, as here",
    ),
    "cw100-tga": Profile(
        attack=Pgd(steps=100, step_size=1 / 255, keep="last", loss="margin", label="cw100-tga"),
        source="zhyblue424/TGA-ZSR, attacks.py: attack_CW; UCAT's CW-100 likewise",
        differs="theirs is under fp16 autocast, and its margin ends 50 logits beyond the flip (kappa 50)",
    ),
    "pgd20-agft": Profile(
        attack=Pgd(steps=20, step_size=1 / 255, keep="last", label="pgd20-agft"),
        source="YuboCui/AGFT, attacks/pgd.py, validate.py",
        differs=f"{HALF}; CIFAR and STL-10 are attacked at their own resolution there",
    ),
    "aa-standard": Profile(
        attack=AutoAttack(version="standard"),
        source="Croce & Hein, ICML 2020, arXiv 2003.01690; fra31/auto-attack, version='standard'",
        differs="2 and 3 classes get a replacement here, where the official code stops with an error",
    ),
    "aa-official": Profile(
        attack=OfficialAutoAttack(),
        source="fra31/auto-attack itself, version='standard', as the package pyautoattack 0.2 holds it",
        differs="2 and 3 classes get the parts that can face them; each batch has a seed of its own",
    ),
    "aa-plus": Profile(
        attack=AutoAttack(version="plus"),
        source="fra31/auto-attack, version='plus'",
        differs="without the untargeted FAB",
    ),
    "aa-rand": Profile(
        attack=AutoAttack(version="rand"),
        source="fra31/auto-attack, version='rand'",
        differs="its 20 draws are the defence's attack_samples",
    ),
    "aa-tecoa": Profile(
        attack=AutoAttack(version="tecoa"),
        source="cvlab-columbia/ZSRobust4FoundationModel, and after it TGA-ZSR, UCAT and TTC: built as 'standard', its "
        "list then replaced by APGD-CE and APGD-DLR, on PCAM by APGD-CE",
    ),
    "aa-fare": Profile(
        attack=AutoAttack(version="fare"),
        source="chs20/RobustVLM: the first two of AutoAttack, with two classes only APGD-CE",
        differs="theirs counts 1000 images a set",
    ),
    "aa-agft": Profile(
        attack=AutoAttack(version="agft"),
        source="YuboCui/AGFT, attacks/autoattack.py, version='rand': APGD-CE and APGD-DLR of 10 steps, EOT 20",
        differs=f"{TORCH_AA}; the 20 equal gradients of a model without randomness are taken once here",
    ),
    # what we run
    "pgd10": Profile(attack=Pgd(steps=10), source="Madry et al., ICLR 2018; ours: step eps/4, best iterate"),
    "pgd100": Profile(attack=Pgd(steps=100), source="Madry et al., ICLR 2018; ours: step eps/4, best iterate"),
    "cw100": Profile(
        attack=Pgd(steps=100, loss="margin"), source="Carlini & Wagner, S&P 2017, f_6 within the ball; ours as pgd100"
    ),
    "apgd-ce": Profile(attack=Apgd(), source="Croce & Hein, ICML 2020, arXiv 2003.01690"),
    "apgd-dlr": Profile(attack=Apgd(loss="dlr"), source="Croce & Hein, ICML 2020, arXiv 2003.01690"),
    "apgd-t": Profile(attack=Apgd(loss="dlr-targeted"), source="Croce & Hein, ICML 2020, arXiv 2003.01690"),
    "fab-t": Profile(attack=Fab(), source="Croce & Hein, ICML 2020, arXiv 1907.02044"),
    "square": Profile(attack=Square(), source="Andriushchenko et al., ECCV 2020, arXiv 1912.00049"),
    "adaptive": Profile(
        attack=Adaptive(),
        source="Comp-TGA, arXiv 2603.18598, App. B",
        differs="weights and temperatures are not printed there: all of ours are run and the worst is kept",
    ),
    "transfer-untouched": Profile(attack=Transfer(), source="Athalye et al., ICML 2018: what black-box attacks betray"),
    "noise100": Profile(attack=Noise(), source="Carlini et al., arXiv 1902.06705: a control"),
    **{a.name: Profile(attack=a, source="Tramer et al., NeurIPS 2020, arXiv 2002.08347; ours") for a in CONFIDENCE},
}
PROFILES: Mapping[str, Profile] = rows_of(ATTACKS, _ROWS)

PLAIN = re.compile(r"(pgd|cw)([1-9]\d*)(?:x([1-9]\d*))?")  # pgd50x5: 50 steps, 5 restarts


def profile(name: str) -> AnyAttack:
    """Return the attack of this name; "pgd50", "pgd50x5" and "cw20" say steps and restarts themselves.

    Raises:
        ConfigError: for a name that is neither, with the nearest one there is.
    """
    if name in PROFILES:
        return PROFILES[name].attack
    plain = PLAIN.fullmatch(name)
    if plain is None:
        near = next((known for known in PROFILES if known.lower() == name.lower()), None)
        if near is not None:
            raise ConfigError(f"attack: unknown value {name!r}; did you mean {near!r}?")
        raise unknown("attack", name, [*PROFILES, "pgd50", "pgd50x5", "cw50"])
    kind, steps, restarts = plain.groups()
    return Pgd(steps=int(steps), restarts=int(restarts or 1), loss="ce" if kind == "pgd" else "margin")
