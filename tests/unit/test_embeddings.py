"""Embeddings travel with the records, and are found again beside them as the model gave them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError, fingerprint, from_plain, to_plain
from zsr_core.data import DataRef
from zsr_core.evaluation.embeddings import Evaluated, kept_bytes, read_evaluated, write_embeddings
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.measure import WORST, by_place
from zsr_core.evaluation.metrics.outputs import ClassTexts
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.suite import EvalSuite, fitting_set, merged
from zsr_core.evaluation.vectors import embedding_matrix
from zsr_core.evaluation.victim import Victim
from zsr_core.records import SampleRecord, write_samples
from zsr_core.threat import ThreatModel
from zsr_core.trial.config import TrialConfig

EPS = 4 / 255


def _victim(tiny: Any) -> Victim:
    clip = tiny.clip()
    return Victim(embed=clip.tower, scale=clip.scale, sha=clip.sha)


def _records(tiny: Any, *, journal: Journal | None = None, embeddings: bool = True, **named: Any) -> list[SampleRecord]:
    images, victim = tiny.images(12, **named), _victim(tiny)
    guess = victim.logits(images.pixels(list(range(12))).float() / 255, tiny.bank()).argmax(dim=1)
    guess[::4] = (guess[::4] + 1) % len(tiny.classes)
    return predict(
        victim, dataclasses.replace(images, labels=guess), tiny.bank(), (Pgd(steps=2), Pgd(steps=3)),
        (ThreatModel(eps=EPS),), trial_id="t", batch_size=5, journal=journal, embeddings=embeddings,
    )  # fmt: skip


def _texts(tiny: Any) -> dict[str, ClassTexts]:
    bank, victim = tiny.bank(), _victim(tiny)
    return {"tiny": ClassTexts(unit=bank.unit.numpy(), classes=bank.classes, scale=victim.scale)}


def test_a_record_carries_the_unit_embedding_that_gave_its_numbers(tiny: Any) -> None:
    records = _records(tiny)
    images = by_place(records, _texts(tiny))
    assert len(images) == 4
    for (_, attack, _), group in images.items():
        assert group.outputs is not None
        np.testing.assert_allclose(np.linalg.norm(group.outputs.unit, axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(np.exp(group.outputs.log_p).max(axis=1), group.p_max, atol=1e-5, err_msg=attack)
        own = group.outputs.logits[np.arange(12), group.label]
        others = group.outputs.logits.copy()
        others[np.arange(12), group.label] = -np.inf
        np.testing.assert_allclose(own - others.max(axis=1), group.margin, atol=1e-4)


def test_the_records_are_the_same_with_and_without_embeddings(tiny: Any) -> None:
    plain = _records(tiny, embeddings=False)
    assert {r.embedding for r in plain} == {b""}
    assert [dataclasses.replace(r, embedding=b"") for r in _records(tiny)] == plain


def test_under_the_worst_attack_an_image_has_the_embedding_of_that_attack(tiny: Any) -> None:
    images = by_place(_records(tiny), _texts(tiny))
    worst, attacks = images["tiny", WORST, EPS], [images["tiny", name, EPS] for name in ("pgd2", "pgd3")]
    assert worst.outputs is not None
    for i in range(12):
        same = [a for a in attacks if a.margin[i] == worst.margin[i]]
        assert any(a.outputs is not None and np.array_equal(a.outputs.unit[i], worst.outputs.unit[i]) for a in same)


def test_a_stopped_evaluation_finds_its_embeddings_again(tiny: Any, tmp_path: Path) -> None:
    journal = Journal(folder=tmp_path, worth=0.0)
    first = _records(tiny, journal=journal)
    files = len(list(tmp_path.iterdir()))
    assert _records(tiny, journal=journal) == first
    assert len(list(tmp_path.iterdir())) == files, "nothing was computed a second time"
    assert {r.embedding for r in _records(tiny, journal=journal, embeddings=False)} == {b""}


def _write(folder: Path, records: Sequence[SampleRecord], evaluated: Evaluated) -> None:
    write_samples(folder / "samples.parquet", records)
    write_embeddings(folder, evaluated)


def test_what_is_written_is_read_again_bit_by_bit_with_the_images_to_fit_on(tiny: Any, tmp_path: Path) -> None:
    records = _records(tiny, split="report")
    source = [r for r in _records(tiny, split="selection") if r.condition == "none"]
    _write(tmp_path, records, Evaluated(records=records, texts=_texts(tiny), source=source))
    read = read_evaluated(tmp_path, "tiny")
    assert read.records == records
    assert [(r.sample_id, r.label, r.correct, r.embedding) for r in read.source] == [
        (r.sample_id, r.label, r.correct, r.embedding) for r in source
    ]
    (texts,) = read.texts.values()
    assert np.array_equal(texts.unit, tiny.bank().unit.numpy())
    assert (texts.classes, texts.scale, texts.bias) == (tiny.bank().classes, _victim(tiny).scale, 0.0)
    matrix = np.stack(pq.read_table(tmp_path / "embeddings.parquet").column("embedding").to_pylist())
    assert np.array_equal(matrix.astype(np.float32), embedding_matrix([*records, *source]))


def test_records_to_select_by_are_their_own_images_to_fit_on(tiny: Any, tmp_path: Path) -> None:
    records = _records(tiny, split="selection")
    clean = [r for r in records if r.condition == "none"]
    _write(tmp_path, records, Evaluated(records=records, texts=_texts(tiny), source=clean))
    assert len(pq.read_table(tmp_path / "embeddings.parquet")) == len(records)
    assert read_evaluated(tmp_path, "tiny").source == clean
    assert read_evaluated(tmp_path, "other").source == []


def test_without_embeddings_no_file_is_written_and_records_are_read_alone(tiny: Any, tmp_path: Path) -> None:
    records = _records(tiny, embeddings=False)
    _write(tmp_path, records, Evaluated(records=records, texts=_texts(tiny), source=()))
    assert [p.name for p in tmp_path.iterdir()] == ["samples.parquet"]
    read = read_evaluated(tmp_path, "tiny")
    assert (read.records, read.texts, read.source) == (records, {}, ())


def test_embeddings_of_other_images_than_the_records_are_refused(tiny: Any, tmp_path: Path) -> None:
    records = _records(tiny)
    _write(tmp_path, records, Evaluated(records=records[::-1], texts=_texts(tiny), source=()))
    with pytest.raises(ConfigError, match=r"embeddings.parquet: got 'other images', expected the images of samples"):
        read_evaluated(tmp_path, "tiny")


def test_float16_would_move_a_probability_by_more_than_1e_4(tiny: Any) -> None:
    """Why embeddings are kept in float32: a logit at CLIP's scale of 100 has an error of 1e-3 in float16."""
    unit = embedding_matrix(_records(tiny))
    cosines, half = (u.astype(np.float64) @ tiny.bank().unit.numpy().T for u in (unit, unit.astype(np.float16)))
    assert np.abs(100 * (cosines - half)).max() > 1e-3


