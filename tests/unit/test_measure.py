"""From records to numbers: by hand, beside the function before the table of metrics, and a metric of one's own."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from zsr_core.codec import ConfigError, from_plain, to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement, by_place, measure
from zsr_core.evaluation.metrics import ACCURACY, METRICS, Images, Metric, metric_named
from zsr_core.evaluation.metrics.accuracy import harmonic
from zsr_core.evaluation.metrics.intervals import bootstrap, mean_interval, wilson
from zsr_core.records import SampleRecord

EPS = 4 / 255


def _record(task: str, sample: str, condition: str, correct: bool, **changes: Any) -> SampleRecord:
    record = SampleRecord(
        trial_id="t", weights_sha="w", task=task, split="report", sample_id=sample, condition=condition,
        attack_id="", ran="",
        stage="", norm="linf",
        threat_space="model_input", eps=0.0 if condition == "none" else EPS, label=0, pred=0 if correct else 1,
        correct=correct, p_max=0.9, entropy=0.1, margin=1.0, linf=0.0, l2=0.0, queries=1,
    )  # fmt: skip
    return dataclasses.replace(record, **changes)


def _table(task: str, rows: dict[str, str]) -> list[SampleRecord]:
    """One word per condition, one letter per image: "+" right, "-" wrong."""
    return [
        _record(task, f"{task}/{i}", condition, mark == "+")
        for condition, marks in rows.items()
        for i, mark in enumerate(marks)
    ]


RECORDS = [
    *_table("source", {"none": "++++", "a": "++++", "b": "++++"}),
    *_table("one", {"none": "+++-", "a": "++--", "b": "-++-"}),
    *_table("two", {"none": "++", "a": "+-", "b": "+-"}),
]


def test_the_numbers_worked_by_hand() -> None:
    """Task one: clean 3/4; a breaks image 2, b breaks image 0: 2/4 each; only image 1 stands against both: 1/4, which
    is below both attacks' means. Harmonic 2 * .75 * .25 / 1 = .375. Task two: clean 1, a = b = worst = 1/2, so 2/3.
    Zero-shot means leave the source out: clean .875, a .5, worst .375, harmonic (.375 + 2/3) / 2.
    """
    found = {(m.task, m.attack, m.metric): m for m in measure(RECORDS, ("one", "two"))}
    values = {key: m.value for key, m in found.items()}
    assert values == pytest.approx(
        {
            ("source", "none", "clean"): 100, ("source", "a", "robust"): 100, ("source", "b", "robust"): 100,
            ("source", "worst", "robust"): 100, ("source", "worst", "harmonic"): 100,
            ("one", "none", "clean"): 75, ("one", "a", "robust"): 50, ("one", "b", "robust"): 50,
            ("one", "worst", "robust"): 25, ("one", "worst", "harmonic"): 37.5,
            ("two", "none", "clean"): 100, ("two", "a", "robust"): 50, ("two", "b", "robust"): 50,
            ("two", "worst", "robust"): 50, ("two", "worst", "harmonic"): 200 / 3,
            ("zero_shot_mean", "none", "clean"): 87.5, ("zero_shot_mean", "a", "robust"): 50,
            ("zero_shot_mean", "b", "robust"): 50, ("zero_shot_mean", "worst", "robust"): 37.5,
            ("zero_shot_mean", "worst", "harmonic"): (37.5 + 200 / 3) / 2,
        }
    )  # fmt: skip
    assert (found["one", "none", "clean"].n, found["zero_shot_mean", "a", "robust"].n) == (4, 6)
    assert (found["one", "none", "clean"].eps, found["one", "worst", "robust"].eps) == (0.0, EPS)
    assert all((m.trial_id, m.weights_sha, m.split) == ("t", "w", "report") for m in found.values())


def test_a_zero_shot_mean_of_no_task_is_left_out() -> None:
    assert "zero_shot_mean" not in {m.task for m in measure(RECORDS, ())}


def test_the_interval_of_a_share_is_wilsons_and_of_a_mean_made_of_its_parts_own() -> None:
    """Wilson at 3 of 4, z = 1.96: [30.06, 95.44] % (any statistics package). Of the shares 2/4 and 1/2 it reaches 35.00
    and 40.55 points to either side, so their mean's sqrt(35.00^2 + 40.55^2) / 2 = 26.78. Where 4 of 4 and 2 of 2 are
    right, it ends 48.99 and 65.76 points below: sqrt(48.99^2 + 65.76^2) / 2 = 41.00.
    """
    found = {(m.task, m.attack, m.metric): m for m in measure(RECORDS, ("one", "two"))}
    clean = found["one", "none", "clean"]
    assert (clean.low, clean.high) == pytest.approx((30.06, 95.44), abs=0.01)
    mean = found["zero_shot_mean", "a", "robust"]
    assert (mean.low, mean.high) == pytest.approx((50 - 26.78, 50 + 26.78), abs=0.01)
    right = [*_table("one", {"none": "++++"}), *_table("two", {"none": "++"})]
    whole = {(m.task, m.metric): m for m in measure(right, ("one", "two"))}["zero_shot_mean", "clean"]
    assert (whole.low, whole.high) == pytest.approx((100 - 41.00, 100), abs=0.01)
    assert found["one", "worst", "harmonic"].low is None


def test_wilsons_interval_at_known_values() -> None:
    """15 of 40 lies in [0.2422, 0.5297]; 0 of 10 in [0, z^2 / (n + z^2)] = [0, 0.2775]; all of 10 is its mirror."""
    assert wilson(15 / 40, 40) == pytest.approx((0.2422, 0.5297), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_the_harmonic_mean_of_two_zeros_is_zero() -> None:
    assert harmonic(0.0, 0.0) == 0.0
    assert harmonic(0.5, 0.0) == 0.0
    assert harmonic(0.6, 0.3) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("field", "value"),
    [("weights_sha", "v"), ("trial_id", "u"), ("split", "selection"), ("threat_space", "native")],
)
def test_numbers_of_two_checkpoints_splits_or_pixel_spaces_never_mix(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: got "):
        measure([*RECORDS, _record("one", "one/9", "none", True, **{field: value})], ())


def test_no_records_make_no_numbers() -> None:
    assert measure([], ()) == []


def _old_measure(records: Sequence[SampleRecord], zero_shot: Sequence[str]) -> list[Measurement]:
    """The function that measured clean, robust and harmonic before there was a table of metrics: the oracle."""
    first = records[0]
    correct: dict[tuple[str, str, float], dict[str, bool]] = {}
    for r in records:
        correct.setdefault((r.task, r.condition, r.eps), {})[r.sample_id] = r.correct
    tasks = list(dict.fromkeys(r.task for r in records))
    budgets = sorted({r.eps for r in records if r.condition != "none"})
    attacks = list(dict.fromkeys(r.condition for r in records if r.condition != "none"))
    found: dict[tuple[str, str, float, str], tuple[float, int]] = {}
    for task in tasks:
        clean = correct[task, "none", 0.0]
        found[task, "none", 0.0, "clean"] = (_share(clean.values()), len(clean))
        for eps in budgets:
            per_attack = [correct[task, attack, eps] for attack in attacks]
            for attack, outcome in zip(attacks, per_attack, strict=True):
                found[task, attack, eps, "robust"] = (_share(outcome.values()), len(outcome))
            worst = _share(all(outcome[i] for outcome in per_attack) for i in clean)
            found[task, WORST, eps, "robust"] = (worst, len(clean))
            found[task, WORST, eps, "harmonic"] = (harmonic(_share(clean.values()), worst), len(clean))

    def row(key: tuple[str, str, float, str], value: float, parts: Sequence[tuple[float, int]]) -> Measurement:
        task, attack, eps, metric = key
        low, high = _old_interval(metric, parts)
        return Measurement(
            trial_id=first.trial_id, weights_sha=first.weights_sha, task=task, split=first.split, attack=attack,
            eps=eps, metric=metric, value=100 * value, n=sum(n for _, n in parts), low=low, high=high,
        )  # fmt: skip

    rows = [row(key, value, [(value, n)]) for key, (value, n) in found.items()]
    members = [task for task in tasks if task in set(zero_shot)]
    for attack, eps, metric in dict.fromkeys(key[1:] for key in found):
        parts = [found[task, attack, eps, metric] for task in members]
        if parts:
            mean = sum(value for value, _ in parts) / len(parts)
            rows.append(row((ZERO_SHOT_MEAN, attack, eps, metric), mean, parts))
    return rows


def _share(outcomes: Iterable[bool]) -> float:
    values = list(outcomes)
    return sum(values) / len(values)


def _old_interval(metric: str, parts: Sequence[tuple[float, int]]) -> tuple[float | None, float | None]:
    if metric == "harmonic":
        return None, None
    mean = sum(p for p, _ in parts) / len(parts)
    ends = [(p, *wilson(p, n)) for p, n in parts]
    below = math.sqrt(sum((p - low) ** 2 for p, low, _ in ends)) / len(parts)
    above = math.sqrt(sum((high - p) ** 2 for p, _, high in ends)) / len(parts)
    return 100 * (mean - below), 100 * (mean + above)


def _random_records(seed: int, images: int = 37) -> list[SampleRecord]:
    """Several tasks, attacks and budgets, in a shuffled order; a task's share of right images may be 0 or 1."""
    draw = random.Random(seed)
    attacks = [f"attack{i}" for i in range(draw.randint(0, 3))]
    budgets = draw.sample([1 / 255, 2 / 255, 4 / 255, 8 / 255], draw.randint(1, 3))
    records = []
    for task in [f"task{i}" for i in range(draw.randint(1, 5))]:
        shares = [draw.choice((0.0, 0.3, 0.77, 1.0)) for _ in range(2)]
        for i in range(draw.randint(1, images)):
            clean = draw.random() < shares[0]
            for condition, eps in [("none", 0.0), *((a, eps) for eps in budgets for a in attacks)]:
                right = clean and (condition == "none" or draw.random() < shares[1])
                changes = {
                    "eps": eps, "margin": abs(draw.gauss(0, 1)) * (1 if right else -1), "p_max": draw.random(),
                    "entropy": draw.random(), "pred": draw.randrange(5), "attack_id": condition,
                }  # fmt: skip
                records.append(_record(task, f"{task}/{i}", condition, right, **changes))
    draw.shuffle(records)
    return records


