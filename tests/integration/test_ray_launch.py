"""Sweeps on Ray Tune, killed and taken up again: nothing finished is lost or runs twice, the numbers are the same."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from sweeps.engine.running.cluster.join import shares
from sweeps.engine.study.folder import read_results, read_study
from zsr_core.codec import ConfigError

pytestmark = pytest.mark.ray
Write = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]
Run = Callable[..., subprocess.CompletedProcess[str]]
EXPLODES = 'variants=(Variant(label="sound"), Variant(label="explodes", overrides={"optim.lr": 1e30}))'


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=500)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def written(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 300) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "nothing happened in time"
        time.sleep(0.02)


def wait_until(what: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "nothing happened in time"
        time.sleep(0.1)


def numbers(folder: Path) -> dict[str, Any]:
    """Return every trial's measurements: what two runs of one study must agree on to the last digit."""
    study = read_study(folder)
    found = read_results(folder, study)
    return {t.trial_id: (t.role, t.label, found[t.trial_id].measurements) for t in study.plan}


def offspring(pid: int) -> dict[int, str]:
    """Return the processes that a launch has started, and those that they have: id -> command."""
    done = subprocess.run(["ps", "-wweo", "pid,ppid,args"], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in done.stdout.splitlines()[1:]]
    found: dict[int, str] = {}
    family = {pid}
    while fresh := [row for row in rows if int(row[1]) in family and int(row[0]) not in family]:
        family |= {int(row[0]) for row in fresh}
        found |= {int(row[0]): row[2] for row in fresh}
    return found


def test_a_grid_on_ray_equals_the_grid_in_one_process(write: Write, start: Start, tmp_path: Path) -> None:
    script, folder = write(), tmp_path / "results" / "tiny"
    done = finish(start(script))
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout.count(" done, ") + done.stdout.count(" done]") == 7, "a line per trial"
    assert not any(noise in done.stdout for noise in ("Warning", "╭", "Trial status", "raylet"))
    assert not (folder / "ray").exists(), "Tune's own storage is thrown away"
    on_ray = numbers(folder)
    threads = {result.provenance["threads"] for result in read_results(folder, read_study(folder)).values()}
    assert threads == {"1"}, "one thread per trial, so that trials do not fight"
    early = written(folder)
    again = finish(start(script))
    assert (again.returncode, written(folder)) == (0, early)
    assert "starting Ray" not in again.stdout
    shutil.rmtree(folder)
    assert finish(start(script, "--local")).returncode == 0
    alone = numbers(folder)
    assert on_ray.keys() == alone.keys()
    for trial_id, (role, label, rows) in alone.items():
        there = on_ray[trial_id][2]
        assert on_ray[trial_id][:2] == (role, label)
        assert [(m.task, m.metric, m.attack, m.value) for m in rows] == [
            (m.task, m.metric, m.attack, m.value) for m in there
        ], label


def test_a_driver_killed_half_way_is_taken_up_by_the_same_command(write: Write, start: Start, tmp_path: Path) -> None:
    script, folder = write(), tmp_path / "results" / "tiny"
    killed = start(script)
    wait_for(lambda: len(written(folder)) >= 2, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.communicate()
    kept = written(folder)
    assert 2 <= len(kept) < 7
    done = finish(start(script))
    assert done.returncode == 0, done
    assert written(folder).items() >= kept.items(), "nothing finished is lost or runs again"
    resumed = numbers(folder)
    shutil.rmtree(folder)
    assert finish(start(script)).returncode == 0
    assert numbers(folder) == resumed


def test_a_search_killed_half_way_repeats_nothing(write: Write, start: Start, tmp_path: Path) -> None:
    script, folder = write(), tmp_path / "results" / "tiny-tpe"
    flags = ("--search", "tpe", "--samples", "5")
    killed = start(script, *flags)
    wait_for(lambda: len(written(folder)) >= 3, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.communicate()
    kept, planned = written(folder), [t.trial_id for t in read_study(folder).plan]
    done = finish(start(script, *flags))
    assert done.returncode == 0, done
    study = read_study(folder)
    cells = [t for t in study.plan if t.role == "cell"]
    assert len(cells) == len({t.trial_id for t in cells}) == 5
    assert {t.trial_id for t in study.plan} >= set(planned), "what was proposed is run, with the values it had"
    assert written(folder).items() >= kept.items()
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "optuna.journal"))
    trials = optuna.load_study(study_name="tiny-tpe", storage=optuna.storages.JournalStorage(backend)).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 5
    assert {json.dumps(t.params, sort_keys=True) for t in trials} == {
        json.dumps(dict(t.overrides), sort_keys=True) for t in cells
    }
    late = written(folder)
    again = finish(start(script, *flags))
    assert (again.returncode, written(folder)) == (0, late)
    more = finish(start(script, "--search", "tpe", "--samples", "6"))
    assert more.returncode == 0
    assert len([t for t in read_study(folder).plan if t.role == "cell"]) == 6


