"""The benchmark of data loading runs whole on a few small pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from by_path import benchmark

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

FILE = Path(__file__).parents[2] / "benchmarks" / "data_loading.py"


def test_the_benchmark_prints_rates_and_the_share_of_a_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZSR_CACHE", "")  # put back afterwards: the benchmark sets its own
    module = benchmark("data_loading")
    threads = torch.get_num_threads()
    small = f"--threads {threads} --images 20 --width 40 --size 16 --batch 8 --epochs 1 --repeats 1 --device cpu"
    out = tmp_path / "numbers.json"
    assert module.main([*small.split(), "--folder", str(tmp_path), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert all(found[name] > 0 for name in ("kept_images_per_s", "decoding_images_per_s", "share_of_copy"))
    assert f"kept pixels reach {found['share_of_copy']:.2f} of the copy" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        module.main(["--images", "0"])
    assert "got '0', expected a whole number of at least 1" in capsys.readouterr().err
