import shlex
import subprocess
from pathlib import Path
from typing import Literal

import kubernetes_validate
import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from robolearn.config import apply_overrides, build, config_dir, load_config
from robolearn.errors import ConfigError, MissingDependency, PhysicsError, TaskError
from robolearn.fleet.cluster import Site, slurm_script
from robolearn.learn.distributed import settings_of
from robolearn.learn.train_config import TrainConfig, train_config
from robolearn.sim import engines

SITES = ["generic", "lumi", "leonardo", "marenostrum5"]


@pytest.mark.parametrize("site", SITES)
def test_script_is_valid_shell_and_says_what_it_needs(site, tmp_path):
    text = slurm_script("fr3/reach", tmp_path / "run", site=site, nodes=2, overrides=["num_envs=8192"])
    checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "#SBATCH --nodes=2" in text
    assert "#SBATCH --requeue" in text
    assert "#SBATCH --signal=TERM@120" in text
    assert f"--run {tmp_path}/run distributed=true" in text
    assert text.count("$run_dir") == 0
    lines = text.splitlines()
    directives = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    commands = [i for i, line in enumerate(lines) if line and not line.startswith("#")]
    assert max(directives) < min(commands)  # sbatch reads no directive after the first command


@pytest.mark.parametrize(
    ("outcome", "queued"), [("stopped", True), ("finished", False), ("time budget", False)]
)
def test_only_an_unfinished_run_is_queued_again(tmp_path, outcome, queued):
    """The script itself, with srun and scontrol played by two shell functions."""
    run_dir = tmp_path / "run"
    text = slurm_script("fr3/reach", run_dir)
    fakes = f"""
srun() {{ mkdir -p {run_dir}; echo '{{"outcome": "{outcome}"}}' > {run_dir}/run.json; echo "ran $*"; }}
scontrol() {{ echo "scontrol $*"; }}
SLURM_JOB_ID=7
"""
    done = subprocess.run(["bash"], input=fakes + text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ran robolearn train fr3/reach" in done.stdout
    assert ("scontrol requeue 7" in done.stdout) is queued


def test_a_run_that_was_terminated_before_it_could_answer_is_queued_again(tmp_path):
    text = slurm_script("fr3/reach", tmp_path / "run")
    fakes = 'srun() { return 143; }\nscontrol() { echo "scontrol $*"; }\nSLURM_JOB_ID=7\n'
    done = subprocess.run(["bash"], input=fakes + text, text=True, capture_output=True, check=False)
    assert "scontrol requeue 7" in done.stdout


def test_a_failed_run_keeps_its_status_and_is_not_queued_again(tmp_path):
    text = slurm_script("fr3/reach", tmp_path / "run")
    fakes = 'srun() { return 2; }\nscontrol() { echo "scontrol $*"; }\n'
    done = subprocess.run(["bash"], input=fakes + text, text=True, capture_output=True, check=False)
    assert done.returncode == 2
    assert "scontrol" not in done.stdout


def test_unknown_site_and_no_nodes_are_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"Unknown config file 'cluster/lumy.yaml'.*Did you mean 'cluster/lumi.yaml'"
    ):
        slurm_script("fr3/reach", tmp_path, site="lumy")
    with pytest.raises(ConfigError, match="nodes is 0"):
        slurm_script("fr3/reach", tmp_path, nodes=0)


def trained(script):
    """The config that the training of a script would have."""
    (line,) = [line for line in script.splitlines() if line.startswith("srun ")]
    words = shlex.split(line)
    words = words[words.index("train") + 1 :]
    config = words[words.index("--config") + 1] if "--config" in words else None
    overrides = [word for word in words if "=" in word and not word.startswith("--")]
    return train_config(words[0], config, overrides)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("nodes", [1, 2, 4])
