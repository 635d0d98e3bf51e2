"""Files are whole or absent, and what killed processes leave of them is removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zsr_core import files
from zsr_core.files import remove_stale, temporary_folder, write_text, write_whole
from zsr_core.trial.deploy import remove_stale_caches

KILLED = """
import os, signal, sys
from pathlib import Path
from zsr_core.files import temporary_folder, write_whole

def die(part):
    part.write_bytes(b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)

place = Path(sys.argv[1])
if sys.argv[2] == "file":
    write_whole(place / "abc-0123.safetensors", die)
with temporary_folder(place / "samples") as part:
    die(part / "part-0.parquet")
"""


def killed_while_writing(place: Path, what: str) -> Path:
    """Return what a process leaves in ``place`` that is killed while it writes a file or a folder there."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(place), what], check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = place.iterdir()
    return left


def age(path: Path) -> None:
    long_ago = time.time() - 2 * files.FRESH_SECONDS
    os.utime(path, (long_ago, long_ago))


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_a_killed_process_has_left_is_removed(tmp_path: Path, what: str) -> None:
    place = tmp_path / "weights"
    place.mkdir()
    left = killed_while_writing(place, what)
    remove_stale_caches(tmp_path)
    assert left.exists(), "it may belong to a process that is about to lock it"
    age(left)
    remove_stale_caches(tmp_path)
    assert not left.exists()


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    def write(part: Path) -> None:
        part.write_text("whole")
        age(part)
        remove_stale(tmp_path)

    assert write_whole(tmp_path / "a.json", write).read_text() == "whole"
    with temporary_folder(tmp_path / "samples") as part:
        age(part)
        remove_stale(tmp_path)
        assert part.is_dir()


def test_no_other_file_is_removed(tmp_path: Path) -> None:
    names = ("a.json", ".hidden", ".abc.safetensors", "x.part-abcdefgh.json", ".zsr.lock", ".a.part-abc.json")
    for name in names:
        age(write_text(tmp_path / name, "kept"))
    earlier = write_text(tmp_path / ".w.safetensors.abcd_f12.safetensors", "as earlier versions have named it")
    age(earlier)
    remove_stale(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    remove_stale(tmp_path / "absent")
