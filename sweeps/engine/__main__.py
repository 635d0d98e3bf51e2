"""``python -m sweeps.engine`` is ``zsr``, for environments without console scripts."""

from __future__ import annotations

import sys

from sweeps.engine.commands.main import main

sys.exit(main())
