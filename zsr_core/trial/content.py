"""What a result rests on, by content: weights files, images, class names and prompts. A config names them by path."""

from __future__ import annotations

import hashlib
from pathlib import Path

from zsr_core.codec import fingerprint
from zsr_core.data import DataRef, ImageSet, open_data
from zsr_core.data.captions import open_captions
from zsr_core.data.shifts.kinds import cells_of
from zsr_core.data.shifts.made import content_of
from zsr_core.model.load import image_size_of, is_file
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

PREFIX = "content_"  # of the facts in a result's provenance


def contents(config: TrialConfig) -> dict[str, str]:
    """Return digests by name: of the weights files, of the training set, of every task with its texts, of every
    out-of-distribution set, of every set of captions, of boxes and proposals, and of every folder of corrupted images.

    The built-in miniature is left out, because its parts change with the version of this package alone.
    """
    size, suite = image_size_of(config.model), config.eval_suite
    files = {"weights": config.model.pretrained, "text_from": config.model.text_from, "annotations": suite.annotations}
    if suite.detection is not None:
        files |= {name: getattr(suite.detection, name) for name in ("boxes", "proposals")}
    digests = {name: file_digest(Path(file)) for name, file in files.items() if file is not None and is_file(file)}
    if config.epochs and not _built_in(config.train_data):
        digests["train"] = _digest(open_data(config.train_data, "train", size))
    for task in (*suite.tasks, *suite.measured_ood):
        if not _built_in(task):
            images = open_data(task, suite.split, size, suite.n, space=suite.space, trained_on=config.train_data)
            digests[task.called] = _digest(images)
            if task.corrupted is not None and suite.corruptions:
                folder = Path(task.corrupted).expanduser()
                digests[f"{task.called}_corrupted"] = content_of(images, folder, cells_of(suite.corruptions))
    if suite.retrieval is not None:
        sets = [ref for ref in suite.retrieval.sets if ref.source != "miniature"]
        digests |= {ref.called: open_captions(ref, suite.split, size, suite.retrieval.n).key for ref in sets}
    return digests


def changed_since(result: TrialResult) -> tuple[str, ...]:
    """Return what is no longer as it was when the result was measured, by the names of :func:`contents`.

    What a result of an earlier version does not know is not compared.
    """
    now = contents(result.config)
    return tuple(name for name, digest in now.items() if result.provenance.get(PREFIX + name, digest) != digest)


def content_facts(config: TrialConfig) -> dict[str, str]:
    """Return the facts for a result's provenance."""
    return {PREFIX + name: digest for name, digest in contents(config).items()}


def file_digest(file: Path) -> str:
    """Return the SHA-256 of a file's bytes, 24 hex digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:24]


def _built_in(ref: DataRef) -> bool:
    return ref.source == "miniature"


def _digest(images: ImageSet) -> str:
    return fingerprint([images.key, list(images.classes), list(images.templates), images.labels.tolist()], 24)