def test_shards_put_the_images_to_fit_on_behind_the_others_of_their_split(tiny: Any) -> None:
    shards = [[], []]
    for split in ("report", "selection"):
        clean = [r for r in _records(tiny, split=split) if r.condition == "none"]
        for i, record in enumerate(clean):
            shards[i % 2].append(record)
    whole = merged(shards)
    assert [r.split for r in whole] == ["report"] * 12 + ["selection"] * 12
    assert [r.sample_id for r in whole[:12]] == [r.sample_id for r in whole[12:]] == [f"tiny/{i}" for i in range(12)]


@pytest.mark.parametrize(
    ("embeddings", "split", "keeps"),
    [("report", "report", True), ("report", "all", True), ("report", "selection", False), ("all", "selection", True),
     ("none", "report", False)],
)  # fmt: skip
def test_embeddings_are_kept_where_nothing_is_selected_unless_asked_otherwise(
    embeddings: Any, split: Any, keeps: bool
) -> None:
    suite = EvalSuite(split=split, embeddings=embeddings)
    assert suite.keeps_embeddings is keeps
    source, other = DataRef(), DataRef(name="animals")
    assert (fitting_set(suite, source) == source) is (keeps and split != "selection")
    assert fitting_set(suite, other) is None, "no task of the suite is trained on"


def test_a_field_added_later_is_no_part_of_an_id_at_its_default() -> None:
    config = TrialConfig()
    asked = config.with_({"eval_suite.embeddings": "all"})
    assert "embeddings" not in to_plain(config)["eval_suite"]
    assert config.with_({"eval_suite.embeddings": "report"}).trial_id == config.trial_id != asked.trial_id
    assert from_plain(TrialConfig, to_plain(asked)) == asked
    assert fingerprint(asked) != fingerprint(config)
    with pytest.raises(ConfigError, match=r"embeddings: unknown value 'some'.*; expected one of: report, all, none"):
        EvalSuite(embeddings="some")  # type: ignore[arg-type]


def test_the_size_of_what_is_kept_is_four_bytes_a_number() -> None:
    assert kept_bytes(rows=16 * 1000 * 3, classes=2000, width=512) == 4 * 512 * 50_000
