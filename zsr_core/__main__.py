"""``python -m zsr_core train | evaluate``: one trial on a bare GPU box, without Ray."""

from __future__ import annotations

from zsr_core.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
