"""The tracking UI, opened in headless Chromium on the runs of recorded studies.

The pictures in the documentation are made by the same test from a real study:
``UI_RESULTS=results UI_PICTURES=docs python -m pytest -m ui tests/integration/test_tracking_ui.py``
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from sweeps.engine.study.folder import Study, trial_folder, write_study
from sweeps.engine.study.plan import new_study
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.tracking.recorder import Recorder, record_study
from sweeps.tga_alpha_beta import SWEEP
from zsr_core.codec import to_plain
from zsr_core.evaluation.measure import Measurement
from zsr_core.files import write_text
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1440,1240",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
AXES = ["alpha", "beta"]
WATCHED = "watched"
pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (apt-get install chromium chromium-driver)"
    ),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


def made_up(config: TrialConfig) -> TrialResult:
    """A result whose robust accuracy peaks at the published weights, for a page to show."""
    weights = [getattr(config.method, axis) for axis in AXES]
    far = sum(math.log10(max(w, 0.001) / p) ** 2 for w, p in zip(weights, (0.08, 0.05), strict=True))
    clean, robust = (50 + 5 * far, 40 - 10 * far) if config.epochs else (60.0, 1.0)
    eps = config.threat.eps
    numbers = {("clean", "none", 0.0): clean, ("robust", "worst", eps): robust, ("harmonic", "worst", eps): robust + 2}
    rows = tuple(
        Measurement(
            trial_id=config.trial_id, weights_sha="0" * 12, task="zero_shot_mean", split=config.eval_suite.split,
            attack=attack, eps=at, metric=metric, value=value, n=64, low=value - 2, high=value + 2,
        )
        for (metric, attack, at), value in numbers.items()
    )  # fmt: skip
    curve = tuple({"epoch": float(e), "loss": 2.0 / (e + 1)} for e in range(config.epochs))
    return TrialResult(
        trial_id=config.trial_id, config=config, status="done", measurements=rows, history=curve,
        provenance={"weights_sha": "0" * 12},
    )  # fmt: skip


def planned(results: Path, sweep: Sweep) -> tuple[Path, Study]:
    study = new_study(sweep, preset="miniature", search=None, seeds=(0,), objectives=("clean", "robust"))
    write_study(results / study.study, study)
    return results / study.study, study


def ended(folder: Path, result: TrialResult) -> None:
    write_text(trial_folder(folder, result.trial_id) / "result.json", json.dumps(to_plain(result)))


def hand_made(results: Path) -> None:
    """Write and record a study of the untouched model and 5 x 5 cells, its final choice with its weights."""
    folder, study = planned(results, SWEEP)
    chosen = next(trial for trial in study.plan if trial.role == "cell")
    final = replace(chosen, role="final", label="final", overrides={**chosen.overrides, "eval_suite.split": "report"})
    final = replace(final, trial_id=study.config(final).trial_id)
    study = replace(study, plan=(*study.plan, final))
    write_study(folder, study)
    for trial in study.plan:
        ended(folder, made_up(study.config(trial)))
    write_text(folder / "weights" / f"{study.config(final).training_id}-abcdef.safetensors", "tensors")
    write_text(folder / "table.md", "| cell | robust |\n|---|---|\n| a | 1.0 |\n")
    record_study(folder, f"sqlite:///{results}/mlflow.db", weights=True)


def watched(results: Path) -> None:
    """Record a study of three epochs a trial as it goes; one trial fails, and the last is still training."""
    base = {preset: replace(config, epochs=3) for preset, config in SWEEP.base.items()}
    folder, study = planned(results, replace(SWEEP, name=WATCHED, base=base))
    recorder = Recorder(folder, f"sqlite:///{results}/mlflow.db")
    recorder.start()
    for number, trial in enumerate(study.plan):
        config = study.config(trial)
        for epoch in range(1, config.epochs + 1):
            recorder.trial_progress(trial.trial_id, {"ce": 1.0 / epoch, "loss": 2.0 / epoch}, epoch)
        if number + 1 < len(study.plan):
            fails = number == 2
            failed = {"status": "failed", "error": "out of memory", "measurements": ()} if fails else {}
            ended(folder, replace(made_up(config), **failed))
            recorder.trial_finished(trial.trial_id)
    recorder.close([], wait_s=120)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("UI_RESULTS")
    if given:
        return Path(given).resolve()
    made = tmp_path_factory.mktemp("results")
    hand_made(made)
    watched(made)
    return made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("UI_PICTURES")
    return Path(given).resolve() if given else tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def address(results: Path) -> Iterator[str]:
    """Serve the results as a user does, and yield the UI's address once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [str(ROOT / "mlflow" / "serve.sh"), "--results", str(results), "--port", str(port)]
    server = subprocess.Popen(command, env={**os.environ, "PATH": place}, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    page = server.stdout.readline()
    assert re.fullmatch(rf"Open  http://127\.0\.0\.1:{port}/#/experiments/\d+/runs\S*\n", page)
    await_health(f"http://127.0.0.1:{port}", server)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait(timeout=30)
    server.stdout.close()


def await_health(address: str, server: subprocess.Popen[str], seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"{address} did not answer within {seconds} s")


@pytest.fixture(scope="module")
def study(address: str) -> dict[str, Any]:
    return known_of(address, SWEEP.name)


def known_of(address: str, sweep: str) -> dict[str, Any]:
    """Return a study at the server: its own run, the runs of its cells, and the link in its note."""
    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name(sweep)
    runs = client.search_runs([experiment.experiment_id])
    own = next(run for run in runs if run.data.tags["zsr.kind"] == "study")
    link = re.search(r"\]\((#\S+)\)", own.data.tags["mlflow.note.content"])
    assert link is not None
    cells = [run for run in runs if run.data.tags.get("role") == "cell"]
    return {"experiment": experiment.experiment_id, "own": own, "cells": cells, "link": link[1]}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    service = pytest.importorskip("selenium.webdriver.chrome.service")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=service.Service(DRIVER))
    opened.set_page_load_timeout(60)
    yield opened
    opened.quit()


