"""Run as a process by the tests: train the stand-in environment into a folder, as `robolearn train` would."""

from __future__ import annotations

import argparse
import gc
import os
from pathlib import Path

from pointmass import PointMass

from robolearn.learn.train_config import PpoConfig, TrainConfig
from robolearn.show.console import stop_on_signals


def point_config(iterations: int = 40, **changes) -> TrainConfig:
    ppo = PpoConfig(rollout_steps=8, epochs=2, minibatches=4, actor_hidden=(32, 32), critic_hidden=(32, 32))
    given = {
        "task": "test/point",
        "num_envs": 64,
        "total_steps": iterations * 64 * 8,
        "checkpoint_every": 5,
        "ppo": ppo,
    }
    return TrainConfig(**(given | changes))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--coordinator")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--wandb", default="disabled")
    arguments = parser.parse_args()

    gc.set_threshold(10_000)  # as the command line does

    import jax

    from robolearn.learn import distributed
    from robolearn.learn.trainer import train

    jax.config.update("jax_num_cpu_devices", arguments.devices)
    if arguments.processes > 1:
        distributed.connect(arguments.coordinator, arguments.processes, arguments.rank)
    elif "ROBOLEARN_COORDINATOR" in os.environ:
        distributed.connect()
    config = point_config(arguments.iterations, wandb={"mode": arguments.wandb})
    with stop_on_signals() as stop:
        run = train(
            config,
            arguments.run_dir,
            env=PointMass(distributed.envs_per_device(config)),
            resume=True,
            stop=stop,
        )
    print(f"outcome: {run.outcome} {os.getpid()}")


if __name__ == "__main__":
    main()
