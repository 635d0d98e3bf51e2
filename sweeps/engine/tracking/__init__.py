"""MLflow: which store, what a run shows, and how a study is recorded."""

from __future__ import annotations

import os

# MLflow reads these variables when it is imported or first used. A value that the user has set is kept.
# Timeout and retries are short, because events for a server that does not answer are kept on disk and sent later.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}.items():
    os.environ.setdefault(_name, _value)
