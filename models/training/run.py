"""The training loop: steps, log, checkpoints that resume bit for bit, an orderly end."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import distributed
from tinygrad_rnn.interop.files import shown
from tinygrad_rnn.optim import clip_grad_norm_

from ..data import DataError, Ids
from ..files import checkpoint
from ..files.lock import Writer, only_writer
from . import ranks, watch
from .load import BEST, MODEL, load_weights, same_data
from .log import CSV, EVENTS, LOG, Log, Record
from .output import Unbreakable, plain, unbreakable
from .saved import checked
from .signals import Interrupted, Signals
from .tasks import Task

LOG_EVERY = 20  # steps, as in the book
SAVE_EVERY = 60  # seconds
DRAW_EVERY = 30  # seconds
COMPARE_EVERY = 50  # steps: whether all ranks have the same parameters
ECHO = 2  # seconds in which a second Ctrl-C counts as the first, with several ranks


def training_step(task: Task) -> Callable[[Ids, Ids], tuple[Any, Any]]:
    """Forward, backward, clipping, update, as a function of a batch: loss, norm of the gradient.

    Of several ranks each has its rows of the batch and their loss; gradient and norm are those of
    the whole batch.
    """
    model, optimizer, average = task.model, task.optimizer, task.average
    limit = math.inf if task.config.max_norm is None else task.config.max_norm

    several = distributed.size() > 1

    def step(xs: Ids, ts: Ids) -> tuple[Any, Any]:
        loss = model.loss(xs, ts)
        loss.backward()
        if several:
            distributed.average_gradients(optimizer.params)
        norm = clip_grad_norm_(optimizer.params, limit)
        optimizer.step()
        if average is not None:
            average.update()
        optimizer.zero_grad()
        return loss, norm

    return step


class Run:
    """One training run in a folder: ``model.safetensors`` (weights, and all that it takes to go
    on), ``best.safetensors`` (the same after the best epoch so far), ``log.jsonl`` (a line for
    every 20 steps, and one for every epoch).

    Whatever a step depends on is in the checkpoint: weights, the optimizer's arrays, hidden states,
    random generators, place in the data, learning rate. So a run that is killed and resumed ends
    with the weights of one that was not.

    Nothing that is said, measured or logged costs what was computed: it is saved first; what
    ``show`` cannot show is lost, a log that cannot be written is told, and a checkpoint that cannot
    be written is tried again, and an error only at the end.

    Started by MPI it is one run on several ranks: each has its rows of every batch and of the
    states that they carry, all have the same parameters, and rank 0 reads, writes and speaks. What
    is saved does not say how many ranks there were.
    """

    # What a checkpoint holds of the run itself, besides model, optimizer and data.
    PLACE = ("step", "seconds", "best", "best_epoch", "measured", "recent", "epoch_loss",
             "epoch_steps")  # fmt: skip

    def __init__(
        self, task: Task, out: str | Path, show: Callable[[str], Any] = print, jit: bool = False
    ):
        checkpoint.require_library()
        self.task, self.out, self.show = task, Path(out), unbreakable(show)
        self.rank_timeout = 10.0  # seconds
        ranks.same_data(task)
        distributed.broadcast(task.model)
        ranks.draw_for_all(task.model, task.rows)
        self.log = Log(self.out)
        self._step = training_step(task)
        if jit:
            self._step = tg.jit(self._step, fallback="eager")
        self.step, self.seconds = 0, 0.0
        self.best: float | None = None
        self.best_epoch = 0
        self.measured = 0  # epochs
        self.recent: list[float] = []  # losses since the last line of the log
        self.epoch_loss, self.epoch_steps = 0.0, 0
        self.resumed: os.stat_result | None = None  # the checkpoint, as it was then
        self._writer: Writer | None = None  # who holds the folder, while it trains
        self._saved = 0.0  # when
        self._saved_at: tuple[int, int] | None = None  # after which step, and how many epochs
        self._shown = -math.inf  # when
        self._bar: Any = None
        self._line: watch.Line | None = None
        self.draw: Callable[[], object] | None = None  # called now and then, to redraw curves
        self._drawn = 0.0  # when
        self._tokens, self._since = 0, 0.0  # since the last line of the log: how many, and when

    # ---- checkpoints -------------------------------------------------------------------------

    @classmethod
    def resume(
        cls, folder: str | Path, task: Task, show: Callable[[str], Any] = print, jit: bool = False,
        data_changed: bool = False,
    ) -> Run:
        """Go on with what was saved in ``folder``. DataError when it does not fit the task, or
        was trained on other data (unless ``data_changed``)."""
        run = cls(task, folder, show, jit)
        path = run.out / MODEL
        arrays, about = ranks.from_first(lambda: checkpoint.load(path))
        checked(path, about, arrays)
        same_data(path, about, task, data_changed)
        if distributed.rank() == 0:
            run.resumed = os.stat(path)
        load_weights(path, task.model, arrays)
        try:
            training = {k.removeprefix(checkpoint.PREFIX): v for k, v in arrays.items()}
            place = about["training"]
            checkpoint.restore_carried(task.model, training, task.config.batch_size,
                                       distributed.share(task.config.batch_size))
            checkpoint.restore_generators(task.model, place["generators"])
            task.rate = place["lr"]
            checkpoint.restore_optimizer(
                task.optimizer, training, place["optimizer_steps"], task.rate
            )
            checkpoint.restore_average(task.average, training, place["optimizer_steps"])
            task.batches.load_state_dict(place["batches"])
            # Earlier versions measured before they saved, and did not note which epoch was best.
            place = {"measured": task.batches.epoch, "best_epoch": task.batches.epoch} | place
            for name in cls.PLACE:
                setattr(run, name, place[name])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}: not a checkpoint of this run"
                            f" ({shown(str(error), 200)})") from None
        return run

    def save(self, file: str = MODEL) -> None:
        """Write the checkpoint, in one step. DataError when that fails; the old one stays."""
        task = self.task
        place = {name: getattr(self, name) for name in self.PLACE} | {
            "lr": task.rate, "optimizer_steps": task.optimizer.steps,
            "batches": task.batches.state_dict(),
            "generators": checkpoint.generator_states(task.model),
        }  # fmt: skip
        ranks.compare(task.model, f"after step {self.step}")
        carried = ranks.gather_rows(checkpoint.carried_arrays(task.model))

        def write() -> None:
            self._hold()
            extra = carried | checkpoint.optimizer_arrays(task.optimizer)
            if file == MODEL:
                extra |= checkpoint.average_arrays(task.average)
            try:
                checkpoint.save(
                    self.out / file,
                    task.model.state_dict() | {checkpoint.PREFIX + k: v for k, v in extra.items()},
                    {"config": asdict(task.config), **task.about(), "data": task.digest,
                     "training": place},
                )
            except MemoryError:
                raise DataError(f"{self.out / file}: no memory is left to save it; {self._kept()}"
                                ) from None  # fmt: skip

        with self._at_leisure():
            ranks.from_first(write)
        self._saved = time.perf_counter()
        if file == MODEL:
            self._saved_at = self.step, self.measured

    def _try_to_save(self, file: str = MODEL) -> None:
        try:
            self.save(file)
        except ranks.Apart:
            raise
        except DataError as error:
            self._tell(f"{error}; the training goes on, and saving is tried again")
            self._saved = time.perf_counter()

    # ---- the loop ----------------------------------------------------------------------------

    def train(self, steps: int | None = None, command: str = "--resume",
              time_limit: float = math.inf) -> bool:
        """Train until the epochs of the config, or ``steps`` steps in all, are done, or
        ``time_limit`` seconds are over.

        Returns whether it is done; if not, the time was over, and it can be resumed. DataError when
        the loss is no longer a number (the last checkpoint is then kept), or when at the end it
        cannot be saved. Interrupted when a signal came: the checkpoint is then of this very step.
        """
        batches = self.task.batches
        total = steps or self.task.config.epochs * len(batches)
        if self.step >= total and self.measured == batches.epoch:
            if self.log.csv or self.log.events:
                with ExitStack() as held:
                    ranks.from_first(lambda: self._take(held))
                    ranks.from_first(self._prepare)
            self.show(f"{self.step:,} steps are done already; --epochs or --steps asks for more")
            return True
        if self.task.rows < distributed.size():
            raise ranks.Common(f"a batch of {self.task.rows} rows has none for some of"
                               f" {distributed.size()} ranks: start fewer, or give a larger"
                               " --batch-size")  # fmt: skip
        with ExitStack() as held:
            ranks.from_first(lambda: self._take(held))
            self._line = held.enter_context(ranks.watched(self.rank_timeout, self.out / MODEL))
            if self._line is None and distributed.size() > 1:
                self.show("some ranks cannot reach the machine of rank 0: what dies or hangs is"
                          " left to MPI to notice")  # fmt: skip
            return self._train(total, command, time_limit)

    def _take(self, held: ExitStack) -> None:
        """Be the only one who writes into the folder, until ``held`` ends."""
        self._writer = held.enter_context(only_writer(self.out))
        held.callback(setattr, self, "_writer", None)

    def _hold(self) -> None:
        """DataError when the folder is another's by now."""
        if self._writer is not None:
            self._writer.check()

    def _train(self, total: int, command: str, time_limit: float) -> bool:
        ranks.from_first(self._prepare)
        self._saved = start = time.perf_counter()
        began = start - self.seconds
        self._tokens, self._since, self._drawn = 0, start, start
        echo = ECHO if distributed.size() > 1 else 0
        with Signals(echo) as signals, progress(total, self.step) as self._bar:

            def tell(loss: float = 0.0, rows: int = 0) -> ranks.Word:
                now = time.perf_counter()
                if saving := signals.saving:
                    signals.saving = False
                return ranks.tell(loss, rows, signals.ending, saving, now - start > time_limit,
                                  now - self._saved)

            if self.step:
                self.task.set_rate(self.step - 1, total)  # of the step that the log may yet tell of
            heard = tell()
            if self._end_epoch_if_due(total, heard):
                heard = tell()
            while not (self.step >= total or self._stalled() or heard.ending or heard.over):
                heard = self._one_step_more(total, tell)
                self.seconds = time.perf_counter() - began
                saving = heard.saving
                if self._end_epoch_if_due(total, heard):
                    heard = tell()
                if saving or heard.saving or heard.since > SAVE_EVERY:
                    self._try_to_save()
                if self.draw is not None and time.perf_counter() - self._drawn > DRAW_EVERY:
                    with self._at_leisure():
                        self.draw()
                    self._drawn = time.perf_counter()
            if self._saved_at != (self.step, self.measured):
                self.save()
        self._bar = None
        if self.step >= total:
            return True
        if self._stalled():
            self.show(f"no epoch since {self.best_epoch} was better: training ends early"
                      f" (--patience {self.task.config.patience})")  # fmt: skip
            return True
        where = f"after step {self.step} of {total}; go on with {command}"
        if heard.ending is not None:
            raise Interrupted(f"stopped and saved {where}", heard.ending)
        self.show(f"the time is over: stopped and saved {where}")
        return False

    def _one_step_more(self, total: int, tell: Callable[[float, int], ranks.Word]) -> ranks.Word:
        """A step, and what the ranks tell each other after it."""
        batches, epoch = self.task.batches, self.task.batches.epoch + 1
        xs, ts = next(iter(batches))
        self._tokens += ts.size
        xs, ts = distributed.shard((xs, ts))
        self.task.set_rate(self.step, total)
        loss, norm = self._one_step(xs, ts)
        self.step += 1
        heard = tell(loss, len(xs))
        loss = heard.loss
        if not (math.isfinite(loss) and math.isfinite(norm)):
            some = 0 < len(heard.spoilt) < distributed.size()
            where = f" of rank {', '.join(map(str, heard.spoilt))}" if some else ""
            raise ranks.Common(
                f"step {self.step} (epoch {epoch}): the loss{where} is {loss} and the norm of its"
                f" gradient {norm}; a smaller --lr may help. {self._kept()}"
            )
        if self.step % COMPARE_EVERY == 0:
            ranks.compare(self.task.model, f"after step {self.step}")
        self.recent.append(loss)
        self.epoch_loss += loss
        self.epoch_steps += 1
        if self._bar is not None:
            self._bar.set_description_str(f"epoch {epoch}", refresh=False)
            self._bar.update()
            self._bar.set_postfix_str(self._short(loss), refresh=False)
        if self.step % LOG_EVERY == 0 or self.step == total:
            now = time.perf_counter()
            record = self._write({
                "epoch": epoch, "step": self.step, **self._losses(self.recent), "norm": norm,
                "lr": self.task.optimizer.lr,
                "tokens_per_second": round(self._tokens / max(now - self._since, 1e-9)),
            })  # fmt: skip
            self.recent, self._tokens, self._since = [], 0, now
            if self._bar is None and self._due(10, self.step == total):
                left = self.seconds / self.step * (total - self.step)
                self._tell(
                    f"epoch {epoch}, step {self.step:,} of {total:,}:"
                    f" {self._short(record['loss'])}, {self.seconds:.0f} s, about {left:.0f} s left"
                    f" (until {when(left)})"
                )
        return heard

    def _stalled(self) -> bool:
        patience = self.task.config.patience
        return patience is not None and self.measured - self.best_epoch >= patience

    def _one_step(self, xs: Ids, ts: Ids) -> tuple[float, float]:
        """The loss, and the norm of its gradient before clipping."""
        loss, norm = self._step(xs, ts)
        return loss.item(), float(norm)

    def _end_epoch_if_due(self, total: int, heard: ranks.Word) -> bool:
        """After the last step of an epoch: measure, adapt the learning rate, save; then tell.
        Whether it was."""
        if self.task.batches.epoch == self.measured:
            return False
        if heard.since > SAVE_EVERY / 10:  # measuring can take long
            self._try_to_save()
        with self._at_leisure():
            self._end_epoch(total)
        return True

    def _end_epoch(self, total: int) -> None:
        task = self.task
        self._doing("measuring")
        with task.averaged():
            value = task.evaluate()
            held_out_loss = task.held_out_loss(value)
        self.measured += 1
        better = self.best is None or (
            value > self.best if task.measure == "accuracy" else value < self.best
        )
        task.end_epoch(better)
        if better:
            self.best, self.best_epoch = value, self.measured
        mean = self.epoch_loss / self.epoch_steps
        self.epoch_loss, self.epoch_steps = 0.0, 0
        self._write({"epoch": self.measured, "step": self.step, "train_loss": mean,
                     "valid_loss": held_out_loss, f"valid_{task.measure}": value,
                     "lr": task.optimizer.lr})  # fmt: skip
        self._doing("saving")
        if better:
            with task.averaged():
                self._try_to_save(BEST)
        self._try_to_save()
        if self._due(1, self.step == total):  # an epoch can be milliseconds
            shown = f"{value:.2%}" if task.measure == "accuracy" else f"{value:.2f}"
            with task.averaged():
                samples = task.samples()
            self._tell(f"epoch {self.measured}: loss {mean:.4f}, {task.measure} {shown}"
                       f" {task.measured_on}, {self.seconds:.0f} s\n{samples}")

    # ---- what a person sees --------------------------------------------------------------------

    def _losses(self, losses: list[float]) -> Record:
        loss = float(np.mean(losses))
        if self.task.measure == "perplexity":
            return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
        return {"loss": loss}

    def _write(self, record: Record) -> Record:
        record["seconds"] = round(self.seconds, 1)
        if distributed.rank() != 0:
            return record
        told = self.log.problem
        with suppress(DataError):  # told where a checkpoint is saved
            self._hold()
            self.log.write(record)
        if self.log.problem and not told:
            self._tell(self.log.problem)
        return record

    def _due(self, seconds: float, always: bool) -> bool:
        """Whether so much time has passed since something was told, which this will now be."""
        now = time.perf_counter()
        if distributed.rank() != 0:
            return False
        if not always and now - self._shown < seconds:
            return False
        self._shown = now
        return True

    def _doing(self, what: str) -> None:
        if self._bar is not None:
            self._bar.set_description_str(what)

    @contextmanager
    def _at_leisure(self) -> Iterator[None]:
        """For what may take longer than a step, while the other ranks wait."""
        if self._line is None:
            yield
            return
        before, self._line.busy = self._line.busy, True
        try:
            yield
        finally:
            self._line.busy = before

    def _tell(self, text: str) -> None:
        if distributed.rank() != 0:
            return
        if self._bar is None:
            self.show(text)
        else:
            self._bar.write(plain(text), file=Unbreakable(sys.stdout))

    def _prepare(self) -> None:
        """The folder, before the first step."""
        self._still_there()
        self._make_room()
        self.log.cut(self.step, self.measured)

    def _still_there(self) -> None:
        """DataError when another training has gone on with the run since it was read."""
        path = self.out / MODEL
        if self.resumed and not (path.exists() and os.path.samestat(os.stat(path), self.resumed)):
            raise DataError(f"{path}: another training has gone on with this run meanwhile; resume"
                            " it again")  # fmt: skip
        self.resumed = None

    def _make_room(self) -> None:
        """Move aside what another run has left in the folder, each into a folder of its own."""
        old = [name for name in (MODEL, BEST, LOG, CSV, EVENTS) if (self.out / name).exists()]
        if self.step or not old:
            return
        names = ("before", *(f"before-{i}" for i in range(2, 10_000)))
        aside = next(self.out / name for name in names if not (self.out / name).exists())
        aside.mkdir()
        for name in old:
            os.replace(self.out / name, aside / name)
        self.show(f"the run that was in {self.out} is kept in {aside}")

    def _kept(self) -> str:
        return watch.kept(self.out / MODEL)

    def _short(self, loss: float) -> str:
        if self.task.measure == "perplexity":
            return f"perplexity {math.exp(min(loss, 700.0)):.1f}"
        return f"loss {loss:.4f}"


def when(seconds: float) -> str:
    """The time of day that is so many seconds away, with the day where it is another."""
    now = time.time()
    there = time.localtime(now + min(seconds, 1e9))
    same = there[:3] == time.localtime(now)[:3]
    return time.strftime("%H:%M" if same else "%Y-%m-%d %H:%M", there)


@contextmanager
def progress(total: int, done: int) -> Iterator[Any]:
    """A progress bar on a terminal; elsewhere None."""
    if sys.stderr is None or not sys.stderr.isatty() or distributed.rank() != 0:
        yield None
        return
    from tqdm import tqdm

    screen: Any = Unbreakable(sys.stderr)
    with tqdm(total=total, initial=done, unit="step", dynamic_ncols=True, file=screen) as bar:
        yield bar
