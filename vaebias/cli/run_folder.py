"""The folder of one run of ``vaebias train``: its files, and how it is resumed."""

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
    """One seed of a training: its objective, new or from a checkpoint, and its files.

    Used as a context manager, it unlocks the folder on exit, and adds the seed and the last
    checkpoint to the message of a run that fails.

    Parameters
    ----------
    folder
        Folder of this run.
    config
        All settings that the weights depend on.
    grid
        The data.
    resume
        If True, continue from the checkpoint if there is one.
    replace
        If True, files of an earlier run may exist and are replaced.
    tensorboard
        If True, also write events for TensorBoard.
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
        stored = folder / CHECKPOINT_FILE
        if resume and stored.is_file():
            self.objective: Objective = checkpoints.load_objective(stored)[0]
            self.state = checkpoints.load_state(stored)
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
        self._log = RunLog(folder, self.reached, history, tensorboard)
        self._score = quick_scores(grid, self.seed)
        self._on_exit = ExitStack()
        self._started = False

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._on_exit.close()
        if not isinstance(error, RunFailedError):
            return
        text, seed = str(error), f"seed {self.seed}: "
        if text.startswith("seed") and not text.startswith(seed):
            return  # of another seed of the same stack, or of them all
        kept = f"; the checkpoint of step {self._saved} is kept" if self._saved else ""
        raise RunFailedError(f"{seed}{text.removeprefix(seed)}{kept}") from error

    def log(self, done: int, row: Mapping[str, float]) -> None:
        """Append a row to log.csv; the first row locks the folder."""
        if not self._started:  # not earlier: a run with bad arguments must leave the folder alone
            self._started = True
            self._start(row)
        self._log.add(done, row)

    def evaluate(self, done: int, now: Objective) -> Mapping[str, float]:
        """Score the model and append a row to evaluation.csv."""
        scores = self._score(done, now)
        self._log.add_evaluation(done, scores)
        return scores

    def checkpoint(self, now: TrainingState) -> None:
        """Replace the checkpoint."""
        self._save(CHECKPOINT_FILE, now)
        self._saved = now.step

    def finish(self, history: History, *, save: bool = True) -> dict[str, Any]:
        """Train the model's readout if it has one, write the model, and return a summary."""
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

    def _start(self, row: Mapping[str, float]) -> None:
        from vaebias.files import write_json
        from vaebias.lock import locked
        from vaebias.training import arithmetic

        folder = self._folder
        self._on_exit.enter_context(locked(folder))
        if not self._replace and any((folder / name).exists() for name in FILES):
            found = f"{folder}, which another process has written to"
            raise InputError("--out", "a new or empty folder", found)
        if self.state is None:
            for name in FILES:
                (folder / name).unlink(missing_ok=True)
        for stale in temporaries(folder / CHECKPOINT_FILE):  # of a run killed while writing
            stale.unlink()
        device = next(self.objective.parameters()).device
        record = {
            "config": dict(self._config),
            "data": self._grid.provenance,
            "device": str(device),
            "arithmetic": arithmetic(device, self._config["precision"]),
        }
        write_json(folder / RUN_FILE, record)
        self._on_exit.callback(self._log.close)
        self._log.begin(row)

    def _save(self, name: str, state: TrainingState | None = None) -> None:
        from vaebias import checkpoints

        checkpoints.save(
            self._folder / name, self.objective, self._provenance, seed=self.seed, state=state
        )
