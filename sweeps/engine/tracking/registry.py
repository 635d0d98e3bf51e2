"""Tuned weights in the tracker's model registry: one model per study, one version for each file of scored weights."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from sweeps.engine.study.folder import PlannedTrial, Study
from sweeps.engine.tracking.entries import version_tags
from sweeps.engine.tracking.notes import version_note
from zsr_core.trial.result import TrialResult

SAME = ("weights_sha", "config_hash")  # two versions of one run with these tags equal hold the same weights


def register(
    client: MlflowClient, study: Study, trial: PlannedTrial, result: TrialResult, *, run_id: str, file: str
) -> bool:
    """Register ``weights/<file>`` of the run as a version of the study's model; return whether the version is new."""
    tags = version_tags(study, trial, result)
    _make_model(client, study)
    for version in versions(client, study.study):
        if version.run_id == run_id and all(version.tags.get(name) == tags.get(name) for name in SAME):
            return False
    note = version_note(study, trial, result, run_id=run_id, file=file)
    client.create_model_version(study.study, f"runs:/{run_id}/weights", run_id, tags, description=note)
    return True


def versions(client: MlflowClient, name: str) -> Iterator[ModelVersion]:
    """Yield all versions of a registered model."""
    token: str | None = None
    while token != "":
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        yield from page
        token = page.token or ""


def _make_model(client: MlflowClient, study: Study) -> None:
    """Make the study's model in the registry unless it exists."""
    if client.search_registered_models(f"name = '{study.study}'", max_results=1):
        return
    try:
        client.create_registered_model(study.study, {"study": study.study, "sweep": study.name}, study.question)
    except MlflowException:
        client.get_registered_model(study.study)  # another process has made it in the meantime