def test_groups_and_environments_fit_the_devices_of_the_job(site, nodes, tmp_path):
    settings = load_config(Site, f"cluster/{site}.yaml")
    config = trained(slurm_script("fr3/reach", tmp_path, site=site, nodes=nodes))
    devices = nodes * settings.tasks_per_node
    assert config.groups % devices == 0
    assert config.num_envs % devices == 0
    assert config.distributed
    assert config.engine == settings.engine


def test_a_job_that_would_not_start_is_refused_with_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match="multiple of the 16 devices of this job: set groups=16"):
        slurm_script("fr3/reach", tmp_path, site="lumi", nodes=2, overrides=["groups=8"])
    with pytest.raises(ConfigError, match="over the 24 devices of this job: set num_envs=528 groups=24"):
        slurm_script("fr3/reach", tmp_path, site="lumi", nodes=3)
    text = slurm_script("fr3/reach", tmp_path, site="lumi", nodes=3, overrides=["num_envs=528", "groups=24"])
    assert trained(text).num_envs == 528


def test_the_config_of_the_run_is_in_the_script_and_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("num_envs: 64\nppo: {minibatches: 4}\n")
    text = slurm_script("fr3/reach", "run", config="mine.yaml", overrides=["seed=3"])
    assert f"--config {tmp_path}/mine.yaml" in text
    config = trained(text)
    assert (config.num_envs, config.ppo.minibatches, config.seed) == (64, 4, 3)
    assert "--config train/push.yaml" in slurm_script("fr3/push", "run", config="train/push.yaml")
    Path("mine.yaml").write_text("num_env: 64\n")
    with pytest.raises(ConfigError, match="Did you mean 'num_envs'"):
        slurm_script("fr3/reach", "run", config="mine.yaml")


@pytest.mark.parametrize(
    ("task", "override", "error", "message"),
    [
        ("fr3/nope", "seed=1", TaskError, "Unknown task 'fr3/nope'"),
        ("fr3/reach", "bogus=3", ConfigError, "Unknown key 'bogus'"),
        ("fr3/reach", "env.bogus=3", ConfigError, "Unknown key 'bogus'"),
        ("fr3/reach", "num_envs=33", ConfigError, "num_envs 33 must be a multiple of groups 8"),
    ],
)
def test_a_wrong_task_or_key_is_refused_before_a_script_is_written(tmp_path, task, override, error, message):
    with pytest.raises(error, match=message):
        slurm_script(task, tmp_path, overrides=[override])


def test_a_site_whose_engine_cannot_run_the_task_is_refused(tmp_path, monkeypatch):
    """As the `jax` engine refuses contacts that it does not know; `warp` need not be installed to print a script."""

    def refuse(engine, model, num_envs):
        raise PhysicsError(f"The '{engine}' engine cannot run this model: it is odd. Use the native engine.")

    monkeypatch.setattr(engines, "make_physics", refuse)
    with pytest.raises(ConfigError, match="engine that 'lumi' uses.*it is odd.*engine=native"):
        slurm_script("fr3/reach", tmp_path, site="lumi")
    assert trained(slurm_script("fr3/reach", tmp_path, site="lumi", overrides=["engine=native"]))

    def missing(engine, model, num_envs):
        raise MissingDependency("The 'warp' engine needs warp-lang.")

    monkeypatch.setattr(engines, "make_physics", missing)
    assert trained(slurm_script("fr3/reach", tmp_path, site="leonardo")).engine == "warp"


@pytest.mark.parametrize(("variables", "message"), [
    ({"ROBOLEARN_COORDINATOR": "a:1"}, "set, but not ROBOLEARN_PROCESSES, ROBOLEARN_RANK"),
    ({"ROBOLEARN_COORDINATOR": "a", "ROBOLEARN_PROCESSES": "2", "ROBOLEARN_RANK": "0"}, "expected host:port"),
    ({"ROBOLEARN_COORDINATOR": "a:1", "ROBOLEARN_PROCESSES": "two", "ROBOLEARN_RANK": "0"}, "expected a whole number"),
    ({"ROBOLEARN_COORDINATOR": "a:1", "ROBOLEARN_PROCESSES": "2", "ROBOLEARN_RANK": "2"}, "expected 0 to 1"),
])  # fmt: skip
def test_wrong_variables_of_a_launcher_are_refused(variables, message):
    with pytest.raises(ConfigError, match=message):
        settings_of(variables)


