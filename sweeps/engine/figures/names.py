"""The kinds of figures by name, in reading order, each with its description.

This file imports nothing heavy, because help texts list the kinds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from zsr_core.codec import require

FIGURES: Mapping[str, str] = {
    "heatmap": "scores over two axes: a grid's cells as measured, a search's trials smoothed as by gp",
    "contour": "scores over two axes, interpolated between sampled points except across cliffs",
    "gp": "a Gaussian process over two axes, with its sd",
    "published": "the papers' grids over the same axes, in the same style",
    "clean_vs_robust": "clean against robust accuracy, a point per configuration",
    "forest": "differences to the baseline row with their intervals and Holm's correction",
    "pareto": "the front, and its hypervolume over the course of the study",
    "slices": "the score over each axis in turn",
    "parallel": "every configuration as a line across axes and scores",
    "learning": "the training history over epochs",
    "eps": "robust accuracy over the attack's budget",
    "reliability": "accuracy over confidence, of the chosen cell and the untouched model, clean and attacked",
    "uncertainty": "the rise of uncertainty under each attack, over the attack's budget",
    "corruptions": "accuracy under common corruptions, kind by severity, with the corruption error of each kind",
    "factors": "the profile of visual factors: factor gap by level, or the ratio of errors",
    "sites": "the objectives by what training moves (pixels, tokens, embeddings) and its budget",
    "importance": "fANOVA and PED-ANOVA shares of each axis, from 30 configurations on",
}

SURFACE = ("x", "y", "z", "best", "facet", "beside", "cliff")
READS: Mapping[str, tuple[str, ...]] = {  # the options of a request that a kind of figure reads
    "heatmap": SURFACE,
    "contour": SURFACE,
    "gp": SURFACE,
    "published": ("x", "y", "cliff"),
    "clean_vs_robust": (),
    "forest": ("z", "best", "facet", "baseline", "untouched"),
    "pareto": (),
    "slices": ("z", "best"),
    "parallel": ("z", "best"),
    "learning": (),
    "eps": (),
    "reliability": (),
    "uncertainty": (),
    "corruptions": (),
    "factors": (),
    "sites": (),
    "importance": ("z", "best"),
}


def unread(kinds: Collection[str], given: Mapping[str, object]) -> tuple[str, ...]:
    """Return a sentence for each kind that does not read some of the ``given`` options.

    Raises:
        ConfigError: for an option that none of the kinds reads.
    """
    for option, value in given.items():
        readers = [kind for kind, options in READS.items() if option in options]
        expected = f"--kind {' or '.join(readers)} with it: {', '.join(kinds)} would ignore it"
        require(bool(set(kinds) & set(readers)), f"--{option}", value, expected)
    ignored = {kind: [f"--{option}" for option in given if option not in READS[kind]] for kind in kinds}
    return tuple(f"{kind} does not read {', '.join(options)}" for kind, options in ignored.items() if options)
