"""From a resolved run to the parts it is made of: data, net, optimizer, method, step."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from lpss.data import AugmentConfig, Batches, Dataset, eval_batches, hold_out, load
from lpss.models import build_model
from lpss.optim.build import build_optimizer
from lpss.optim.gain import keep_scale
from lpss.optim.groups import layer_p
from lpss.registries import DATASETS, METHODS
from lpss.schedules import build_schedule
from lpss.sparse.average import SparseAverage
from lpss.sparse.methods import Method
from lpss.train.backend import Backend
from lpss.train.best_epoch import BestEpoch
from lpss.train.compute import ComputeOptions
from lpss.train.cost import Cost
from lpss.train.description import Description
from lpss.train.distributed import SINGLE_PROCESS, Processes
from lpss.train.environment import choose_device, reset_peak_memory
from lpss.train.fingerprint import fingerprints
from lpss.train.precision import AutoPrecision, settle
from lpss.train.pretrained import find_weights, load_pretrained
from lpss.train.resolve import ResolvedRun
from lpss.train.step import TrainStep, make_step

EVAL_BATCH = 1000
log = logging.getLogger("lpss")


@dataclass(frozen=True)
class Parts:
    """What one run is made of.

    p: layer name -> p of the sphere its weights are on, None for off it. facts: what was found out and decided of
    data of one's own.
    """

    device: torch.device
    batches: Batches
    eval_batches: Callable[[], Iterable]
    net: nn.Module
    optimizer: torch.optim.Optimizer
    method: Method
    schedule: Callable[[float], float]
    step: TrainStep
    cost: Cost
    backend: Backend
    precision: AutoPrecision | None
    epochs: int
    total_steps: int
    p: dict[str, float | None]
    fingerprints: dict[str, str]
    description: Description
    facts: Mapping[str, Any] | None
    average: SparseAverage | None
    best: BestEpoch | None


def load_data(run: ResolvedRun, *, download: bool) -> Dataset:
    """The run's data set as it is, before a validation part is held out. Raises DataError or UsageError."""
    return load(DATASETS.options(run.config.dataset), run.config.data.root, download)


def build(run: ResolvedRun, processes: Processes = SINGLE_PROCESS) -> Parts:
    """Load the data and make everything else. Sets torch's threads and seed.

    Raises UsageError for settings that do not fit together or this machine, DataError for data.
    """
    config, train = run.config, run.config.train
    if config.threads:
        torch.set_num_threads(config.threads)
    device = choose_device(config.device)
    reset_peak_memory(device)
    processes.check_batch(train.batch_size)
    with processes.main_process_first():
        data = load_data(run, download=config.data.download)
    if processes.is_main:
        _tell(data.notes)
    init = find_weights(config)
    prints = fingerprints(data, config.plugins, init)
    if train.validation:
        data = hold_out(data, train.validation, config.seed)
    shard = (processes.rank, processes.size)
    augment = AugmentConfig.of(config.dataset["augment"])
    normal = {"device": device, "mean": data.mean, "std": data.std}
    batches = Batches(data.train, train.batch_size, seed=config.seed, augment=augment, shard=shard, **normal)
    test = data.test.to(device)
    epochs = train.epochs * METHODS.find(config.method["name"]).trainings(config.method, config.sparsity)
    total_steps = min(epochs * len(batches), train.max_steps or epochs * len(batches))

    torch.manual_seed(config.seed)
    compute = ComputeOptions.choose(train, device, steps=total_steps, processes=processes.size)
    net = build_model(config.model, data.input_shape, data.classes).to(device)
    net = compute.apply(processes.synchronous_norms(net, device), device)
    example = next(eval_batches(test, EVAL_BATCH, **normal))[0][:1]
    compute = settle(compute, train, net, example, processes)
    schedule = build_schedule(config.schedule)
    if init is not None:
        load_pretrained(net, init)
    if config.sphere.gain in ("fixed", "learned"):
        keep_scale(
            net,
            config.optimizer.get("p"),
            exclude=config.sphere.exclude,
            sparsity=config.sparsity,
            learned=config.sphere.gain == "learned",
        )
    optimizer = build_optimizer(net, config.optimizer, exclude=config.sphere.exclude, sparsity=config.sparsity)
    method = METHODS.find(config.method["name"])(
        net,
        optimizer,
        sparsity=config.sparsity,
        total_steps=total_steps,
        exclude=config.mask.exclude,
        include=config.mask.include,
        rescale=config.mask.rescale,
        pretrained=init is not None,
        seed=config.seed,
        **{key: value for key, value in config.method.items() if key != "name"},
    )
    cost = Cost(net, method.masks, example, method.gradient_counts)
    p = layer_p(net, config.optimizer.get("p"), exclude=config.sphere.exclude, sparsity=config.sparsity)
    backend = Backend(train, net, method, example, compute, device, processes.size)
    average = SparseAverage(net, method, train.ema) if train.ema else None
    kept = net if average is None else average.module
    step = make_step(net, method, compute, model=processes.wrap(net))
    return Parts(
        device=device,
        batches=batches,
        eval_batches=partial(eval_batches, test, EVAL_BATCH, shard=shard, **normal),
        net=net,
        optimizer=optimizer,
        method=method,
        schedule=schedule,
        step=step,
        cost=cost,
        backend=backend,
        precision=AutoPrecision(train, step) if train.precision == "auto" else None,
        epochs=epochs,
        total_steps=total_steps,
        p=p,
        fingerprints=prints,
        description=Description.of(config, data),
        facts=data.facts,
        average=average,
        best=BestEpoch(kept, method) if train.validation and train.keep_best else None,
    )


@cache
def _tell(notes: tuple[str, ...]) -> None:
    """Log what was decided of the data: once, however many runs a process trains with them."""
    for note in notes:
        log.info(note)
