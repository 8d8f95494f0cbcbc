"""Makes the pictures of the README and the docs from the code: `python docs/pictures.py`."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as imageio
import jax
import numpy as np

import robolearn
from robolearn.sim.render import scene_renderer

IMAGES = Path(__file__).parent / "images"
ARMS = ("fr3", "ur5e", "iiwa14")


def main() -> None:
    """Three arms with a goal each, side by side."""
    frames = []
    for arm in ARMS:
        env = robolearn.make(f"{arm}/reach", num_envs=1, engine="native")
        state = env.reset(jax.random.key(7))
        with scene_renderer(env, 480, 400) as renderer:
            frames.append(renderer.frame(state))
    IMAGES.mkdir(exist_ok=True)
    imageio.imwrite(IMAGES / "arms.png", np.hstack(frames))


if __name__ == "__main__":
    main()
