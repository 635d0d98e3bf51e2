"""MLflow's own server with its pages as a study needs them: ``mlflow server --app-name zsr``."""

from __future__ import annotations

from mlflow.server.fastapi_app import app as mlflow_app

from sweeps.engine.tracking.pages import PanelClosed

app = PanelClosed(mlflow_app)
