"""Main effects and interactions as text."""

from __future__ import annotations

from sweeps.engine.analysis.factorial import Effect, Effects
from sweeps.engine.format import counted
from sweeps.engine.wording.matrix import DASH, gap_text, p_text, star


def effect_cells(effect: Effect) -> tuple[str, ...]:
    """Return an effect as text: its name, then each column's points with interval and p."""
    differences = [
        f"{gap_text(gap)}{star(gap)} {p_text(gap)}".rstrip() if gap is not None else DASH for gap in effect.differences
    ]
    return (" × ".join(effect.factors), *differences)


def effects_text(effects: Effects) -> str:
    """Return the legend of the effects."""
    tests = sum(gap is not None and gap.p is not None for each in effects.effects for gap in each.differences)
    family = f" p is Holm-corrected over the {counted(tests, 'comparison')} of this table." if tests else ""
    return (
        f"Full factorial over {counted(effects.cells, 'cell')}. A part's effect is the score with it minus "
        "the score without it, in points, averaged over all settings of the other parts. An interaction "
        "A × B is how much larger A's effect is with B than without B. Intervals are of a bootstrap "
        "over seeds, then images, paired."
        f"{family}"
    )
