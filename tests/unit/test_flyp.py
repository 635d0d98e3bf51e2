"""A method that tunes the text tower: its loss, its captions, and that nothing goes on with the texts of before."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, miniature, open_data
from zsr_core.defences import WiseFt
from zsr_core.evaluation.regulariser import MethodTerms
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import Flyp, FtClean
from zsr_core.model.load import ModelRef, load_clip, weights_sha
from zsr_core.text import encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.captions import captioner_of
from zsr_core.training.fit import Fitted, Recipe, fit, make_step
from zsr_core.training.optim import Optim
from zsr_core.training.pauses import Pauses, TrainingStopped
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.cost import estimate
from zsr_core.trial.deploy import evaluation_bank, kept_weights, restored, untouched_clip
from zsr_core.trial.presets import base
from zsr_core.trial.run import run_trial

RECIPE = Recipe(
    optim=Optim(name="adamw", lr=0.01, warmup_steps=2), threat=ThreatModel(eps=4 / 255),
    attack=Pgd(steps=1, keep="last"), epochs=2, batch_size=4, precision="fp32", seed=0,
)  # fmt: skip
TEMPLATES = ("a photo of a {}", "a sketch of a {}", "{}")


def bank(tiny: Any) -> Any:
    clip = tiny.clip()
    return encode_classes(clip.text_tower.encode, tiny.classes, TEMPLATES)


def trained(tiny: Any, method: Flyp, checkpoint: Path | None = None, pauses: Pauses | None = None) -> Fitted:
    return fit(tiny.clip(), method, bank(tiny), tiny.images(12), RECIPE, checkpoint=checkpoint, pauses=pauses)


def state(fitted: Fitted) -> list[Tensor]:
    assert fitted.texts is not None
    return [*fitted.tower.state_dict().values(), *fitted.texts.state_dict().values()]


def test_the_loss_is_open_clips_contrastive_loss(tiny: Any) -> None:
    student = tiny.tower()
    said = torch.nn.functional.normalize(torch.randn(4, tiny.dim, generator=torch.Generator().manual_seed(0)), dim=1)
    views = dataclasses.replace(tiny.views(student, student), captions=lambda: said)
    theirs = open_clip.loss.ClipLoss()(views.student_clean.unit, said, torch.tensor(views.scale))
    assert Flyp().loss(views)["contrastive"].mean().item() == pytest.approx(theirs.item(), rel=1e-6)


def test_with_the_class_texts_for_captions_it_is_ft_clean(tiny: Any) -> None:
    views = tiny.views(tiny.tower(), tiny.tower())
    torch.testing.assert_close(Flyp().loss(views)["contrastive"], FtClean().loss(views)["contrastive"])


@pytest.mark.parametrize("images", ["clean", "adv"])
def test_a_step_moves_both_towers_but_not_the_temperature_and_not_the_teacher(images: Any, tiny: Any) -> None:
    clip = tiny.clip()
    before = {name: p.clone() for name, p in clip.text_tower.named_parameters()}
    step = make_step(clip, Flyp(images=images), bank(tiny), RECIPE, total=1)
    said = step(tiny.pixels(4), torch.tensor([0, 1, 2, 0]), torch.arange(4), 0)
    assert step.texts is not None
    after = dict(step.texts.named_parameters())
    unmoved = {name for name, p in before.items() if torch.equal(p, after[name])}
    assert unmoved == {"model.logit_scale"}
    assert all(torch.equal(p, before[name]) for name, p in clip.text_tower.named_parameters())
    assert {name for name in said if "accuracy" in name} == ({"robust_accuracy"} if images == "adv" else set()), (
        "without an attack nobody has encoded the class texts as they are now"
    )


def test_an_attack_faces_the_texts_as_they_are(tiny: Any) -> None:
    step = make_step(tiny.clip(), Flyp(images="adv"), bank(tiny), RECIPE, total=9)
    faced = []
    for number in range(2):
        faced.append(step._text().unit)
        step(tiny.pixels(4), torch.tensor([0, 1, 2, 0]), torch.arange(4), number)
    assert torch.equal(faced[0], bank(tiny).unit)
    assert not torch.allclose(faced[0], faced[1])


def test_the_teacher_keeps_its_own_texts_while_the_students_change(tiny: Any) -> None:
    own = bank(tiny)
    step = make_step(tiny.clip(), Flyp(images="adv"), own, RECIPE, total=9)
    x, y, rows = tiny.pixels(4), torch.tensor([0, 1, 2, 0]), torch.arange(4)
    step(x, y, rows, 0)
    views = step._attacked_views(x, y, rows, 1, None)
    assert views.teacher_clean.text is own
    assert views.teacher_adv.text is own
    assert not torch.allclose(views.student_adv.text.unit, own.unit)


def test_an_adaptive_attack_on_tuned_texts_meets_a_teacher_with_the_untouched_ones(tiny: Any) -> None:
    clip = tiny.clip()
    tuned = dataclasses.replace(bank(tiny), unit=bank(tiny).unit.flip(0))
    y = torch.tensor([0, 1])
    for method, texts in (
        (Flyp(), encode_classes(clip.encode_text, tiny.classes, TEMPLATES).unit),
        (FtClean(), tuned.unit),
    ):
        views = MethodTerms(method=method, clip=clip, tower=tiny.tower()).views(tiny.pixels(2), y, tuned)
        assert torch.equal(views.student_clean.text.unit, tuned.unit)
        assert torch.equal(views.teacher_clean.text.unit, texts)


def test_each_step_draws_its_templates_anew_and_a_draw_can_be_repeated(tiny: Any) -> None:
    captions = captioner_of(tiny.clip(), bank(tiny))
    y = torch.zeros(64, dtype=torch.int64)
    first, again, other = (
        captions.unit(y, torch.Generator().manual_seed(seed)).detach() for seed in (0, 0, 1)
    )  # fmt: skip
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    texts = [template.replace("{}", tiny.classes[0]) for template in TEMPLATES]
    each = torch.nn.functional.normalize(tiny.text_tower().encode(texts), dim=1)
    near = torch.cdist(first, each)
    assert near.amin(dim=1).max() < 1e-2, "every caption is the class in one of the templates"
    assert set(near.argmin(dim=1).tolist()) == {0, 1, 2}


def test_training_that_is_stopped_goes_on_to_the_same_towers(tiny: Any, tmp_path: Path) -> None:
    file = tmp_path / "run.checkpoint"
    stops = Pauses(shares=(0.7,), at=lambda place, tower, texts: "worse")
    with pytest.raises(TrainingStopped):
        trained(tiny, Flyp(), file, stops)
    assert all(map(torch.equal, state(trained(tiny, Flyp(), file)), state(trained(tiny, Flyp()))))


def test_a_model_without_a_text_tower_is_refused(tiny: Any) -> None:
    silent = dataclasses.replace(tiny.clip(), text_tower=None)
    with pytest.raises(ConfigError, match="expected a model with a text tower that can be tuned"):
        make_step(silent, Flyp(), bank(tiny), RECIPE, total=1)


def small(**changes: Any) -> TrialConfig:
    suite = EvalSuite(tasks=(DataRef(name="dishes"),), attacks=(Pgd(steps=2),), eps=(1 / 255,), n=8)
    return base(Flyp(), "miniature").with_(
        {"eval_suite": suite, "train_data": DataRef(name="source", limit=48), "optim.lr": 1e-3, **changes}
    )


def test_the_kept_file_is_a_whole_clip_that_scores_as_the_trial_did(tmp_path: Path) -> None:
    """Weights, texts and numbers of a tuned model come back from the file alone, in a trial of that file."""
    config = small()
    result = run_trial(config, tmp_path / "a", RunContext(cache=tmp_path, device="cpu"))
    assert result.status == "done", result.error
    file = kept_weights(config, tmp_path)
    ref = ModelRef(name=config.model.name, pretrained=str(file))
    whole, images = load_clip(ref), open_data(DataRef(name="dishes"), "selection", 96, 8)
    model = restored(config, tmp_path, torch.device("cpu"))
    assert torch.equal(
        model.banks(images).unit, encode_classes(whole.encode_text, images.classes, images.templates).unit
    )
    again = run_trial(
        config.with_({"model": ref, "epochs": 0}), tmp_path / "b", RunContext(cache=tmp_path, device="cpu")
    )
    values = [[(m.metric, m.attack, m.value) for m in r.measurements] for r in (result, again)]
    assert values[0] == values[1]
    assert model.victim.sha == result.provenance["weights_sha"] != weights_sha(whole.tower), "it names both towers"


def test_wise_ft_goes_between_both_towers(tmp_path: Path) -> None:
    context, images = RunContext(cache=tmp_path, device="cpu"), open_data(DataRef(name="dishes"), "selection", 96, 8)
    config = small()
    untouched = evaluation_bank(config, untouched_clip(config.model, "cpu"), images).unit
    assert run_trial(config, tmp_path / "a", context).status == "done"
    tuned, start, end, between = (
        restored(config.with_({"defence": defence}), tmp_path, torch.device("cpu")).banks(images).unit
        for defence in (None, WiseFt(alpha=0.0), WiseFt(alpha=1.0), WiseFt(alpha=0.5))
    )
    assert torch.equal(start, untouched)
    assert torch.equal(end, tuned)
    assert not torch.allclose(between, tuned)
    assert not torch.allclose(between, untouched)


def test_the_estimate_counts_the_captions_as_forwards_of_equal_cost() -> None:
    config = small()
    plain, flyp = estimate(config.with_({"method": FtClean()})), estimate(config)
    text = miniature.model_config(miniature.FINE)["text_cfg"]
    tokens, width = text["context_length"], text["width"]
    # 12 squares of the width for each token and layer, and two products of tokens with tokens.
    flop = text["layers"] * (2 * tokens * 12 * width**2 + 4 * tokens**2 * width)
    added = (flyp.forwards - plain.forwards) * flyp.gflop_per_forward * 1e9
    assert added / (3 * 48) == pytest.approx(flop, rel=0.05)
    assert sum(flyp.forwards_in.values()) == pytest.approx(flyp.forwards)


def test_a_model_that_helps_an_attack_has_its_own_texts_where_texts_were_tuned(tmp_path: Path) -> None:
    config, images = small(), open_data(DataRef(name="dishes"), "selection", 96, 8)
    assert run_trial(config, tmp_path / "a", RunContext(cache=tmp_path, device="cpu")).status == "done"
    model = restored(config, tmp_path, torch.device("cpu"))
    victim, tuned = model.victim, model.banks(images)
    untouched = evaluation_bank(config.with_({"epochs": 0}), untouched_clip(config.model, "cpu"), images)
    assert torch.equal(victim.others["untouched"].text_beside(victim, tuned).unit, untouched.unit)
    plain = restored(config.with_({"epochs": 0}), tmp_path, torch.device("cpu")).victim
    assert plain.others["untouched"].text_beside(plain, tuned) is tuned, "nothing was tuned, so the texts are shared"
    assert torch.equal(victim.text_beside(plain, untouched).unit, tuned.unit)