@pytest.mark.parametrize("seed", range(40))
def test_the_table_measures_accuracies_as_one_function_did_to_the_last_bit(seed: int) -> None:
    records = _random_records(seed)
    for zero_shot in ((), ("task0",), ("task1", "task0", "task3"), tuple(f"task{i}" for i in range(9))):
        new, old = measure(records, zero_shot), _old_measure(records, zero_shot)
        assert new == old
        assert [to_plain(m) for m in new] == [to_plain(m) for m in old]  # NaN and -0.0 would differ here


def test_the_worst_attack_breaks_the_image_or_comes_nearest() -> None:
    """Image 0: b alone breaks it, though a's margin is smaller. Image 1: both, b by more. Image 2: a comes nearer."""
    margins = {"none": (9.0, 9.0, 9.0), "a": (-5.0, -1.0, 0.1), "b": (0.5, -2.0, 0.7)}
    right = {"none": "+++", "a": "+-+", "b": "--+"}
    records = [
        _record(
            "one", f"{i}", name, right[name][i] == "+", margin=margins[name][i], p_max=margins[name][i] / 10, pred=i
        )
        for name in ("none", "a", "b")
        for i in (2, 0, 1)
    ]
    worst = by_place(records)["one", WORST, EPS]
    assert list(worst.sample_id) == ["2", "0", "1"]
    assert worst.correct.tolist() == [True, False, False]
    assert worst.margin.tolist() == [0.1, 0.5, -2.0]
    assert worst.p_max.tolist() == pytest.approx([0.01, 0.05, -0.2])
    assert worst.pred.tolist() == [2, 0, 1]
    assert worst.clean is not None
    assert worst.clean.margin.tolist() == [9.0, 9.0, 9.0]


