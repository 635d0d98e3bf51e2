"""Who is told that a launch has ended: a real command, a real server, and what must never be shown."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.running import notify
from sweeps.engine.running.notify import Standing, notice_of_break, notice_of_end, read_notify, tell
from sweeps.engine.running.options import command_again
from zsr_core.codec import ConfigError

SECRET = "T0KEN-of-the-hook"
STANDING = Standing(study="tiny", folder="/results/tiny", done=4, planned=5, failed=1, best="alpha=0.1, harmonic 54.3")
NOTICE = notice_of_end(STANDING, ["failed: alpha=1: nan"], ["Budget: spent."], broken=False, over_budget=True)


@contextmanager
def server(status: int = 200, silent: threading.Event | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the address of a server on loopback and what it was sent; ``silent``: it answers only after that."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append({"path": self.path, "headers": dict(self.headers), "body": json.loads(body)})
            if silent is not None:
                silent.wait(30)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{serving.server_address[1]}", got
    finally:
        if silent is not None:
            silent.set()
        serving.shutdown()
        thread.join()
        serving.server_close()


def python(code: str) -> str:
    return f"{sys.executable} -c {shlex.quote(code)}"


def test_a_url_gets_the_notice_as_json_and_the_login_as_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    with server() as (at, got):
        assert tell(read_notify(f"http://me:{SECRET}@{at}/services/{SECRET}?k=1"), NOTICE)
    (sent,) = got
    assert sent["path"] == f"/services/{SECRET}?k=1"
    assert sent["headers"]["Content-Type"] == "application/json"
    assert sent["headers"]["Authorization"] == "Basic bWU6VDBLRU4tb2YtdGhlLWhvb2s="
    assert sent["body"] == {
        "event": "failed", "study": "tiny", "folder": "/results/tiny", "done": 4, "planned": 5, "failed": 1,
        "best": "alpha=0.1, harmonic 54.3",
        "text": "tiny ended with failures: 4 of 5 trials done.\nBest: alpha=0.1, harmonic 54.3.\nBudget: spent.\n"
                "failed: alpha=1: nan",
    }  # fmt: skip
    assert capsys.readouterr() == ("", "")


def test_a_command_gets_the_message_on_stdin_and_the_fields_in_its_environment(tmp_path: Path) -> None:
    code = f"""
import json, os, sys
kept = {{name: value for name, value in os.environ.items() if name.startswith("ZSR_")}}
open({str(tmp_path / "got.json")!r}, "w").write(json.dumps([sys.stdin.read(), kept]))"""
    assert tell(read_notify(python(code)), NOTICE)
    stdin, environment = json.loads((tmp_path / "got.json").read_text())
    assert stdin == f"{NOTICE.text}\n"
    assert environment["ZSR_EVENT"] == "failed"
    assert environment["ZSR_STUDY"] == "tiny"
    assert environment["ZSR_FOLDER"] == "/results/tiny"
    assert environment["ZSR_MESSAGE"] == NOTICE.text
    assert json.loads(environment["ZSR_NOTICE"])["text"] == NOTICE.text


def test_a_command_that_fails_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert not tell(read_notify(python(f"'{SECRET}'; raise SystemExit(3)")), NOTICE)
    assert capsys.readouterr().err == f"--notify: {sys.executable} did not take the message (exit code 3)\n"


def test_a_server_that_refuses_or_is_not_there_is_one_line_without_the_path(capsys: pytest.CaptureFixture[str]) -> None:
    with server(status=500) as (at, got):
        assert not tell(read_notify(f"http://{at}/{SECRET}"), NOTICE)
        assert len(got) == 1
    assert capsys.readouterr().err == "--notify: http://127.0.0.1/*** did not take the message (it answered 500)\n"
    assert not tell(read_notify(f"http://{at}/{SECRET}"), NOTICE)
    assert capsys.readouterr().err == "--notify: http://127.0.0.1/*** did not take the message (Connection refused)\n"


def test_a_target_that_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(notify, "WITHIN_S", 0.2)
    with server(silent=threading.Event()) as (at, _):
        assert not tell(read_notify(f"http://{at}/{SECRET}"), NOTICE)
    assert not tell(read_notify(python("import time; time.sleep(60)")), NOTICE)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("--notify: http://127.0.0.1/*** did not take the message (")
    assert second.endswith("(it was ended after 0.2 s)")


@pytest.mark.parametrize(
    "text", ["", "   ", "no-such-program-anywhere --x", "'open quote", "http://", "https:///path", "http://h:port/x",
             "http://h/a b"],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_before_anything_starts_without_showing_it(text: str) -> None:
    with pytest.raises(ConfigError, match="--notify: got '\\*\\*\\*', expected") as refused:
        read_notify(text)
    assert "no-such" not in str(refused.value)
    assert "h:port" not in str(refused.value)


def test_the_environment_names_the_target_unless_the_flag_does() -> None:
    environ = {"ZSR_NOTIFY": "https://one.example/x"}
    assert read_notify(None, environ) == read_notify("https://one.example/x", {})
    assert read_notify("https://two.example/y", environ) == read_notify("https://two.example/y", {})
    assert read_notify(None, {}) is None
    with pytest.raises(ConfigError, match="ZSR_NOTIFY: got '\\*\\*\\*'"):
        read_notify(None, {"ZSR_NOTIFY": "no-such-program-anywhere"})


def test_a_target_is_not_shown_by_its_text_nor_by_the_command_to_go_on_with() -> None:
    target = read_notify(f"https://hooks.example/{SECRET}")
    assert target is not None
    assert SECRET not in f"{target} {target!r} {target.shown()}"
    for given in (["--notify", f"https://h/{SECRET}", "--local"], [f"--notify=curl {SECRET}", "--local"]):
        again = command_again("tiny.py", given)
        assert SECRET not in again
        assert "***" in again
        assert again.endswith(" --local")


@pytest.mark.parametrize(
    ("failed", "lacking", "broken", "over_budget", "event"),
    [
        (0, [], False, False, "ended"),
        (0, ["2 planned trials have not run."], False, False, "incomplete"),
        (0, ["2 planned trials have not run."], False, True, "budget"),
        (1, [], False, True, "failed"),
        (0, [], True, False, "failed"),
    ],
)
def test_the_event_is_the_gravest_of_what_has_happened(
    failed: int, lacking: list[str], broken: bool, over_budget: bool, event: str
) -> None:
    at = Standing(study="tiny", folder="/x", done=1, planned=3, failed=failed)
    assert notice_of_end(at, lacking, [], broken=broken, over_budget=over_budget).event == event


def test_many_failures_are_counted_and_the_error_that_ends_a_launch_is_named_without_its_text() -> None:
    lines = notice_of_end(STANDING, [f"failed: {i}" for i in range(9)], [], broken=False, over_budget=False).text
    assert lines.splitlines()[-2:] == ["failed: 5", "and 3 more"]
    broken = notice_of_break(STANDING, RuntimeError(SECRET))
    assert (broken.event, SECRET in broken.text, "RuntimeError" in broken.text) == ("failed", False, True)
    assert notice_of_break(STANDING, KeyboardInterrupt()).event == "stopped"
