"""Out-of-distribution sets in an evaluation: they count in no accuracy, and what is kept gives the numbers again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from zsr_core.attacks import Detector, Pgd
from zsr_core.cli.detection import ood_attacks, ood_sets, ood_table
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, ImageSet
from zsr_core.evaluation.detection import read_ood
from zsr_core.evaluation.meter import Meter
from zsr_core.evaluation.metrics import metric_named
from zsr_core.evaluation.outside import role_of
from zsr_core.evaluation.suite import EvalSuite, evaluate, merged
from zsr_core.events import BatchJudged, Event
from zsr_core.model.load import load_clip
from zsr_core.records import SampleRecord
from zsr_core.text import TextBank
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.cost import estimate, evaluation_parts
from zsr_core.trial.deploy import deployed, evaluation_bank
from zsr_core.trial.numbers import measure_again
from zsr_core.trial.result import TrialResult
from zsr_core.trial.run import run_trial

NEAR, PATTERNS, NOISE = (DataRef(name=name) for name in ("near_objects", "far_patterns", "far_noise"))
PLAIN = EvalSuite(
    tasks=(DataRef(name="hearts"), DataRef(name="sport")), split="report", n=6, attacks=(Pgd(steps=1),),
    eps=(2 / 255,), batch_size=4,
)  # fmt: skip
SUITE = replace(PLAIN, ood_near=(NEAR,), ood_far=(PATTERNS, NOISE), ood_attacks=(Detector(steps=2),))
CONFIG = TrialConfig(epochs=0, eval_suite=SUITE)
ATTACK = SUITE.ood_attacks[0].name


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrialResult, list[Event]]:
    folder, events = tmp_path_factory.mktemp("trial"), list[Event]()
    result = run_trial(CONFIG, folder, RunContext(device="cpu", on_event=events.append))
    assert result.status == "done", result.error
    return folder, result, events


def test_no_table_and_no_accuracy_knows_of_the_sets(
    trial: tuple[Path, TrialResult, list[Event]], tmp_path: Path
) -> None:
    folder, result, _ = trial
    plain = run_trial(TrialConfig(epochs=0, eval_suite=PLAIN), tmp_path, RunContext(device="cpu"))
    names = [column for column in pq.read_schema(folder / "samples.parquet").names if column != "trial_id"]
    ours, theirs = (pq.read_table(where / "samples.parquet", columns=names) for where in (folder, tmp_path))
    assert ours.equals(theirs)
    shared = {(m.task, m.attack, m.eps, m.metric) for m in plain.measurements}
    numbers = [
        [(m.task, m.attack, m.metric, m.value, m.low, m.high, m.n) for m in each.measurements
         if (m.task, m.attack, m.eps, m.metric) in shared]
        for each in (result, plain)
    ]  # fmt: skip
    assert numbers[0] == numbers[1]
    assert {m.task for m in result.measurements} == {"hearts", "sport", "zero_shot_mean"}
    assert not {"clean", "robust"} & {m.metric for m in result.measurements if m.attack == ATTACK}


def test_each_kind_and_each_set_has_its_rows_clean_and_with_either_side_attacked(
    trial: tuple[Path, TrialResult, list[Event]],
) -> None:
    _, result, _ = trial
    rows = {(m.metric, m.attack): m for m in result.measurements if m.task == "zero_shot_mean"}
    for name, attack in (
        ("near_auroc_msp", "none"), ("far_auroc_energy", "none"), ("far_fpr_ood_at_id95_mcm", "none"),
        ("auroc_entropy_vs_far_noise", "none"), ("near_auroc_msp_adv_id", "pgd1"), ("near_auroc_msp_adv_id", ATTACK),
        ("far_auroc_max_logit_adv_ood", ATTACK), ("auroc_msp_adv_ood_vs_near_objects", "worst"),
    ):  # fmt: skip
        got = rows[name, attack]
        assert got.value is not None
        assert 0 <= got.value <= 100
        assert got.n == 12
    assert ("near_auroc_msp_adv_ood", "pgd1") not in rows, "an attack on the classifier does not reach OOD images"
    sets = [rows[f"auroc_msp_vs_{name}", "none"].value for name in ("far_patterns", "far_noise")]
    assert rows["far_auroc_msp", "none"].value == pytest.approx(np.mean(sets))  # type: ignore[arg-type]


def test_the_attack_makes_the_detector_worse_on_both_sides(trial: tuple[Path, TrialResult, list[Event]]) -> None:
    _, result, _ = trial
    rows = {(m.metric, m.attack): m.value or 0 for m in result.measurements if m.task == "zero_shot_mean"}
    for kind in ("near", "far"):
        clean = rows[f"{kind}_auroc_msp", "none"]
        for side in ("adv_id", "adv_ood"):
            assert rows[f"{kind}_auroc_msp_{side}", "worst"] <= rows[f"{kind}_auroc_msp_{side}", ATTACK] < clean


def test_the_file_holds_every_image_once_and_its_embeddings_give_the_scores_by_hand(
    trial: tuple[Path, TrialResult, list[Event]],
) -> None:
    folder, result, _ = trial
    table = pq.read_table(folder / "ood.parquet").to_pandas()
    counts = table.groupby(["role", "set", "task", "condition"]).size()
    assert set(counts) == {6}
    assert len(counts) == 3 + 2 * (1 + 3), "three clean sets, and before each task its own images and the sets attacked"
    assert table.linf.max() <= 2 / 255 + 1e-6
    assert (table.linf[table.condition == "none"] == 0).all()
    assert (table.queries[table.condition != "none"] > 0).all()
    texts = pq.read_table(folder / "texts.parquet").to_pandas()
    kept = pq.read_table(folder / "embeddings.parquet").to_pandas()
    own = texts[texts.task == "sport"]

    def largest(rows: Any) -> Any:
        logits = own.logit_scale.iloc[0] * np.stack(rows.embedding.to_list()).astype(float) @ np.stack(own.embedding).T
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (p / p.sum(axis=1, keepdims=True)).max(axis=1)

    inside = largest(kept[(kept.task == "sport") & (kept.condition == "none")])
    outside = largest(table[(table.set == "far_noise") & (table.condition == "none")])
    better = (inside[:, None] > outside[None]).mean() + 0.5 * (inside[:, None] == outside[None]).mean()
    (got,) = [m.value for m in result.measurements
              if (m.task, m.metric, m.attack) == ("sport", "auroc_msp_vs_far_noise", "none")]  # fmt: skip
    assert got == pytest.approx(100 * better, abs=1e-9)


def test_measured_again_from_disk_every_number_is_the_same_and_further_rows_can_be_had(
    trial: tuple[Path, TrialResult, list[Event]],
) -> None:
    folder, result, _ = trial
    names = dict.fromkeys(m.metric for m in result.measurements)
    again = measure_again(result, folder, [metric_named(name) for name in names])
    key = {(m.task, m.attack, m.eps, m.metric): m for m in result.measurements}
    assert {(m.task, m.attack, m.eps, m.metric): m for m in again.measurements} == key
    more = measure_again(result, folder, [metric_named("aupr_in_msp_vs_far_noise")])
    assert [m.metric for m in more.measurements[len(key) :]] == ["aupr_in_msp_vs_far_noise"] * 3


def test_the_plan_counts_what_the_run_reports(trial: tuple[Path, TrialResult, list[Event]]) -> None:
    folder, _, events = trial
    parts = evaluation_parts(CONFIG)
    meter = Meter(parts, lambda standing: None)
    for event in events:
        meter(event)  # an event of no part raises an error
    done = dict.fromkeys((e.task, e.condition) for e in events if isinstance(e, BatchJudged))
    assert list(done) == [(part.task, part.condition) for part in parts], "in the order of the plan"
    assert {part.images for part in parts} == {6}
    width = pq.read_table(folder / "ood.parquet").schema.field("embedding").type.list_size
    extra = len(read_ood(folder)) * 4 * width
    plain = estimate(TrialConfig(epochs=0, eval_suite=PLAIN))
    assert estimate(CONFIG).embedding_bytes == plain.embedding_bytes + extra


Bank = Callable[[ImageSet], TextBank]


def _evaluated(suite: EvalSuite, shard: tuple[int, int] = (0, 1)) -> list[SampleRecord]:
    config = TrialConfig(epochs=0, eval_suite=suite)
    clip = load_clip(config.model)
    victim = deployed(config, clip, clip.tower)
    bank: Bank = lambda images: evaluation_bank(config, clip, images)  # noqa: E731
    return evaluate(victim, suite, bank, clip.tower.image_size, shard=shard)


def test_shards_put_together_are_the_records_of_one_process() -> None:
    suite = replace(SUITE, tasks=(DataRef(name="hearts", limit=2), DataRef(name="sport")), n=4, ood_far=(),
                    ood_attacks=(Detector(steps=1),))  # fmt: skip
    whole = _evaluated(suite)
    parts = merged([_evaluated(suite, (k, 3)) for k in range(3)])

    def known(records: list[SampleRecord]) -> list[tuple[object, ...]]:
        return sorted((r.split, r.task, r.condition, r.sample_id, r.attack_id, r.eps) for r in records)

    assert known(whole) == known(parts)
    at = {(r.split, r.task, r.condition, r.sample_id): np.frombuffer(r.embedding, "<f4") for r in parts}
    for record in whole:
        unit = np.frombuffer(record.embedding, "<f4")
        near = at[record.split, record.task, record.condition, record.sample_id]
        if record.condition == "none":
            np.testing.assert_allclose(unit, near, atol=1e-5)


def test_where_no_embeddings_are_kept_the_sets_are_not_opened() -> None:
    suite = replace(SUITE, split="selection", n=2)
    assert suite.measured_ood == ()
    assert {role_of(record) for record in _evaluated(suite)} == {None}
    assert evaluation_parts(TrialConfig(epochs=0, eval_suite=suite)) == evaluation_parts(
        TrialConfig(epochs=0, eval_suite=replace(PLAIN, split="selection", n=2))
    )


def test_the_sets_change_a_trials_name_and_no_others() -> None:
    assert "ood_near" not in str(TrialConfig(eval_suite=PLAIN).trial_id)
    ids = {TrialConfig(epochs=0, eval_suite=suite).trial_id for suite in (PLAIN, SUITE, replace(SUITE, ood_far=()))}
    assert len(ids) == 3
    trained = {TrialConfig(eval_suite=suite).training_id for suite in (PLAIN, SUITE)}
    assert len(trained) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"tasks": (NOISE,)}, r"tasks\[0\]: got 'far_noise', expected a set with classes"),
     ({"ood_near": (DataRef(name="sport"),)}, r"ood_near\[0\]: got 'sport', expected a name that no task has"),
     ({"ood_near": (NOISE,)}, r"ood_near\[0\]: got 'far_noise', expected every out-of-distribution set once"),
     ({"ood_near": (), "ood_far": ()}, "ood_attacks: got .*, expected none without a set"),
     ({"eps": ()}, "ood_attacks: got .*, expected none without a set"),
     ({"ood_attacks": (Detector(), Detector(goal="reject"))}, "expected attacks of different names")],
)  # fmt: skip
def test_a_suite_that_contradicts_itself_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(SUITE, **changes)


def test_a_set_that_is_trained_on_is_not_out_of_distribution(tmp_path: Path) -> None:
    own = DataRef(source="imagefolder", root=str(tmp_path))
    suite = replace(PLAIN, ood_far=(replace(own, name="mine"),))
    with pytest.raises(ConfigError, match="share nothing with"):
        TrialConfig(eval_suite=suite, train_data=own)
    with pytest.raises(ConfigError, match="train_data: got 'far_noise', expected a set with classes"):
        TrialConfig(train_data=NOISE)


def test_the_flag_knows_the_kind_of_the_built_in_sets_and_asks_for_that_of_others() -> None:
    found = ood_sets("far_noise, near_objects,near:hearts", "data")
    assert found == {"near": (NEAR, DataRef(name="hearts")), "far": (NOISE,)}
    assert ood_sets("", "data") == {"near": (), "far": ()}
    for text, said in (
        ("animals", "--ood: got 'animals', expected near:animals or far:animals"),
        ("far_noises", "did you mean 'far_noise'"),
        (",", "--ood: got ',', expected at least one set"),
    ):
        with pytest.raises(ConfigError, match=said):
            ood_sets(text, "data")
    assert ood_attacks("msp20,mcm") == (Detector(steps=20), Detector(score="mcm"))
    with pytest.raises(ConfigError, match="--ood-attacks: score: unknown value 'x'"):
        ood_attacks("x")


def test_the_table_has_a_line_for_each_set_and_condition(trial: tuple[Path, TrialResult, list[Event]]) -> None:
    _, result, _ = trial
    lines = ood_table(result)
    rows = [line.split(" | ")[:2] for line in lines if line.startswith("| ") and "OOD set" not in line]
    at = f"{ATTACK} at 2/255"
    assert [condition for _, condition in rows[::4]] == ["clean", f"ID under {at}", f"OOD under {at}"]
    assert [name.removeprefix("| ") for name, _ in rows[:4]] == [
        "near_objects (near)", "far_patterns (far)", "far_noise (far)", "mean of far"
    ]  # fmt: skip
    assert "–" not in "".join(lines)
    assert ood_table(replace(result, config=TrialConfig(epochs=0, eval_suite=PLAIN))) == []
