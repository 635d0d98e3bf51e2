"""Prompts to text embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.text import check_prompts, check_tokens, encode_classes


def test_each_prompt_is_normalised_before_and_after_the_mean_over_templates() -> None:
    """Prompts "a0" -> (3, 0), "a1" -> (0, 1): unit (1, 0) and (0, 1), mean (1/2, 1/2), unit again (1, 1) / sqrt(2)."""
    table = {"a0": [3.0, 0.0], "a1": [0.0, 1.0], "b0": [0.0, -2.0], "b1": [0.0, -5.0]}

    def encode(texts: Sequence[str]) -> Tensor:
        return torch.tensor([table[text] for text in texts])

    bank = encode_classes(encode, ("a", "b"), ("{}0", "{}1"))
    torch.testing.assert_close(bank.unit, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, -1.0]]))


def test_the_bank_does_not_depend_on_how_many_prompts_are_encoded_at_once(tiny: Any) -> None:
    encode = tiny.clip().encode_text
    templates = ("a {}", "the {}", "{}")
    whole = encode_classes(encode, tiny.classes, templates)
    parts = encode_classes(encode, tiny.classes, templates, batch=2)
    torch.testing.assert_close(whole.unit, parts.unit)
    assert whole.key == parts.key
    assert whole.key != encode_classes(encode, tiny.classes, templates[:1]).key


def test_braces_in_a_class_name_are_taken_as_they_are() -> None:
    seen: list[str] = []

    def encode(texts: Sequence[str]) -> Tensor:
        seen.extend(texts)
        return torch.ones(len(texts), 2)

    encode_classes(encode, ("{0} cat",), ("a {}, yes a {}",))
    assert seen == ["a {0} cat, yes a {0} cat"]


@pytest.mark.parametrize(
    ("classes", "templates", "says"),
    [
        ((), ("{}",), "classes: got [], expected at least one class"),
        (("a", "b", "a"), ("{}",), "classes: got 'a', expected every class name once"),
        (("a",), (), "templates: got [], expected at least one template"),
        (("a",), ("a photo",), "templates: got 'a photo', expected a template with {}"),
    ],
)
def test_prompts_that_cannot_be_used_are_refused(classes: Any, templates: Any, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_prompts(classes, templates)
    assert says in str(error.value)


def _words(texts: list[str]) -> Tensor:
    """Letters as ids, other signs as one id, after six signs nothing: a tokenizer with a context."""
    rows = [[ord(c) if c.isalpha() else 1 for c in text[:6]] for text in texts]
    return torch.tensor([row + [0] * (6 - len(row)) for row in rows])


@pytest.mark.parametrize(
    ("classes", "templates", "named"),
    [
        (("a1", "b", "a2"), ("{}",), "'a1', 'a2'"),  # signs that the tokenizer does not know
        (("long name", "long nape", "b"), ("{}",), "'long name', 'long nape'"),  # beyond its context
        (("12", "34", "5"), ("{}", "a {}"), "'12', '34'"),
    ],
)
def test_classes_that_become_equal_tokens_are_named(classes: Any, templates: Any, named: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_tokens(_words, classes, templates)
    assert f"the classes {named} become equal tokens" in str(error.value)


def test_one_template_that_tells_two_classes_apart_is_enough() -> None:
    check_tokens(_words, ("kitten", "kitty"), ("{}",))
    check_tokens(_words, ("abc", "abd"), ("xxxx {}", "{}"))