def test_without_variables_the_launcher_is_left_to_jax():
    assert settings_of({"PATH": "/bin"}) == (None, None, None)
    given = {"ROBOLEARN_COORDINATOR": "[::1]:8476", "ROBOLEARN_PROCESSES": "2", "ROBOLEARN_RANK": "1"}
    assert settings_of(given) == ("[::1]:8476", 2, 1)


# Field names of jobset.x-k8s.io/v1alpha2, source: kubernetes-sigs/jobset, api/jobset/v1alpha2/jobset_types.go, commit
# 0336a8f (primary). The Job in it is checked against Kubernetes' own schema.
class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Network(_Closed):
    enableDNSHostnames: bool | None = None
    subdomain: str | None = None
    publishNotReadyAddresses: bool | None = None


class _FailurePolicy(_Closed):
    maxRestarts: int = 0
    restartStrategy: str | None = None
    rules: list[dict] | None = None


class _JobTemplate(_Closed):
    metadata: dict | None = None
    spec: dict


class _ReplicatedJob(_Closed):
    name: str
    groupName: str | None = None
    replicas: int = 1
    template: _JobTemplate
    dependsOn: list[dict] | None = None


class _JobSetSpec(_Closed):
    replicatedJobs: list[_ReplicatedJob]
    network: _Network | None = None
    successPolicy: dict | None = None
    failurePolicy: _FailurePolicy | None = None
    startupPolicy: dict | None = None
    suspend: bool | None = None
    coordinator: dict | None = None
    managedBy: str | None = None
    ttlSecondsAfterFinished: int | None = None
    volumeClaimPolicies: list[dict] | None = None


class _JobSet(_Closed):
    apiVersion: Literal["jobset.x-k8s.io/v1alpha2"]
    kind: Literal["JobSet"]
    metadata: dict
    spec: _JobSetSpec


def check_job_set(manifest):
    """Raises ValueError for a key or a type that JobSet or Kubernetes does not know."""
    for replicated in _JobSet.model_validate(manifest).spec.replicatedJobs:
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": replicated.name}}
        kubernetes_validate.validate(job | {"spec": replicated.template.spec}, "1.37", strict=True)


def test_the_job_set_is_valid_and_a_misspelt_key_is_not():
    text = (config_dir() / "cluster/jobset.yaml").read_text()
    check_job_set(yaml.safe_load(text))
    for right, wrong in (
        ("maxRestarts: 100", "maxRestarts: many"), ("maxRestarts", "maxRestart"), ("replicas: 1", "replica: 1"),
        ("parallelism", "paralelism"), ("completionMode", "completionmode"), ("containerPort", "containerport"),
        ("fieldPath", "fieldpath"), ("enableDNSHostnames", "enableDnsHostnames"),
    ):  # fmt: skip
        assert right in text
        with pytest.raises((ValueError, kubernetes_validate.ValidationError)):
            check_job_set(yaml.safe_load(text.replace(right, wrong)))


def test_kubernetes_job_set_asks_for_a_config_that_exists():
    (job,) = yaml.safe_load(Path(config_dir() / "cluster/jobset.yaml").read_text())["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["completionMode"] == "Indexed"
    assert container["command"][:3] == ["robolearn", "train", "fr3/reach"]
    overrides = [argument for argument in container["command"] if "=" in argument]
    config = build(TrainConfig, apply_overrides({"task": "fr3/reach"}, overrides))
    assert config.distributed
    assert config.groups % spec["completions"] == 0
