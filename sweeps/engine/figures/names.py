"""The kinds of figures by name, in reading order, with what each shows.

Imports nothing, because help texts name them.
"""

from __future__ import annotations

from collections.abc import Mapping

FIGURES: Mapping[str, str] = {
    "heatmap": "scores over two axes, each cell as measured",
    "contour": "the same interpolated, open across unresolved cliffs",
    "gp": "a Gaussian process over two axes, its sd beside it",
    "published": "the papers' own grids over the same axes, in the same style",
    "clean_vs_robust": "clean against robust accuracy, a point a configuration",
    "forest": "differences to the baseline row with their intervals and Holm's correction",
    "pareto": "the front, and its hypervolume over the course of the study",
    "slices": "the score over each axis in turn",
    "parallel": "every configuration as a line across axes and scores",
    "learning": "the training history over epochs",
    "eps": "robust accuracy over the attack's budget",
    "importance": "fANOVA and PED-ANOVA shares of each axis, from 30 configurations on",
}
