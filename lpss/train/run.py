"""One run from its config to its folder: skipped where it has ended, resumed where it was left, recorded at its end."""

import logging
from contextlib import nullcontext, suppress

from lpss.config import RunConfig
from lpss.errors import LpssError
from lpss.record import BEST, DIVERGED, ENDED, FAILED, FINISHED, RUNNING, WEIGHTS, RunFolder, changes
from lpss.trackers import Trackers
from lpss.train import checkpoint
from lpss.train.build import Parts, build, load_data
from lpss.train.distributed import Processes, join_processes
from lpss.train.environment import choose_device, git_commit, versions
from lpss.train.fingerprint import expected_code_paths, fingerprints
from lpss.train.interrupt import Interrupts
from lpss.train.outcome import outcome
from lpss.train.pretrained import find_weights
from lpss.train.resolve import ResolvedRun, resolve
from lpss.train.tracking import trackers_of
from lpss.train.trainer import Diverged, Trainer
from lpss.train.weights import layer_rows, save_weights

log = logging.getLogger("lpss")


def run(config: RunConfig, *, bar: bool = False) -> dict:
    """Train as configured and return run.json's content.

    A run that has ended before is not trained again, unless `config.rerun` says so; one that another process is
    training is left to it (status `running`).

    Raises LpssError for what the message explains. Other exceptions are recorded in run.json with status `failed`
    before they are raised again; such a run goes on from its last checkpoint at the next call.
    """
    resolved = resolve(config)
    processes = join_processes()
    folder = RunFolder(resolved.folder)
    earlier, again = processes.broadcast_object(_look(resolved, folder) if processes.is_main else None)
    if earlier is not None and not again:
        return earlier
    trackers = trackers_of(resolved, processes)
    parts = build(resolved, processes)
    if not processes.is_main:
        log.setLevel(logging.ERROR)
    with folder.lock() if processes.is_main else nullcontext(True) as mine:
        # Another process may have ended it while this one was getting ready.
        mine, now = processes.broadcast_object((mine, folder.result()) if processes.is_main else None)
        session = Session(resolved, parts, folder, processes, trackers, bar)
        if not mine:
            log.info("%s: another process is training it, skipped (%s)", resolved.label, folder.path)
            return session.result(RUNNING)
        if _has_ended(now) and now != earlier:
            return now
        if not processes.is_main:
            return session.train()
        if _has_ended(now):
            folder.set_aside()
        return _train_and_log(session)


def _has_ended(result: dict | None) -> bool:
    return result is not None and result.get("status") in ENDED


def _look(run: ResolvedRun, folder: RunFolder) -> tuple[dict | None, bool]:
    """(the record of a run that has ended or None, whether to train it again), having said what has changed since."""
    earlier = folder.result()
    if not _has_ended(earlier):
        return None, True
    status, rerun = earlier["status"], run.config.rerun
    serious, slight = _changed(run, folder, earlier) if rerun != "always" else ([], [])
    if rerun == "always" or rerun == "diverged" and status == DIVERGED or rerun == "changed" and serious:
        log.info("%s: %s before, trained again (rerun=%s)", run.label, status, rerun)
        return earlier, True
    since = f"; changed since: {', '.join(slight)}" if slight else ""
    log.info("%s: %s before, skipped (%s)%s", run.label, status, folder.path, since)
    if serious:
        remedy = "train it again with --force (rerun=always, or rerun=changed for all such runs)"
        log.warning("%s: %s; %s", run.label, ", ".join(serious), remedy)
    return earlier, False


def _changed(run: ResolvedRun, folder: RunFolder, earlier: dict) -> tuple[list[str], list[str]]:
    """What decides the result and is not what it was: data, plugins, code paths, files; and versions and commit."""
    now: dict = {}
    with suppress(LpssError):  # data, weights or a device that are not here any more are nothing to compare with
        data, init = load_data(run, download=False), find_weights(run.config)
        now["fingerprints"] = fingerprints(data, run.config.plugins, init)
    with suppress(LpssError):
        device = choose_device(run.config.device)
        if earlier.get("device") == device.type:
            now["code_paths"] = expected_code_paths(earlier.get("code_paths") or {}, device)
    serious = folder.damage(earlier) + changes(earlier, now)
    return serious, changes(earlier, {"versions": versions(), "git_commit": git_commit()})


def _train_and_log(session: "Session") -> dict:
    folder = session.folder
    folder.remove_leftovers()
    folder.write_config(session.run.config.to_dict())
    if session.parts.facts is not None:
        folder.write_data(session.parts.facts)
    handler = folder.log_handler()
    log.addHandler(handler)
    try:
        return session.train()
    except BaseException as error:
        if isinstance(error, Exception):
            folder.write_result(session.result(FAILED) | {"error": f"{type(error).__name__}: {error}"})
        raise
    finally:
        log.removeHandler(handler)
        handler.close()


