"""A tuned model as it is used: its weights, its defence, its class texts."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from zsr_core.codec import fingerprint, to_plain
from zsr_core.data import ImageSet, open_data
from zsr_core.evaluation.regulariser import regulariser
from zsr_core.evaluation.victim import Victim
from zsr_core.files import remove_stale, write_text, write_whole
from zsr_core.model.load import Clip, ModelRef, check_texts, computes_quick_gelu, load_clip, towers_sha
from zsr_core.model.text_tower import TextTower
from zsr_core.model.tower import ImageTower
from zsr_core.text import TextBank, encode_classes
from zsr_core.training.fit import Fitted, fit
from zsr_core.training.pauses import Pauses
from zsr_core.trial.config import TrialConfig, recipe_of
from zsr_core.trial.context import RunContext

VISUAL = "visual."  # open_clip's name of the image tower in a whole CLIP


@dataclass(frozen=True, kw_only=True, eq=False)
class DeployedModel:
    """A trial's model as it is used."""

    victim: Victim
    banks: Callable[[ImageSet], TextBank]  # its class texts
    used: Clip  # the untouched image tower with the text tower that is used

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return self.used.tower.image_size


def restored(config: TrialConfig, cache: Path, device: torch.device) -> DeployedModel:
    """Return a trial's model from the weights kept in ``cache``.

    If the weights are no longer there, they are trained again.
    """
    clip = untouched_clip(config.model, str(device))
    return model_of(config, clip, tuned_tower(config, clip, RunContext(cache=cache, device=str(device))))


def model_of(config: TrialConfig, clip: Clip, tuned: Fitted) -> DeployedModel:
    """Return the model that a trial uses: the tuned towers behind its defence, with the texts that go with them."""
    used = with_texts(config, clip, tuned.texts)
    victim = deployed(config, clip, tuned.tower, used)
    return DeployedModel(victim=victim, banks=partial(evaluation_bank, config, used), used=used)


def with_texts(config: TrialConfig, clip: Clip, texts: TextTower | None) -> Clip:
    """Return ``clip`` with the text tower that the trial's model uses; ``texts`` is the tuned one, if one was tuned."""
    if texts is None:
        return clip
    if config.defence is not None:
        assert clip.text_tower is not None, "training has copied it"
        texts = config.defence.texts(texts, clip.text_tower)
    return replace(clip, text_tower=texts, encode_text=texts.encode, text_banks={})


def deployed(config: TrialConfig, clip: Clip, tuned: ImageTower, used: Clip | None = None) -> Victim:
    """Return the classifier as it is used: the tuned tower behind its defence, at its method's scale.

    Args:
        used: ``clip`` with the texts that are used (:func:`with_texts`), by default its own.
    """
    used = used or clip
    tuned_texts = used.text_tower is not clip.text_tower
    own = config.method.evaluation_scale if config.epochs else None
    scale = clip.scale if own is None else own
    tower = tuned if config.defence is None else config.defence.tower(tuned, clip.tower)
    source = _untouched(config, clip)
    defended = None if config.defence is None else config.defence.defended(tower, clip.tower)
    added = regulariser(config.method, clip, tower) if config.epochs else None
    return Victim(
        embed=tower, scale=scale, bias=clip.bias, features=tower.features, defended=defended,
        sha=towers_sha(tower, used.text_tower if tuned_texts else None),
        attack_samples=0 if config.defence is None else config.defence.attack_samples, regulariser=added,
        others={
            "untouched": Victim(
                embed=source.tower, scale=source.scale, bias=source.bias, sha=source.sha,
                features=source.tower.features, own_text=_own_text(source),
            )
        },
        own_text=_own_text(used), tuned_texts=tuned_texts,
        facts=fingerprint([to_plain(config.defence), to_plain(config.method) if added else None]),
    )  # fmt: skip


def _own_text(clip: Clip) -> Callable[[TextBank], TextBank]:
    return lambda bank: class_bank(clip, bank.classes, bank.templates)


def _untouched(config: TrialConfig, clip: Clip) -> Clip:
    """Return the model before tuning; for weights that others tuned, the CLIP whose texts go with them."""
    ref = config.model
    if config.epochs or ref.pretrained is None or ref.text_from is None:
        return clip
    return load_clip(replace(ref, pretrained=ref.text_from, text_from=None), next(clip.tower.parameters()).device)


def evaluation_bank(config: TrialConfig, used: Clip, images: ImageSet) -> TextBank:
    """Return the class texts that the model uses on a task; a tuned one may use its method's own.

    Args:
        used: the model with the text tower that is used (:func:`with_texts`).
    """
    own = class_bank(used, images.classes, images.templates)
    if config.epochs == 0:
        return own

    def train() -> TextBank:
        source = open_data(config.train_data, "train", used.tower.image_size)
        return class_bank(used, source.classes, source.templates)

    return config.method.evaluation_text(own, train)


def plain_bank(config: TrialConfig, images: ImageSet, device: torch.device) -> TextBank:
    """Return the class texts that the untouched model uses on a task."""
    return class_bank(untouched_clip(config.model, str(device)), images.classes, images.templates)


