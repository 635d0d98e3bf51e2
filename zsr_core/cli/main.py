"""``python -m zsr_core``: read the command line, then import what the command needs."""

from __future__ import annotations

from collections.abc import Sequence

from zsr_core.cli.options import parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 if it is done, 1 if it failed, 2 for input that cannot be used."""
    options = parser().parse_args(argv)
    if options.verb == "evaluate":
        from zsr_core.cli.evaluate import evaluate_model  # noqa: PLC0415

        return evaluate_model(options, prog="zsr_core")
    from zsr_core.cli.train import train_model  # noqa: PLC0415

    return train_model(options)
