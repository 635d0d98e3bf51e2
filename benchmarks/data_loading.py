"""How fast do decoded pictures that are kept on disk reach the trainer, beside a plain copy in memory and JPEGs?

`python benchmarks/data_loading.py` makes JPEG pictures of noise-free colour, as large as ImageNet's usual ones, reads
them through `batches()` as a trial does, decoding and kept (`ZSR_CACHE`), and asserts that both give the same bits.
The copy beside it moves what the trainer gets, float32 batches on the CPU, from memory into memory that is at hand: it
is the upper limit. On CUDA pixels are copied as bytes and converted to floats on the GPU; the copy is then of bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zsr_core.data import DataRef, ImageSet, batches, open_data
from zsr_core.data.kept import VARIABLE


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rates = measured(Path(folder), args)
    print(report(rates, args))
    if args.json:
        Path(args.json).write_text(json.dumps(rates, indent=1) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    add = parser.add_argument
    for name, value, what in (
        ("images", 2000, "JPEG pictures that are made; 60 %% of them train"),
        ("width", 500, "pixels of a picture; its height is three quarters"),
        ("size", 224, "pixels of a side, as the model wants them"),
        ("batch", 128, "images a batch"),
        ("epochs", 3, "epochs a turn; they share no memory"),
        ("repeats", 5, "turns, of which the median counts"),
        ("threads", 1, "threads that turn pixels into floats"),
    ):
        add(f"--{name}", type=_positive, default=value, help=f"{what} (default {value})")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="device of the batches")
    add("--folder", help="where pictures and pixels are put while it runs (default: the system's temporary folder)")
    add("--json", metavar="FILE", help="also write the numbers to FILE")
    return parser


def _positive(text: str) -> int:
    if not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a whole number of at least 1")
    return int(text)


def measured(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Return images a second of each way, and the share of the copy's speed that the kept pixels reach."""
    pictures(folder / "pictures", args.images, args.width)
    os.environ.pop(VARIABLE, None)
    decoding = _train(folder / "pictures", args.size)
    os.environ[VARIABLE] = str(folder / "kept")
    kept = _train(folder / "pictures", args.size)
    n = len(kept.labels)
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(0)).split(args.batch)
    build = _seconds(lambda: next(batches(kept, rows, args.device)), args.device)
    epoch = [*rows] * args.epochs
    copy = _copy(rows[0], args.size, args.device)
    turns: dict[str, list[float]] = {"kept": [], "copy": []}
    for _ in range(args.repeats + 1):  # in turns, because a machine's speed drifts; the first turn is not counted
        turns["kept"].append(len(epoch) / _seconds(lambda: _drain(kept, epoch, args.device), args.device))
        turns["copy"].append(len(epoch) / _seconds(lambda: [copy() for _ in epoch], args.device))
    decoded = _seconds(lambda: _drain(decoding, rows, args.device), args.device)
    for (x, _, _), (same, _, _) in zip(batches(kept, rows), batches(decoding, rows), strict=True):
        assert torch.equal(x, same), "kept pixels differ from decoded ones"
    each = n / len(rows)
    rates = {f"{name}_images_per_s": each * statistics.median(per_turn[1:]) for name, per_turn in turns.items()}
    share = statistics.median(a / b for a, b in zip(turns["kept"][1:], turns["copy"][1:], strict=True))
    return {**rates, "decoding_images_per_s": n / decoded, "build_images_per_s": n / build, "share_of_copy": share}


def pictures(root: Path, n: int, width: int) -> None:
    """Write ``n`` JPEG pictures of smooth colours, two classes."""
    random = np.random.default_rng(0)
    for i in range(n):
        file = root / ("even", "odd")[i % 2] / f"{i:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        coarse.resize((width, max(1, width * 3 // 4)), Image.Resampling.BICUBIC).save(file, quality=90)


def _train(root: Path, size: int) -> ImageSet:
    return open_data(DataRef(source="imagefolder", root=str(root)), "train", size)


def _drain(images: ImageSet, rows: Sequence[Tensor], device: str) -> None:
    for _ in batches(images, rows, device):
        pass


def _copy(rows: Tensor, size: int, device: str) -> Callable[[], object]:
    kind = torch.float32 if device == "cpu" else torch.uint8
    source = torch.ones(len(rows), 3, size, size, dtype=kind)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _seconds(work: Callable[[], object], device: str) -> float:
    begun = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def report(rates: dict[str, float], args: argparse.Namespace) -> str:
    """Return the numbers as a table."""
    names = {
        "copy_images_per_s": "a copy in memory", "kept_images_per_s": "kept pixels, to floats on the device",
        "decoding_images_per_s": "JPEGs decoded by worker processes", "build_images_per_s": "decoding into the cache",
    }  # fmt: skip
    return "\n".join((
        f"{args.images} made pictures of {args.width} pixels, batches of {args.batch} x {args.size} pixels, "
        f"{args.device}, {args.threads} thread(s), load average {os.getloadavg()[0]:.1f}", "",
        "| | images/s | of the copy |", "|---|---|---|",
        *(f"| {names[key]} | {rates[key]:,.0f} | {rates[key] / rates['copy_images_per_s']:.2f} |" for key in names), "",
        f"kept pixels reach {rates['share_of_copy']:.2f} of the copy (median of turns); "
        f"{rates['kept_images_per_s'] / rates['decoding_images_per_s']:.0f} times the decoding",
    ))  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
