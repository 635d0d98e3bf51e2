"""``zsr dashboard``: a search's journal can be looked at, from this machine alone, and nothing can write it."""

from __future__ import annotations

import importlib.util
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeps.engine import Sweep
from sweeps.engine.commands.main import main
from sweeps.engine.study.folder import write_study
from sweeps.engine.study.plan import new_study
from sweeps.engine.tracking.dashboard import App, ReadJournal, ReadOnly, pages, server
from zsr_core.codec import ConfigError
from zsr_core.methods import TgaZsr
from zsr_core.space import Real
from zsr_core.trial.config import TrialConfig


def trial_of(journal: Path, name: str = "s") -> optuna.Study:
    """Add one finished trial to the study ``name`` in a journal, and return the study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        study_name=name, storage=JournalStorage(JournalFileBackend(str(journal))), load_if_exists=True
    )
    study.tell(study.ask({"alpha": optuna.distributions.FloatDistribution(0, 1)}), 1.0)
    return study


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """Return the folder of a study with a search's journal of one trial."""
    sweep = Sweep(
        name="s", question="?", base={"miniature": TrialConfig(method=TgaZsr())},
        space={"method.alpha": Real(low=0.01, high=1.0, log=True)},
    )  # fmt: skip
    study = new_study(sweep, preset="miniature", search="random", seeds=(0,), objectives=("harmonic",))
    write_study(tmp_path, study)
    trial_of(tmp_path / "optuna.journal")
    return tmp_path


@contextmanager
def serving(app: App) -> Iterator[int]:
    with server(app, 0) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield listening.server_port
        finally:
            listening.shutdown()
            thread.join()


def ask(port: int, path: str = "/", *, method: str = "GET", host: str = "") -> tuple[int, str]:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    if host:
        asked.add_header("Host", host)
    if method != "GET":
        asked.data = b"{}"
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def names(journal: Path) -> App:
    """Return a page that lists the studies of a journal with their numbers of trials."""
    storage = JournalStorage(ReadJournal(str(journal)))

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        found = {s.study_name: len(storage.get_all_trials(s._study_id)) for s in storage.get_all_studies()}
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(found).encode()]

    return app


def test_a_journal_can_be_read_while_another_process_writes_it_and_cannot_be_written(searched: Path) -> None:
    journal = searched / "optuna.journal"
    storage = JournalStorage(ReadJournal(str(journal)))
    (seen,) = storage.get_all_studies()
    trial_of(journal)
    assert len(storage.get_all_trials(seen._study_id)) == 2
    before = journal.read_bytes()
    with pytest.raises(PermissionError, match="reading only"):
        storage.create_new_trial(seen._study_id)
    assert journal.read_bytes() == before
    assert [path.name for path in searched.glob("optuna*")] == ["optuna.journal"], "no lock is left"


def test_requests_that_change_something_or_name_another_host_are_refused(searched: Path) -> None:
    with serving(ReadOnly(searched / "optuna.journal", names)) as port:
        assert ask(port) == (200, '{"s": 1}')
        assert ask(port, host=f"localhost:{port}")[0] == 200
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert ask(port, method=method) == (405, "The journal is open for reading only.\n")
        for host in ("evil.example", "127.0.0.1.evil.example", "[::1"):
            assert ask(port, host=host)[0] == 403


def test_a_journal_that_was_replaced_is_read_anew(searched: Path) -> None:
    journal = searched / "optuna.journal"
    with serving(ReadOnly(journal, names)) as port:
        assert ask(port) == (200, '{"s": 1}')
        journal.rename(journal.with_name("optuna.journal.old"))
        assert ask(port) == (503, "There is no journal at the moment.\n")
        trial_of(journal, "anew")
        assert ask(port) == (200, '{"anew": 1}')


def test_a_port_that_is_taken_is_one_line(searched: Path) -> None:
    app = ReadOnly(searched / "optuna.journal", names)
    with serving(app) as port, pytest.raises(ConfigError, match=f"--port: got {port}, expected a free port"):
        server(app, port)


def test_what_cannot_be_served_is_one_line(
    searched: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["dashboard", "--study", str(searched)]) == 2
    assert "pip install 'zsr[dashboard]'" in capsys.readouterr().err
    (searched / "optuna.journal").unlink()
    assert main(["dashboard", "--study", str(searched)]) == 2
    assert "expected a study made with --search; this one has no optuna.journal" in capsys.readouterr().err
    assert main(["dashboard", "--study", str(searched), "--port", "70000"]) == 2
    assert "--port: got '70000'" in capsys.readouterr().err


def test_optuna_dashboard_shows_the_study_and_changes_nothing(searched: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    journal = searched / "optuna.journal"
    before = journal.read_bytes()
    with serving(ReadOnly(journal, pages)) as port:
        status, text = ask(port, "/api/studies")
        (seen,) = json.loads(text)["study_summaries"]
        assert (status, seen["study_name"]) == (200, "s")
        assert len(json.loads(ask(port, f"/api/studies/{seen['study_id']}")[1])["trials"]) == 1
        assert "<html" in ask(port, "/dashboard")[1]
        assert ask(port, f"/csv/{seen['study_id']}")[0] == 200
        assert ask(port, f"/api/studies/{seen['study_id']}", method="DELETE")[0] == 405
    assert journal.read_bytes() == before
