"""The training loop: steps, log, checkpoints that resume bit for bit, an orderly end."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.interop.files import shown
from tinygrad_rnn.optim import clip_grad_norm_

from ..data import DataError, Ids
from ..files import checkpoint
from ..files.lock import only_writer
from .load import BEST, MODEL, load_weights, same_data
from .saved import checked
from .tasks import Task

LOG = "log.jsonl"
LOG_EVERY = 20  # steps, as in the book
SAVE_EVERY = 60  # seconds


class Interrupted(Exception):
    """Training was stopped by a signal, and saved."""


def training_step(task: Task) -> Callable[[Ids, Ids], tuple[Any, Any]]:
    """Forward, backward, clipping, update, as a function of a batch: loss, norm of the gradient."""
    model, optimizer = task.model, task.optimizer
    limit = math.inf if task.config.max_norm is None else task.config.max_norm

    def step(xs: Ids, ts: Ids) -> tuple[Any, Any]:
        loss = model.loss(xs, ts)
        loss.backward()
        norm = clip_grad_norm_(optimizer.params, limit)
        optimizer.step()
        optimizer.zero_grad()
        return loss, norm

    return step


class Run:
    """One training run in a folder: ``model.safetensors`` (weights, and all that it takes to go
    on), ``best.safetensors`` (the weights of the best epoch, where the learning rate hangs on it),
    ``log.jsonl`` (a line for every 20 steps, and one for every epoch).

    Whatever a step depends on is in the checkpoint: weights, the optimizer's arrays, hidden states,
    random generators, place in the data, learning rate. So a run that is killed and resumed ends
    with the weights of one that was not.
    """

    def __init__(
        self, task: Task, out: str | Path, show: Callable[[str], None] = print, jit: bool = False
    ):
        checkpoint.require_library()
        self.task, self.out, self.show = task, Path(out), show
        self._step = training_step(task)
        if jit:
            self._step = tg.jit(self._step, fallback="eager")
        self.step, self.seconds = 0, 0.0
        self.best: float | None = None
        self.recent: list[float] = []  # losses since the last line of the log
        self.epoch_loss, self.epoch_steps = 0.0, 0
        self._stop = False
        self.resumed: os.stat_result | None = None  # the checkpoint, as it was then

    # ---- checkpoints -------------------------------------------------------------------------

    @classmethod
    def resume(
        cls, folder: str | Path, task: Task, show: Callable[[str], None] = print, jit: bool = False,
        data_changed: bool = False,
    ) -> Run:
        """Go on with what was saved in ``folder``. DataError when it does not fit the task, or
        was trained on other data (unless ``data_changed``)."""
        run = cls(task, folder, show, jit)
        path = run.out / MODEL
        arrays, about = checkpoint.load(path)
        checked(path, about, arrays)
        same_data(path, about, task, data_changed)
        run.resumed = os.stat(path)
        load_weights(path, task.model, arrays)
        try:
            training = {k.removeprefix(checkpoint.PREFIX): v for k, v in arrays.items()}
            place = about["training"]
            checkpoint.restore_carried(task.model, training, task.config.batch_size)
            checkpoint.restore_generators(task.model, place["generators"])
            checkpoint.restore_optimizer(
                task.optimizer, training, place["optimizer_steps"], place["lr"]
            )
            task.batches.load_state_dict(place["batches"])
            for name in ("step", "seconds", "best", "recent", "epoch_loss", "epoch_steps"):
                setattr(run, name, place[name])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}: not a checkpoint of this run"
                            f" ({shown(str(error), 200)})") from None
        return run

    def save(self, file: str = MODEL) -> None:
        """Write the checkpoint, in one step. DataError when that fails; the old one stays."""
        task = self.task
        place = {
            "step": self.step, "seconds": self.seconds, "best": self.best, "recent": self.recent,
            "epoch_loss": self.epoch_loss, "epoch_steps": self.epoch_steps,
            "lr": task.optimizer.lr, "optimizer_steps": task.optimizer.steps,
            "batches": task.batches.state_dict(),
            "generators": checkpoint.generator_states(task.model),
        }  # fmt: skip
        extra = checkpoint.carried_arrays(task.model) | checkpoint.optimizer_arrays(task.optimizer)
        checkpoint.save(
            self.out / file,
            task.model.state_dict() | {checkpoint.PREFIX + k: v for k, v in extra.items()},
            {"config": asdict(task.config), **task.about(), "data": task.digest,
             "training": place},
        )

    # ---- the loop ----------------------------------------------------------------------------

    def train(self, steps: int | None = None, command: str = "--resume") -> None:
        """Train until the epochs of the config, or ``steps`` steps in all, are done.

        DataError when the loss is no longer a number: the last checkpoint is then kept.
        Interrupted when a signal came: the checkpoint is then of this very step.
        """
        total = steps or self.task.config.epochs * len(self.task.batches)
        if self.step >= total:
            self.show(f"{self.step:,} steps are done already; --epochs or --steps asks for more")
            return
        with only_writer(self.out):
            self._train(total, command)

    def _train(self, total: int, command: str) -> None:
        batches = self.task.batches
        self._still_there()
        self._make_room()
        self._cut_log()
        saved = time.perf_counter()
        began, shown, told = saved - self.seconds, 0.0, 0.0
        with self._signals(), progress(total, self.step) as bar:
            say = self.show if bar is None else bar.write
            while self.step < total:
                epoch = batches.epoch + 1
                xs, ts = next(iter(batches))
                loss, norm = self._one_step(xs, ts)
                self.step += 1
                self.seconds = time.perf_counter() - began
                if not (math.isfinite(loss) and math.isfinite(norm)):
                    raise DataError(
                        f"step {self.step} (epoch {epoch}): the loss is {loss} and the norm of its"
                        f" gradient {norm}; a smaller --lr may help. {self._kept()}"
                    )
                self.recent.append(loss)
                self.epoch_loss += loss
                self.epoch_steps += 1
                ended, last = batches.epoch + 1 > epoch, self.step == total
                if self.step % LOG_EVERY == 0 or last:
                    record = self._log({"epoch": epoch, "step": self.step}, self.recent, norm)
                    self.recent = []
                    now = time.perf_counter()
                    if bar is None and (now - shown > 10 or last):
                        say(self._line(record, epoch, total))
                        shown = now
                if bar is not None:
                    bar.update()
                    bar.set_postfix_str(self._short(loss), refresh=False)
                if ended:
                    text = self._end_epoch(epoch)
                    if time.perf_counter() - told > 1 or last:  # an epoch can be milliseconds
                        say(text)
                        told = time.perf_counter()
                if ended or last or time.perf_counter() - saved > SAVE_EVERY or self._stop:
                    self.save()
                    saved = time.perf_counter()
                if self._stop and not last:
                    raise Interrupted(
                        f"stopped and saved after step {self.step} of {total}; go on with {command}"
                    )

    def _one_step(self, xs: Ids, ts: Ids) -> tuple[float, float]:
        """The loss, and the norm of its gradient before clipping."""
        loss, norm = self._step(xs, ts)
        return loss.item(), float(norm)

    def _end_epoch(self, epoch: int) -> str:
        """Measure, adapt the learning rate; returns what to tell."""
        task = self.task
        value = task.evaluate()
        task.end_epoch(value, self.best)
        better = self.best is None or (
            value > self.best if task.measure == "accuracy" else value < self.best
        )
        if better:
            self.best = value
        mean = self.epoch_loss / self.epoch_steps
        self.epoch_loss, self.epoch_steps = 0.0, 0
        self._write({"epoch": epoch, "step": self.step, "train_loss": mean,
                     f"valid_{task.measure}": value, "lr": task.optimizer.lr,
                     "seconds": round(self.seconds, 1)})  # fmt: skip
        if better and getattr(task.config, "stall_divisor", 1.0) != 1.0:
            self.save(BEST)
        shown = f"{value:.2%}" if task.measure == "accuracy" else f"{value:.2f}"
        return (f"epoch {epoch}: loss {mean:.4f}, {task.measure} {shown} {task.measured_on},"
                f" {self.seconds:.0f} s\n{task.samples()}")  # fmt: skip

    # ---- what a person sees --------------------------------------------------------------------

    def _log(self, record: dict[str, Any], losses: list[float], norm: float) -> dict[str, Any]:
        record |= {"loss": float(np.mean(losses))}
        if self.task.measure == "perplexity":
            record["perplexity"] = math.exp(min(record["loss"], 700.0))
        record |= {"norm": norm, "lr": self.task.optimizer.lr, "seconds": round(self.seconds, 1)}
        self._write(record)
        return record

    def _write(self, record: dict[str, Any]) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            with open(self.out / LOG, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise DataError(f"{self.out / LOG}: cannot be written ({error.strerror})."
                            f" {self._kept()}") from None  # fmt: skip

    def _still_there(self) -> None:
        """DataError when another training has gone on with the run since it was read."""
        path = self.out / MODEL
        if self.resumed and not (path.exists() and os.path.samestat(os.stat(path), self.resumed)):
            raise DataError(f"{path}: another training has gone on with this run meanwhile; resume"
                            " it again")  # fmt: skip
        self.resumed = None

    def _make_room(self) -> None:
        """Move aside what another run has left in the folder."""
        old = [name for name in (MODEL, BEST, LOG) if (self.out / name).exists()]
        if self.step or not old:
            return
        aside = self.out / "before"
        aside.mkdir(exist_ok=True)
        for name in (MODEL, BEST, LOG):
            if name in old:
                os.replace(self.out / name, aside / name)
            else:
                (aside / name).unlink(missing_ok=True)
        self.show(f"the run that was in {self.out} is kept in {aside}")

    def _cut_log(self) -> None:
        """Leave out of the log what came after the checkpoint."""
        lines = [json.dumps(r) for r in self.records() if r["step"] <= self.step]
        checkpoint.write_atomically(self.out / LOG, "".join(f"{x}\n" for x in lines).encode())

    def records(self) -> list[dict[str, Any]]:
        """The log so far, without a line that was cut off."""
        records = []
        if (self.out / LOG).exists() and self.step:
            for line in (self.out / LOG).read_text(encoding="utf-8").splitlines():
                try:
                    records.append(json.loads(line))
                except ValueError:
                    break
        return records

    def _kept(self) -> str:
        path = self.out / MODEL
        return f"{path} keeps the last good state." if path.exists() else "Nothing was saved."

    def _short(self, loss: float) -> str:
        if self.task.measure == "perplexity":
            return f"perplexity {math.exp(min(loss, 700.0)):.1f}"
        return f"loss {loss:.4f}"

    def _line(self, record: dict[str, Any], epoch: int, total: int) -> str:
        left = self.seconds / self.step * (total - self.step)
        return (f"epoch {epoch}, step {self.step:,} of {total:,}: {self._short(record['loss'])},"
                f" {self.seconds:.0f} s, about {left:.0f} s left")  # fmt: skip

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C (or SIGTERM) asks for an end after this step, a second ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True

        kinds = [signal.SIGINT, signal.SIGTERM]
        before = [signal.signal(kind, ask) for kind in kinds]
        try:
            yield
        finally:
            for kind, handler in zip(kinds, before, strict=True):
                signal.signal(kind, handler)


@contextmanager
def progress(total: int, done: int) -> Iterator[Any]:
    """A progress bar on a terminal; elsewhere None."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(total=total, initial=done, unit="step", dynamic_ncols=True) as bar:
        yield bar
