"""``--notify``: a command or a URL that is told when a launch ends, fails or has used up its budget.

A target may hold a secret, such as the path of a webhook. So nothing prints or stores it except as ``***``.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from zsr_core.codec import require

FLAG = "--notify"
VARIABLE = "ZSR_NOTIFY"  # the same as the flag; not shown in process lists, nor as the entrypoint of a Ray job
HIDDEN = "***"
WITHIN_S = 10.0  # in which a target must take the message
MOST_LINES = 6  # of a message about failed trials
EXPECTED = "an http(s) URL, or a command whose program is installed"

Event = Literal["ended", "incomplete", "failed", "budget", "stopped"]
WORDS: Mapping[Event, str] = {
    "ended": "has ended",
    "incomplete": "has trials left to run",
    "failed": "ended with failures",
    "budget": "has used up its budget",
    "stopped": "was stopped",
}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom a launch tells how it has ended: ``url``, or the program and arguments of ``command``."""

    url: str = field(default="", repr=False)
    command: tuple[str, ...] = field(default=(), repr=False)

    def shown(self) -> str:
        """Return the target as it may be printed: the host of a URL, or the program of a command."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}/{HIDDEN}" if self.url else self.command[0]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a study has come."""

    study: str
    folder: str
    done: int
    planned: int
    failed: int = 0
    best: str = ""  # the best cell with its score, if a trial has ended in this launch


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What a target is told.

    "ended": every planned trial is done. "incomplete": trials have not run yet. "failed": a trial or the launch has
    failed, or a table or figure could not be made. "budget": the budget is used up. "stopped": by Ctrl-C or SIGTERM.
    """

    event: Event
    text: str  # the message for a person, one or several lines
    standing: Standing

    def fields(self) -> dict[str, str | int]:
        """Return the notice as one flat object of JSON."""
        return {"event": self.event, "text": self.text, **asdict(self.standing)}


def read_notify(text: str | None, environ: Mapping[str, str] = os.environ) -> Target | None:
    """Return the target that the flag names, else the one in ``ZSR_NOTIFY``, else None.

    Raises:
        ConfigError: for a URL without a host, or a command whose program is not found. The error shows neither.
    """
    name = FLAG if text is not None else VARIABLE
    given = environ.get(VARIABLE, "") if text is None else text
    if text is None and not given:
        return None
    scheme = given.strip().partition("://")[0].lower()
    if scheme in ("http", "https"):
        parts = _parts(given.strip())
        require(parts is not None, name, HIDDEN, "a URL with a host and without spaces, such as https://host/path")
        return Target(url=given.strip())
    try:
        command = tuple(shlex.split(given))
    except ValueError:  # a quotation that does not end
        command = ()
    require(bool(command) and shutil.which(command[0]) is not None, name, HIDDEN, EXPECTED)
    return Target(command=command)


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        sound = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    plain = url.isascii() and url.isprintable() and " " not in url
    return parts if sound and plain else None


def hidden(argv: Sequence[str]) -> list[str]:
    """Return command-line arguments with ``***`` in place of the target."""
    kept = [f"{FLAG}={HIDDEN}" if arg.startswith(f"{FLAG}=") else arg for arg in argv]
    return [HIDDEN if before == FLAG else arg for before, arg in zip(["", *kept], kept, strict=False)]


def notice_of_end(
    at: Standing, lacking: Sequence[str], notes: Sequence[str], *, broken: bool, over_budget: bool
) -> Notice:
    """Return the message about a launch that has reached its end.

    ``lacking``: what has failed or not run, one line each. ``broken``: something else could not be made.
    """
    event: Event = (
        "failed" if at.failed or broken else "budget" if over_budget else "incomplete" if lacking else "ended"
    )
    lines = [f"{at.study} {WORDS[event]}: {at.done} of {at.planned} trials done."]
    lines += [f"Best: {at.best}."] if at.best else []
    more = [f"and {len(lacking) - MOST_LINES} more"] if len(lacking) > MOST_LINES else []
    return Notice(event=event, text="\n".join([*lines, *notes, *lacking[:MOST_LINES], *more]), standing=at)


def notice_of_break(at: Standing, error: BaseException) -> Notice:
    """Return the message about a launch that ``error`` has ended, without its text, which may hold a secret."""
    event: Event = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
    why = WORDS[event] if event == "stopped" else f"broke off ({type(error).__name__})"
    text = f"{at.study} {why}: {at.done} of {at.planned} trials done. The same command goes on."
    return Notice(event=event, text=text, standing=at)


def tell(target: Target | None, notice: Notice) -> bool:
    """Send ``notice`` and return whether it was taken. Raises nothing: a failure is one line on stderr.

    It takes at most a little longer than ``WITHIN_S`` seconds, whatever the target does.
    """
    if target is None:
        return False
    failures = [f"no answer within {WITHIN_S:g} s"]

    def send() -> None:
        failures[:] = [_post(target.url, notice) if target.url else _call(target.command, notice)]

    # in a thread, because the time-outs of sockets cover neither name servers nor an answer that trickles
    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    sending.join(WITHIN_S + 1)
    why = failures[0]
    if why:
        print(f"{FLAG}: {target.shown()} did not take the message ({why})", file=sys.stderr, flush=True)
    return not why


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the answer, because following it would send the login elsewhere and drop the message."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


def _post(url: str, notice: Notice) -> str:
    """Send the notice as JSON; return why that failed, without any part of the URL, or an empty text."""
    parts = urlsplit(url)
    headers = {"Content-Type": "application/json", "User-Agent": "zsr"}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    try:
        asked = urllib.request.Request(plain, json.dumps(notice.fields()).encode(), headers, method="POST")
        with urllib.request.build_opener(_NoRedirect).open(asked, timeout=WITHIN_S) as answer:
            answer.read(64)
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answered {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        return (reason.strerror if isinstance(reason, OSError) else None) or type(error).__name__
    return ""


def _call(command: Sequence[str], notice: Notice) -> str:
    """Run the command with the notice on stdin and in its environment; return why that failed, or an empty text."""
    fields = {"ZSR_EVENT": notice.event, "ZSR_STUDY": notice.standing.study, "ZSR_FOLDER": notice.standing.folder,
              "ZSR_MESSAGE": notice.text, "ZSR_NOTICE": json.dumps(notice.fields())}  # fmt: skip
    try:
        running = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **fields}, start_new_session=True,  # so that Ctrl-C does not reach it
        )  # fmt: skip
    except OSError as error:
        return error.strerror or type(error).__name__
    try:
        running.communicate(f"{notice.text}\n", timeout=WITHIN_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        return f"it was ended after {WITHIN_S:g} s"
    return f"exit code {running.returncode}" if running.returncode else ""
