"""The rule on our AutoAttack: the authors' own code breaks the same images."""

from __future__ import annotations

from zsr_core.audit.evidence import Evidence, Probe, need
from zsr_core.audit.finding import Finding, graded
from zsr_core.audit.outcomes import Outcomes, beats, only_first_breaks, percent
from zsr_core.audit.rules.rule import Rule


def g26_official(official: Outcomes, ours: Outcomes) -> Finding:
    """WARN if the official AutoAttack and ours differ on more than one image and 3 % of them; FAIL if it is stronger.

    Stronger is significantly more images broken, as :func:`beats` says. Both draw their own noise, so that a
    borderline image may go either way.
    """
    theirs, own = only_first_breaks(official, ours), only_first_breaks(ours, official)
    differ, n = theirs + own, official.n
    figure = (
        f"agree on {n - differ} of {n} images; only the official code breaks {theirs}, only ours breaks {own}; "
        f"{percent(official):.2f} % stand under the official code, {percent(ours):.2f} % under ours"
    )
    advice = "Report the worst case of both, and look at the images that differ: --attacks aa-standard,aa-official."
    return graded(figure, advice, warn=differ > 1 and 100 * differ / n > 3, fail=beats(official, ours))


def _judge_official(e: Evidence) -> Finding:
    official, ours = e.run(Probe.OFFICIAL), e.run(Probe.AUTOATTACK)
    common = official.standing.keys() & ours.standing.keys()
    need(common or None, "an image under both the official AutoAttack and ours")
    return g26_official(official.on(common), ours.on(common))


RULES = (
    Rule(
        id="G26",
        text="The official AutoAttack and ours agree image by image, but for one image or 3 % of them.",
        needs=(Probe.OFFICIAL, Probe.AUTOATTACK),
        judge=_judge_official,
    ),
)
