"""The first half hour on a GPU: does zsr compute there what it computes on the CPU, and how fast?

    python benchmarks/gpu_first.py agree same attacks ddp memory --out DIR    # the first ten minutes
    python benchmarks/gpu_first.py speed evaluation profile --out DIR         # the next ten

It needs torch, open_clip and this checkout (PYTHONPATH=.), nothing else. Each part prints a table, and OK or LOOK
beside each row; a surprise stops nothing. `--device cpu --quick` is the rehearsal. DIR gets `gpu_first.md` and
`gpu_first.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gpu_agreement
import gpu_rates
import torch
from gpu_bench import Bench, Table

from zsr_core.model import precision

PARTS: dict[str, Callable[[Bench], Table]] = {
    "agree": gpu_agreement.agree, "same": gpu_agreement.same, "attacks": gpu_agreement.attacks,
    "ddp": gpu_agreement.ddp, "memory": gpu_rates.memory, "speed": gpu_rates.speed,
    "evaluation": gpu_rates.evaluation, "profile": gpu_rates.profile,
}  # fmt: skip


@dataclass(kw_only=True)
class Report:
    """All tables of one call, with the machine that they were made on."""

    machine: dict[str, str]
    parts: dict[str, Any] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)

    def add(self, name: str, table: Table, seconds: float) -> None:
        self.parts[name] = {**asdict(table), "seconds": seconds}
        self.text.append(table.markdown(f"{name} ({seconds:.0f} s)"))
        print(self.text[-1], flush=True)

    def write(self, folder: Path) -> None:
        """Write what there is, so that a call that is stopped keeps its finished parts."""
        folder.mkdir(parents=True, exist_ok=True)
        head = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        (folder / "gpu_first.md").write_text("\n".join([head, "", *self.text]), encoding="utf-8")
        whole = {"machine": self.machine, "parts": self.parts}
        (folder / "gpu_first.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def machine(device: str) -> dict[str, str]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {
        "device": name, "torch": torch.__version__, "python": platform.python_version(), "cores": str(os.cpu_count()),
        "CUDA": str(torch.version.cuda),
    }  # fmt: skip


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes: the rehearsal")
    parser.add_argument("--model", default="ViT-B-32-quickgelu", help="an open_clip ViT; random weights")
    parser.add_argument("--out", type=Path, default=Path("results/gpu_first"), metavar="DIR")
    args = parser.parse_args(words)
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"PART: unknown value {part!r}; expected one of: {', '.join(PARTS)}")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: torch finds no CUDA here; the rehearsal is --device cpu --quick")
    return args


def run(args: argparse.Namespace) -> int:
    """Run the parts; return 1 if one of them has a row to look at, else 0."""
    bench = Bench(device=args.device, quick=args.quick, model=args.model)
    report, look = Report(machine=machine(args.device)), False
    for name in args.parts or PARTS:
        precision.decide()
        begun = time.perf_counter()
        try:
            table = PARTS[name](bench)
        except Exception:  # the other parts run all the same
            table = Table(columns=("error",), rows=[(traceback.format_exc(),)], look=[True])
        look |= any(table.look)
        report.add(name, table, time.perf_counter() - begun)
        report.write(args.out)
    print(f"tables: {args.out / 'gpu_first.md'}")
    return int(look)


if __name__ == "__main__":
    raise SystemExit(run(parse()))
