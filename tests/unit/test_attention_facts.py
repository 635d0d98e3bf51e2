"""Attention maps against masks: closed forms, planted maps, what is kept of them, and what is measured from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sweeps.engine.commands.main import main
from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, open_data
from zsr_core.evaluation.attention import (
    Looking,
    drift,
    energy,
    kept,
    pointing,
    read_attention,
    soft_iou,
    write_attention,
)
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.measure import Measurement, measure
from zsr_core.evaluation.metrics.attention import ATTENTION
from zsr_core.evaluation.suite import EvalSuite, evaluate
from zsr_core.evaluation.vectors import packed
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TeCoA
from zsr_core.methods.attention import class_gradcam_map
from zsr_core.methods.comp_tga import NON_CLASS
from zsr_core.methods.views import Encoded
from zsr_core.model.layout import Features
from zsr_core.model.load import ModelRef, load_clip
from zsr_core.records import ATTENTION_COLUMNS, SampleRecord, to_table, write_samples
from zsr_core.rng import generator
from zsr_core.text import TextBank, encode_classes
from zsr_core.trial import presets
from zsr_core.trial.check import check
from zsr_core.trial.numbers import measure_again
from zsr_core.trial.run import run_trial

MASK = torch.tensor([[1.0, 1.0], [0.0, 0.0]])


def test_the_soft_iou_is_the_min_max_form_and_the_jaccard_metric_loss_of_a_hard_mask() -> None:
    a = torch.rand(3, 8, 8, generator=generator(0, "maps"))
    m = (torch.rand(3, 8, 8, generator=generator(0, "masks")) < 0.3).float()
    found = soft_iou(a, m)
    least, most = (f(a, m).sum(dim=(1, 2)) for f in (torch.minimum, torch.maximum))
    apart = (a - m).abs().sum(dim=(1, 2))
    whole = a.sum(dim=(1, 2)) + m.sum(dim=(1, 2))
    torch.testing.assert_close(found, least / most)
    torch.testing.assert_close(found, (whole - apart) / (whole + apart))


def test_a_constant_map_reaches_the_masks_share_of_the_image() -> None:
    m = (torch.rand(4, 8, 8, generator=generator(0, "masks")) < 0.3).float()
    torch.testing.assert_close(soft_iou(torch.ones(4, 8, 8), m), m.mean(dim=(1, 2)))


def test_pointing_and_energy_are_what_they_are_by_hand_and_undefined_for_a_map_without_them() -> None:
    maps = torch.tensor([[[0.0, 1.0], [0.5, 0.5]], [[0.0, 0.2], [0.6, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(pointing(maps, MASK), torch.tensor([1.0, 0.0, torch.nan]), equal_nan=True)
    torch.testing.assert_close(energy(maps, MASK), torch.tensor([0.5, 0.25, torch.nan]), equal_nan=True)


def test_an_equal_map_has_not_moved_and_the_scale_of_a_map_is_no_drift() -> None:
    maps = torch.rand(2, 4, 4, generator=generator(0, "maps"))
    torch.testing.assert_close(drift(maps, maps / 2), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(kept(maps, maps), torch.ones(2))
    torch.testing.assert_close(kept(maps, maps / 2), torch.full((2,), 0.5))


def bank(unit: Tensor) -> TextBank:
    return TextBank(unit=unit, classes=("a", "b"), templates=("{}",))


def planted(x: Tensor) -> Features:
    """A tower of four patches: those of the upper half are class a's text, those of the lower half class b's."""
    tokens = torch.tensor([[1.0, 0, 0.1], [1.0, 0, 0.1], [0, 1.0, 0.1], [0, 1.0, 0.1]]).repeat(len(x), 1, 1)
    source = torch.cat([torch.zeros(len(x), 1, 3), tokens], dim=1)
    return Features(
        embedding=tokens.mean(dim=1), patches=lambda: tokens, grid=(2, 2),
        last_norm=lambda: (source, lambda s: s[:, 1:3].mean(dim=1) + 0.1),
    )  # fmt: skip


def test_a_map_planted_on_the_object_points_at_it_and_one_planted_beside_it_does_not() -> None:
    text = bank(torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]))
    upper = F.interpolate(MASK[None, None], (8, 8), mode="nearest")[0].bool()
    looking = Looking(features=planted, text=text, rest=text, masks=lambda rows: upper.repeat(len(rows), 1, 1))
    x = torch.rand(2, 3, 8, 8)
    facts = looking.facts(x, x, torch.tensor([0, 1]), [0, 1])
    named = dict(zip(ATTENTION_COLUMNS, facts.T, strict=True))
    assert named["mask_share"].tolist() == [0.5, 0.5]
    assert named["pointing_text"].tolist() == [1.0, 0.0]
    assert named["energy_text"][0] > 0.85
    assert named["energy_text"][1] < 0.15
    assert named["drift_text"].abs().max() < 1e-6
    assert named["kept_text"].tolist() == [1.0, 1.0]
    # With the same texts for "not the class", the complement cancels the map where it is largest.
    assert (named["soft_iou_complementary"] < named["soft_iou_text"] / 2)[0]


def test_of_an_object_that_was_cut_off_or_has_no_mask_nothing_is_said() -> None:
    text, x = bank(torch.eye(3)[:2]), torch.rand(1, 3, 8, 8)
    for masks in (None, lambda rows: torch.zeros(len(rows), 8, 8, dtype=torch.bool)):
        looking = Looking(features=planted, text=text, rest=text, masks=masks)
        named = dict(zip(ATTENTION_COLUMNS, looking.facts(x, x, torch.tensor([0]), [0])[0].tolist(), strict=True))
        assert all(np.isnan(named[name]) for name in ("mask_share", "soft_iou_text", "pointing_text", "energy_text"))
        assert named["kept_text"] == 1.0


def record(name: str, condition: str, facts: dict[str, float], *, correct: bool = True) -> SampleRecord:
    row = torch.tensor([[facts.get(column, torch.nan) for column in ATTENTION_COLUMNS]])
    return SampleRecord(
        trial_id="t", weights_sha="w", task="a", split="report", sample_id=name, condition=condition,
        attack_id="" if condition == "none" else "p", ran="", stage="", norm="linf", threat_space="model_input",
        eps=0.0 if condition == "none" else 0.01, label=0, pred=0 if correct else 1, correct=correct, p_max=0.5,
        entropy=0.1, margin=0.1, linf=0.0, l2=0.0, queries=1, attention=packed(row)[0],
    )  # fmt: skip


def records() -> list[SampleRecord]:
    """Three images; the third is wrong without attack and so is not attacked."""
    clean, under = (0.5, 0.3, 0.1), (0.3, 0.2, 0.1)
    return [
        *(record(str(i), "none", {"soft_iou_text": v, "mask_share": 0.25}, correct=i < 2) for i, v in enumerate(clean)),
        *(record(str(i), "pgd", {"soft_iou_text": v}, correct=False) for i, v in enumerate(under)),
    ]


def by_name(rows: list[Measurement]) -> dict[tuple[str, str], Measurement]:
    return {(m.metric, m.attack): m for m in rows if m.task == "a"}


def test_under_attack_the_attacked_images_count_and_their_change_is_paired() -> None:
    found = by_name(measure(records(), ["a"], ATTENTION))
    assert found["soft_iou_text", "none"].value == pytest.approx(30)
    assert found["soft_iou_text", "pgd"].value == pytest.approx(25)
    assert found["soft_iou_change_text", "pgd"].value == pytest.approx(-15)
    assert found["soft_iou_change_text", "worst"].value == pytest.approx(-15)
    assert found["mask_share", "none"].value == pytest.approx(25)
    low, high = found["soft_iou_text", "none"].low, found["soft_iou_text", "none"].high
    assert low is not None
    assert high is not None
    assert 10 <= low < 30 < high <= 50.001


def test_without_attention_or_an_attacked_image_a_number_is_null_with_the_reason() -> None:
    bare = [replace(r, attention=b"") for r in records()]
    assert by_name(measure(bare, ["a"], ATTENTION))["mask_share", "none"].reason.startswith(
        "attention was not measured"
    )
    wrong = [replace(r, correct=False) for r in records()]
    assert "none is attacked" in by_name(measure(wrong, ["a"], ATTENTION))["soft_iou_text", "pgd"].reason
    assert "its map is constant" in by_name(measure(records(), ["a"], ATTENTION))["pointing_text", "none"].reason


def test_what_is_kept_comes_back_to_the_last_bit_and_that_of_other_images_is_refused(tmp_path: Path) -> None:
    rows = records()
    write_attention(tmp_path, rows)
    assert read_attention(tmp_path, to_table(rows)) == [r.attention for r in rows]
    with pytest.raises(ConfigError, match="other images"):
        read_attention(tmp_path, to_table(rows[::-1]))
    assert read_attention(tmp_path / "elsewhere", to_table(rows)) == [b""] * len(rows)
    journal = Journal(folder=tmp_path, worth=0.0)
    journal.keep("key", rows)
    assert journal.recall("key") == rows


def test_a_record_without_attention_is_written_as_before(tmp_path: Path) -> None:
    path = write_samples(tmp_path / "samples.parquet", records())
    assert b"attention" not in path.read_bytes()
    write_attention(tmp_path, [replace(r, attention=b"") for r in records()])
    assert not (tmp_path / "attention.parquet").exists()


@pytest.fixture(scope="module")
def clip() -> object:
    return load_clip(presets.miniature(TeCoA()).model, "cpu")


def test_a_gradcam_map_of_an_image_does_not_depend_on_its_batch(clip: object) -> None:
    images = open_data(DataRef(name="animals"), "report", clip.tower.image_size, 4)  # type: ignore[attr-defined]
    x = images.pixels(range(4)).float() / 255
    tower = clip.tower.requires_grad_(False)  # type: ignore[attr-defined]
    text = F.normalize(torch.randn(4, tower(x[:1]).shape[1], generator=generator(0, "text")), dim=-1)
    whole = class_gradcam_map(Encoded(features=tower.features(x), text=bank(text[:2])), text)
    alone = class_gradcam_map(Encoded(features=tower.features(x[1:2]), text=bank(text[:2])), text[1:2])
    torch.testing.assert_close(whole[1:2], alone, atol=1e-6, rtol=1e-4)
    assert (whole >= 0).all()
    assert whole.flatten(1).amax(dim=1).max() > 0


def test_the_miniatures_exact_masks_are_read_and_a_classifier_that_shows_no_features_is_refused(clip: object) -> None:
    suite = EvalSuite(tasks=(DataRef(name="animals"),), n=2, attacks=(Pgd(steps=1),), attention=True)
    tower, scale = clip.tower.requires_grad_(False), clip.scale  # type: ignore[attr-defined]

    def texts(template: str | None) -> object:
        return lambda images: encode_classes(
            clip.encode_text,  # type: ignore[attr-defined]
            images.classes,
            images.templates if template is None else (template,),
        )

    victim = Victim(embed=tower, scale=scale, sha="w", features=tower.features)
    found = evaluate(victim, suite, texts(None), tower.image_size, not_banks=texts(NON_CLASS))  # type: ignore[arg-type]
    masks = open_data(DataRef(name="animals"), "selection", tower.image_size, 2).masks
    assert masks is not None
    shares = [np.frombuffer(r.attention, "<f4")[0] for r in found if r.condition == "none"]
    assert shares == pytest.approx(masks([0, 1]).float().mean(dim=(1, 2)).tolist())
    with pytest.raises(ConfigError, match="attention: got True"):
        evaluate(replace(victim, features=None), suite, texts(None), tower.image_size)  # type: ignore[arg-type]


def test_a_tower_without_patch_tokens_is_refused_before_any_work() -> None:
    config = presets.miniature(TeCoA()).with_({"epochs": 0, "eval_suite.attention": True})
    check(config)
    other = config.with_({"model": ModelRef(name="coca_ViT-B-32")})
    with pytest.raises(ConfigError, match=r"config\.eval_suite\.attention: got True.*'coca_ViT-B-32' shows no patch"):
        check(other)


def test_a_trial_keeps_its_attention_measures_it_again_and_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = presets.miniature(TeCoA()).with_({"epochs": 0, "eval_suite.attention": True, "eval_suite.n": 2})
    suite = replace(config.eval_suite, tasks=config.eval_suite.tasks[:2], attacks=(Pgd(steps=1),))
    result = run_trial(replace(config, eval_suite=suite), tmp_path)
    assert result.status == "done", result.error
    own = [m for m in result.measurements if m.metric.startswith("soft_iou_text")]
    assert own
    again = measure_again(result, tmp_path, [metric for metric in ATTENTION if metric.name == "soft_iou_text"])
    assert {m for m in again.measurements if m.metric == "soft_iou_text"} == set(own)
    assert main(["attention", "--evaluated", str(tmp_path), "--images", "1"]) == 0
    assert (tmp_path / "attention.png").stat().st_size > 10_000
    assert capsys.readouterr().out.splitlines()[0].endswith("attention.png")
    assert main(["attention", "--evaluated", str(tmp_path), "--task", "animal"]) == 2
    assert "did you mean 'animals'" in capsys.readouterr().err
