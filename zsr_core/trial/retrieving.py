"""Image-text retrieval of a trial's model: what it gave for every set of captions, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from zsr_core.data.captions import CaptionRef, open_captions, published_images
from zsr_core.evaluation.meter import Part
from zsr_core.evaluation.retrieval.gather import TOKEN_ATTACKS, Asked, Retrieved, caption_bank, retrieve
from zsr_core.evaluation.retrieval.store import kept_retrieval_bytes
from zsr_core.evaluation.victim import Victim
from zsr_core.model.load import Clip
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext

USUAL = 5  # captions of an image, as COCO and Flickr30k have, to count those of a set that is not here


def retrieved_of(
    config: TrialConfig, clip: Clip, victim: Victim, *, parts: Path, context: RunContext
) -> Sequence[Retrieved]:
    """Return what the model gives for each set of captions of the suite; nothing where it asks for no retrieval.

    Args:
        parts: the folder of what an earlier, killed run has finished.
    """
    suite = config.eval_suite.retrieval
    if suite is None:
        return ()
    found = []
    for ref in suite.sets:
        captions = open_captions(ref, config.eval_suite.split, clip.tower.image_size, suite.n)
        asked = Asked(
            victim=victim, captions=captions, bank=caption_bank(clip.encode_text, captions), suite=suite,
            seed=config.seed, batch_size=config.eval_suite.batch_size, device=context.where, parts=parts,
            on_event=context.on_event,
        )  # fmt: skip
        found.append(retrieve(asked, config.eval_suite.threats(), config.trial_id))
    return found


def retrieval_parts(config: TrialConfig, size: int) -> Iterator[Part]:
    """Yield what retrieval will do, in its order. A public set that is not here is counted by its published size."""
    suite = config.eval_suite.retrieval
    if suite is None:
        return
    forwards, backwards = suite.attack.cost()
    for ref in suite.sets:
        n, _, published = _counted(config, ref, size)
        blank = {"task": ref.called, "published": published}
        yield Part(condition="none", eps=0.0, stage="", images=n, forwards=1, backwards=0, **blank)  # type: ignore[arg-type]
        for eps in config.eval_suite.eps:
            for name in suite.copies:
                images = n * suite.distractors if name == "distractor" else n
                yield Part(
                    condition=name, eps=eps, stage=name, images=images, forwards=forwards + 1, backwards=backwards,
                    **blank,  # type: ignore[arg-type]
                )  # fmt: skip
        tokens = suite.tokens
        for budget in tokens.budgets if tokens else ():
            for name in TOKEN_ATTACKS if tokens else ():
                steps = tokens.steps if tokens else 0
                yield Part(
                    condition=name, eps=budget, stage=name, images=n, forwards=steps + 2, backwards=steps,
                    **blank,  # type: ignore[arg-type]
                )  # fmt: skip


def retrieval_bytes(config: TrialConfig, size: int, width: int) -> int:
    """Return the size of what is kept of the retrieval, before compression."""
    suite = config.eval_suite.retrieval
    if suite is None or not config.eval_suite.keeps_embeddings:
        return 0
    budgets, tokens = len(config.eval_suite.eps), suite.tokens
    whole = budgets * len([name for name in suite.copies if name != "distractor"])
    whole += len(TOKEN_ATTACKS) * len(tokens.budgets) if tokens else 0
    pushed = budgets * suite.distractors if "distractor" in suite.copies else 0
    counts = (_counted(config, ref, size) for ref in suite.sets)
    return sum(kept_retrieval_bytes(n, texts, whole, pushed, width) for n, texts, _ in counts)


def _counted(config: TrialConfig, ref: CaptionRef, size: int) -> tuple[int, int, bool]:
    """Return (images, captions, whether they are published numbers)."""
    suite, split = config.eval_suite.retrieval, config.eval_suite.split
    limit = None if suite is None else suite.n
    known = published_images(ref, split)
    if known is None:
        opened = open_captions(ref, split, size, limit)
        return len(opened.images.ids), len(opened.captions), False
    n = min(limit for limit in (known, limit, ref.limit) if limit is not None)
    return n, n * min(USUAL, ref.captions or USUAL), True
