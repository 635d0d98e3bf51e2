"""The matrix, computed again from study.json and the trials' samples.parquet by a script that imports nothing of ours.

Only the standard library, numpy and pyarrow stand below the line: what it reads is what any outsider can read.
"""

from __future__ import annotations

import csv
import io
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sweeps.engine.analysis.matrix import MatrixRequest, matrices
from sweeps.engine.documents.forms.csv import comma_separated
from sweeps.engine.study.folder import PlannedTrial, Study, open_study, trial_folder, write_study
from zsr_core.codec import to_plain
from zsr_core.data import DataRef
from zsr_core.evaluation.measure import measure
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.files import write_text
from zsr_core.methods import TgaZsr
from zsr_core.records import SampleRecord, write_samples
from zsr_core.space import Variant, leave_one_out
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

SETS = {"source": 20, "animals": 33, "dishes": 47}  # sets of different sizes, the first the training set
PARTS = {"attention": {"method.alpha": 0.0}, "constraint": {"method.beta": 0.0}}
LIFT = {"full": 0.1, "w/o attention": 0.0, "w/o constraint": 0.07, "untouched": 0.05}
EPS = 4 / 255


def _records(trial: PlannedTrial, config: TrialConfig) -> list[SampleRecord]:
    """Two attacks, each of which breaks images that the other leaves."""
    found = []
    for task, n in SETS.items():
        for i in range(n):
            rng = random.Random(f"{task}/{i}")
            ease = rng.random() + 0.15 * random.Random(f"{task}/{i}/{trial.cell}/{trial.seed}").uniform(-1, 1)
            clean = ease + LIFT[trial.cell] > 0.4
            kinds = {("none", 0.0): clean, ("pgd10", EPS): clean and ease + LIFT[trial.cell] > 0.6 + 0.2 * (i % 2),
                     ("cw", EPS): clean and ease + LIFT[trial.cell] > 0.6 + 0.2 * (i % 3 == 0)}  # fmt: skip
            found += [
                SampleRecord(
                    trial_id=trial.trial_id, weights_sha=f"w{trial.trial_id}", task=task, split="selection",
                    sample_id=f"{task}-{i}", condition=condition, attack_id="", ran="", stage="",
                    norm="linf", threat_space="model_input", eps=eps,
                    label=1, pred=int(right), correct=right, p_max=0.5, entropy=0.1, margin=0.1, linf=eps, l2=eps,
                    queries=1,
                )
                for (condition, eps), right in kinds.items()
            ]  # fmt: skip
    random.Random(trial.trial_id).shuffle(found)  # the order of rows must not matter
    return sorted(found, key=lambda r: r.condition != "none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study as a launch leaves it: an ablation of three rows and the untouched model, three seeds, one failed."""
    where = tmp_path_factory.mktemp("ablation")
    suite = EvalSuite(tasks=tuple(DataRef(name=name) for name in SETS), eps=(EPS,))
    base = TrialConfig(method=TgaZsr(), eval_suite=suite).with_({"threat.eps": EPS})
    rows = [(Variant(label="untouched", overrides={"epochs": 0}), "baseline")]
    rows += [(variant, "cell") for variant in leave_one_out(PARTS)]
    plan = tuple(
        PlannedTrial(
            trial_id=base.with_({**row.overrides, "seed": seed}).trial_id, label=f"{row.label} seed={seed}",
            cell=row.label, overrides=dict(row.overrides), seed=seed, role=role,  # type: ignore[arg-type]
        )
        for row, role in rows
        for seed in (0, 1, 2)
    )  # fmt: skip
    study = Study(
        name="parts", study="parts", question="What does each part add?", preset="miniature", mode="matrix",
        search=None,
        space={}, objectives=("clean", "robust"), surfaces=(), published={}, base=base, seeds=(0, 1, 2), plan=plan,
        fingerprint="0" * 12, created="2026-01-01T00:00:00+00:00", zsr="0.1.0", baseline="full", score_eps=EPS,
    )  # fmt: skip
    write_study(where, study)
    for trial in plan:
        failed = trial.label == "w/o attention seed=1"
        records = [] if failed else _records(trial, study.config(trial))
        result = TrialResult(
            trial_id=trial.trial_id, config=study.config(trial), status="failed" if failed else "done",
            measurements=tuple(measure(records, ["animals", "dishes"])), error="loss is NaN" if failed else "",
        )  # fmt: skip
        if records:
            write_samples(trial_folder(where, trial.trial_id) / "samples.parquet", records)
        write_text(trial_folder(where, trial.trial_id) / "result.json", json.dumps(to_plain(result)))
    return where


@pytest.fixture(scope="module")
def told(folder: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """What `zsr table --format csv --per-set` prints: (configuration, metric, over) -> its line."""
    lines = csv.DictReader(io.StringIO(comma_separated(matrices(open_study(folder), MatrixRequest(per_set=True)))))
    return {(line["configuration"], line["metric"], line["over"]): line for line in lines}


# ---------------------------------------------------------------- from outside: json, math, numpy, pyarrow

Arms = dict[str, dict[int, dict[str, dict[str, tuple[int, int]]]]]  # row -> seed -> set -> image -> (clean, robust)


def outside(folder: Path) -> Arms:
    arms: Arms = {}
    for trial in json.loads((folder / "study.json").read_text())["plan"]:
        path = folder / "trials" / trial["trial_id"] / "samples.parquet"
        if not path.exists():
            continue
        sets: dict[str, dict[str, tuple[int, int]]] = {}
        for row in sorted(pq.read_table(path).to_pylist(), key=lambda r: r["condition"] != "none"):
            images = sets.setdefault(row["task"], {})
            clean, robust = images.get(row["sample_id"], (0, 1))
            if row["condition"] == "none":
                images[row["sample_id"]] = (int(row["correct"]), robust)
            else:
                images[row["sample_id"]] = (clean, robust * int(row["correct"]))
        arms.setdefault(trial["cell"], {})[trial["seed"]] = sets
    return arms


def three(pairs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[N, 2] outcomes of images -> clean, robust, harmonic in percent."""
    clean, robust = 100 * pairs.mean(axis=0)
    return np.array([clean, robust, 2 * clean * robust / (clean + robust) if clean + robust else 0.0])


def one_seed(sets: dict[str, dict[str, tuple[int, int]]], over: list[str]) -> np.ndarray[Any, Any]:
    return np.mean([three(np.array(list(sets[name].values()))) for name in over], axis=0)


METRICS = ("clean", "robust", "harmonic")
OVER = {"2-set mean (without source)": ["animals", "dishes"], "3-set mean": ["source", "animals", "dishes"],
        **{name: [name] for name in SETS}}  # fmt: skip


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("at", range(3), ids=METRICS)
def test_means_and_spreads_over_seeds_are_those_of_the_records(
    folder: Path, told: dict[Any, dict[str, str]], over: str, at: int
) -> None:
    for row, seeds in outside(folder).items():
        values = np.array([one_seed(sets, OVER[over])[at] for sets in seeds.values()])
        line = told[row, METRICS[at], over]
        assert float(line["value"]) == pytest.approx(values.mean())
        assert float(line["seed_sd"]) == pytest.approx(values.std(ddof=1))
        t = {2: 12.706204736, 3: 4.30265273}[len(values)]  # 97.5 % quantiles of Student's t, 1 and 2 degrees of freedom
        assert float(line["seed_high"]) == pytest.approx(
            values.mean() + t * values.std(ddof=1) / math.sqrt(len(values))
        )
        assert int(line["seeds"]) == len(values)


@pytest.mark.parametrize("row", ["untouched", "w/o attention", "w/o constraint"])
def test_differences_and_their_intervals_are_those_of_the_records(
    folder: Path, told: dict[Any, dict[str, str]], row: str
) -> None:
    """Seeds first, then images within each set, the same for both rows; drawn here image by image, by a loop."""
    arms = outside(folder)
    own, base = arms[row], arms["full"]
    seeds = sorted(own.keys() & base.keys())
    table = {  # set -> [2 rows, S, N, 2]
        name: np.array(
            [[[arm[seed][name][i] for i in sorted(arm[seed][name])] for seed in seeds] for arm in (own, base)]
        )
        for name in SETS
    }
    rng = np.random.default_rng(99)
    draws: dict[str, list[Any]] = {over: [] for over in OVER}
    for _ in range(1500):
        drawn = rng.integers(0, len(seeds), len(seeds))
        gaps = {}
        for name, outcomes in table.items():
            n = outcomes.shape[2]
            picked = outcomes[:, :, rng.integers(0, n, n)]
            gaps[name] = np.mean([three(picked[0, s]) - three(picked[1, s]) for s in drawn], axis=0)
        for over, sets in OVER.items():
            draws[over].append(np.mean([gaps[name] for name in sets], axis=0))
    for over, sets in OVER.items():
        low, high = np.quantile(draws[over], [0.025, 0.975], axis=0)
        value = np.mean([one_seed(own[s], sets) - one_seed(base[s], sets) for s in seeds], axis=0)
        for at, metric in enumerate(METRICS):
            line = told[row, metric, over]
            assert float(line["gap"]) == pytest.approx(value[at])
            assert int(line["gap_seeds"]) == len(seeds)
            slack = 0.12 * (high[at] - low[at]) + 0.4
            assert float(line["gap_low"]) == pytest.approx(low[at], abs=slack)
            assert float(line["gap_high"]) == pytest.approx(high[at], abs=slack)
            if line["test"] == "bootstrap" and float(line["p"]) < 0.02:
                assert low[at] > -0.3 or high[at] < 0.3


def fair(n: int) -> list[float]:
    return [math.comb(n, k) / 2**n for k in range(n + 1)]


@pytest.mark.parametrize("row", ["untouched", "w/o attention", "w/o constraint"])
@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("at", [0, 1], ids=METRICS[:2])
def test_mcnemars_p_and_counts_are_those_of_the_records(
    folder: Path, told: dict[Any, dict[str, str]], row: str, name: str, at: int
) -> None:
    arms = outside(folder)
    own, base = arms[row], arms["full"]
    seeds = sorted(own.keys() & base.keys())
    signs = {i: [own[s][name][i][at] - base[s][name][i][at] for s in seeds] for i in own[0][name]}
    line = told[row, METRICS[at], name]
    assert line["test"] == "McNemar"
    assert int(line["better"]) == sum(sign == 1 for each in signs.values() for sign in each)
    assert int(line["worse"]) == sum(sign == -1 for each in signs.values() for sign in each)
    net = [sum(each) for each in signs.values()]
    chances = {0: 1.0}  # of every total, one image's sign after the other's
    for size in (abs(d) for d in net):
        after: dict[int, float] = {}
        for total, chance in chances.items():
            for sign in (-1, 1):
                after[total + sign * size] = after.get(total + sign * size, 0.0) + chance / 2
        chances = after
    expected = sum(chance for total, chance in chances.items() if abs(total) >= abs(sum(net)))
    assert float(line["p"]) == pytest.approx(min(1.0, expected))


def test_holms_correction_is_over_every_comparison_of_a_scope(told: dict[Any, dict[str, str]]) -> None:
    """The untouched model is no row of the design: its comparisons are families of their own."""
    families: dict[tuple[str, bool], list[dict[str, str]]] = {}
    for (_, _, over), line in told.items():
        if line["p"]:
            name = over if len(OVER[over]) > 1 else "sets"
            families.setdefault((name, line["configuration"] == "untouched"), []).append(line)
    assert sorted(len(lines) for lines in families.values()) == [3, 3, 6, 6, 9, 18]
    for lines in families.values():
        lines.sort(key=lambda line: float(line["p"]))
        so_far = 0.0
        for step, line in enumerate(lines):
            so_far = min(1.0, max(so_far, (len(lines) - step) * float(line["p"])))
            assert float(line["p_holm"]) == pytest.approx(so_far)


def test_with_one_seed_and_one_set_p_is_that_of_the_discordant_counts(folder: Path) -> None:
    study = json.loads((folder / "study.json").read_text())
    one = folder.with_name("one_seed")
    (one / "trials").mkdir(parents=True)
    study["plan"] = [trial for trial in study["plan"] if trial["seed"] == 0]
    (one / "study.json").write_text(json.dumps({**study, "seeds": [0]}))
    for trial in study["plan"]:
        (one / "trials" / trial["trial_id"]).symlink_to(folder / "trials" / trial["trial_id"])
    lines = csv.DictReader(io.StringIO(comma_separated(matrices(open_study(one), MatrixRequest(per_set=True)))))
    tested = [line for line in lines if line["test"] == "McNemar"]
    assert len(tested) == 18
    for line in tested:
        b, c = int(line["better"]), int(line["worse"])
        assert float(line["p"]) == pytest.approx(min(1.0, 2 * sum(fair(b + c)[: min(b, c) + 1])))
        assert line["seed_sd"] == ""
