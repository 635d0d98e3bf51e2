"""A deployed model on an image-text set: unit embeddings clean and under every attack that the suite asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks import Scored
from zsr_core.codec import fingerprint, require, to_plain
from zsr_core.data import ImageSet, batches
from zsr_core.data.captions import CaptionSet
from zsr_core.data.open import taken
from zsr_core.data.shifts.corrupt import chunks, corrupted
from zsr_core.data.shifts.kinds import Cell
from zsr_core.data.shifts.names import CORRUPTION, corruption_name
from zsr_core.evaluation.metrics.outputs import Rows, Singles
from zsr_core.evaluation.retrieval.losses import RetrievalLoss, hiding_loss, pushing_loss, query_loss
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.evaluation.retrieval.tokens import attacked_tokens
from zsr_core.evaluation.victim import Victim
from zsr_core.events import AsOne, BatchJudged, OnEvent, ignore
from zsr_core.files import write_whole
from zsr_core.model.tower import ImageTower
from zsr_core.rng import generator
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel

Place = tuple[str, float]  # condition, budget
TOKEN_ATTACKS = ("token_query", "token_hiding")


@dataclass(frozen=True, kw_only=True, eq=False)
class Retrieved:
    """What a model gave for N images and N_t captions of one set; rows are unit embeddings."""

    name: str
    split: str
    trial_id: str
    weights_sha: str
    ids: tuple[str, ...]  # [N]
    captions: tuple[str, ...]  # [N_t]
    owner: Rows  # [N_t] the image of each caption, rising
    images: Singles  # [N, D] clean
    texts: Singles  # [N_t, D]
    # Attacked or corrupted images [N, D]; under "distractor" [N * M, D], M for each image's caption.
    copies: dict[Place, Singles]
    distractors: Rows | None = None  # [N, M] which images those are copies of


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """One model on one set: who is attacked, on what, and how it is recorded."""

    victim: Victim
    captions: CaptionSet
    bank: TextBank  # the captions, in the place of classes
    suite: RetrievalSuite
    seed: int
    batch_size: int
    device: torch.device
    parts: Path | None = None  # where finished conditions are kept for a resume
    on_event: OnEvent = ignore


def caption_bank(encode: Callable[[Sequence[str]], Tensor], captions: CaptionSet, batch: int = 256) -> TextBank:
    """Return the unit embeddings [N_t, D] of a set's captions, as they are, without a template.

    Args:
        encode: texts -> raw embeddings.
    """
    texts = captions.captions
    with torch.no_grad():
        raw = torch.cat([encode(texts[i : i + batch]) for i in range(0, len(texts), batch)])
    return TextBank(unit=F.normalize(raw.float(), dim=-1), classes=texts, templates=("{}",))


def retrieve(asked: Asked, threats: Sequence[ThreatModel], trial_id: str = "") -> Retrieved:
    """Return the embeddings of a set, clean and attacked at every budget.

    Images are attacked through the input alone, in fp32, on the bare model, or behind a randomised defence on the mean
    over its draws; what an attack gives is projected and encoded again as the model is deployed.

    Raises:
        ConfigError: if tokens are attacked of a model that has none.
        ArithmeticError: naming set and condition, if an embedding is not finite.
    """
    captions, suite = asked.captions, asked.suite
    owner = captions.owner.numpy().astype(np.intp)
    texts = asked.bank.unit.float().cpu().numpy()
    images = _kept(asked, "none", 0.0, lambda: _clean(asked))
    copies: dict[Place, Singles] = {}
    wrong = _nearest_wrong(images, texts, owner, suite.distractors) if "distractor" in suite.copies else None
    for threat in threats:
        for name in suite.copies:
            pushed = wrong if name == "distractor" else None
            compute = partial(_attacked, asked, name, threat, pushed)
            copies[name, threat.eps] = _kept(asked, name, threat.eps, compute)
    if suite.tokens is not None:
        for budget in suite.tokens.budgets:
            for tokens in TOKEN_ATTACKS:
                copies[tokens, budget] = _kept(asked, tokens, budget, partial(_tokens, asked, tokens, budget))
    progress = AsOne(on_event=asked.on_event, condition=CORRUPTION, of=len(suite.cells) * len(images))
    for cell in suite.cells:
        called = corruption_name(cell)
        copies[called, 0.0] = _kept(asked, called, 0.0, partial(_corrupted, replace(asked, on_event=progress), cell))
        progress.before += len(images)
    return Retrieved(
        name=captions.images.name, split=captions.images.split, trial_id=trial_id, weights_sha=asked.victim.sha,
        ids=tuple(captions.images.ids), captions=captions.captions, owner=owner, images=images, texts=texts,
        copies=copies, distractors=wrong,
    )  # fmt: skip


def _kept(asked: Asked, condition: str, eps: float, compute: Callable[[], Singles]) -> Singles:
    """Return a condition's embeddings: from an earlier, killed run where its file is there, else computed and kept."""
    file = None
    if asked.parts is not None:
        suite = to_plain(replace(asked.suite, sets=asked.suite.sets[:1], radii=(), n=None, corruptions=()))
        text = asked.bank.unit.double().sum(dim=0).tolist()
        about = [asked.victim.key, asked.captions.key, text, suite, condition, eps, asked.seed]
        file = asked.parts / f"retrieval-{fingerprint(about, 24)}.npy"
        if file.is_file():
            stored: Singles = np.load(file, allow_pickle=False)
            return stored
    unit = compute()
    name = asked.captions.images.name
    if not np.isfinite(unit).all():
        raise ArithmeticError(f"retrieval set {name!r}, condition {condition!r}: an embedding is not finite")
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, lambda part: _save(part, unit))
    return unit


