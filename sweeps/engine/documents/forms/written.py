"""A matrix in a form given by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from sweeps.engine.analysis.choice import selection
from sweeps.engine.analysis.matrix import MatrixRequest, matrices
from sweeps.engine.documents.forms.csv import comma_separated
from sweeps.engine.documents.forms.html import html_fragment
from sweeps.engine.documents.forms.latex import Typeset, latex
from sweeps.engine.documents.forms.markdown import markdown
from sweeps.engine.documents.forms.terminal import terminal
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.wording.answer import selection_text
from sweeps.engine.wording.matrix import Described, described


def written(each: Sequence[Described], form: str, *, color: bool = False, typeset: Typeset | None = None) -> str:
    """Return the matrices in one of :data:`sweeps.engine.documents.forms.FORMS`; ``typeset`` is for LaTeX alone."""
    if form == "csv":
        return comma_separated([shown.matrix for shown in each])
    one: dict[str, Callable[[Described], str]] = {
        "terminal": partial(terminal, color=color),
        "md": markdown,
    }
    if form == "latex":
        return "\n".join(latex(shown, _of_split(typeset, i)) for i, shown in enumerate(each))
    if form in one:
        return "\n".join(one[form](shown) for shown in each)
    return "\n".join(html_fragment(shown, style=i == 0) for i, shown in enumerate(each))


def _of_split(typeset: Typeset | None, i: int) -> Typeset | None:
    """Return what is asked of the ``i``-th split's tables: a label of its own, because LaTeX takes each label once."""
    if typeset is None or typeset.label is None or i == 0:
        return typeset
    return replace(typeset, label=f"{typeset.label}-report")


def matrix_text(
    folder: StudyFolder,
    form: str,
    asked: MatrixRequest | None = None,
    *,
    color: bool = False,
    typeset: Typeset | None = None,
) -> str:
    """Return the study's matrices, one per split, with their sentences, in a form given by name.

    Raises:
        ConfigError: if no row has the baseline's label, or if a score is unknown.
    """
    first, *rest = matrices(folder, asked)
    curse = selection(folder)
    shown = [described(folder, first, *((selection_text(curse),) if curse else ()))]
    return written([*shown, *(described(folder, each) for each in rest)], form, color=color, typeset=typeset)
