"""Import arrows: no module is part of a cycle, and rooms know only the rooms below them."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import lpss

ROOT = Path(lpss.__file__).parent
# Room -> rooms that its modules may import, beside their own and lpss itself (lpss/*.py).
BELOW = {
    "schedules": set(),
    "theory": set(),
    "data": set(),
    "models": set(),
    "native": set(),
    "optim": {"native"},
    "sparse": {"optim", "schedules", "theory"},
    "engine": {"native", "optim", "sparse"},
    "integrations": {"sparse"},
    "report": set(),
    "runs": {"report"},
    "trackers": {"report"},
    "train": {"data", "engine", "models", "optim", "schedules", "sparse", "trackers"},
    "export": {"engine", "data", "train"},
    "paper": {"report", "schedules", "theory"},
    "cli": {"data", "export", "models", "paper", "report", "runs", "theory", "train"},
}
TORCH_FREE = {"config", "errors", "files", "options", "record", "registries", "registry"}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(file: Path, known: set[str], inner: bool) -> set[str]:
    """The package's modules that a module imports; with `inner` also those that its functions import."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if inner else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {whole if whole in known else node.module for whole in names}
    return {name for name in found if name in known} - {module_name(file)}


def graph(inner: bool = False) -> dict[str, set[str]]:
    files = {module_name(file): file for file in ROOT.rglob("*.py")}
    return {name: imports(file, set(files), inner) for name, file in files.items()}


def room(module: str) -> str:
    parts = module.replace("__main__", "cli").split(".")  # python -m lpss is a command
    return parts[1] if len(parts) > 1 and parts[1] in BELOW else ""


def test_no_module_imports_itself_by_a_detour():
    arrows = graph()
    order = list(TopologicalSorter(arrows).static_order())  # raises CycleError, which shows the cycle
    assert len(order) >= len(arrows) > 80


def test_rooms_know_only_the_rooms_below_them():
    assert {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()} - {"conf"} == set(BELOW)
    wrong = [
        f"{module} -> {other}"
        for module, others in graph(inner=True).items()
        for other in others
        if room(other) not in BELOW.get(room(module), set()) | {room(module), ""}
    ]
    assert not wrong


def test_what_reports_are_made_of_needs_no_torch():
    files = [ROOT / f"{name}.py" for name in TORCH_FREE]
    files += [file for room in ("report", "runs") for file in (ROOT / room).rglob("*.py")]
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name for name in names if name.split(".")[0] in ("torch", "torchvision")}, file
