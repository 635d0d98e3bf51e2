"""What an audit rule says of a robustness number: PASS, WARN, FAIL or SKIP, the figure, the rule, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from zsr_core.codec import require, unknown

VerdictStatus = Literal["PASS", "WARN", "FAIL", "SKIP"]
SEVERITY: tuple[VerdictStatus, ...] = ("SKIP", "PASS", "WARN", "FAIL")  # the later, the graver

# Sources: Athalye et al. 2018 (what masking looks like), Carlini et al. 2019 (the checklist), Pintor et al. 2021
# (indicators of attack failure), AutoAttack's own flags; the limits in points are ours.
RULES: Mapping[str, str] = {
    "G01": "Logits are logits: outputs that lie on the simplex are probabilities, and fail.",
    "G02": "Five forward passes agree: same predictions, normalised logits within 1e-4.",
    "G03": "The input gradient exists and agrees with central differences to 5 % in the median.",
    "G04": "No image has an all-zero or non-finite input gradient; above 1 % of the images fails.",
    "G05": "Attacking in the user's precision leaves at most 0.5 points more standing than in fp32; above 2 fails.",
    "G06": "Attacking the logits divided by 10 or 100 breaks at most 1 point more; above 3 fails.",
    "G07": "Every adversarial image lies in the ball and in [0, 1], and robust accuracy recomputed from it agrees.",
    "G08": "More steps never help the defence: FGSM >= PGD-10 >= PGD-100, within 0.5 points.",
    "G09": "The attack has converged: 50 to 100 steps cost at most 1 point; above 3 fails.",
    "G10": "The step size does not decide: eps, eps/4 and eps/10 agree to 1 point; a headline 2 above the least fails.",
    "G11": "No image is broken on the way and standing at the end; above 1 point counted as robust fails.",
    "G12": "Five restarts instead of one cost at most 1 point; above 3 fails.",
    "G13": "Robust accuracy falls as eps grows: RA(larger eps) <= RA(smaller eps) + 0.5 points.",
    "G14": "A huge ball breaks everything: at eps = 0.5 all but the largest class, at eps = 1 all but 1 %.",
    "G15": "The curve over eps looks like a defence's: at most 20 % at 8/255, at most 60 % lost on doubling eps.",
    "G16": "Random noise in the ball breaks at most 0.2 % of the images that PGD leaves standing.",
    "G17": "Black-box Square breaks at most 0.2 % of the images that every white-box attack leaves; above 1 % fails.",
    "G18": "Transferred examples break at most 0.5 % of the images that white-box attacks leave; above 1 % fails.",
    "G19": "AutoAttack takes at most 3 points and 10 % off PGD's robust accuracy; above 5 points or 20 % fails.",
    "G20": "An ensemble leaves no more standing than its parts: AutoAttack <= PGD + 0.5 points, worst case <= each.",
    "G21": "The adaptive attack and AutoAttack agree to 1 point, either way.",
    "G22": "Clean up over 3 and PGD up over 5 points on the baseline must show in the worst case: up 2 or more.",
    "G23": "The loss changes by at most 10 % in the mean over random directions in the ball.",
    "G24": "The loss surface on the plane of the gradient's and a random sign is close to linear in the ball.",
    "G25": "One row is one model: every column has the same weights, preprocessing and prompts.",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One rule applied to one number. A SKIP says in ``figure`` what is missing; it is no PASS."""

    rule: str  # a key of RULES
    status: VerdictStatus
    figure: str  # what was measured, in words and units: "PGD-100 42.09, AutoAttack 30.77: 11.32 points (26.9 %)"
    advice: str = ""  # one sentence on what to do, empty for a PASS

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown("rule", self.rule, RULES)
        if self.status not in SEVERITY:
            raise unknown("status", self.status, get_args(VerdictStatus))
        require(bool(self.figure), "figure", self.figure, "what was measured, or what is missing")
        advised = bool(self.advice) or self.status == "PASS"
        require(advised, "advice", self.advice, f"one sentence on what to do about a {self.status}")

    @property
    def text(self) -> str:
        """The rule, in one sentence."""
        return RULES[self.rule]


def worst(verdicts: Iterable[Verdict]) -> VerdictStatus:
    """Return the gravest status; SKIP where there is no verdict, for nothing was tested."""
    return gravest(v.status for v in verdicts)


def gravest(statuses: Iterable[str]) -> VerdictStatus:
    """Return the gravest of statuses as a result keeps them; SKIP of none."""
    known = set(statuses)
    return next((status for status in reversed(SEVERITY) if status in known), "SKIP")
