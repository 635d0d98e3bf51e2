"""The contrastive and cross-entropy losses by hand, and the methods' own checks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.methods import FtAdv, FtClean, TeCoA, TgaZsr
from zsr_core.methods.views import Views
from zsr_core.model.layout import Features
from zsr_core.text import TextBank


def _views(embedding: Tensor, unit: Tensor, labels: list[int], scale: float) -> Views:
    def seen(_: Tensor) -> Features:
        def none() -> Any:
            raise AssertionError("these losses look at embeddings alone")

        return Features(embedding=embedding, patches=none, last_norm=none, grid=(1, 1))

    bank = TextBank(unit=unit, classes=tuple("abc"[: len(unit)]), templates=("{}",))
    x = torch.zeros(len(embedding), 3, 1, 1)
    return Views(
        labels=torch.tensor(labels), text=bank, scale=scale, clean=x, adv=x.clone(), student=seen, teacher=seen
    )


def test_the_contrastive_loss_worked_by_hand() -> None:
    """Three images of classes 0, 1, 1 with texts t0 = (1, 0), t1 = (0, 1), and scale 2. Unit embeddings v:
    (1, 0), (0, 1), (0.6, 0.8) (given as (2, 0), (0, 3), (3, 4): only directions count).

    O = 2 [v_i . t_y(j)], columns of classes 0, 1, 1:
        2    0    0
        0    2    2
        1.2  1.6  1.6
    Rows:    image 0: -2 + log(e^2 + 2);  image 1: -2 + log(1 + 2 e^2);  image 2: -1.6 + log(e^1.2 + 2 e^1.6)
    Columns: image 0: -2 + log(e^2 + 1 + e^1.2);  image 1: -2 + log(1 + e^2 + e^1.6);
             image 2: -1.6 + log(1 + e^2 + e^1.6)
    Images 1 and 2 share a class and are each other's negatives.
    """
    e2, e12, e16 = math.exp(2), math.exp(1.2), math.exp(1.6)
    rows = [-2 + math.log(e2 + 2), -2 + math.log(1 + 2 * e2), -1.6 + math.log(e12 + 2 * e16)]
    columns = [-2 + math.log(e2 + 1 + e12), -2 + math.log(1 + e2 + e16), -1.6 + math.log(1 + e2 + e16)]
    expected = torch.tensor([(r + c) / 2 for r, c in zip(rows, columns, strict=True)])
    views = _views(torch.tensor([[2.0, 0.0], [0.0, 3.0], [3.0, 4.0]]), torch.eye(2), [0, 1, 1], 2.0)
    torch.testing.assert_close(FtClean().loss(views)["contrastive"], expected)
    torch.testing.assert_close(FtAdv().loss(views)["contrastive"], expected)


def test_class_cross_entropy_worked_by_hand() -> None:
    """Unit embedding (0.6, 0.8), texts (1, 0), (0, 1), (-1, 0), scale 10: logits 6, 8, -6, of class 0."""
    views = _views(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), [0], 10.0)
    expected = torch.tensor([-6 + math.log(math.exp(6) + math.exp(8) + math.exp(-6))])
    torch.testing.assert_close(TeCoA().loss(views)["ce"], expected)
    torch.testing.assert_close(TeCoA().attack_objective(views), expected)


def test_ft_clean_looks_at_clean_images_and_ft_adv_at_adversarial_ones(tiny: Any) -> None:
    views = tiny.views(tiny.tower(), tiny.tower())
    swapped = tiny.views(tiny.tower(), tiny.tower(), clean=views.adv, adv=views.clean)
    torch.testing.assert_close(FtClean().loss(views)["contrastive"], FtAdv().loss(swapped)["contrastive"])
    assert not torch.allclose(FtClean().loss(views)["contrastive"], FtAdv().loss(views)["contrastive"])


def test_every_method_here_trains_against_class_cross_entropy(tiny: Any) -> None:
    views = tiny.views(tiny.tower(), tiny.tower())
    objectives = [m.attack_objective(views) for m in (FtClean(), FtAdv(), TeCoA(), TgaZsr())]
    assert all(torch.equal(o, objectives[0]) for o in objectives)
    assert torch.equal(objectives[2], TeCoA().loss(views)["ce"])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"alpha": -0.1}, "alpha: got -0.1, expected a finite number >= 0"),
        ({"beta": math.nan}, "beta: got nan"),
        ({"alpha": math.inf}, "alpha: got inf"),
        ({"attention": "txt"}, "attention: unknown value 'txt' (did you mean 'text'?); expected one of: text, visual"),
        ({"distance": "L2"}, "did you mean 'l2'?"),
        ({"norm_axis": "tokens"}, "did you mean 'token'?"),
        ({"minmax": "never"}, "minmax: unknown value 'never'"),
        ({"map_side": 0}, "map_side: got 0"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        TgaZsr(**wrong)
    assert says in str(error.value)


def test_the_defaults_are_the_papers() -> None:
    method = TgaZsr()
    assert (method.alpha, method.beta, method.distance, method.map_side) == (0.08, 0.05, "l2", 224)
    assert (method.attention, method.norm_axis, method.minmax) == ("text", "token", "before")
