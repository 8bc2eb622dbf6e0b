"""One process of a run: python rank.py FOLDER OVERRIDES... trains, then leaves its weights and masks in the folder."""

import sys

import torch

from lpss.cli.compose import compose_run
from lpss.train import run as run_module
from lpss.train.distributed import leave_processes

folder, *overrides = sys.argv[1:]


class Session(run_module.Session):
    def result(self, status):
        state = {"net." + key: value for key, value in self.parts.net.state_dict().items()}
        state |= {"mask." + key: value for key, value in self.parts.method.masks.state_dict().items()}
        torch.save(state, f"{folder}/rank{self.processes.rank}.pt")
        return super().result(status)


run_module.Session = Session
run_module.run(compose_run(overrides))
leave_processes()
