"""Full-size architectures with random weights: the tower against open_clip's own modules, at its own resolution."""

from __future__ import annotations

import pytest
import torch

from zsr_core.methods import TgaZsr
from zsr_core.model.load import ModelRef, load_clip
from zsr_core.model.tower import Tally
from zsr_core.text import encode_classes
from zsr_core.training.fit import make_step
from zsr_core.trial.config import recipe_of
from zsr_core.trial.presets import paper

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-32-quickgelu", "ViT-B-16", "RN50", "convnext_base", "EVA02-B-16"])
def test_the_tower_is_open_clips_own(name: str) -> None:
    clip = load_clip(ModelRef(name=name))
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)).requires_grad_()
    seen = clip.tower.features(x)
    theirs = clip.tower.visual((x - clip.tower.mean) / clip.tower.std)
    torch.testing.assert_close(seen.embedding, theirs, rtol=1e-3, atol=1e-4 * float(theirs.detach().abs().max()))
    ours, expected = (
        torch.autograd.grad(out.square().sum(), x, retain_graph=True)[0] for out in (seen.embedding, theirs)
    )
    torch.testing.assert_close(ours, expected, rtol=1e-2, atol=1e-3 * float(expected.abs().max()))
    assert seen.patches().shape == (2, seen.grid[0] * seen.grid[1], theirs.shape[1])


def test_a_step_of_the_papers_recipe_runs_on_a_full_size_model() -> None:
    config = paper(TgaZsr())
    clip = load_clip(ModelRef(name=config.model.name))
    text = encode_classes(clip.encode_text, [f"thing {i}" for i in range(10)], ("This is a photo of a {}",))
    step = make_step(clip, config.method, text, recipe_of(config), total=1)
    x = torch.rand(4, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    values = step(x, torch.arange(4), torch.arange(4), 0)
    assert set(values) == {"ce", "larm", "gacm", "loss", "grad_norm", "clean_accuracy", "robust_accuracy"}
    assert step.tower.tally == Tally(forward=4, input_backward=2, full_backward=2, images=16)
