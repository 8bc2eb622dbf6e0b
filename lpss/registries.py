"""The five registries. A new member is one file in the package named here and at most one yaml in conf/."""

from lpss.registry import Registry

DATASETS = Registry("dataset", "DATASETS", "lpss.data")
MODELS = Registry("model", "MODELS", "lpss.models")
OPTIMIZERS = Registry("optimizer", "OPTIMIZERS", "lpss.optim")
METHODS = Registry("method", "METHODS", "lpss.sparse.methods")
SCHEDULES = Registry("schedule", "SCHEDULES", "lpss.schedules")

# Kind, the config group of the same name -> what its `name` chooses from.
REGISTRIES = {registry.kind: registry for registry in (DATASETS, MODELS, OPTIMIZERS, METHODS, SCHEDULES)}
