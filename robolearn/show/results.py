"""Runs and evaluations that show themselves: on a terminal, in a notebook, as figures and videos."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from robolearn.env.naming import short_name
from robolearn.learn import run as learn_run
from robolearn.learn.evaluation import Evaluation, write_evaluation
from robolearn.show.notebook import Video, html

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table


class ShownEvaluation(Evaluation):
    """An `Evaluation` that prints as a table, shows itself in a notebook and plots itself."""

    @classmethod
    def of(cls, result: Evaluation) -> Self:
        """The same values."""
        return cls(**{field.name: getattr(result, field.name) for field in fields(Evaluation)})

    def plot(self) -> Figure:
        """Success in the lowest strata, and how long success took, as a matplotlib figure."""
        from robolearn.show.plots import evaluation_figure

        return evaluation_figure(self)

    def __rich__(self) -> Table:
        from robolearn.show.console import evaluation_table

        return evaluation_table(self)

    def _repr_html_(self) -> str:
        return html(self)


class Run(learn_run.Run):
    """A run folder and its newest policy, with evaluation, plots and videos."""

    @classmethod
    def of(cls, run: learn_run.Run) -> Self:
        """The same run."""
        return cls(**{field.name: getattr(run, field.name) for field in fields(learn_run.Run)})

    def evaluate(
        self,
        episodes: int = 1000,
        seed: int = 1_000_000,
        env: Any = None,
        conditions: dict[str, Any] | None = None,
    ) -> ShownEvaluation:
        """As `robolearn.learn.run.Run.evaluate`; also writes a figure, evaluation.png."""
        result = super().evaluate(episodes, seed, env, conditions)
        if conditions is None:
            write_picture(result, self.run_dir)
        return ShownEvaluation.of(result)

    def video(self, path: str | Path | None = None, episodes: int = 4, seed: int = 0) -> Video:
        """Write an mp4 of a few episodes (default: video.mp4 in the run folder); a notebook plays it."""
        from robolearn.show.film import record_video

        env = self._make_env(1)
        path = path or self.run_dir / "video.mp4"
        return Video(record_video(env, self.actor(), path, episodes=episodes, seed=seed))

    def plot(self) -> Figure:
        """Success and return of the training's episodes against control steps, as a matplotlib figure."""
        from robolearn.show.plots import training_figure

        return training_figure(self.metrics, short_name(self.config.task))

    def __rich__(self) -> Table:
        from robolearn.show.console import run_table

        return run_table(self)

    def _repr_html_(self) -> str:
        return html(self)


def open_run(run_dir: str | Path) -> Run:
    """The run in a folder, with the policy of its newest good checkpoint.

    Raises ConfigError where there is no run, CheckpointError where it has no checkpoint yet.
    """
    return Run.of(learn_run.open_run(run_dir))


def write_results(result: Evaluation, head: dict[str, Any], target: Path, prefix: str = "") -> list[Path]:
    """Write evaluation.json, head first, and evaluation.png into a folder; returns both paths."""
    return [write_evaluation(result, head, target, prefix), write_picture(result, target, prefix)]


def write_picture(result: Evaluation, target: Path, prefix: str = "") -> Path:
    """Write evaluation.png into a folder; returns its path."""
    from robolearn.show.plots import evaluation_figure

    return evaluation_figure(result).write(target / f"{prefix}evaluation.png")
