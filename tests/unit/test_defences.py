"""WiSE-FT's ends and middle, TTC by hand, and how an evaluation treats what stands before a model."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import open_data
from zsr_core.defences import Ttc, WiseFt
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import Agft, Laat, TeCoA
from zsr_core.model.load import load_clip, weights_sha
from zsr_core.threat import ThreatModel
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.deploy import deployed, evaluation_bank
from zsr_core.trial.presets import base
from zsr_core.trial.run import run_trial


def _generators(n: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(n)]


def test_the_ends_of_wise_ft_are_the_two_models_exactly(tiny: Any) -> None:
    tuned, original = tiny.tower(seed=1), tiny.tower(seed=0)
    assert weights_sha(WiseFt(alpha=0.0).tower(tuned, original)) == weights_sha(original)
    assert weights_sha(WiseFt(alpha=1.0).tower(tuned, original)) == weights_sha(tuned)


def test_half_way_every_weight_is_the_mean_and_neither_model_has_moved(tiny: Any) -> None:
    tuned, original = tiny.tower(seed=1), tiny.tower(seed=0)
    before = weights_sha(tuned), weights_sha(original)
    middle = WiseFt(alpha=0.5).tower(tuned, original).state_dict()
    for name, tensor in middle.items():
        torch.testing.assert_close(tensor, (tuned.state_dict()[name] + original.state_dict()[name]) / 2)
    assert (weights_sha(tuned), weights_sha(original)) == before


def test_trials_that_differ_in_defence_share_their_training() -> None:
    plain = TrialConfig()
    halves = plain.with_({"defence": WiseFt(alpha=0.5)})
    thirds = halves.with_({"defence.alpha": 0.3})
    assert len({c.trial_id for c in (plain, halves, thirds)}) == 3
    assert len({c.training_id for c in (plain, halves, thirds)}) == 1


class _Linear(torch.nn.Module):
    """f(x) = the sums of an image's channels: |f(x + d) - f(x)|^2 grows along sign(sum of d) in each channel."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=(2, 3))


def test_a_counterattack_worked_by_hand() -> None:
    """One pixel a channel, grey 0.5, eps 4/255, delta_0 = (e, -e, e) with e = 1/255: both steps of 1/255 go on along
    delta_0's signs, to (2e, ...) and (3e, ...). Weights 1, e^2, e^4 over their sum mix the three."""
    x, e = torch.full((1, 3, 1, 1), 0.5), 1 / 255
    start = e * torch.tensor([1.0, -1.0, 1.0]).view(1, 3, 1, 1)

    class Fixed(ThreatModel):
        def random_start(self, x: Tensor, generators: Any) -> Tensor:
            return x + start

    ttc, tower = Ttc(threshold=10.0), _Linear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("zsr_core.defences.ttc.ThreatModel", Fixed)
        moved = ttc.counterattack(tower, tower, x, _generators(1))  # type: ignore[arg-type]
        still = dataclasses.replace(ttc, threshold=0.0).counterattack(tower, tower, x, _generators(1))  # type: ignore[arg-type]
        zero = dataclasses.replace(ttc, steps=0).counterattack(tower, tower, x, _generators(1))  # type: ignore[arg-type]
    w = torch.softmax(torch.tensor([0.0, 2.0, 4.0]), dim=0)
    torch.testing.assert_close(moved, (w[0] + 2 * w[1] + 3 * w[2]) * start)
    torch.testing.assert_close(still, start)
    torch.testing.assert_close(zero, start)


def test_the_stability_of_an_image_is_judged_by_the_original_model(tiny: Any) -> None:
    """Ratios of the two towers differ, and a threshold between them tells which of them was asked."""
    tuned, original, x = tiny.tower(seed=1), tiny.tower(seed=0), tiny.pixels(1)

    def ratio(tower: Any) -> float:
        noisy = ThreatModel(eps=4 / 255).random_start(x, _generators(1))
        return float((tower(noisy) - tower(x)).norm() / tower(x).norm())

    between = (ratio(tuned) + ratio(original)) / 2
    noise = ThreatModel(eps=4 / 255).random_start(x, _generators(1)) - x
    for stability, judge in (("original", original), ("tuned", tuned)):
        delta = Ttc(threshold=between, stability=stability).counterattack(tuned, original, x, _generators(1))
        assert torch.equal(delta, noise) is (ratio(judge) >= between)


def test_a_counterattack_stays_in_its_ball_and_the_box_and_depends_on_the_image_alone(tiny: Any) -> None:
    tower, x = tiny.tower(), tiny.pixels(4)
    x[0] = 0.0
    ttc = Ttc(threshold=10.0, steps=5, step=2 / 255)
    delta = ttc.counterattack(tower, tower, x, _generators(4))
    assert ThreatModel(eps=4 / 255).contains(x + delta, x).all()
    alone = ttc.counterattack(tower, tower, x[2:3], [torch.Generator().manual_seed(2)])
    torch.testing.assert_close(alone, delta[2:3], atol=1e-6, rtol=0)


