"""Any configuration survives plain JSON, and equal ones have equal ids."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError, canonical, flatten, from_plain, to_plain
from zsr_core.data import DataRef, miniature
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import FtAdv, FtClean, TeCoA, TgaZsr
from zsr_core.model.load import ModelRef
from zsr_core.threat import ThreatModel
from zsr_core.training.optim import Optim
from zsr_core.trial.config import TrialConfig

WEIGHT = st.floats(0, 1e6, allow_nan=False)
TEXT = st.text(max_size=8)

methods = st.one_of(
    st.sampled_from([FtClean(), FtAdv(), TeCoA()]),
    st.builds(
        TgaZsr,
        alpha=WEIGHT,
        beta=WEIGHT,
        attention=st.sampled_from(["text", "visual", "visual_differentiable"]),
        distance=st.sampled_from(["l2", "l1", "cos"]),
        norm_axis=st.sampled_from(["token", "channel"]),
        minmax=st.sampled_from(["before", "after"]),
        map_side=st.integers(1, 512),
    ),
)
# Paths that an operating system has, of folders that have a name.
ROOT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map(lambda text: f"/data{text}/set")
data = st.one_of(
    st.builds(DataRef, name=st.sampled_from([s.name for s in miniature.SETS]), limit=st.none() | st.integers(1, 99)),
    st.builds(DataRef, source=st.sampled_from(["imagefolder", "cifar10", "cifar100"]), name=TEXT, root=ROOT),
)
attacks = st.builds(
    Pgd,
    steps=st.integers(1, 200),
    step_size=st.none() | st.floats(1e-6, 1),
    step_ratio=st.floats(1e-6, 10),
    restarts=st.integers(1, 9),
    random_start=st.booleans(),
)
suites = st.builds(
    EvalSuite,
    tasks=st.lists(data, min_size=1, max_size=4, unique_by=(lambda d: d.called, lambda d: d.root or d.name)).map(tuple),
    split=st.sampled_from(["selection", "report"]),
    n=st.none() | st.integers(1, 999),
    attacks=st.lists(attacks, max_size=3, unique_by=lambda a: a.name).map(tuple),
    eps=st.lists(st.floats(1e-6, 1), max_size=3, unique=True).map(tuple),
    norm=st.sampled_from(["linf", "l2"]),
    batch_size=st.integers(1, 999),
)
configs = st.builds(
    TrialConfig,
    model=st.builds(ModelRef, name=st.text(min_size=1), pretrained=st.none() | TEXT, init_seed=st.integers(0, 9)),
    method=methods,
    optim=st.builds(
        Optim,
        name=st.sampled_from(["sgd", "adamw"]),
        lr=st.floats(1e-9, 1e3),
        momentum=st.floats(0, 0.99),
        weight_decay=WEIGHT,
        warmup_steps=st.none() | st.integers(0, 9999),
        schedule=st.sampled_from(["cosine", "constant"]),
        clip_norm=st.none() | st.floats(1e-3, 1e3),
    ),
    threat=st.builds(ThreatModel, norm=st.sampled_from(["linf", "l2"]), eps=st.floats(0, 1)),
    train_attack=attacks,
    train_data=data,
    epochs=st.integers(0, 99),
    batch_size=st.integers(1, 4096),
    precision=st.sampled_from(["fp32", "bf16"]),
    seed=st.integers(-(2**70), 2**70),
    eval_suite=suites,
)


@settings(max_examples=60, deadline=None)
@given(config=configs)
def test_a_trial_survives_json_text_and_keeps_its_id(config: TrialConfig) -> None:
    again = from_plain(TrialConfig, json.loads(canonical(config)))
    assert again == config
    assert again.trial_id == config.trial_id
    assert again.training_id == config.training_id
    assert len(config.trial_id) == 12
    assert canonical(again) == canonical(config)


@settings(max_examples=40, deadline=None)
@given(config=configs)
def test_overriding_every_field_with_its_own_value_changes_nothing(config: TrialConfig) -> None:
    own = {
        path: value
        for path, value in flatten(config).items()
        if not path.endswith("type") and not (isinstance(value, str) and value.startswith("["))
    }
    assert config.with_(own) == config
    whole = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    assert config.with_(whole) == config


@settings(max_examples=40, deadline=None)
@given(a=WEIGHT, b=WEIGHT)
def test_ids_are_equal_exactly_where_configs_are(a: float, b: float) -> None:
    one, two = TrialConfig(method=TgaZsr(alpha=a)), TrialConfig(method=TgaZsr(alpha=b))
    assert (one.trial_id == two.trial_id) is (one == two)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(field=st.sampled_from([f.name for f in dataclasses.fields(TrialConfig)]), value=plain)
def test_any_json_in_any_field_is_read_or_refused_by_its_path(field: str, value: Any) -> None:
    given_plain = {**to_plain(TrialConfig()), field: value}
    try:
        config: TrialConfig | str = from_plain(TrialConfig, given_plain)
    except ConfigError as error:
        config = str(error)
    if isinstance(config, str):
        assert config.startswith(f"config.{field}")
    else:
        assert from_plain(TrialConfig, json.loads(canonical(config))) == config


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_value_that_is_not_finite_gets_into_a_config(value: float) -> None:
    for path in ("method.alpha", "optim.lr", "threat.eps", "train_attack.step_ratio", "optim.clip_norm"):
        with pytest.raises(ConfigError, match=rf"^config\.{path}: got "):
            TrialConfig(method=TgaZsr()).with_({path: value})