def visit(browser: Any, page: str) -> None:
    """Open a page anew: the address of a single-page application alone would not load it again."""
    browser.get("about:blank")
    browser.get(page)


def shown(browser: Any, wanted: Callable[[str], object], seconds: float = 60.0) -> str:
    """Return the page's text once ``wanted`` is true of it."""
    end = time.monotonic() + seconds
    text = ""
    while time.monotonic() < end:
        text = str(browser.execute_script("return document.body.innerText"))
        if wanted(text):
            return text
        time.sleep(0.3)
    raise AssertionError(f"the page shows:\n{text}")


def texts(browser: Any, selector: str) -> list[str]:
    """Return the texts of the elements that match ``selector``, drawings included."""
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent.trim()).filter(t => t)"
    return list(browser.execute_script(script, selector))


def drawn(browser: Any, selector: str) -> list[str]:
    """Return the texts of the elements that match ``selector``, once there is one."""
    first(browser, selector)
    return texts(browser, selector)


def first(browser: Any, selector: str, seconds: float = 60.0) -> Any:
    """Return the first element that matches ``selector``, once there is one."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        elements = browser.find_elements("css selector", selector)
        if elements:
            return elements[0]
        time.sleep(0.3)
    raise AssertionError(f"the page has no {selector}")


def click(browser: Any, text: str) -> None:
    """Click the innermost element of that text."""
    there = browser.find_elements("xpath", f"//*[normalize-space(text())='{text}']")
    assert there, f"nothing on the page says {text!r}"
    there[-1].click()


def keep(browser: Any, picture: Path) -> None:
    time.sleep(1.0)  # drawings fade in
    picture.parent.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(picture))
    assert picture.stat().st_size > 20_000


def test_the_first_visit_opens_on_model_training_and_without_the_assistant(
    browser: Any, address: str, study: dict[str, Any], pictures: Path
) -> None:
    visit(browser, f"{address}/#/experiments/{study['experiment']}")
    text = shown(browser, lambda text: "matching runs" in text)  # the GenAI view opens on traces
    assert "Ask questions about your experiments" not in text, "the assistant's panel"
    keep(browser, pictures / "first_visit.png")


def test_parallel_coordinates_open_on_the_axes_that_the_study_varies(
    browser: Any, address: str, study: dict[str, Any], pictures: Path
) -> None:
    visit(browser, f"{address}/{study['link']}")
    shown(browser, lambda text: f"Comparing {len(study['cells'])} Runs" in text)
    assert drawn(browser, ".parcoords .axis-title") == [*AXES, "clean"]
    values = {float(run.data.params[axis]) for run in study["cells"] for axis in AXES}
    ticks = [float(text) for text in texts(browser, ".parcoords .axis-extent-text")]
    assert max(values) in ticks, "the axes are numeric"
    keep(browser, pictures / "ui_parallel.png")


def test_the_contour_plot_opens_with_alpha_beta_and_a_score(
    browser: Any, address: str, study: dict[str, Any], pictures: Path
) -> None:
    visit(browser, f"{address}/{study['link']}")
    shown(browser, lambda text: "Contour Plot" in text)
    click(browser, "Contour Plot")
    assert drawn(browser, ".plotly .xtitle") == ["alpha"]
    assert drawn(browser, ".plotly .ytitle") == ["beta"]
    assert len(drawn(browser, ".plotly .xtick")) > 2
    assert browser.execute_script("return document.querySelectorAll('.contour path').length") > 3
    text = shown(browser, lambda text: "Z-axis" in text)
    assert "clean" in text
    keep(browser, pictures / "ui_contour.png")


made_here = pytest.mark.skipif("UI_RESULTS" in os.environ, reason="needs the studies that these tests make")


@made_here
def test_a_study_that_was_watched_opens_on_its_scores_too(browser: Any, address: str, pictures: Path) -> None:
    """One cell failed and one still trains: the link opens those that have scores."""
    study = known_of(address, WATCHED)
    scored = [run for run in study["cells"] if run.data.tags["status"] == "done"]
    assert len(scored) == len(study["cells"]) - 2
    visit(browser, f"{address}/{study['link']}")
    shown(browser, lambda text: f"Comparing {len(scored)} Runs" in text)
    assert drawn(browser, ".parcoords .axis-title") == [*AXES, "clean"]
    keep(browser, pictures / "watched_parallel.png")
    click(browser, "Contour Plot")
    assert drawn(browser, ".plotly .xtitle") == ["alpha"]
    assert texts(browser, "#zaxis-selector") == ["clean"]
    keep(browser, pictures / "watched_contour.png")


@made_here
def test_trials_picked_by_hand_open_on_the_scores_though_one_still_trains(browser: Any, address: str) -> None:
    study = known_of(address, WATCHED)
    assert {run.info.status for run in study["cells"]} == {"FINISHED", "FAILED", "KILLED"}
    picked = [run.info.run_id for run in study["cells"] if run.info.status != "FAILED"]
    runs, experiments = (quote(json.dumps(x)) for x in (picked, [study["experiment"]]))
    visit(browser, f"{address}/#/compare-runs?runs={runs}&experiments={experiments}")
    shown(browser, lambda text: f"Comparing {len(picked)} Runs" in text)
    assert drawn(browser, ".parcoords .axis-title") == [*AXES, "clean"]


@made_here
def test_tuned_weights_stand_in_the_registry_with_how_to_load_them(browser: Any, address: str, pictures: Path) -> None:
    visit(browser, f"{address}/#/models/{SWEEP.name}/versions/1")
    text = shown(browser, lambda text: "Version 1" in text and "zsr evaluate --model miniature-96 --weights" in text)
    assert "Source Run" in text
    assert "weights_sha" in text
    keep(browser, pictures / "registered.png")


def test_the_comparison_lists_parameters_and_metrics_side_by_side(
    browser: Any, address: str, study: dict[str, Any], pictures: Path
) -> None:
    visit(browser, f"{address}/{study['link']}")
    text = shown(browser, lambda text: "Run details" in text and "clean_zero_shot_mean" in text)
    for name in (*AXES, "eps_text", "2/255", "TGA-ZSR"):
        assert name in text
    click(browser, "Visualizations")
    first(browser, "[role=switch]").click()  # show diff only
    varied = shown(browser, lambda text: "eps_text" not in text)
    assert all(re.search(rf"^{axis}\s+0\.003", varied, re.MULTILINE) for axis in AXES)
    keep(browser, pictures / "ui_compare.png")


def test_the_study_shows_its_question_its_answer_and_a_link_that_works(
    browser: Any, address: str, study: dict[str, Any], pictures: Path
) -> None:
    visit(browser, f"{address}/#/experiments/{study['experiment']}/runs/{study['own'].info.run_id}")
    text = shown(browser, lambda text: SWEEP.question in text and "Compare the cells" in text)
    assert "Best of" in text
    assert "miniature" in text
    target = browser.execute_script("return [...document.links].find(a => a.text.includes('Compare the cells')).href")
    assert target.startswith(f"{address}/#/compare-runs?")
    keep(browser, pictures / "study.png")


def test_the_run_list_unfolds_to_the_trials(browser: Any, address: str, study: dict[str, Any], pictures: Path) -> None:
    visit(browser, f"{address}/#/experiments/{study['experiment']}/runs?workflowType=machine_learning")
    shown(browser, lambda text: study["own"].info.run_name in text and "matching runs" in text)
    first(browser, "[role=row] .ag-cell button").click()
    shown(browser, lambda text: study["cells"][0].info.run_name in text)
    keep(browser, pictures / "runs.png")
