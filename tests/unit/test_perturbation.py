"""Training on moved tokens or embeddings: moves stay in their balls, raise what the method climbs, and repeat."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, miniature
from zsr_core.methods import Fare, TeCoA
from zsr_core.methods.method import Method
from zsr_core.model.distributed import World
from zsr_core.model.load import Clip, ModelRef, load_clip
from zsr_core.text import encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe, Step, make_step
from zsr_core.training.optim import Optim
from zsr_core.training.perturbation import Moves, Perturbation, climbed
from zsr_core.trial.check import check
from zsr_core.trial.cost import estimate
from zsr_core.trial.presets import miniature as preset

SITES = (Perturbation(site="token", radius=0.2, block=1), Perturbation(site="embedding", radius=0.3))
CLASSES = ("cat", "dog", "fish")


@pytest.fixture(scope="module")
def clip() -> Clip:
    return load_clip(ModelRef(name="miniature"), "cpu")


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(6, 3, 48, 48, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])


def _step(clip: Clip, method: Method, perturbation: Perturbation | None) -> Step:
    recipe = Recipe(
        optim=Optim(lr=1e-3), threat=ThreatModel(eps=2 / 255), attack=Pgd(steps=3, keep="last"), epochs=1,
        batch_size=6, precision="fp32", seed=0, perturbation=perturbation,
    )  # fmt: skip
    return make_step(clip, method, encode_classes(clip.encode_text, CLASSES, miniature.TEMPLATES[:1]), recipe, total=1)


def _weights(step: Step) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in step.tower.parameters()])


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.site)
@pytest.mark.parametrize("method", [TeCoA(), Fare()], ids=lambda method: method.title)
def test_moves_stay_in_their_balls_and_raise_what_the_method_climbs(
    clip: Clip, batch: tuple[torch.Tensor, torch.Tensor], site: Perturbation, method: Method
) -> None:
    step, (x, y) = _step(clip, method, site), batch
    views = step.views(x, x, y, torch.arange(6))

    def objective(see: object) -> torch.Tensor:
        return method.attack_objective(dataclasses.replace(views, moved_student=see))  # type: ignore[arg-type]

    def of(moves: Moves) -> float:
        with torch.no_grad():
            return float(objective(lambda images: site.features(step.tower, images, moves)).mean())

    def found(steps: int) -> Moves:
        noise = torch.Generator().manual_seed(1)
        return climbed(dataclasses.replace(site, steps=steps), step.tower, x, objective, noise)

    few, many = found(1), found(8)
    for moves in (few, many):
        assert moves.vectors is not None
        assert moves.vectors.norm(dim=-1).max() <= site.radius * (1 + 1e-6)
    still = Moves(site.radius, torch.Generator())
    still.vectors = torch.zeros_like(many.vectors)  # type: ignore[arg-type]
    assert of(still) < of(few) < of(many)


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.site)
def test_a_step_trains_on_what_was_moved_and_is_repeatable(
    clip: Clip, batch: tuple[torch.Tensor, torch.Tensor], site: Perturbation
) -> None:
    x, y = batch
    steps = [_step(clip, TeCoA(), one) for one in (site, site, Perturbation(site="none"))]
    losses = [step(x, y, torch.arange(6), 0)["loss"] for step in steps]
    assert losses[0] == losses[1] > losses[2]
    assert torch.equal(_weights(steps[0]), _weights(steps[1]))
    assert not torch.equal(_weights(steps[0]), _weights(steps[2]))


def test_no_perturbation_trains_on_clean_images(clip: Clip, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, y = batch
    said = _step(clip, TeCoA(), Perturbation(site="none"))(x, y, torch.arange(6), 0)
    bank = encode_classes(clip.encode_text, CLASSES, miniature.TEMPLATES[:1])
    unit = torch.nn.functional.normalize(clip.tower(x), dim=-1)
    expected = torch.nn.functional.cross_entropy(clip.scale * unit @ bank.unit.T, y)
    assert said["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_an_unedited_block_changes_no_bit(clip: Clip, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    with torch.no_grad():
        plain = clip.tower(batch[0])
        last = len(clip.tower.visual.transformer.resblocks) - 1  # type: ignore[union-attr, arg-type]
        edited = [clip.tower.edited(batch[0], k, lambda h: h).embedding for k in range(last + 1)]
        moved = [clip.tower.edited(batch[0], k, lambda h: h * 1.5).embedding for k in range(last + 1)]
    assert all(torch.equal(plain, one) for one in edited)
    assert not any(torch.allclose(plain, one) for one in moved)
    with pytest.raises(ConfigError, match=f"block: got {last + 1}, expected a block from 0 to {last}"):
        clip.tower.check_block(last + 1)


def test_what_cannot_be_done_is_refused_before_any_work(clip: Clip) -> None:
    with pytest.raises(ConfigError, match="radius: got 0"):
        Perturbation(site="token")
    with pytest.raises(ConfigError, match=r"block: got 2, expected 0"):
        Perturbation(site="embedding", radius=0.1, block=2)
    config = preset(TeCoA()).with_({"perturbation": Perturbation(site="token", radius=0.1, block=99)})
    with pytest.raises(ConfigError, match=r"config\.perturbation\.block: got 99"):
        check(config)
    with pytest.raises(ConfigError, match="steps: got 0"):
        Perturbation(site="token", radius=0.1, steps=0)
    bank = encode_classes(clip.encode_text, CLASSES, ("{}",))
    recipe = dataclasses.replace(_step(clip, TeCoA(), None).recipe, perturbation=Perturbation(site="none"))
    with pytest.raises(ConfigError, match="perturbation: got 2, expected one process"):
        make_step(clip, TeCoA(), bank, recipe, total=1, world=World(rank=0, size=2))


def test_a_perturbation_has_an_id_and_a_cost_of_its_own() -> None:
    small = {"eval_suite.tasks": (DataRef(name="sport"),), "eval_suite.n": 2, "train_data.limit": 64}
    config = preset(TeCoA()).with_(small)
    sites = [None, Perturbation(site="none"), *SITES]
    configs = [config.with_({"perturbation": site}) for site in sites]
    assert len({one.training_id for one in configs}) == len(configs)
    assert configs[0].trial_id == config.trial_id
    costs = [estimate(one).forwards for one in configs]
    assert costs[3] - costs[1] == 64  # one forward of each training image
    assert costs[2] - costs[1] == 64 * (2 + 2)  # two steps of a forward and a backward
    assert costs[0] > costs[1]
