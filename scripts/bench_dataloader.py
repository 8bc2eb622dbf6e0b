"""A training loop built as the authors' demo is, to compare ours with (see bench_loop.py)."""

import time
from itertools import chain, repeat

import numpy as np
import torch
from bench_optimizer import Textbook
from benchmark import wait
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import lpss
import lpss.data
from lpss.config import RunConfig
from lpss.data import DATASETS, AugmentConfig, load
from lpss.train.build import Parts


class Rows(Dataset):
    """Samples one at a time, transformed one at a time."""

    def __init__(self, data: lpss.data.Dataset, augment: AugmentConfig):
        self.x, self.y = data.train.x.numpy(), data.train.y.numpy()
        if data.mean is None:
            mean, std = self.x.mean(0), self.x.std(0) + 1e-6
            self.transform = transforms.Compose([lambda row: (row - mean) / std, torch.from_numpy])
        else:
            self.x = np.ascontiguousarray(self.x.transpose(0, 2, 3, 1))
            steps = [transforms.ToPILImage()]
            steps += [transforms.RandomCrop(self.x.shape[1], augment.crop_pad)] if augment.crop_pad else []
            steps += [transforms.RandomHorizontalFlip()] if augment.flip else []
            self.transform = transforms.Compose(
                [*steps, transforms.ToTensor(), transforms.Normalize(data.mean, data.std)]
            )

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int):
        return self.transform(self.x[index]), int(self.y[index])


class DataLoaderLoop:
    """`steps` in a turn, with a topology update in each."""

    def __init__(self, config: RunConfig, parts: Parts, workers: int, steps: int):
        self.net, self.device, self.steps = parts.net, parts.device, steps
        self.optimizer = Textbook(lpss.param_groups(self.net, 1.2), 0.02)
        window = {"begin": 0.0, "end": 1.0, "update_every": steps}
        self.method = lpss.LpSS(self.net, self.optimizer, sparsity=0.9, total_steps=parts.total_steps, **window)
        rows = Rows(
            load(DATASETS.options(config.dataset), config.data.root), AugmentConfig.of(config.dataset["augment"])
        )
        self.loader = DataLoader(rows, config.train.batch_size, shuffle=True, drop_last=True, num_workers=workers)
        self.batches = chain.from_iterable(repeat(self.loader))

    def turn(self) -> float:
        start, running_loss, correct = time.perf_counter(), 0.0, 0
        for _ in range(self.steps):
            x, y = next(self.batches)
            x, y = x.to(self.device), y.to(self.device)
            if self.method.should_update():
                self.optimizer.zero_grad()
                F.cross_entropy(self.net(x), y).backward()
                self.method.update()
            self.optimizer.zero_grad()
            logits = self.net(x)
            loss = F.cross_entropy(logits, y)
            loss.backward()
            self._mask()
            self.optimizer.step()
            self._mask()
            self.method.steps += 1
            running_loss += loss.item()
            correct += (logits.argmax(1) == y).sum().item()
        wait(self.device)
        return time.perf_counter() - start

    @torch.no_grad()
    def _mask(self) -> None:
        for name, mask in self.method.masks.items():
            weight = self.method.masks.layers[name].weight
            weight.mul_(mask)
            weight.grad.mul_(mask)
