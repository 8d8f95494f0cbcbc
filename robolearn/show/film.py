"""Videos of environments: of episodes as they are played, or of clips that were kept."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np

from robolearn.env.vec_env import EnvState, VecEnv
from robolearn.errors import ConfigError, MissingDependency
from robolearn.learn.clips import EpisodeClips
from robolearn.learn.evaluation import Progress
from robolearn.sim.jit import jit
from robolearn.sim.render import SceneRenderer, scene_renderer

PAUSE_S = 0.5  # an episode's last picture stands still, so that one sees where the next begins
_PICTURES_HZ = 25.0  # at most: the eye asks for no more, and without a GPU each takes a while
_SUFFIX = ".mp4"
Actor = Callable[[Any], Any]


def check_filming(env: VecEnv) -> None:
    """Raise PhysicsError or MissingDependency where no video can be made here, before much is played for one."""
    _imageio()
    with scene_renderer(env, 16, 16):
        pass


def check_video_path(path: str | Path) -> Path:
    """The path of a video to be written. Raises ConfigError where its ending is not that of an mp4 file."""
    path = Path(path)
    if path.suffix.lower() != _SUFFIX:
        raise ConfigError(f"'{path}' must end in {_SUFFIX}: videos are written as mp4 (H.264).")
    return path


def periods_per_picture(control_hz: float) -> int:
    """How many control periods pass from one picture of a video to the next."""
    return max(1, round(control_hz / _PICTURES_HZ))


def record_video(env: VecEnv, actor: Actor, path: str | Path, *, episodes: int = 4, seed: int = 0) -> Path:
    """Play episodes one after another and write them as mp4 (H.264). actor: obs [N, D] -> action [N, A]."""
    return film_steps(env, jit(lambda state: env.step(state, actor(state.obs))), path, episodes, seed)


def film_steps(
    env: VecEnv,
    step: Callable[[EnvState], EnvState],
    path: str | Path,
    episodes: int,
    seed: int,
    progress: Progress | None = None,
) -> Path:
    """Write the first environment's episodes as mp4, each picture as soon as it is drawn. step: a control period.

    Raises ConfigError for another ending than .mp4 or no episode, PhysicsError where nothing can be drawn.
    """
    path = check_video_path(path)
    if episodes < 1:
        raise ConfigError(f"episodes is {episodes}, but at least 1 is needed.")
    every = periods_per_picture(env.control_hz)
    total = 1 + episodes * env.episode_steps // every

    def frames() -> Iterator[np.ndarray]:
        for done, state in enumerate(islice(play(env, step, episodes, seed), 0, None, every)):
            yield renderer.frame(state)
            if progress is not None:
                progress("pictures", done + 1, total)

    with scene_renderer(env, plain=True) as renderer:
        return write_video(frames(), path, env.control_hz / every)


def play(env: VecEnv, step: Callable[[EnvState], EnvState], episodes: int, seed: int) -> Iterator[EnvState]:
    """The first state, then one after each control period of so many full-length episodes."""
    state = jit(env.reset, quick=True)(jax.random.key(seed))
    yield state
    for _ in range(episodes * env.episode_steps):
        state = step(state)
        yield state


def write_video(frames: Iterable[np.ndarray], path: str | Path, fps: float) -> Path:
    """Frames [height, width, 3] uint8 as an mp4 file, each written as it comes.

    Raises ConfigError for another ending than .mp4, MissingDependency without imageio-ffmpeg.
    """
    target, imageio = check_video_path(path), _imageio()
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".video-", dir=target.parent) as folder,
        warnings.catch_warnings(),
    ):
        # JAX warns of any fork; the encoder's process begins another program at once.
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
        made = Path(folder) / f"video{_SUFFIX}"  # the encoder would follow a link in place of the target
        _encode(imageio, frames, made, fps)
        os.replace(made, target)
    return target


def _imageio() -> Any:
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401  (the encoder that imageio finds by itself)
    except ImportError:
        raise MissingDependency("Videos need imageio: pip install 'robolearn[train]'.") from None
    return imageio


def _encode(imageio: Any, frames: Iterable[np.ndarray], target: Path, fps: float) -> None:
    with imageio.get_writer(target, format="FFMPEG", fps=fps, codec="libx264", quality=8) as writer:  # pyright: ignore
        for frame in frames:
            writer.append_data(frame)


def write_clips(
    clips: EpisodeClips, env: VecEnv, kind: str, path: Path, progress: Progress | None = None
) -> bool:
    """Write the kept episodes of a kind, `success` or `failure`, as mp4; False where there are none."""
    if not clips.clips[kind]:
        return False
    every = periods_per_picture(env.control_hz)
    fps = env.control_hz / every
    with scene_renderer(env, plain=True) as renderer:
        write_video(_frames(clips, renderer, kind, every, round(PAUSE_S * fps), progress), path, fps)
    return True


def _frames(
    clips: EpisodeClips, renderer: SceneRenderer, kind: str, every: int, pause: int, progress: Progress | None
) -> Iterator[np.ndarray]:
    """One picture in so many control periods, the last one of each episode among them and repeated."""
    shown = [(clip, clip.qpos[::-every][::-1]) for clip in clips.clips[kind]]
    done, total = 0, sum(len(postures) for _, postures in shown)
    for clip, postures in shown:
        frame = np.empty(0)
        for qpos in postures:
            frame = renderer.draw(qpos, clip.fields, clip.goal)
            yield frame
            done += 1
            if progress is not None:
                progress(f"{kind} video", done, total)
        yield from [frame] * pause


def write_films(
    clips: EpisodeClips, env: VecEnv, target: Path, prefix: str, progress: Progress | None = None
) -> list[str]:
    """success.mp4 and failure.mp4, as far as there is something to show; what to say of each.

    A file of an earlier evaluation does not stay where there is nothing to show now.
    """
    notes = []
    for kind in ("success", "failure"):
        path = target / f"{prefix}{kind}.mp4"
        if write_clips(clips, env, kind, path, progress):
            notes.append(f"wrote {path}: {_counted(len(clips.clips[kind]), kind)}")
        else:
            path.unlink(missing_ok=True)
            notes.append(f"no {kind} to film")
    return notes


def _counted(count: int, kind: str) -> str:
    plural = {"success": "successes", "failure": "failures"}[kind]
    return f"the first {kind}" if count == 1 else f"the first {count} {plural}"