def _save(part: Path, unit: Singles) -> None:
    with part.open("wb") as out:
        np.save(out, unit, allow_pickle=False)


def _over(
    asked: Asked, images: ImageSet, condition: str, eps: float, compute: Callable[[Tensor, Tensor], Tensor],
    shown: Iterable[ImageSet] | None = None,
) -> Singles:  # fmt: skip
    """Return what ``compute(x [b, 3, H, W], rows [b])`` gives, batch by batch: [N, D].

    Args:
        shown: the same images in their order, some at a time, as ``compute`` gets them; None: as they are.
    """
    n = len(images.ids)
    found, done = [], 0
    for part in (images,) if shown is None else shown:
        first = done
        for x, _, rows in batches(part, torch.arange(len(part.ids)).split(asked.batch_size), asked.device):
            found.append(compute(x, first + rows.to(x.device)).cpu().float().numpy())
            done += len(rows)
            asked.on_event(
                BatchJudged(
                    task=images.name, condition=condition, eps=eps, stage=condition if eps else "", done=done, of=n,
                    recalled=False,
                )
            )  # fmt: skip
    return np.concatenate(found)


def _names(images: ImageSet, rows: Tensor) -> list[str]:
    return [images.ids[row] for row in rows.tolist()]


@torch.no_grad()
def _judged(asked: Asked, x: Tensor, condition: str, names: Sequence[str]) -> Tensor:
    """Return the unit embeddings [b, D] of the model as it is deployed; the defence's draw is the condition's own."""
    return asked.victim.unit(x, asked.bank, lambda: [generator(asked.seed, "defence", condition, n) for n in names])


def _clean(asked: Asked) -> Singles:
    images = asked.captions.images
    return _over(asked, images, "none", 0.0, lambda x, rows: _judged(asked, x, "none", _names(images, rows)))


def _corrupted(asked: Asked, cell: Cell) -> Singles:
    """Return the unit embeddings of all images under one corruption, of which some pixels are held at a time."""
    images, name = asked.captions.images, corruption_name(cell)
    shown = (corrupted(chunk, cell) for chunk in chunks(images))
    return _over(asked, images, name, 0.0, lambda x, rows: _judged(asked, x, name, _names(images, rows)), shown)