def _victim(tiny: Any, samples: int) -> Victim:
    tower, ttc = tiny.tower(), Ttc(threshold=10.0, attack_samples=samples)
    return Victim(embed=tower, scale=20.0, sha="", defended=ttc.defended(tower, tower), attack_samples=samples)


@pytest.mark.parametrize("samples", [0, 2])
def test_records_behind_a_defence_do_not_depend_on_the_batch_size(tiny: Any, samples: int) -> None:
    images, found = tiny.images(6), []
    for size in (2, 6):
        found.append(predict(_victim(tiny, samples), images, tiny.bank(), (Pgd(steps=2),), (ThreatModel(eps=2 / 255),),
                             batch_size=size))  # fmt: skip
    for one, other in zip(*(sorted(f, key=lambda r: (r.condition, r.sample_id)) for f in found), strict=True):
        assert one.pred == other.pred
        assert one.margin == pytest.approx(other.margin, abs=1e-3)


def test_an_unaware_attack_climbs_the_bare_model_and_the_defended_one_is_judged(tiny: Any) -> None:
    tower, images = tiny.tower(), tiny.images(6)
    asked = {"bare": 0, "defended": 0}

    def bare(x: Tensor) -> Tensor:
        asked["bare"] += len(x)
        return tower(x)

    def defended(x: Tensor, draws: Any) -> Tensor:
        asked["defended"] += len(x)
        assert len(draws) == len(x)
        return tower(x)

    for samples, bare_calls in ((0, True), (3, False)):
        asked.update(bare=0, defended=0)
        victim = Victim(embed=bare, scale=20.0, sha="", defended=defended, attack_samples=samples)
        records = predict(victim, images, tiny.bank(), (Pgd(steps=2),), (ThreatModel(eps=2 / 255),))
        standing = sum(r.correct for r in records if r.condition == "none")
        assert standing > 0
        assert asked["bare"] == (3 * standing if bare_calls else 0)
        assert asked["defended"] == 6 + standing + 3 * samples * standing


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: WiseFt(alpha=1.5), "alpha"),
        (lambda: Ttc(eps=4), "4/255"),
        (lambda: Ttc(steps=-1), "steps"),
        (lambda: Ttc(stability="both"), "stability"),  # type: ignore[arg-type]
    ],
)
def test_a_defence_out_of_range_is_refused_by_name(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()


def test_a_method_may_say_at_which_scale_and_with_which_texts_its_model_is_used(tiny: Any) -> None:
    clip = tiny.clip(scale=20.0)
    config = base(Agft(evaluation_scale=50.0), "miniature")
    assert deployed(config, clip, clip.tower).scale == 50.0
    assert deployed(config.with_({"epochs": 0}), clip, clip.tower).scale == 20.0
    assert deployed(base(TeCoA(), "miniature"), clip, clip.tower).scale == 20.0


@pytest.mark.slow
def test_laats_texts_are_turned_where_it_is_used_and_left_alone_on_the_untouched_model() -> None:
    config = base(Laat(expansion=80.0), "miniature")
    clip = load_clip(config.model)
    source, other = (open_data(task, "selection", clip.tower.image_size, 4) for task in config.eval_suite.tasks[:2])
    asis = evaluation_bank(config.with_({"epochs": 0}), clip, source).unit
    mean = torch.nn.functional.normalize(asis.mean(dim=0), dim=0)
    turned = evaluation_bank(config, clip, source).unit
    assert math.degrees(float(torch.arccos((turned @ mean).amin()))) == pytest.approx(80.0, abs=1e-2)
    theirs = [evaluation_bank(config.with_({"epochs": n}), clip, other).unit @ mean for n in (0, 1)]
    factor = math.radians(80) / float(torch.arccos((asis @ mean).amin()))
    torch.testing.assert_close(torch.arccos(theirs[1]), factor * torch.arccos(theirs[0]), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_trial_behind_a_defence_runs_and_reuses_the_tuned_weights(tmp_path: Path) -> None:
    small = base(TeCoA(), "miniature").with_({"train_data.limit": 16, "eval_suite.n": 2})
    results = [
        run_trial(config, tmp_path / config.trial_id, RunContext(cache=tmp_path / "cache"))
        for config in (small, small.with_({"defence": WiseFt(alpha=1.0)}), small.with_({"defence": Ttc(steps=1)}))
    ]
    assert [r.status for r in results] == ["done"] * 3
    assert len(list((tmp_path / "cache" / "weights").glob("*.safetensors"))) == 1
    assert len({r.provenance["weights_sha"] for r in results}) == 1
    plain, whole = ([m.value for m in r.measurements] for r in results[:2])
    assert plain == whole
