#!/bin/sh
# Serve the tracking UI over the runs of a results folder, on loopback unless told otherwise.
#   mlflow/serve.sh [--results DIR] [--host HOST] [--port PORT]      or by RESULTS, HOST and PORT in the environment
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
results=${RESULTS:-$root/results}
host=${HOST:-127.0.0.1}
port=${PORT:-5000}

while [ $# -gt 0 ]; do
    case $1 in
        --results | --host | --port)
            [ $# -ge 2 ] || { echo "error: $1: got nothing, expected a value after it" >&2; exit 2; }
            ;;
        *) echo "error: got '$1', expected --results DIR, --host HOST or --port PORT" >&2; exit 2 ;;
    esac
    case $1 in
        --results) results=$2 ;;
        --host) host=$2 ;;
        --port) port=$2 ;;
    esac
    shift 2
done

case $port in
    '' | *[!0-9]*) echo "error: --port: got '$port', expected a number such as 5000" >&2; exit 2 ;;
esac

database=$results/mlflow.db
if [ ! -s "$database" ]; then
    echo "There are no runs in $results yet (no mlflow.db): run a sweep first, for example with 'make demo'," >&2
    echo "or name the folder that has some: mlflow/serve.sh --results DIR" >&2
    exit 1
fi
results=$(CDPATH='' cd -- "$results" && pwd)
database=$results/mlflow.db

mlflow=$root/.venv/bin/mlflow
[ -x "$mlflow" ] || mlflow=$(command -v mlflow) || { echo "error: mlflow is not installed; 'make demo' installs it" >&2; exit 1; }
python=$(dirname -- "$mlflow")/python
[ -x "$python" ] || python=python3

# Print the page of the sweep that ran last, or an error if the database is damaged or the port is taken.
"$python" - "$database" "$host" "$port" <<'END'
import socket, sqlite3, sys

database, host, port = sys.argv[1:]
try:
    family, kind, protocol, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    probe = socket.socket(family, kind, protocol)
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(address)
    probe.close()
except (OSError, OverflowError) as error:
    sys.exit(f"error: cannot listen at {host}:{port} ({error}); give another with --port or PORT")
last = "SELECT experiment_id FROM runs WHERE lifecycle_stage = 'active' ORDER BY start_time DESC LIMIT 1"
try:
    row = sqlite3.connect(f"file:{database}?mode=ro", uri=True).execute(last).fetchone()
except sqlite3.Error as error:
    sys.exit(
        f"error: {database} is damaged ({error}); move it away, "
        "and `zsr record --study DIR` records a study's runs anew"
    )
shown = "127.0.0.1" if host in ("0.0.0.0", "::", "localhost") else host
page = f"experiments/{row[0]}/runs" if row else "experiments"
print(f"Open  http://{shown}:{port}/#/{page}?workflowType=machine_learning\nStop with Ctrl-C.", flush=True)
END

# With zsr's pages the assistant's panel stays closed until it is asked for. An mlflow without zsr has only its own.
app=$("$python" -c 'from importlib.metadata import entry_points
print("--app-name zsr" if any(entry.name == "zsr" for entry in entry_points(group="mlflow.app")) else "")')
export MLFLOW_DISABLE_TELEMETRY="${MLFLOW_DISABLE_TELEMETRY:-true}"
export MLFLOW_LOGGING_LEVEL="${MLFLOW_LOGGING_LEVEL:-WARNING}"
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION="${MLFLOW_SERVER_ENABLE_JOB_EXECUTION:-false}" # else seven processes for traces
export PYTHONWARNINGS="${PYTHONWARNINGS:-ignore}"
# shellcheck disable=SC2086 # no word at all, or two
exec "$mlflow" server $app \
    --backend-store-uri "sqlite:///$database" \
    --artifacts-destination "$results/mlartifacts" \
    --host "$host" --port "$port" --workers 1 --uvicorn-opts "--log-level warning"
