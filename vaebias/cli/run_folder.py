"""The folder of one run of ``vaebias train``: what it holds, and how a run goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from vaebias.cli.run_log import EVALUATION_FILE, LOG_FILE, RunLog
from vaebias.errors import InputError, RunFailedError
from vaebias.files import MODEL_FILE, temporaries

if TYPE_CHECKING:
    from vaebias.data import FactorGrid
    from vaebias.models import Objective
    from vaebias.training import History, TrainingState

__all__ = ["FILES", "RUN_FILE", "RunFolder"]

CHECKPOINT_FILE = "checkpoint.safetensors"
RUN_FILE = "run.json"
FILES = (RUN_FILE, LOG_FILE, EVALUATION_FILE, CHECKPOINT_FILE, MODEL_FILE)


class RunFolder:
    """One seed: its objective, new or from the checkpoint, and its files as training goes.

    As a context it lets go of the folder at its end, and names seed and last checkpoint where a
    run fails.

    Parameters
    ----------
    folder
        Its own.
    config
        All that the weights depend on.
    grid
        The data.
    resume
        Whether to go on from the checkpoint, if there is one.
    replace
        Whether files of an earlier run may be there.
    tensorboard
        Whether to write events.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        grid: FactorGrid,
        *,
        resume: bool,
        replace: bool,
        tensorboard: bool,
    ) -> None:
        from vaebias import checkpoints, models
        from vaebias.experiments.running.quick_scores import quick_scores

        self.seed: int = config["seed"]
        self.state: TrainingState | None = None
        self._folder, self._config, self._grid = folder, config, grid
        self._replace = replace
        kept = folder / CHECKPOINT_FILE
        if resume and kept.is_file():
            self.objective: Objective = checkpoints.load_objective(kept)[0]
            self.state = checkpoints.load_state(kept)
        else:
            self.objective = models.build(
                config["model"],
                grid.image_shape,
                config["latents"],
                config["network"],
                seed=self.seed,
                **config["settings"],
            )
        self.reached = 0 if self.state is None else self.state.step
        self._saved = self.reached
        self._provenance = {"data": grid.provenance, "run": dict(config)}
        history = {} if self.state is None else self.state.history
        self._written = RunLog(folder, self.reached, history, tensorboard)
        self._score = quick_scores(grid, self.seed)
        self._held = ExitStack()
        self._begun = False

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held.close()
        if not isinstance(error, RunFailedError):
            return
        text, seed = str(error), f"seed {self.seed}: "
        if text.startswith("seed ") and not text.startswith(seed):  # another's, trained beside it
            return
        left = f"; the checkpoint of step {self._saved} is kept" if self._saved else ""
        raise RunFailedError(f"{seed}{text.removeprefix(seed)}{left}") from error

    def log(self, done: int, row: Mapping[str, float]) -> None:
        """Append a row to log.csv; with the first, take the folder."""
        if not self._begun:  # only now, when the arguments have proved to make a run
            self._begun = True
            self._begin(row)
        self._written.add(done, row)

    def evaluate(self, done: int, now: Objective) -> Mapping[str, float]:
        """Score the model and append a row to evaluation.csv."""
        scores = self._score(done, now)
        self._written.add_evaluation(done, scores)
        return scores

    def checkpoint(self, now: TrainingState) -> None:
        """Replace the checkpoint."""
        self._save(CHECKPOINT_FILE, now)
        self._saved = now.step

    def finish(self, history: History, *, save: bool = True) -> dict[str, Any]:
        """Train the read-out of a model that has one, write the model, and say what came out."""
        from vaebias import training

        config = self._config
        if training.has_readout(self.objective):
            training.fit_readout(
                self.objective, self._grid, config["steps"], config["batch_size"], seed=self.seed
            )
        if save:
            self._save(MODEL_FILE)
        return {
            "seed": self.seed,
            "model": str(self._folder / MODEL_FILE),
            "steps": config["steps"],
            "resumed_from": self.reached,
            "loss": {name: values[-1] for name, values in history.values.items()},
            "latents": {name: values[-1] for name, values in history.latents.items()},
            "evaluation": history.evaluations[-1] if history.evaluations else {},
            "seconds": history.seconds,
        }

    def _begin(self, row: Mapping[str, float]) -> None:
        from vaebias.experiments.running.lock import locked
        from vaebias.files import write_json

        folder = self._folder
        self._held.enter_context(locked(folder))
        if not self._replace and any((folder / name).exists() for name in FILES):
            found = f"{folder}, which another process has filled meanwhile"
            raise InputError("--out", "a new or empty folder", found)
        if self.state is None:
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        for stale in temporaries(folder / CHECKPOINT_FILE):  # of a run killed while writing
            stale.unlink()
        write_json(folder / RUN_FILE, {"config": dict(self._config), "data": self._grid.provenance})
        self._held.callback(self._written.close)
        self._written.begin(row)

    def _save(self, name: str, state: TrainingState | None = None) -> None:
        from vaebias import checkpoints

        checkpoints.save(
            self._folder / name, self.objective, self._provenance, seed=self.seed, state=state
        )
