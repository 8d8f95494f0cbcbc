import subprocess
from pathlib import Path

import pytest
import yaml

from robolearn.config import apply_overrides, build, config_dir
from robolearn.errors import ConfigError
from robolearn.learn.cluster import slurm_script
from robolearn.learn.config import TrainConfig

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
