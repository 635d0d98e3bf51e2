"""Numbers and names as text: budgets, axes, means, counts. Nothing here reads a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zsr_core.codec import ConfigError, is_finite, parse_number
from zsr_core.names import MINIATURES as MINIATURES
from zsr_core.space import short

LARGEST_BUDGET = 32  # in 255ths; a larger multiple of 1/255, such as 1/3, is no budget but a number by chance
NBSP = "\u00a0"
NAMED = 20  # most names that a sentence lists
SYMBOLS = {"alpha": "α", "beta": "β", "gamma": "γ", "lam": "λ", "tau": "τ"}


def eps_text(eps: float) -> str:
    """Return a budget as the field writes it: ``1/255``, or the plain number if it is no multiple of 1/255."""
    levels = eps * 255
    return f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"{eps:.4g}"


def value_text(value: object) -> str:
    """Return a setting's value: a number with at most 8 digits, a multiple of 1/255 as ``4/255``."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(value_text, value))}]"
    if not isinstance(value, float):
        return str(value)
    levels = value * 255
    if 1 <= round(levels) <= LARGEST_BUDGET and abs(levels - round(levels)) < 1e-9 and len(repr(value)) > 8:
        return f"{round(levels)}/255"
    return f"{value:.8g}"


def is_budget(path: str) -> bool:
    """Return whether an axis is a radius in pixel units, which is written in 255ths."""
    return leaf(path) == "eps"


def setting_text(path: str, value: object) -> str:
    """Return an axis's value as tables and figures show it: ``0.3``, and a budget up to 32/255 as ``4/255``."""
    if is_budget(path) and isinstance(value, float) and 0 < value * 255 <= LARGEST_BUDGET:
        return f"{value * 255:.3g}/255"
    return short(value)


def leaf(path: str) -> str:
    """Return the last name of a dotted path."""
    return path.rsplit(".", 1)[-1]


def axis_label(path: str) -> str:
    """Return the label of an axis: its symbol if it has one, and its path in a config."""
    name = leaf(path)
    return f"{SYMBOLS[name]}  ({path})" if name in SYMBOLS else path


def counted(n: int, noun: str) -> str:
    """Return ``1 seed``, ``3 seeds``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listed(names: Sequence[str]) -> str:
    """Return the names; of a long list the first ones and the number of the others."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def mean_text(mean: float | None, sd: float | None, digits: int = 1) -> str:
    """Return a score in percent with its spread over seeds, or a dash."""
    if mean is None:
        return "–"
    return f"{mean:.{digits}f}" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}"


def sentence(words: str) -> str:
    """Return ``words`` with a capital and a full stop; an empty text stays empty."""
    return f"{words[0].upper()}{words[1:]}." if words else ""


def published_text(published: Mapping[str, float]) -> str:
    """Return the published optimum as ``alpha=0.08 beta=0.05``."""
    return " ".join(f"{leaf(path)}={value:g}" for path, value in published.items())


def parse_eps(text: str) -> float:
    """Return a budget written as ``2/255`` or as a number in [0, 1]."""
    eps = parse_number(text)
    if eps is None or not (is_finite(eps) and 0 <= eps <= 1):
        raise ConfigError(f"eps: got {text!r}, expected a budget in [0, 1] such as 2/255")
    return eps
