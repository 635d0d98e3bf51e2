"""The Ray that trials run on: the cluster that RAY_ADDRESS names, or one that is started on this machine."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import secrets
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants, worker
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

from sweeps.engine.running.cluster.sessions import end_session, own_session, remove_ended_sessions, remove_session
from sweeps.engine.running.exit_codes import INCOMPLETE
from sweeps.engine.running.jobs import ClusterLost, processes_of
from zsr_core.codec import ConfigError, require

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints boxes at any verbosity
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # results are in the trial folders; no second copy as csv, json, events
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the launch handles Ctrl-C
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # nothing is ever restored from Tune's own state
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
OBJECT_STORE_BYTES = 128 * 2**20  # it carries only the trials' configurations
COMMON: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray's processes listen on 127.0.0.1, on every system
TOKEN = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The resources of one trial, and how many trials run at a time."""

    cpus_per_trial: float
    gpus_per_trial: float
    slots: int  # trials at a time
    processes: int = 1  # that share a trial, one per GPU


def shares(
    resources: Mapping[str, float],
    gpus_per_trial: float | None,
    max_concurrent: int | None,
    largest: float | None = None,
) -> Cluster:
    """Return the share of ``resources`` that a trial gets.

    Without GPUs a trial has one CPU. With GPUs a trial has one, or ``gpus_per_trial``, and its part of the CPUs.
    Several GPUs must be on one machine, with a process for each; ``largest`` is the most GPUs of any machine.

    Raises:
        ConfigError: if a trial needs more GPUs than there are.
    """
    cpus, gpus = int(resources.get("CPU", 1)), resources.get("GPU", 0.0)
    share = gpus_per_trial if gpus_per_trial is not None else float(gpus > 0)
    require(share <= gpus, "--gpus-per-trial", share, f"at most the {gpus:g} GPUs there are")
    most = gpus if largest is None else largest
    require(share <= max(1, most), "--gpus-per-trial", share, f"at most the {most:g} GPUs of one machine")
    slots = min(int(gpus / share + 1e-9), cpus) if share else cpus
    slots = max(1, min(slots, max_concurrent or slots))
    return Cluster(
        cpus_per_trial=max(1, cpus // slots) if share else 1, gpus_per_trial=share, slots=slots,
        processes=processes_of(share),
    )  # fmt: skip


def check_address(address: str) -> None:
    """Raise ``ConfigError`` unless a cluster's head answers at ``address``; Ray itself would try for minutes."""
    host, separator, port = address.rpartition(":")
    sound = bool(separator) and port.isdigit() and "//" not in host
    require(sound or address == "auto", "RAY_ADDRESS", address, "host:port of a cluster's head; or submit a job")
    if sound:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise ConfigError(f"RAY_ADDRESS: got {address!r}, expected a head that answers ({error})") from None


def check_cluster() -> None:
    """Raise ``ConfigError`` unless the cluster that RAY_ADDRESS names can be joined; without RAY_ADDRESS none is."""
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        return
    check_address(address)
    if address == "auto":  # only Ray knows where to look for a cluster
        try:
            with cluster(None, None):
                pass
        except ConnectionError as error:
            reason = str(error).split(". ")[0]
            raise ConfigError(f"RAY_ADDRESS: got 'auto', expected a cluster on this machine ({reason})") from None


@contextmanager
def cluster(gpus_per_trial: float | None, max_concurrent: int | None) -> Iterator[Cluster]:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine; leave or stop it at the end.

    A Ray that is started here listens on the loopback address alone and asks for a token that only this launch has.
    """
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    for name in ("ray", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with _without_messages(), (_joined if "RAY_ADDRESS" in os.environ else _started)():
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        largest = max((node["Resources"].get("GPU", 0.0) for node in nodes if node["Alive"]), default=0.0)
        yield shares(resources, gpus_per_trial, max_concurrent, largest)


@contextmanager
def _joined() -> Iterator[None]:
    check_address(os.environ["RAY_ADDRESS"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(**COMMON)
    with _left_at_the_end():
        yield


@contextmanager
def _started() -> Iterator[None]:
    with _private():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **COMMON)
            except Exception as error:  # on a machine under load Ray gives up waiting for its own processes
                raise ClusterLost(f"Ray did not start on this machine ({str(error).partition('. ')[0]})") from error
        node: Any = worker._global_node
        session = Path(node.get_session_dir_path())
        with own_session(session):
            remove_ended_sessions(session.parent)
            with _left_at_the_end():
                yield
            remove_session(session)


@contextmanager
def _private() -> Iterator[None]:
    """Within, a Ray that starts listens on the loopback address alone and asks for a token that only this process has.

    Ray's token file serves every cluster of this user, and Ray makes it readable to all users of the machine.
    """
    kept = {name: os.environ.pop(name, None) for name in (LOOPBACK, *TOKEN)}
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    os.environ |= {LOOPBACK: "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    ray_constants.ENABLE_RAY_CLUSTER = False  # what LOOPBACK sets; Ray reads it when it is imported
    _read_settings_again()
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        _read_settings_again()


def _read_settings_again() -> None:
    """Let Ray's core read the environment again, as Ray itself does after it has set RAY_AUTH_MODE."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _without_messages() -> Iterator[None]:
    """Within, errors that Ray sends to the driver are not printed: a dead raylet alone sends 20 lines of its log.

    What a sweep needs of them is in the trials' results and in :class:`ClusterLost`.
    """
    printer = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = printer


@contextmanager
def _left_at_the_end() -> Iterator[None]:
    """Leave or stop Ray after the block. Without its GCS or raylet Ray would wait for them, so it is abandoned."""
    node: Any = worker._global_node
    try:
        yield
    except ClusterLost:
        if node.head:  # this process has started it
            node.kill_all_processes(check_alive=False)
            end_session(Path(node.get_session_dir_path()))
        atexit.register(_end_at_once)
        raise
    except BaseException:
        _leave()
        raise
    _leave()


def _end_at_once() -> None:
    """End this process without the handlers that Ray has registered, because they would wait for dead processes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INCOMPLETE)


def _leave() -> None:
    """Stop Ray after collecting its objects.

    Handles of finished workers are in reference cycles. If one is collected after the shutdown, in any thread, Ray's
    core aborts the process.
    """
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()