def test_a_worker_that_dies_is_replaced_and_the_sweep_goes_on(write: Write, start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "tiny"
    process = start(write(), "--max-concurrent", "1")
    wait_for(lambda: bool(list(folder.glob("trials/*/progress.jsonl"))), process)
    (worker,) = [pid for pid, command in offspring(process.pid).items() if "ImplicitFunc" in command]
    os.kill(worker, signal.SIGKILL)
    done = finish(process)
    assert done.returncode == 0, done
    assert len(written(folder)) == 7


def test_a_failed_trial_is_a_row_and_the_exit_code_is_1(write: Write, start: Start, tmp_path: Path) -> None:
    script = write(EXPLODES, **{'"train_data.limit": 64': '"train_data.limit": 256'})
    done = finish(start(script))
    assert done.returncode == 1
    assert done.stderr == "failed: explodes seed=0: step 2 of 4: loss term 'ce' is nan\n"
    assert "Best of 1 cell" in done.stdout


def test_ctrl_c_stops_trials_and_ray_and_says_how_to_go_on(write: Write, start: Start, tmp_path: Path) -> None:
    script, folder = write(), tmp_path / "results" / "tiny"
    process = start(script, start_new_session=True)
    wait_for(lambda: bool(written(folder)), process)
    family = offspring(process.pid)
    assert any("raylet" in command for command in family.values())
    os.kill(process.pid, signal.SIGINT)
    done = finish(process)
    assert done.returncode == 130, done
    assert "Stopped. What has finished is kept." in done.stderr
    assert "Traceback" not in done.stderr
    until = time.monotonic() + 30
    while (left := [pid for pid in family if Path(f"/proc/{pid}").exists()]) and time.monotonic() < until:
        time.sleep(0.2)
    assert not left, [family[pid] for pid in left]
    assert not (folder / "ray").exists()


def needed(family: dict[int, str], name: str) -> int:
    """Return the one process of Ray in a family that runs the program ``name``."""
    (process,) = [pid for pid, command in family.items() if f"/{name} --" in command]
    return process


def gone(family: dict[int, str]) -> bool:
    return not any(Path(f"/proc/{pid}/cmdline").exists() and _runs(pid) for pid in family)


def _runs(pid: int) -> bool:
    """Return whether a process is more than an entry that its parent has not yet collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(("program", "name"), [("raylet", "raylet"), ("gcs_server", "GCS")])
def test_a_dead_process_of_our_ray_ends_the_sweep_in_one_line(
    write: Write, start: Start, tmp_path: Path, program: str, name: str
) -> None:
    folder = tmp_path / "results" / "tiny"
    process = start(write())
    wait_for(lambda: bool(written(folder)), process)
    family = offspring(process.pid)
    victim = needed(family, program)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    done = finish(process)
    assert time.monotonic() - killed < 30
    assert done.returncode == 1
    assert done.stderr == (
        f"error: Ray's {name} (process {victim}) was ended by SIGKILL. What has finished is kept. To go on:\n"
        f"  python {tmp_path / 'tiny.py'} --tracking none\n"
    )
    assert "raylet" not in done.stdout
    assert not [r for r in read_results(folder, read_study(folder)).values() if r.status != "done"]
    wait_until(lambda: gone(family), 30)


@pytest.mark.parametrize("program", ["raylet", "gcs_server"])
def test_a_dead_process_of_a_cluster_ends_the_sweep_in_one_line(
    write: Write, head: dict[str, str], tmp_path: Path, program: str
) -> None:
    folder = tmp_path / "results" / "tiny"
    root = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, str(write()), "--tracking", "none"],
        cwd=tmp_path, env={**head, "RAY_ADDRESS": head["HEAD"], "PYTHONPATH": root}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for(lambda: bool(written(folder)), process)
    os.kill(needed(offspring(int(head["HEAD_PROCESS"])), program), signal.SIGKILL)
    killed = time.monotonic()
    done = finish(process)
    assert time.monotonic() - killed < 30
    assert done.returncode == 1, done
    assert done.stderr.startswith("error: the ")
    assert " the cluster at " in done.stderr
    assert done.stderr.endswith(f"To go on:\n  python {tmp_path / 'tiny.py'} --tracking none\n")
    assert done.stderr.count("\n") == 2
    assert "raylet" not in done.stdout


def test_our_ray_listens_on_the_loopback_address_alone_and_asks_for_a_token_of_its_own(
    write: Write, start: Start, tmp_path: Path
) -> None:
    process = start(write())
    wait_for(lambda: bool(written(tmp_path / "results" / "tiny")), process)
    family = offspring(process.pid)
    places = listening({process.pid, *family})
    assert len(places) >= 8, places
    assert {address for address, _ in places} <= {"127.0.0.1", "[::ffff:127.0.0.1]", "[::1]"}, places
    gcs = re.search(r"--gcs-address=(127\.0\.0\.1:\d+)", " ".join(family.values()))
    assert gcs is not None
    ask = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).internal_kv_keys(b'', b'fun')"
    env = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "RAY_AUTH_MODE": "token"}
    stranger = subprocess.run(
        [sys.executable, "-c", ask, gcs[1]],
        env={**env, "RAY_AUTH_TOKEN": "0" * 64}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert stranger.returncode != 0
    assert "AuthenticationError" in stranger.stderr
    assert finish(process).returncode == 0


def listening(processes: set[int]) -> list[tuple[str, int]]:
    """Return the addresses and ports on which these processes listen."""
    lines = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    own = [line for line in lines if processes & {int(pid) for pid in re.findall(r"pid=(\d+)", line)}]
    places = [line.split()[3].rpartition(":") for line in own]
    return [(address, int(port)) for address, _, port in places]


def test_the_session_folder_of_our_ray_is_removed_also_after_a_kill(write: Write, start: Start, tmp_path: Path) -> None:
    def sessions() -> set[Path]:
        return {path for path in Path("/tmp/ray").glob("session_2*") if (path / "zsr.lock").exists()}

    earlier, script = sessions(), write('variants=(Variant(label="a"),)')
    killed = start(script)
    wait_for(lambda: bool(sessions() - earlier), killed)
    (own,) = sessions() - earlier
    family = offspring(killed.pid)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.communicate()
    wait_until(lambda: gone(family), 150)  # Ray's agents look for a dead head for a minute
    assert own.is_dir()
    assert finish(start(script)).returncode == 0
    assert not own.exists()
    assert not sessions() - earlier


def test_a_ray_that_does_not_start_is_one_line(write: Write, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.setattr("ray.init", fail)
    done = run(write())
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: Ray did not start on this machine (The current node timed out during startup)."
    )
    assert done.stderr.count("\n") == 2


def test_a_trial_that_hangs_fails_at_its_limit_and_the_others_run(write: Write, start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "tiny"
    process = start(write('variants=(Variant(label="a"),)'), "--trial-timeout", "20s", "--max-concurrent", "1")
    wait_for(lambda: bool(list(folder.glob("trials/*/progress.jsonl"))), process)
    (worker,) = [pid for pid, command in offspring(process.pid).items() if "ImplicitFunc" in command]
    os.kill(worker, signal.SIGSTOP)  # no thread of it runs any more, as in a call into a driver that never returns
    done = finish(process)
    assert done.returncode == 1, done
    assert done.stderr == "failed: untouched seed=0: ran longer than --trial-timeout allows: 20 s\n"
    results = read_results(folder, read_study(folder))
    assert [result.status for result in results.values()].count("failed") == 1
    assert len(results) == 4


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "nowhere", "auto"])
def test_a_cluster_that_cannot_be_joined_is_named_before_the_study_is_written(
    write: Write, run: Run, tmp_path: Path, address: str, monkeypatch: Any
) -> None:
    if address == "auto" and Path("/tmp/ray/ray_current_cluster").exists():
        pytest.skip("a cluster runs on this machine")
    monkeypatch.setenv("RAY_ADDRESS", address)
    done = run(write())
    assert done.returncode == 2, done
    assert done.stderr.startswith(f"error: RAY_ADDRESS: got '{address}', expected ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("results/*/study.json"))


def test_a_trial_gets_one_cpu_or_its_share_of_the_gpus() -> None:
    cpu = shares({"CPU": 8.0}, None, None)
    assert (cpu.cpus_per_trial, cpu.gpus_per_trial, cpu.slots) == (1, 0.0, 8)
    whole = shares({"CPU": 16.0, "GPU": 2.0}, None, None)
    assert (whole.cpus_per_trial, whole.gpus_per_trial, whole.slots) == (8, 1.0, 2)
    quarter = shares({"CPU": 16.0, "GPU": 1.0}, 0.25, None)
    assert (quarter.cpus_per_trial, quarter.slots) == (4, 4)
    assert shares({"CPU": 8.0}, None, 3).slots == 3
    assert shares({"CPU": 8.0, "GPU": 1.0}, 0.0, None).gpus_per_trial == 0.0
    with pytest.raises(ConfigError, match=r"--gpus-per-trial: got 2\.0, expected at most the 1 GPUs"):
        shares({"CPU": 8.0, "GPU": 1.0}, 2.0, None)
    four = shares({"CPU": 16.0, "GPU": 8.0}, 4.0, None, largest=4.0)
    assert (four.cpus_per_trial, four.gpus_per_trial, four.slots, four.processes) == (8, 4.0, 2, 4)
    assert [shares({"CPU": 16.0, "GPU": 8.0}, x, None).processes for x in (None, 0.0, 0.25, 1.0)] == [1, 1, 1, 1]
    with pytest.raises(ConfigError, match=r"--gpus-per-trial: got 8\.0, expected at most the 4 GPUs of one machine"):
        shares({"CPU": 16.0, "GPU": 8.0}, 8.0, None, largest=4.0)


TWO_PROCESSES = """    import sweeps.engine.running.cluster.join as on_ray

    on_ray.shares = lambda *_: on_ray.Cluster(cpus_per_trial=2, gpus_per_trial=0.0, slots=1, processes=2)
    raise SystemExit("""


def test_a_trial_on_ray_is_shared_by_processes_of_its_worker(write: Write, start: Start, tmp_path: Path) -> None:
    """With CPUs in place of GPUs: the worker starts a process for each, and tells what the first of them reports."""
    shape = 'variants=(Variant(label="a", overrides={"method.distance": "cos"}),)'
    folder = tmp_path / "results" / "tiny"
    done = finish(start(write(shape, **{"    raise SystemExit(": TWO_PROCESSES})))
    assert (done.returncode, done.stderr) == (0, ""), done
    shared = read_results(folder, read_study(folder))
    assert {result.provenance["processes"] for result in shared.values()} == {"2"}
    shutil.rmtree(folder)
    assert finish(start(write(shape), "--local")).returncode == 0
    for trial_id, alone in read_results(folder, read_study(folder)).items():
        assert alone.provenance["processes"] == "1"
        losses = [row["loss"] for row in alone.history]
        assert [row["loss"] for row in shared[trial_id].history] == pytest.approx(losses, rel=1e-3)
