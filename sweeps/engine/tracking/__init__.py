"""MLflow: where it is, what is recorded, and how."""

from __future__ import annotations

import os

# MLflow reads these when it is imported or first used; what the user has set counts. A sweep does not wait minutes for
# a dead server: what it missed is spooled and sent later.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}.items():
    os.environ.setdefault(_name, _value)
