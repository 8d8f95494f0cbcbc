"""A stand-in for VecEnv in pure JAX: a point in the plane that must stop at a goal."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from robolearn.sim.pytree import pytree

DT_S = 0.1


@pytree
class PointState:
    physics: jax.Array  # [N, 2] m
    obs: jax.Array
    critic_obs: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    success: jax.Array
    final_obs: jax.Array
    final_critic_obs: jax.Array
    step_count: jax.Array
    first_success: jax.Array
    memory: dict
    goal: dict
    key: jax.Array
    metrics: dict


class PointMass:
    """obs = (goal - position, position); critic sees the distance too; leaving the box terminates."""

    obs_size, critic_obs_size, action_size = 4, 5, 2
    control_hz = 10.0

    def __init__(self, num_envs: int, episode_steps: int = 20):
        self.num_envs, self.episode_steps = num_envs, episode_steps

    def reset(self, key: jax.Array) -> PointState:
        keys = key if key.ndim == 1 else jax.random.split(key, self.num_envs)
        keys, goal = self._draw(keys)
        position = jnp.zeros((self.num_envs, 2))
        obs, critic_obs = self._observe(position, goal)
        no, zero = jnp.zeros(self.num_envs, bool), jnp.zeros(self.num_envs)
        return PointState(
            physics=position, obs=obs, critic_obs=critic_obs, reward=zero, terminated=no, truncated=no, success=no,
            final_obs=obs, final_critic_obs=critic_obs, step_count=jnp.zeros(self.num_envs, jnp.int32),
            first_success=jnp.full(self.num_envs, -1), memory={"command_velocity": position}, goal={"point": goal},
            key=keys, metrics={"reward/distance": zero},
        )  # fmt: skip

    def rollout_step(self, state: PointState, steps: int):
        return self.step

    def step(self, state: PointState, action: jax.Array) -> PointState:
        fresh = state.terminated | state.truncated
        count = jnp.where(fresh, 0, state.step_count) + 1
        velocity = jnp.clip(action, -1.0, 1.0)
        position, goal = state.physics + DT_S * velocity, state.goal["point"]
        distance = jnp.linalg.norm(position - goal, axis=1)
        near = distance < 0.1
        first = jnp.where(fresh, -1, state.first_success)
        first = jnp.where((first < 0) & near, count, first)
        terminated = jnp.abs(position).max(1) > 1.5
        truncated = (count >= self.episode_steps) & ~terminated
        done = terminated | truncated
        obs, critic_obs = self._observe(position, goal)
        keys, new_goal = self._draw(state.key)
        keys = jnp.where(done, keys, state.key)
        new_goal = jnp.where(done[:, None], new_goal, goal)
        new_position = jnp.where(done[:, None], 0.0, position)
        new_obs, new_critic_obs = self._observe(new_position, new_goal)
        reward = -distance
        return PointState(
            physics=new_position, obs=new_obs, critic_obs=new_critic_obs, reward=reward, terminated=terminated,
            truncated=truncated, success=near & truncated, final_obs=obs, final_critic_obs=critic_obs,
            step_count=count, first_success=first, memory={"command_velocity": velocity},
            goal={"point": new_goal}, key=keys, metrics={"reward/distance": reward},
        )  # fmt: skip

    def expert(self, state: PointState) -> jax.Array:
        return jnp.clip(5.0 * (state.goal["point"] - state.physics), -1.0, 1.0)

    def _draw(self, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        pairs = jax.vmap(jax.random.split)(keys)
        goal = jax.vmap(lambda k: jax.random.uniform(k, (2,), minval=-1.0, maxval=1.0))(pairs[:, 1])
        return pairs[:, 0], goal

    def _observe(self, position: jax.Array, goal: jax.Array) -> tuple[jax.Array, jax.Array]:
        obs = jnp.concatenate([goal - position, position], axis=1)
        distance = jnp.linalg.norm(goal - position, axis=1, keepdims=True)
        return obs, jnp.concatenate([obs, distance], axis=1)