def _attacked(asked: Asked, name: str, threat: ThreatModel, distractors: Rows | None) -> Singles:
    """Return the unit embeddings of attacked copies: of every image, or of the distractors [N, M] in their order."""
    images = asked.captions.images
    queries = torch.arange(len(images.ids))
    if distractors is not None:  # copies of several images may be of one, each pushed to another caption
        queries = queries.repeat_interleave(distractors.shape[1])
        images = taken(images, distractors.reshape(-1).tolist())
    loss = _loss(asked, name, queries)

    def compute(x: Tensor, rows: Tensor) -> Tensor:
        names = [f"{n}/{q}" for n, q in zip(_names(images, rows), queries[rows.cpu()].tolist(), strict=True)]
        x_adv = _climbed(asked, loss, x, rows, threat, [f"{name}/{n}" for n in names])
        return _judged(asked, x_adv, name, names)

    return _over(asked, images, name, threat.eps, compute)


def _loss(asked: Asked, name: str, queries: Tensor) -> RetrievalLoss:
    texts, owner = asked.bank.unit.float(), asked.captions.owner.to(asked.bank.unit.device)
    if name in ("query", "token_query"):
        return query_loss(texts, owner, 1 / asked.victim.scale)
    if name in ("hiding", "token_hiding"):
        return hiding_loss(texts, owner)
    first = torch.searchsorted(owner, queries.to(owner.device))
    return pushing_loss(texts[first])


def _climbed(
    asked: Asked, loss: RetrievalLoss, x: Tensor, rows: Tensor, threat: ThreatModel, names: Sequence[str]
) -> Tensor:
    """Return x_adv [b, 3, H, W] inside ``threat``, the iterate of the largest loss; ``names`` seed the noise."""
    victim, seed, steps = asked.victim, asked.seed, count()

    def defence(own: list[str], step: int, sample: int) -> list[torch.Generator]:
        return [generator(seed, "defence", name, step, sample) for name in own]

    def units(x_adv: Tensor, picked: Tensor) -> list[Tensor]:
        if victim.defended is None or victim.attack_samples == 0:
            return [victim.unit(x_adv, asked.bank)]
        own, step = [names[row] for row in picked.tolist()], next(steps)
        return [victim.unit(x_adv, asked.bank, partial(defence, own, step, k)) for k in range(victim.attack_samples)]

    def objective(x_adv: Tensor, picked: Tensor) -> Scored:
        seen = [loss(unit, rows[picked]) for unit in units(x_adv, picked)]
        return Scored(loss=torch.stack(seen).mean(dim=0) + 0 * x_adv.flatten(1)[:, 0], fooled=None)

    def draws(purpose: str, picked: Tensor) -> list[torch.Generator]:
        return [generator(seed, "retrieval", purpose, names[row]) for row in picked.tolist()]

    x_adv = asked.suite.attack.climb(objective, x, threat, draws).detach()
    return threat.project(torch.where(x_adv.isfinite(), x_adv, x), x)


def _tokens(asked: Asked, name: str, budget: float) -> Singles:
    tower, suite, images = asked.victim.embed, asked.suite.tokens, asked.captions.images
    plain = isinstance(tower, ImageTower) and asked.victim.defended is None
    require(plain, "retrieval.tokens", type(tower).__name__, "an image tower that no test-time defence surrounds")
    assert isinstance(tower, ImageTower)
    assert suite is not None
    loss = _loss(asked, name, torch.arange(len(images.ids)))
    return _over(asked, images, name, budget, lambda x, rows: attacked_tokens(tower, suite, budget, loss, x, rows))


def _nearest_wrong(images: Singles, texts: Singles, owner: Rows, m: int) -> Rows:
    """Return [N, M]: the images of others that score highest for each image's first caption."""
    n = len(images)
    require(m < n, "retrieval.distractors", m, f"fewer than the {n} images of the set")
    found = np.empty((n, m), np.intp)
    first = np.searchsorted(owner, np.arange(n))
    of_image = images.astype(np.float64)
    for k in range(n):
        scores = of_image @ texts[first[k]].astype(np.float64)
        scores[k] = -np.inf
        found[k] = np.argsort(-scores, kind="stable")[:m]
    return found
