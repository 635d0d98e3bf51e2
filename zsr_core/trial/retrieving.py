"""Image-text retrieval of a trial's model: what it gave for every set of captions, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from zsr_core.data.captions import CaptionCount, CaptionRef, count_captions, open_captions
from zsr_core.data.shifts.names import CORRUPTION
from zsr_core.evaluation.meter import Part
from zsr_core.evaluation.retrieval.gather import TOKEN_ATTACKS, Asked, Retrieved, caption_bank, retrieve
from zsr_core.evaluation.retrieval.store import kept_retrieval_bytes
from zsr_core.evaluation.victim import Victim
from zsr_core.model.load import Clip
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext


def retrieved_of(
    config: TrialConfig, used: Clip, victim: Victim, *, parts: Path, context: RunContext
) -> Sequence[Retrieved]:
    """Return what the model gives for each set of captions of the suite; nothing where it asks for no retrieval.

    Args:
        used: the model with the text tower that is used.
        parts: the folder of what an earlier, killed run has finished.
    """
    suite = config.eval_suite.retrieval
    if suite is None:
        return ()
    found = []
    for ref in suite.sets:
        captions = open_captions(ref, config.eval_suite.split, used.tower.image_size, suite.n)
        asked = Asked(
            victim=victim, captions=captions, bank=caption_bank(used.encode_text, captions), suite=suite,
            seed=config.seed, batch_size=config.eval_suite.batch_size, device=context.where, parts=parts,
            on_event=context.on_event,
        )  # fmt: skip
        found.append(retrieve(asked, config.eval_suite.threats(), config.trial_id))
    return found


def retrieval_parts(config: TrialConfig) -> Iterator[Part]:
    """Yield what retrieval will do, in its order. A public set that is not here is counted by its published size."""
    suite = config.eval_suite.retrieval
    if suite is None:
        return
    forwards, backwards = suite.attack.cost()
    for ref, counted in _counted(config):
        blank = Part(
            task=ref.called, condition="none", eps=0.0, stage="", images=counted.images, forwards=1, backwards=0,
            published=counted.published,
        )  # fmt: skip
        yield blank
        attacked = replace(blank, forwards=forwards + 1, backwards=backwards)
        for eps in config.eval_suite.eps:
            for name in suite.copies:
                images = counted.images * (suite.distractors if name == "distractor" else 1)
                yield replace(attacked, condition=name, stage=name, eps=eps, images=images)
        if suite.tokens is not None:
            steps = suite.tokens.steps
            moved = replace(blank, forwards=steps + 2, backwards=steps)
            for budget in suite.tokens.budgets:
                for tokens in TOKEN_ATTACKS:
                    yield replace(moved, condition=tokens, stage=tokens, eps=budget)
        if suite.cells:
            yield replace(blank, condition=CORRUPTION, images=len(suite.cells) * counted.images)


def retrieval_bytes(config: TrialConfig, width: int) -> int:
    """Return the size of what is kept of the retrieval, before compression; embeddings have ``width`` numbers."""
    suite = config.eval_suite.retrieval
    if suite is None or not config.eval_suite.keeps_embeddings:
        return 0
    budgets, tokens = len(config.eval_suite.eps), suite.tokens
    whole = budgets * len([name for name in suite.copies if name != "distractor"])
    whole += len(suite.cells)
    whole += len(TOKEN_ATTACKS) * len(tokens.budgets) if tokens else 0
    pushed = budgets * suite.distractors if "distractor" in suite.copies else 0
    return sum(kept_retrieval_bytes(n.images, n.captions, whole, pushed, width) for _, n in _counted(config))


def _counted(config: TrialConfig) -> Iterator[tuple[CaptionRef, CaptionCount]]:
    suite = config.eval_suite.retrieval
    for ref in () if suite is None else suite.sets:
        yield ref, count_captions(ref, config.eval_suite.split, None if suite is None else suite.n)
