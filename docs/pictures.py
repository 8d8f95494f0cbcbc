"""Makes the pictures of the README and the docs from the code: `python docs/pictures.py` (a few minutes)."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import jax
import numpy as np

import robolearn
from robolearn.sim.render import scene_renderer

IMAGES = Path(__file__).parent / "images"
ARMS = ("fr3", "ur5e", "iiwa14")
SIZE = 300, 260  # width, height of each part
PICTURES_HZ = 12.5
EPISODES = 2


def main() -> None:
    """Three arms with a goal each; and the three picking a cube, each with a policy trained here by the defaults."""
    IMAGES.mkdir(exist_ok=True)
    imageio.imwrite(IMAGES / "arms.png", np.hstack([at_the_start(arm) for arm in ARMS]))
    films = np.concatenate([picking(arm) for arm in ARMS], axis=2)
    imageio.imwrite(
        IMAGES / "pick_cube.gif",
        films,
        duration=1000 / PICTURES_HZ,
        loop=0,
        optimize=True,
        subrectangles=True,
    )


def at_the_start(arm: str) -> np.ndarray:
    """A picture [400, 480, 3] of an arm and a goal."""
    env = robolearn.make(f"{arm}/reach", num_envs=1, engine="native")
    state = env.reset(jax.random.key(7))
    with scene_renderer(env, 480, 400) as renderer:
        return renderer.frame(state)


def picking(arm: str) -> np.ndarray:
    """Pictures [time, height, width, 3] of a few episodes of a trained policy. A finished run is used again."""
    task = f"{arm}/pick_cube"
    policy = robolearn.train(task, run_dir=f"runs/pictures-{arm}").actor()
    env = robolearn.make(task, num_envs=1, engine="native")
    every = round(env.control_hz / PICTURES_HZ)
    step = jax.jit(lambda state: env.step(state, policy(state.obs)))
    state, pictures = jax.jit(env.reset)(jax.random.key(1)), []
    with scene_renderer(env, *SIZE) as renderer:
        for period in range(EPISODES * env.episode_steps):
            if period % every == 0:
                pictures.append(renderer.frame(state))
            state = step(state)
    return np.stack(pictures)


if __name__ == "__main__":
    main()
