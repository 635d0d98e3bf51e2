"""What a run shows of a configuration: parameters by short names, as numbers where they are numbers."""

from __future__ import annotations

import re
from dataclasses import replace

from sweeps.engine.tracking import entries
from zsr_core.data import DataRef
from zsr_core.methods import TeCoA
from zsr_core.trial.config import TrialConfig


def test_the_first_numeric_parameters_by_the_alphabet_are_what_the_study_varies(config: TrialConfig) -> None:
    numeric = [name for name, text in entries.params(config).items() if re.fullmatch(r"[\d.e-]+", text)]
    assert sorted(numeric)[:2] == ["alpha", "beta"]


def test_a_long_value_is_cut_and_stays_different_from_another(config: TrialConfig) -> None:
    sets = {
        c: [DataRef(source="imagefolder", name=f"{i}{c}", root="/d" * 99 + str(i)) for i in range(40)] for c in "ab"
    }
    suites = [replace(config.eval_suite, tasks=tuple(tasks)) for tasks in sets.values()]
    texts = [entries.params(replace(config, eval_suite=s))["config.eval_suite.tasks"] for s in suites]
    assert [len(text) <= 6000 for text in texts] == [True, True]
    assert texts[0] != texts[1]


def test_an_axis_goes_by_its_last_name_unless_two_share_it(config: TrialConfig) -> None:
    alone = entries.params(config, {"train_attack.steps"})
    both = entries.params(config, {"batch_size", "eval_suite.batch_size"})
    assert alone["steps"] == "1"
    assert {"config.batch_size", "config.eval_suite.batch_size"} <= both.keys()
    assert "batch_size" not in both


def test_a_list_is_one_line_and_a_name_that_looks_like_one_stays_a_name(config: TrialConfig) -> None:
    assert entries.params(config)["config.eval_suite.tasks"].startswith(
        "source=miniature name=source on_corrupt=fail, source=mini"
    )
    odd = replace(config, train_data=DataRef(source="imagefolder", name="[odd", root="/d"))
    assert entries.params(odd)["config.train_data.name"] == "[odd"


def test_another_method_shows_its_own_fields_and_title(config: TrialConfig) -> None:
    other = replace(config, method=TeCoA())
    shown = entries.params(other)
    assert shown["method"] == "TeCoA"
    assert "alpha" not in shown