@pytest.mark.parametrize("seed", range(10))
def test_an_image_stands_against_the_worst_attack_only_if_it_stands_against_all(seed: int) -> None:
    places = by_place(_random_records(seed))
    for (task, attack, eps), worst in places.items():
        if attack == WORST:
            others = [p for (t, a, e), p in places.items() if (t, e) == (task, eps) and a not in ("none", WORST)]
            assert worst.correct.tolist() == np.all([p.correct for p in others], axis=0).tolist()
            columns = [[p.margin.tolist()[i] for p in others] for i in range(len(worst))]
            assert all(margin in column for margin, column in zip(worst.margin.tolist(), columns, strict=True))


def test_images_under_attack_are_in_the_order_of_those_without() -> None:
    for (_, attack, _), images in by_place(_random_records(3)).items():
        assert (images.clean is None) == (attack == "none")
        if images.clean is not None:
            assert images.sample_id.tolist() == images.clean.sample_id.tolist()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({"a": "++"}, "task 'one', condition 'none': got 0, expected a record of every image without attack"),
        ({"none": "++", "a": "+"}, "task 'one': got 'one/1', expected images that have a record both without attack"),
        ({"none": "+", "a": "++"}, "task 'one': got 'one/1', expected .* under 'a' at 0.0156863"),
    ],
)
def test_an_image_that_was_not_both_attacked_and_left_as_it_is_is_refused_by_name(
    rows: dict[str, str], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        measure(_table("one", rows), ())


OVERCONFIDENT = '''
"""How sure the model is where it is wrong."""

from zsr_core.evaluation.metrics import Images, Metric


def confidence_of_wrong(images: Images) -> float | None:
    wrong = ~images.correct
    return float(images.p_max[wrong].mean()) if wrong.any() else None


def no_wrong(images: Images) -> str:
    return "no image is wrong" if images.correct.all() else ""


OVERCONFIDENT = Metric(
    name="overconfident", title="confidence of wrong images", unit="points", higher_is_better=False,
    conditions=("clean", "worst"), value=confidence_of_wrong, undefined=no_wrong, interval="bootstrap", attacked=True,
)
'''


@pytest.fixture
def overconfident() -> Metric:
    assert OVERCONFIDENT.count("\n") < 30
    module: dict[str, Any] = {}
    exec(OVERCONFIDENT, module)
    metric = module["OVERCONFIDENT"]
    assert isinstance(metric, Metric)
    return metric


def test_a_metric_of_ones_own_is_measured_beside_the_others(overconfident: Metric) -> None:
    """Clean, half of each task's 40 images is wrong with a confidence of .2, .4, .6 or .8: the mean is 50 points."""
    wrong = [(task, i) for task in ("one", "two") for i in range(20)]
    records = [_record(task, f"{i}", "none", False, p_max=(1 + i % 4) / 5) for task, i in wrong]
    records += [_record(task, f"right {i}", "none", True) for task, i in wrong]
    rows = measure(records, ("one", "two"), (*ACCURACY, overconfident))
    assert [m for m in rows if m.metric != "overconfident"] == measure(records, ("one", "two"))
    one, two, mean = [m for m in rows if m.metric == "overconfident"]
    assert (one.value, one.n, one.reason) == (pytest.approx(50), 40, "")
    assert one.low is not None
    assert one.high is not None
    assert 50 - one.low == pytest.approx(2 * 22.4 / math.sqrt(20), rel=0.2)  # 22.4 points: the spread of one image
    assert one.high - 50 == pytest.approx(2 * 22.4 / math.sqrt(20), rel=0.2)
    assert (mean.task, mean.value, mean.n) == (ZERO_SHOT_MEAN, pytest.approx(50), 80)
    assert two.low is not None
    assert mean.low == pytest.approx(50 - math.hypot(50 - one.low, 50 - two.low) / 2)
    assert rows == measure(records, ("one", "two"), (*ACCURACY, overconfident))


def test_an_undefined_metric_says_why_and_makes_the_mean_undefined(overconfident: Metric) -> None:
    rows = measure(RECORDS, ("one", "two"), (*ACCURACY, overconfident))
    found = {(m.task, m.attack): m for m in rows if m.metric == "overconfident"}
    clean, mean = found["two", "none"], found[ZERO_SHOT_MEAN, "none"]
    assert (clean.value, clean.low, clean.high, clean.n, clean.reason) == (None, None, None, 2, "no image is wrong")
    assert (mean.value, mean.low, mean.n, mean.reason) == (None, None, 6, "undefined for two (no image is wrong)")
    assert found["one", "none"].value == 90
    assert found[ZERO_SHOT_MEAN, WORST].value == pytest.approx(90)
    assert found["source", WORST].reason == "no image is wrong"
    assert set(found) == {(t, a) for t in ("source", "one", "two", ZERO_SHOT_MEAN) for a in ("none", WORST)}


def test_a_number_that_is_not_finite_is_undefined_with_what_the_metric_gave() -> None:
    nan = dataclasses.replace(metric_named("clean"), value=lambda images: math.nan)
    (row,) = measure(_table("one", {"none": "+-"}), (), (nan,))
    assert (row.value, row.low, row.reason) == (None, None, "the metric gave nan and no reason")


def test_metrics_that_read_embeddings_are_undefined_where_none_were_kept() -> None:
    other = dataclasses.replace(metric_named("clean"), reads="embeddings")
    assert {(m.value, m.reason) for m in measure(RECORDS, (), (other,))} == {(None, "the embeddings were not kept")}


def test_a_metric_may_bring_an_interval_of_its_own_which_holds_the_value() -> None:
    for ends, low, high in (((0.2, 0.4), 20, 50), ((0.6, 0.7), 50, 70), (None, None, None)):
        own = dataclasses.replace(metric_named("clean"), interval=lambda images, value, ends=ends: ends)
        (row,) = measure(_table("one", {"none": "+-"}), (), (own,))
        assert (row.low, row.high) == (low and pytest.approx(low), high and pytest.approx(high))


def _images(p_max: Sequence[float]) -> Images:
    return by_place([_record("one", str(i), "none", True, p_max=p) for i, p in enumerate(p_max)])["one", "none", 0.0]


def test_the_bootstrap_of_a_mean_is_as_wide_as_its_standard_error_says() -> None:
    """p_max is 0, 1, ..., 99, of spread 28.87: the standard error of its mean is 2.887, and 95 % reach 1.96 of it."""
    ends = bootstrap(lambda images: float(images.p_max.mean()), _images(range(100)), draws=4000)
    assert ends == pytest.approx((49.5 - 1.96 * 2.887, 49.5 + 1.96 * 2.887), abs=0.4)


def test_the_bootstrap_takes_an_images_own_clean_copy_with_it() -> None:
    attacked = dataclasses.replace(_images([1, 2, 3, 4]), clean=_images([0, 1, 2, 3]))
    seen = []

    def rise(images: Images) -> float:
        assert images.clean is not None
        seen.append((images.p_max - images.clean.p_max).tolist())
        return float(images.p_max.mean())

    assert bootstrap(rise, attacked, draws=20) is not None
    assert seen == [[1.0] * 4] * 20


def test_the_bootstrap_gives_no_interval_where_draws_agree_or_have_no_value() -> None:
    assert bootstrap(lambda images: float(images.p_max.mean()), _images([0.5] * 9)) is None
    lone = _images([1.0] + [0.0] * 9)  # one image in ten decides: a third of the draws leave it out
    assert bootstrap(lambda images: float(images.p_max.sum()) if images.p_max.any() else None, lone) is None


def test_a_mean_has_no_interval_if_one_of_its_parts_has_none() -> None:
    assert mean_interval([1.0, 2.0], [(0.5, 1.5), None]) is None
    assert mean_interval([1.0, 2.0], [(0.0, 1.5), (2.0, 2.0)]) == (1.0, 1.75)


def test_the_metrics_have_names_of_their_own_and_an_unknown_one_is_refused_with_the_nearest() -> None:
    assert [metric_named(m.name) for m in METRICS] == list(METRICS)
    assert [m.name for m in ACCURACY if m.attacked] == ["robust", "harmonic"]
    assert len({m.name for m in METRICS}) == len(METRICS)
    with pytest.raises(ConfigError, match=r"metric: unknown value 'robsut'.*did you mean 'robust'\?"):
        metric_named("robsut")


@pytest.mark.parametrize(("field", "value"), [("name", "fpr@95"), ("conditions", ())])
def test_a_metric_that_scores_cannot_name_or_nothing_measures_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        dataclasses.replace(metric_named("clean"), **{field: value})


def test_measurements_of_earlier_versions_are_read_and_undefined_ones_come_back() -> None:
    new = measure(_table("one", {"none": "+-"}), ())[0]
    old = to_plain(new)
    del old["reason"]
    assert from_plain(Measurement, json.loads(json.dumps(old))) == new
    undefined = dataclasses.replace(new, value=None, low=None, high=None, reason="no image is wrong")
    assert from_plain(Measurement, json.loads(json.dumps(to_plain(undefined)))) == undefined
