"""Each image is encoded once, on first use, whoever asks."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F

from zsr_core.model.layout import Features


def test_nothing_is_encoded_until_it_is_asked_for_and_then_once(tiny: Any) -> None:
    student, teacher = tiny.tower(), tiny.tower(seed=1)
    views = tiny.views(student, teacher)
    assert (student.tally.forward, teacher.tally.forward) == (0, 0)
    for _ in range(3):
        views.student_adv.cosines.sum()
        views.student_adv.patches.sum()
    assert (student.tally.forward, teacher.tally.forward) == (1, 0)
    views.student_clean.unit.sum()
    views.teacher_clean.cosines.sum()
    views.teacher_clean.patches.sum()
    assert (student.tally.forward, teacher.tally.forward) == (2, 1)


def test_cosines_are_inner_products_of_unit_rows(tiny: Any) -> None:
    views = tiny.views(tiny.tower(), tiny.tower())
    expected = F.cosine_similarity(views.student_adv.embedding[:, None], views.text.unit[None], dim=2)
    torch.testing.assert_close(views.student_adv.cosines, expected)
    assert torch.equal(views.own_text, views.text.unit[views.labels])


def test_the_teacher_takes_no_gradient_on_clean_images_and_passes_the_pixels_on_adversarial_ones(
    tiny: Any, trainable: Any
) -> None:
    teacher = trainable(tiny.tower())
    x_adv = tiny.pixels(2).requires_grad_()
    views = tiny.views(tiny.tower(), teacher, clean=tiny.pixels(2), adv=x_adv)
    assert not views.teacher_clean.cosines.requires_grad
    teacher.requires_grad_(False)
    (grad,) = torch.autograd.grad(views.teacher_adv.cosines.sum(), x_adv)
    assert grad.abs().sum() > 0


def test_outside_an_attack_nothing_of_the_teacher_carries_a_gradient_patch_tokens_made_later_neither(
    tiny: Any, trainable: Any
) -> None:
    views = tiny.views(tiny.tower(), trainable(tiny.tower()))
    for seen in (views.teacher_clean, views.teacher_adv):
        assert not any(part.requires_grad for part in (seen.embedding, seen.cosines, seen.patches))


def test_a_cached_teacher_is_read_instead_of_run(tiny: Any) -> None:
    teacher = tiny.tower()
    views = tiny.views(tiny.tower(), teacher)
    stored: Features = teacher.features(views.clean)
    teacher.tally.reset()
    cached = dataclasses.replace(views, cached_teacher=lambda: stored)
    assert torch.equal(cached.teacher_clean.patches, stored.patches())
    assert teacher.tally.forward == 0


def test_whether_something_is_encoded_is_said_without_encoding_it(tiny: Any) -> None:
    student = tiny.tower()
    views = tiny.views(student, tiny.tower())
    assert views.encoded("student_adv") is None
    assert student.tally.forward == 0
    assert views.student_adv is views.encoded("student_adv")


def test_an_attack_of_many_steps_shares_what_the_clean_images_look_like(tiny: Any) -> None:
    student, teacher = tiny.tower(), tiny.tower(seed=1)
    views = tiny.views(student, teacher, n=4)
    rows = torch.tensor([2, 0])
    for k in range(3):
        faced = views.facing(tiny.pixels(2, seed=k), rows)
        assert torch.equal(faced.labels, views.labels[rows])
        torch.testing.assert_close(faced.student_clean.embedding, student(views.clean[rows]))
        torch.testing.assert_close(faced.teacher_clean.patches, teacher.features(views.clean[rows]).patches())
        faced.student_adv.embedding.sum()
    assert student.tally.forward == 1 + 3 + 3  # shared, for comparison, adversarial
    assert teacher.tally.forward == 1 + 3
