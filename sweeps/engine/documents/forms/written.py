"""A matrix in the form that is asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sweeps.engine.documents.forms.csv import comma_separated
from sweeps.engine.documents.forms.html import html_fragment
from sweeps.engine.documents.forms.latex import latex
from sweeps.engine.documents.forms.markdown import markdown
from sweeps.engine.documents.forms.terminal import terminal
from sweeps.engine.wording.matrix import Described


def written(matrices: Sequence[Described], form: str, *, color: bool = False) -> str:
    """Return the matrices in one of :data:`sweeps.engine.documents.forms.FORMS`."""
    if form == "csv":
        return comma_separated([told.matrix for told in matrices])
    one: dict[str, Callable[[Described], str]] = {
        "terminal": partial(terminal, color=color),
        "md": markdown,
        "latex": latex,
    }
    if form in one:
        return "\n".join(one[form](told) for told in matrices)
    return "\n".join(html_fragment(told, style=i == 0) for i, told in enumerate(matrices))
