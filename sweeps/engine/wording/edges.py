"""That the best cell stands on the edge of its space, in sentences."""

from __future__ import annotations

from collections.abc import Collection

from sweeps.engine.analysis.searching.edges import Edge
from sweeps.engine.format import leaf, setting_text


def edge_text(edge: Edge, rivals: Collection[str] = ()) -> str:
    """Return what the score does at the edge, in a sentence; ``rivals`` do not differ significantly from the best."""
    name = leaf(edge.path)
    start = f"The best cell stands on the edge of the space, at {name} = {setting_text(edge.path, edge.value)}"
    if edge.rise is None:
        return f"{start}: a better one may lie at {edge.end} {name}."
    noise = ", which is within the noise" if edge.neighbour in rivals else ""
    return (
        f"{start}: the {edge.score} still rises towards {edge.end} {name}, by {edge.rise:.1f} points over the last "
        f"level{noise}."
    )


def edges_text(edges: Collection[Edge], rivals: Collection[str] = ()) -> str:
    """Return a sentence for each edge, and what to do; empty where the best cell stands inside."""
    if not edges:
        return ""
    words = [edge_text(edge, rivals) for edge in edges]
    extend = "--refine adds one level beyond it." if any(edge.beyond is not None for edge in edges) else ""
    return " ".join([*words, extend or "Widen the space to find out."])
