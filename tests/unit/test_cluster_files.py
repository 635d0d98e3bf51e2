"""The files of sweeps/cluster are ones that their programs accept, and a submitted checkout is small.

Ray's own validators check its files. KubeRay's and SkyPilot's files are checked against the schemas in ``schemas/``.
shellcheck and hadolint run where they are installed; bash reads every script in any case.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from ray._private.ray_constants import RAY_RUNTIME_ENV_DEFAULT_EXCLUDES
from ray._private.runtime_env.packaging import _zip_files
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.runtime_env import RuntimeEnv
from ray.scripts.scripts import cli, start
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

from sweeps.engine.running.options import read_options
from sweeps.tga_alpha_beta import SWEEP

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "sweeps/cluster"
SCHEMAS = Path(__file__).parent / "schemas"
DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.cuda")
MOST_BYTES = 12 * 2**20  # of the upload of a checkout, most of them the miniature's images and weights
MOST_BYTES_OF_A_FILE = 3 * 2**20


def read(name: str) -> Any:
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


def schema(name: str) -> Any:
    return json.loads((SCHEMAS / name).read_text(encoding="utf-8"))


def check_shell(text: str, tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(text, encoding="utf-8")
    commands = [["bash", "-n", script]]
    commands += [["shellcheck", "--shell=bash", script]] if shutil.which("shellcheck") else []
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def instructions(name: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments."""
    text = re.sub(r"^\s*#.*\n", "", (CLUSTER / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def check_launch(command: str) -> None:
    """Check that a shell command starts a sweep of this repository with flags that it takes."""
    program, script, *flags = shlex.split(command)
    assert program == "python"
    assert (ROOT / script.removeprefix("/zsr/")).is_file(), script
    read_options(SWEEP, flags)


def test_the_folder_holds_no_python() -> None:
    assert not list(CLUSTER.rglob("*.py"))


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_manifests_have_the_fields_of_kuberay(name: str) -> None:
    manifest = read(name)
    jsonschema.validate(manifest, schema("kuberay.json"))
    for group in groups(manifest):
        pod = group["template"]["spec"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == volumes
        assert group.get("minReplicas", 0) <= group.get("replicas", 0) <= group.get("maxReplicas", 0)


def groups(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


@pytest.mark.parametrize(("field", "value"), [("repliccas", 1), ("replicas", "1"), ("groupName", "GPU workers")])
def test_a_wrong_field_of_a_manifest_is_found(field: str, value: object) -> None:
    manifest = read("raycluster.yaml")
    manifest["spec"]["workerGroupSpecs"][0][field] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, schema("kuberay.json"))


@pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])
def test_manifests_ask_for_a_token_and_for_the_ray_that_is_pinned(name: str) -> None:
    spec = read(name)["spec"]
    spec = spec.get("rayClusterSpec", spec)
    assert spec["authOptions"] == {"mode": "token"}
    assert f"ray=={spec['rayVersion']}" in constraints()


def test_the_job_of_kuberay_starts_a_sweep() -> None:
    check_launch(read("rayjob.yaml")["spec"]["entrypoint"])


def test_ray_accepts_the_file_of_ray_up() -> None:
    config = read("ray_up.yaml")
    validate_config(prepare_config(config))
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        stopping, starting = config[key]
        assert stopping == "ray stop"
        assert starting.startswith("export RAY_AUTH_MODE=token; ")
        flags = shlex.split(starting.partition("ray start ")[2])
        start.make_context("start", flags, resilient_parsing=True)
        known = {name for parameter in start.params for name in parameter.opts}
        assert {flag.partition("=")[0] for flag in flags} <= known


def test_ray_refuses_a_wrong_field_of_ray_up() -> None:
    config = prepare_config(read("ray_up.yaml"))
    with pytest.raises(jsonschema.ValidationError):
        validate_config({**config, "max_wrokers": 1})


def test_skypilot_s_fields_are_known(tmp_path: Path) -> None:
    task = read("skypilot.yaml")
    jsonschema.validate(task, schema("skypilot.json"))
    assert task["num_nodes"] == 1, "machines that mount one bucket see each other's files late"
    check_shell("#!/bin/bash\n" + task["setup"], tmp_path)
    check_shell("#!/bin/bash\n# shellcheck disable=SC1090,SC1091,SC2154\n" + task["run"], tmp_path)
    check_launch(f"python {task['envs']['SWEEP']} --results /results")


def test_the_script_of_slurm_calls_ray_as_ray_is(tmp_path: Path) -> None:
    text = (CLUSTER / "slurm.sh").read_text(encoding="utf-8")
    check_shell(text, tmp_path)
    command = text.replace("\\\n", " ").partition("ray symmetric-run ")[2].partition("\n")[0]
    own, _, rest = command.partition(" -- ")
    given = curate_and_validate_ray_start_args(shlex.split(own))
    known = {name for parameter in start.params for name in parameter.opts}
    assert {flag.partition("=")[0] for flag in given} <= known
    assert rest.startswith('python "$@" --results ')


def test_slurm_s_options_precede_the_first_command() -> None:
    lines = (CLUSTER / "slurm.sh").read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert options, "sbatch reads options up to the first command"
    assert max(options) < first


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_dockerfile_copies_what_there_is_and_runs_what_a_shell_can_read(name: str, tmp_path: Path) -> None:
    sent = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    kinds = [kind for kind, _ in instructions(name)]
    assert kinds[0] == "FROM"
    assert set(kinds) <= {"FROM", "RUN", "ARG", "WORKDIR", "COPY", "USER", "ENV", "CMD"}
    for kind, arguments in instructions(name):
        if kind == "COPY":
            sources = arguments.split()[:-1]
            assert set(sources) <= sent
            assert all((ROOT / source).exists() for source in sources)
        if kind == "RUN":
            check_shell(f"#!/bin/bash\n# shellcheck disable=SC2154\n{arguments}\n", tmp_path)


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_accepts_the_dockerfiles(name: str) -> None:
    done = subprocess.run(["hadolint", CLUSTER / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def constraints() -> list[str]:
    return (ROOT / "constraints.txt").read_text(encoding="utf-8").split()


def test_the_runtime_environment_is_one_that_ray_takes_with_the_pinned_versions() -> None:
    plain = read("runtime_env.yaml")
    RuntimeEnv(**plain)
    pinned = {line.partition("==")[0].lower().replace("_", "-"): line.partition("==")[2] for line in constraints()}
    for package in plain["pip"]["packages"]:
        name, _, version = package.partition("==")
        assert pinned[name.lower().replace("_", "-")], name
        assert version in ("", pinned[name.lower().replace("_", "-")]), package


def upload(folder: Path, package: Path) -> dict[str, int]:
    """Return the compressed bytes of each file that ``ray job submit --working-dir`` uploads from ``folder``."""
    _zip_files(str(folder), RAY_RUNTIME_ENV_DEFAULT_EXCLUDES.split(","), str(package), include_gitignore=True)
    with ZipFile(package) as archive:
        return {entry.filename: entry.compress_size for entry in archive.infolist()}


def too_big(sizes: dict[str, int]) -> list[str]:
    """Return what makes an upload too big, the largest first; nothing if it is small."""
    largest = sorted(sizes, key=lambda name: -sizes[name])
    single = [name for name in largest if sizes[name] > MOST_BYTES_OF_A_FILE]
    chosen = single or (largest[:10] if sum(sizes.values()) > MOST_BYTES else [])
    return [f"{name}: {sizes[name] / 2**20:.2f} MB" for name in chosen]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of what git knows of this checkout."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / "checkout" / name)
    return tmp_path / "checkout"


def test_a_submitted_checkout_is_small_and_holds_what_a_sweep_needs(checkout: Path, tmp_path: Path) -> None:
    for name in ("results/study/weights.bin", "mlruns/0/run", "mlflow.db", ".venv/lib/torch.so"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes(b"x" * 1000)
    sizes = upload(checkout, tmp_path / "package.zip")
    assert too_big(sizes) == []
    assert {"sweeps/tga_alpha_beta.py", "zsr_core/published/results.csv", "search_spaces/tga_zsr.py"} <= set(sizes)
    left = {name.partition("/")[0] for name in sizes}
    assert left.isdisjoint({"results", "mlruns", "mlflow.db", ".venv", ".git", "tests", "docs"})
    assert any(name.startswith("zsr_core/data/miniature/assets/") for name in sizes)


def test_what_makes_an_upload_too_big_is_named(checkout: Path, tmp_path: Path) -> None:
    (checkout / "pictures.tar").write_bytes(os.urandom(MOST_BYTES_OF_A_FILE + 1))
    assert [line.partition(":")[0] for line in too_big(upload(checkout, tmp_path / "package.zip"))] == ["pictures.tar"]


def test_symmetric_run_is_a_command_of_this_ray() -> None:
    assert CliRunner().invoke(cli, ["symmetric-run", "--help"]).exit_code == 0
