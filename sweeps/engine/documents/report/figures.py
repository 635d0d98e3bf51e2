"""A study's figures for a page: drawn by :mod:`sweeps.engine.figures` in memory, each as a data URI."""

from __future__ import annotations

import base64
import io

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweeps.engine.analysis.scores import scores
from sweeps.engine.documents.html import Picture
from sweeps.engine.figures.kinds import KINDS, draw_into
from sweeps.engine.figures.scene import Request
from sweeps.engine.figures.style import COLUMN, STYLE
from sweeps.engine.format import sentence
from sweeps.engine.study.folder import Study, StudyFolder
from zsr_core.codec import ConfigError

LARGEST = 260_000  # characters of an SVG; above it a PNG is smaller and as sharp on paper
DPI = 170


def drawn(folder: StudyFolder, room: int) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """Return the figures of a study within ``room`` characters, and the reasons for those not drawn."""
    if not any(cell.n for cell in scores(folder)):
        return (), ("Figures: no trial has finished.",)
    pictures: list[Picture] = []
    left_out = []
    for kind in wanted(folder.study):
        figures: list[tuple[str, Figure]] = []
        try:
            draw_into(folder, Request(kinds=(kind,)), lambda figure, name, to=figures: to.append((name, figure)))  # type: ignore[misc]
        except ConfigError as error:
            left_out.append(f"Figure {error}.")
        for name, figure in figures:
            uri = data_uri(figure)
            if sum(len(picture.uri) for picture in pictures) + len(uri) > room:
                left_out.append(f"Figure {name}: the page has no room for it; `zsr plot --kind {kind}` draws it.")
                continue
            title = name.replace("_", " ").capitalize()
            pictures.append(Picture(title=f"{title}.", uri=uri, words=sentence(KINDS[kind].words),
                                    wide=figure.get_figwidth() > COLUMN))  # fmt: skip
    return tuple(pictures), tuple(left_out)


def wanted(study: Study) -> tuple[str, ...]:
    """Return the kinds of figures that suit the study; importances are left to `zsr plot`, because they take long."""
    kinds = [("heatmap", bool(study.surfaces)), ("clean_vs_robust", True),
             ("forest", study.mode == "matrix" and not study.space), ("eps", len(study.base.eval_suite.eps) > 1),
             ("learning", study.base.epochs > 1), ("pareto", bool(study.search)),
             ("slices", bool(study.search))]  # fmt: skip
    return tuple(kind for kind, holds in kinds if holds)


def data_uri(figure: Figure) -> str:
    """Return a figure as a data URI: SVG, or PNG if the SVG is too large."""
    FigureCanvasAgg(figure)
    with matplotlib.rc_context(STYLE):
        no_metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        vector = _uri("svg+xml", _written(figure, format="svg", metadata=no_metadata))
        return vector if len(vector) <= LARGEST else _uri("png", _written(figure, format="png", dpi=DPI))


def _written(figure: Figure, **options: object) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, **options)  # type: ignore[arg-type]
    return out.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
