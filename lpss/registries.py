"""The six registries. A new member is one file in the package named here and at most one yaml in conf/."""

from lpss.registry import Registry

DATASETS = Registry("dataset", "DATASETS", "lpss.data")
MODELS = Registry("model", "MODELS", "lpss.models")
OPTIMIZERS = Registry("optimizer", "OPTIMIZERS", "lpss.optim")
METHODS = Registry("method", "METHODS", "lpss.sparse.methods")
SCHEDULES = Registry("schedule", "SCHEDULES", "lpss.schedules")
TRACKERS = Registry("tracker", "TRACKERS", "lpss.trackers")

# Kind, the config group of the same name -> what is chosen from: by its `name`; of trackers several, by its keys.
REGISTRIES = {registry.kind: registry for registry in (DATASETS, MODELS, OPTIMIZERS, METHODS, SCHEDULES, TRACKERS)}