class Session:
    """A run's parts and its trainer, with what becomes of them in its folder."""

    def __init__(
        self,
        run: ResolvedRun,
        parts: Parts,
        folder: RunFolder,
        processes: Processes,
        trackers: Trackers,
        bar: bool = False,
    ):
        self.run, self.parts, self.folder, self.processes, self.trackers = run, parts, folder, processes, trackers
        self.interrupts = Interrupts()
        self.trainer = Trainer(
            parts.step,
            parts.batches,
            parts.schedule,
            parts.eval_batches,
            parts.cost,
            backend=parts.backend,
            precision=parts.precision,
            average=parts.average,
            best=parts.best,
            epochs=parts.epochs,
            total_steps=parts.total_steps,
            processes=processes,
            bar=bar,
            label=run.label,
            after_step=self._after_step,
            after_epoch=self._after_epoch,
        )

    def train(self) -> dict:
        """Train to the end, from the checkpoint where there is one; returns run.json's content.

        A signal saves the run and ends the program; one that comes too late for that, once the run's files are there.
        """
        for line in self.parts.method.preflight_warnings():
            log.warning("%s: %s", self.run.label, line)
        self._resume()
        if self.trainer.progress.step == 0:
            self.parts.method.prepare(self.parts.batches.undivided().epoch(0))
            self.parts.cost.refresh()
        status = FINISHED
        with self.interrupts, self.trackers:
            with self.trainer.stopwatch.paused():
                self.trackers.start(self.trainer.progress.rows)
            try:
                self.trainer.train()
            except Diverged as error:
                status = DIVERGED
                log.warning("%s: %s", self.run.label, error)
            self.parts.backend.undo()
            self._take_average()
            self.parts.method.repair()  # what is reported and saved is what the masks say
            result = self.result(status)
            if self.processes.is_main:
                result = self._write(result)
            if self.interrupts.received is not None:
                self.interrupts.leave()
        return result

    def result(self, status: str) -> dict:
        """run.json's content as of now."""
        result = outcome(self.run, self.parts, self.trainer, status, self.processes)
        return result | {"warnings": result["warnings"] + self.trackers.warnings}

    def _write(self, result: dict) -> dict:
        self.folder.write_metrics(self.trainer.progress.rows)
        self.folder.write_layers(layer_rows(self.parts.method, self.parts.p))
        self._save_weights(WEIGHTS)
        if self.parts.best is not None and self.parts.best.epoch is not None:
            self.parts.best.weights.restore()
            self._take_average()
            self._save_weights(BEST)
        else:
            (self.folder.path / BEST).unlink(missing_ok=True)  # of an earlier training
        result = result | {"files": self.folder.checksums()}
        self.folder.write_result(result)
        log.info(
            "%s: %s, accuracy %.4f (best %.4f), sparsity %.4f, %.0f s -> %s",
            self.run.label,
            result["status"],
            result["accuracy_last"],
            result["accuracy_best"],
            result["sparsity_weights"],
            result["wall_time_s"],
            self.folder.path,
        )
        self.trackers.end(result)  # now that the results are safe
        if unsaid := [line for line in self.trackers.warnings if line not in result["warnings"]]:
            result = result | {"warnings": result["warnings"] + unsaid}
            self.folder.write_result(result)
        return result

    def _take_average(self) -> None:
        """Of a run that averages its weights, put the average into the net."""
        if self.parts.average is not None:
            self.parts.net.load_state_dict(self.parts.average.module.state_dict())

    def _save_weights(self, name: str) -> None:
        parts = self.parts
        save_weights(self.folder.path / name, parts.net, parts.method, parts.description)

    def _after_step(self) -> None:
        if self.interrupts.received is not None:
            self._leave()

    def _after_epoch(self) -> None:
        progress, every = self.trainer.progress, self.run.config.train.checkpoint_every
        if self.processes.is_main:
            self.folder.write_metrics(progress.rows)
            if self.trackers.active:
                with self.trainer.stopwatch.paused():
                    self.trackers.log(progress.rows[-1], layer_rows(self.parts.method, self.parts.p))
        if progress.step >= self.parts.total_steps:
            return  # what is left to do takes no longer than a checkpoint
        if self.interrupts.received is not None:
            self._leave()
        elif self.processes.is_main and every and progress.epoch % every == 0:
            self._save()

    def _leave(self) -> None:
        if self.processes.is_main and self.run.config.train.checkpoint_every:
            self._save()
            log.warning("%s: interrupted and saved after step %d", self.run.label, self.trainer.progress.step)
        self.interrupts.leave()

    def _save(self) -> None:
        checkpoint.save(self.folder.checkpoint, {"hash": self.run.hash, "components": self.trainer.state_dict()})

    def _resume(self) -> None:
        # The main process's, for all: the others may not even see its disk.
        state = self.processes.broadcast_object(
            checkpoint.load(self.folder.checkpoint, self.parts.device) if self.processes.is_main else None
        )
        if not isinstance(state, dict) or state.get("hash") != self.run.hash:
            return
        try:
            self.trainer.load_state_dict(state["components"])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = " ".join([type(error).__name__, *str(error).splitlines()[:1]])
            raise LpssError(
                f"{self.folder.checkpoint} does not fit this run ({reason}); remove it to start afresh"
            ) from error
        log.info("%s: resumed after step %d", self.run.label, self.trainer.progress.step)
