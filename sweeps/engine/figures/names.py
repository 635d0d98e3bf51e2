"""The kinds of figures by name, in reading order, each with its description.

This file imports nothing heavy, because help texts list the kinds.
"""

from __future__ import annotations

from collections.abc import Mapping

FIGURES: Mapping[str, str] = {
    "heatmap": "scores over two axes, each cell as measured",
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
    "importance": "fANOVA and PED-ANOVA shares of each axis, from 30 configurations on",
}