def tuned_tower(config: TrialConfig, clip: Clip, context: RunContext, pauses: Pauses | None = None) -> Fitted:
    """Return the tuned tower: from the shared cache if these very weights were trained before, else by training.

    Raises:
        TrainingStopped: if training ends at one of the ``pauses``; its checkpoint stays in the cache.
    """
    if config.epochs == 0:
        return Fitted(tower=clip.tower)
    device, world = context.where, context.world
    images = open_data(config.train_data, "train", clip.tower.image_size)
    kept = None if context.cache is None else _kept_weights(config, clip, images, context.cache)
    if context.cache is not None and world.leads:
        remove_stale_caches(context.cache)
    if kept is not None and world.lead(kept.is_file):
        fitted = _read_kept(clip, kept, texts=bool(config.method.passes.student_text))
        if fitted is not None:
            if world.leads:
                kept.with_suffix(".checkpoint").unlink(
                    missing_ok=True
                )  # of a process killed after it wrote the weights
            return fitted
    text = class_bank(clip, images.classes, images.templates)
    fitted = fit(
        clip, config.method, text, images, recipe_of(config), on_event=context.on_event, device=device, world=world,
        cache_folder=None if context.cache is None else context.cache / "teacher",
        checkpoint=None if kept is None else kept.with_suffix(".checkpoint"), pauses=pauses,
    )  # fmt: skip
    if kept is not None and world.leads:
        _keep(fitted, config, kept)
    return fitted


def remove_stale_caches(cache: Path) -> None:
    """Remove the incomplete copies of weights, checkpoints and teacher features that killed processes have left."""
    for place in (cache / "weights", *(cache / "teacher").glob("*")):
        remove_stale(place)


def kept_weights(config: TrialConfig, cache: Path) -> Path:
    """Return the file in ``cache`` that a trial's tuned weights are kept in, whether it is there or not."""
    clip = untouched_clip(config.model, "cpu")
    return _kept_weights(config, clip, open_data(config.train_data, "train", clip.tower.image_size), cache)


def _kept_weights(config: TrialConfig, clip: Clip, images: ImageSet, cache: Path) -> Path:
    """Return the file of the tuned weights; its name covers the contents of files that the config names by path."""
    start = fingerprint([clip.sha, images.key], 6)
    return cache / "weights" / f"{config.training_id}-{start}.safetensors"


def _read_kept(clip: Clip, kept: Path, *, texts: bool) -> Fitted | None:
    """Return the tuned towers that a file keeps; None if the file is torn or its weights are not those written.

    Args:
        texts: whether the file holds a whole CLIP, because the text tower was tuned too.
    """
    tower = copy.deepcopy(clip.tower)
    text_tower = clip.text_tower.copied() if texts and clip.text_tower is not None else None
    try:
        state = load_file(kept)
        if text_tower is not None:
            text_tower.model.load_state_dict({k: v for k, v in state.items() if not k.startswith(VISUAL)})
            state = {k.removeprefix(VISUAL): v for k, v in state.items() if k.startswith(VISUAL)}
        tower.visual.load_state_dict(state)
        facts = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
        sha = towers_sha(tower, text_tower)
        whole = facts.get("weights_sha", sha) == sha
        return Fitted(tower=tower, texts=text_tower, history=facts["history"], cost=facts["cost"]) if whole else None
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError):
        return None  # the weights are trained again


def _keep(fitted: Fitted, config: TrialConfig, kept: Path) -> None:
    """Write history and cost, then the tuned weights, and remove the checkpoint that they replace.

    The file holds the image tower alone, or a whole CLIP with open_clip's names where the text tower was tuned too.
    """
    sha = towers_sha(fitted.tower, fitted.texts)
    facts = {"history": fitted.history, "cost": fitted.cost, "weights_sha": sha}
    write_text(kept.with_suffix(".json"), json.dumps(facts))
    state = {name: tensor.contiguous() for name, tensor in fitted.tower.visual.state_dict().items()}
    if fitted.texts is not None:
        state = {VISUAL + name: tensor for name, tensor in state.items()}
        state |= {name: tensor.contiguous() for name, tensor in fitted.texts.model.state_dict().items()}
    header = {"model": config.model.name, "quick_gelu": str(computes_quick_gelu(config.model.name)).lower()}
    write_whole(kept, lambda part: save_file(state, part, metadata=header))
    kept.with_suffix(".checkpoint").unlink(missing_ok=True)


@lru_cache(maxsize=2)
def untouched_clip(ref: ModelRef, device: str) -> Clip:
    """Return the untouched model. Trials of a worker share it: they copy its tower and never change it."""
    return load_clip(ref, device)


def class_bank(clip: Clip, classes: tuple[str, ...], templates: tuple[str, ...]) -> TextBank:
    """Return a task's class texts by the text tower of ``clip``, which keeps them for the next call."""
    known = clip.text_banks
    if (classes, templates) not in known:
        check_texts(clip.ref, classes, templates)
        known[classes, templates] = encode_classes(clip.encode_text, classes, templates)
    return known[classes, templates]
