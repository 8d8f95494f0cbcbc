"""What a training run is made of: typed defaults that YAML and `key=value` only override."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from robolearn.config import Config, build, config_dir, config_path, merged, overridden, read_yaml
from robolearn.env.naming import absolute, file_stem, split_task
from robolearn.learn.calibrated import calibrated_config
from robolearn.policy.approval import Gate
from robolearn.robots import is_robot_path
from robolearn.sim.engines import EngineName


class PpoConfig(Config):
    """Hyper-parameters of the PPO learner."""

    rollout_steps: PositiveInt = Field(
        default=16, description="control steps of each environment per iteration"
    )
    epochs: PositiveInt = Field(default=4, description="passes over one iteration's samples")
    minibatches: PositiveInt = Field(default=16, description="gradient steps per epoch")
    discount: float = Field(default=0.97, ge=0, le=1)
    gae_lambda: float = Field(default=0.95, ge=0, le=1, description="lambda of the advantage estimate")
    clip_ratio: PositiveFloat = 0.2
    value_coef: PositiveFloat = 0.5
    entropy_coef: float = Field(default=0.0, ge=0)
    max_grad_norm: PositiveFloat = 1.0
    learning_rate: PositiveFloat = Field(default=1e-3, description="initial and maximum rate")
    learning_rate_min: PositiveFloat = 1e-5
    final_learning_rate_fraction: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="the maximum rate decays linearly to this fraction of it",
    )
    kl_target: PositiveFloat | None = Field(
        default=0.01,
        description="target KL divergence per iteration, nats; the rate adapts to it. null: no adaptation",
    )
    reward_scale: PositiveFloat = 1.0
    initial_log_std: float = -0.5
    final_log_std: float | None = Field(
        default=None,
        description="upper bound of the noise falls linearly from initial_log_std to this. null: no bound",
    )
    log_std_min: float = -3.5
    squash: Literal["clip", "tanh"] = Field(
        default="clip",
        description="how the actor's output becomes an action in [-1, 1]. tanh: the mean stays inside, so that noise"
        " always has an effect. clip: an expert that acts at the ends can be imitated",
    )
    actor_hidden: tuple[PositiveInt, ...] = (128, 128, 128)
    critic_hidden: tuple[PositiveInt, ...] = (128, 128, 128)
    activation: Literal["swish", "elu", "relu", "tanh"] = "swish"


class WandbConfig(Config):
    """Weights & Biases, where wandb is installed: offline unless a person writes otherwise."""

    mode: Literal["disabled", "offline", "online"] = Field(
        default="offline",
        description="offline: into the run folder, for `wandb sync`; online: to the server you are logged in to",
    )
    project: str = "robolearn"


class TrainConfig(Config):
    """One training run. The same config and seed repeat it bit for bit on the same machine."""

    task: str
    seed: int = Field(default=0, ge=0, lt=2**31)
    engine: EngineName = "auto"
    num_envs: PositiveInt = Field(default=512, description="environments of all processes together")
    total_steps: PositiveInt = Field(
        default=1_000_000, description="control steps of all environments together"
    )
    time_budget_s: PositiveFloat | None = Field(
        default=None, description="stop after this wall time, compilation included"
    )
    env: dict[str, Any] = Field(default_factory=dict, description="overrides of the task's own config")
    calibration: str = Field(
        default="",
        description="calibration of the arm: its values become the model, its intervals the randomisation",
    )
    ranges_from: dict[str, str] = Field(
        default_factory=dict,
        description="with a calibration: the source of each range of env.randomization",
    )
    acceptance: str = Field(
        default="",
        description="thresholds that the policy must reach, such as acceptance/reach.yaml; stated before the training",
    )
    gates: dict[Literal["train", "promote", "export"], Gate] = Field(
        default={}, description="steps that require signed decisions: `people`, `keys`, `roles`"
    )
    ppo: PpoConfig = PpoConfig()
    imitation_fraction: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="initial fraction of the run that imitates the task's expert before PPO. 0: PPO only",
    )
    from_reward: dict[str, Any] = Field(
        default_factory=dict,
        description="changes of this config where imitation_fraction is 0: a policy that starts from nothing explores"
        " with more noise, and takes more steps, than one that corrects what it imitated",
    )
    selection_episodes: int = Field(
        default=0,
        ge=0,
        description="episodes that each checkpoint after imitation plays without noise; the policy that did best"
        " is kept and exported. Not those of an evaluation. 0: the newest is kept",
    )
    groups: PositiveInt = Field(
        default=8,
        description="blocks of environments that draw their own noise and minibatches. Any number of devices that"
        " divides it learns the same",
    )
    distributed: bool = Field(
        default=False, description="join the processes that srun, mpirun or Kubernetes started"
    )
    checkpoint_every: PositiveInt = Field(default=25, description="iterations between checkpoints")
    checkpoints_kept: PositiveInt = 3
    wandb: WandbConfig = WandbConfig()

    @model_validator(mode="after")
    def _divides(self) -> TrainConfig:
        if self.num_envs % self.groups:
            raise ValueError(f"num_envs {self.num_envs} must be a multiple of groups {self.groups}")
        per_group = self.num_envs // self.groups * self.ppo.rollout_steps
        if per_group % self.ppo.minibatches:
            raise ValueError(
                f"num_envs / groups * ppo.rollout_steps = {per_group} must be a multiple of ppo.minibatches"
                f" {self.ppo.minibatches}"
            )
        return self

    def groups_on(self, devices: int) -> int:
        """The number of groups nearest to `groups` that so many devices can share evenly."""
        return devices * max(1, round(self.groups / devices))

    def num_envs_in(self, groups: int) -> int:
        """`num_envs`, or the next number above it that so many groups and their minibatches divide."""
        minibatches = self.ppo.minibatches
        each = groups * (minibatches // math.gcd(minibatches, self.ppo.rollout_steps))
        return -(-self.num_envs // each) * each

    @property
    def default_folder(self) -> Path:
        """Where the run goes unless another folder is given."""
        return Path("runs") / (file_stem(self.task) + ("-calibrated" if self.calibration else ""))

    @property
    def steps_per_iteration(self) -> int:
        """Control steps of all environments in one rollout."""
        return self.num_envs * self.ppo.rollout_steps

    @property
    def iterations(self) -> int:
        """Iterations of the whole run: total_steps rounded up to whole rollouts."""
        return -(-self.total_steps // self.steps_per_iteration)


def train_config(
    task: str,
    config: str | Path | None = None,
    overrides: Iterable[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """The config of a training: a file, else the packaged `train/ROBOT-TASK.yaml` or `train/TASK.yaml`, else the
    defaults; then its `from_reward`, where nothing is imitated; then overrides, `key=value`, or changes, in groups.
    The path of a robot file is made absolute: the run may be continued from anywhere. With a calibration, see
    `calibrated_config`.
    """
    robot, kind = split_task(task)
    packaged = [
        f"train/{name}.yaml" for name in (*([] if is_robot_path(robot) else [f"{robot}-{kind}"]), kind)
    ]
    chosen = config or next((name for name in packaged if (config_dir() / name).is_file()), None)
    data = {**(read_yaml(config_path(chosen)) if chosen else {}), "task": absolute(task)}
    overrides = list(overrides)

    def built(data: dict[str, Any]) -> TrainConfig:
        if changes:
            return build(TrainConfig, merged(data, changes), f"train {task}")
        return overridden(TrainConfig, data, overrides, str(chosen or task))

    resolved = built(data)
    if resolved.from_reward and not resolved.imitation_fraction:
        resolved = built(merged(data, resolved.from_reward))
    # What is resolved is not resolved again: a run goes on with the config that it began with.
    return calibrated_config(resolved.model_copy(update={"from_reward": {}}))
