"""``health.md``: the findings of ``zsr health``."""

from __future__ import annotations

from pathlib import Path

from sweeps.engine.documents.forms.markdown import document
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.wording.health import health_lines
from zsr_core.files import write_text


def write_health(folder: StudyFolder) -> Path:
    """Write ``health.md`` into the study's folder and return its path."""
    return write_text(folder.path / "health.md", document(health_lines(folder)))
