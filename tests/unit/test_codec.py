"""Configurations to plain JSON and back: strict, and one text per value."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from zsr_core.attacks import Pgd
from zsr_core.codec import (
    ConfigError,
    canonical,
    did_you_mean,
    fingerprint,
    flatten,
    from_plain,
    is_finite,
    parse_names,
    parse_number,
    to_plain,
    unknown,
    with_overrides,
)
from zsr_core.data import DataRef
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import FtClean, TeCoA, TgaZsr
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.presets import miniature


@dataclass(frozen=True, kw_only=True)
class _Inner:
    gain: float = 1.0
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class _Outer:
    needed: int
    inner: _Inner = field(default_factory=_Inner)
    pair: tuple[float, float] = (0.0, 1.0)
    table: dict[str, float] = field(default_factory=dict)
    flag: bool = False
    maybe: float | None = None


def test_a_whole_trial_survives_the_round_trip_through_json_text() -> None:
    config = miniature(TgaZsr(alpha=0.3))
    assert from_plain(TrialConfig, json.loads(canonical(config))) == config


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        ({"needed": 1, "nedeed": 2}, ["x: _Outer has no field 'nedeed'", "did you mean 'needed'?"]),
        ({}, ["x.needed: got None", "needs it"]),
        ({"needed": "one"}, ["x.needed: got 'one', expected a whole number"]),
        ({"needed": True}, ["x.needed: got True, expected a whole number"]),
        ({"needed": 1.5}, ["x.needed: got 1.5"]),
        ({"needed": 1, "inner": {"gain": "high"}}, ["x.inner.gain: got 'high', expected a finite number"]),
        ({"needed": 1, "inner": {"gain": math.nan}}, ["x.inner.gain: got nan"]),
        ({"needed": 1, "inner": {"gain": 10**400}}, ["x.inner.gain", "expected a finite number"]),
        ({"needed": 1, "inner": {"kind": "A"}}, ["x.inner.kind: unknown value 'A'; expected one of: a, b"]),
        ({"needed": 1, "inner": 3}, ["x.inner: got 3, expected the fields of _Inner"]),
        ({"needed": 1, "inner": {"type": "_Outer"}}, ["x.inner.type: got '_Outer', expected '_Inner'"]),
        ({"needed": 1, "pair": [1.0]}, ["x.pair: got [1.0], expected a list of 2"]),
        ({"needed": 1, "pair": [1.0, "b"]}, ["x.pair[1]: got 'b'"]),
        ({"needed": 1, "table": {"k": "v"}}, ["x.table.k: got 'v'"]),
        ({"needed": 1, "table": []}, ["x.table: got [], expected a mapping"]),
        ({"needed": 1, "flag": 1}, ["x.flag: got 1, expected true or false"]),
        ({"needed": 1, "maybe": "no"}, ["x.maybe: got 'no', expected a finite number"]),
        ([], ["x: got [], expected the fields of _Outer"]),
    ],
)
def test_an_error_names_the_dotted_path_the_value_and_what_was_expected(plain: Any, says: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        from_plain(_Outer, plain, "x")
    for words in says:
        assert words in str(error.value)


def test_a_whole_float_reads_as_an_int_and_an_int_as_a_float() -> None:
    value = from_plain(_Outer, {"needed": 2.0, "maybe": 3})
    assert value.needed == 2
    assert isinstance(value.needed, int)
    assert isinstance(value.maybe, float)


def test_a_union_is_read_by_its_type_and_an_unknown_type_lists_the_table() -> None:
    plain = to_plain(TrialConfig())
    plain["method"] = {"type": "FtClean"}
    assert from_plain(TrialConfig, plain).method == FtClean()
    plain["method"] = {"type": "TgaZr"}
    with pytest.raises(ConfigError, match=r"config\.method\.type: unknown value 'TgaZr'.*did you mean 'TgaZsr'"):
        from_plain(TrialConfig, plain)
    plain["method"] = "TeCoA"
    with pytest.raises(
        ConfigError, match=r"config\.method: got 'TeCoA', expected one of: FtClean, FtAdv, LpFt, Flyp, TeCoA"
    ):
        from_plain(TrialConfig, plain)


def test_overrides_reach_nested_fields_union_members_and_whole_branches() -> None:
    config = TrialConfig(method=TgaZsr()).with_(
        {"method.alpha": 1, "optim.lr": 1e-3, "eval_suite.eps": [0.01, 0.02], "train_data.limit": 8}
    )
    assert config.method == TgaZsr(alpha=1.0)
    assert config.optim.lr == 1e-3
    assert config.eval_suite.eps == (0.01, 0.02)
    assert config.train_data == DataRef(limit=8)
    assert config.with_({"method": TeCoA()}).method == TeCoA()
    assert config.with_({"method": TgaZsr(), "method.beta": 0.5}).method == TgaZsr(beta=0.5)
    suite = EvalSuite(attacks=(Pgd(steps=3),))
    assert config.with_({"eval_suite": suite}).eval_suite == suite
    assert config.with_({}) == config


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (
            "method.alhpa",
            1.0,
            "config.method: TgaZsr has no field 'alhpa' (did you mean 'alpha'?); it has: alpha",
        ),
        ("metod.alpha", 1.0, "did you mean 'method'?"),
        ("seed.x", 1, "config.seed: 0 has no field 'x'; it has no fields"),
        ("method.type", "TeCoA", "config.method: TgaZsr has no field 'type'"),
        ("eval_suite.tasks.0", None, "config.eval_suite.tasks"),
        ("", 1, "config: TrialConfig has no field ''"),
        ("method.alpha", -1.0, "config.method.alpha: got -1.0, expected a finite number >= 0"),
        ("method.alpha", math.nan, "config.method.alpha: got nan, expected a finite number"),
        ("method.alpha", math.inf, "config.method.alpha: got inf, expected a finite number"),
        ("method.alpha", object, "config.method.alpha: "),
        ("threat.eps", 4.0, "config.threat.eps: got 4.0, expected a budget in [0, 1] pixel units (write 4/255)"),
        ("eval_suite.eps", [4.0], "write 4/255"),
        ("threat.space", "native", "config.threat.space: got 'native', expected 'model_input'"),
        ("train_data.name", "hearst", "did you mean 'hearts'?"),
    ],
)
def test_an_override_that_cannot_be_used_is_named_by_its_path(path: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        TrialConfig(method=TgaZsr()).with_({path: value})
    assert says in str(error.value)


def test_what_has_no_plain_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="plain form"):
        to_plain({"file": object()})
    with pytest.raises(ConfigError, match="finite"):
        canonical([math.inf])


def test_whole_numbers_and_their_floats_name_the_same_trial() -> None:
    assert TrialConfig(method=TgaZsr(alpha=1)).trial_id == TrialConfig(method=TgaZsr(alpha=1.0)).trial_id
    assert TrialConfig(method=TgaZsr(alpha=1)).training_id == TrialConfig(method=TgaZsr(alpha=1.0)).training_id


def test_both_zeros_name_the_same_trial() -> None:
    assert TrialConfig(method=TgaZsr(alpha=-0.0)).trial_id == TrialConfig(method=TgaZsr(alpha=0.0)).trial_id


def test_every_field_counts_in_the_trial_id_and_evaluation_does_not_in_the_training_id() -> None:
    base = TrialConfig(method=TgaZsr())
    changed = [
        base.with_({path: value})
        for path, value in {
            "seed": 1,
            "method.map_side": 96,
            "optim.clip_norm": 1.0,
            "threat.eps": 0.01,
            "train_attack.steps": 3,
            "train_data.limit": 5,
            "precision": "bf16",
            "model.init_seed": 1,
        }.items()
    ]
    rescored = base.with_({"eval_suite.split": "report"})
    ids = [c.trial_id for c in (base, rescored, *changed)]
    assert len(set(ids)) == len(ids)
    assert rescored.training_id == base.training_id
    assert len({c.training_id for c in (base, *changed)}) == len(changed) + 1


def test_the_canonical_text_does_not_depend_on_the_order_of_keys() -> None:
    assert canonical({"b": 1, "a": [1.0, None, True]}) == '{"a":[1.0,null,true],"b":1}'
    assert fingerprint({"b": 1, "a": 2}) == fingerprint({"a": 2, "b": 1})
    assert len(fingerprint("x", 7)) == 7


def test_flattening_gives_dotted_paths_to_scalars_and_json_text_for_lists() -> None:
    flat = flatten(_Outer(needed=1, table={"k": 2.0}))
    assert flat == {
        "type": "_Outer",
        "needed": 1,
        "inner.type": "_Inner",
        "inner.gain": 1.0,
        "inner.kind": "a",
        "pair": "[0.0, 1.0]",
        "table.k": 2.0,
        "flag": False,
        "maybe": None,
    }


def test_the_nearest_name_is_offered_and_nothing_where_none_is_near() -> None:
    assert did_you_mean("TeCoa", ["TeCoA", "TgaZsr"]) == " (did you mean 'TeCoA'?)"
    assert did_you_mean("qqq", ["TeCoA"]) == ""
    assert did_you_mean("alfa", ["method.beta", "method.alpha"]) == " (did you mean 'method.alpha'?)"
    assert did_you_mean("--n", ["--on", "--plan"]) == "", "one letter is near to many flags"


@pytest.mark.parametrize(("value", "finite"), [(1, True), (0.5, True), (True, False), ("1", False), (math.nan, False)])
def test_a_finite_number_is_an_int_or_a_float_and_no_bool(value: object, finite: bool) -> None:
    assert is_finite(value) is finite


def test_replacing_fields_leaves_the_original_as_it_was() -> None:
    base = _Outer(needed=1)
    assert with_overrides(base, {"inner.gain": 2}).inner.gain == 2.0
    assert base.inner.gain == 1.0


def test_a_number_is_written_as_a_decimal_or_as_a_fraction() -> None:
    assert [parse_number(text) for text in ("4/255", "0.5", "1e-3", "2")] == [4 / 255, 0.5, 1e-3, 2.0]
    assert [parse_number(text) for text in ("", "a/b", "1/0", "1/", "/2", "1/2/3")] == [None] * 6


def test_a_list_with_commas_may_have_spaces_and_empty_entries() -> None:
    assert parse_names(" pgd100, cw100,,square ,") == ("pgd100", "cw100", "square")
    assert parse_names(" , ") == ()


def test_an_error_for_one_of_a_long_table_names_the_nearest_and_the_command_that_lists_it() -> None:
    names = ["robust", "robust_drop", *(f"metric_{i}" for i in range(400))]
    said = str(unknown("score", "robst", names, "`zsr measure`"))
    assert said == (
        "score: unknown value 'robst' (did you mean 'robust'?); expected one of 402 names, such as robust, "
        "robust_drop; `zsr measure` lists them"
    )
    assert "402 names; `zsr measure`" in str(unknown("score", "#", names, "`zsr measure`"))
