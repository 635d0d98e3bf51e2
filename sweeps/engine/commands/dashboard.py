"""``zsr dashboard``: optuna-dashboard over a search while it runs or afterwards, on this machine and read-only."""

from __future__ import annotations

import argparse
import contextlib

from sweeps.engine.commands.shared import add_study, read_study_path, say
from sweeps.engine.running.exit_codes import DONE
from sweeps.engine.running.flags import Parser, read_whole

WORDS = "serve optuna-dashboard over a search, on this machine alone and read-only"
PORT, LAST_PORT = 8080, 65535


def add(command: Parser) -> None:
    add_study(command)
    words = f"where to listen on 127.0.0.1 (default {PORT}; 0 takes any free port)"
    command.add_argument("--port", default=str(PORT), metavar="N", help=words)


def run(options: argparse.Namespace) -> int:
    from sweeps.engine.tracking.dashboard import (  # noqa: PLC0415 - brings Optuna
        HOST,
        ReadOnly,
        check_installed,
        journal_of,
        pages,
        server,
    )

    port = read_whole("--port", options.port, least=0, most=LAST_PORT)
    journal = journal_of(read_study_path(options.study))
    check_installed()
    with server(ReadOnly(journal, pages), port) as serving:
        say([f"{journal} on http://{HOST}:{serving.server_port}/ (read-only). Ctrl-C ends it."])
        with contextlib.suppress(KeyboardInterrupt):
            serving.serve_forever()
    return DONE
