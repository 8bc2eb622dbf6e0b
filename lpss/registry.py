"""What a config chooses by name, under one contract: methods, optimizers, models, data sets, schedules, trackers.

A member is a class in a file of its own, and all that is known of it stands on the class:

    @METHODS.register("rigl")
    class RigL(DropGrow):
        \"\"\"Drops the weights of smallest magnitude, grows where |gradient| is largest.\"\"\"  # its description

        label = "RigL"                     # in tables and figures
        reference = "Evci et al. 2020, Rigging the Lottery, https://arxiv.org/abs/1911.11134"
        order = 30                         # place in tables and lists; members without one come behind, by name

        @dataclass
        class Config(DropGrow.Config):     # its options and their defaults
            ...

A member whose behaviour changes raises its `revision` (1 where it has none): it is a part of a run's hash. An option
that is added to one is a `lpss.options.later`.

A registry finds its members by reading the sources of its package, without importing them: so tables and lists need no
torch, and a class is imported when it is first asked for. Classes elsewhere (plugins) enter when they are imported.
"""

import ast
import dataclasses
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from lpss.errors import UsageError, suggestion
from lpss.options import make_options, without_later

T = TypeVar("T", bound=type)
LAST = 1000  # the order of a member that has none
# Class attributes, literals.
FACTS = ("label", "reference", "order", "reading_of", "kind", "drops", "grows", "use", "several")


@dataclasses.dataclass(frozen=True)
class Member:
    """What is known of a member without importing it.

    reading_of: of which member it is another reading. Of methods: kind, when their nets are sparse
    (lpss/sparse/methods/base.py); drops, grows: which connections; use: when to take it;
    several: a run of it is several trainings (`Method.trainings`).
    """

    name: str
    class_name: str
    module: str
    label: str
    description: str = ""
    reference: str = ""
    order: int = LAST
    reading_of: str = ""
    kind: str = ""
    drops: str = ""
    grows: str = ""
    use: str = ""
    several: bool = False


class Registry(MutableMapping):
    """Name -> class.

    Args:
        kind: what its members are, as in the config's group and in messages ("method").
        variable: the name under which sources know this registry ("METHODS").
        package: where its members' sources are; none where every member enters by itself.
    """

    def __init__(self, kind: str, variable: str = "", package: str = "") -> None:
        self.kind, self.variable, self.package = kind, variable, package
        self._classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Class decorator: enter it as `name`, which it then has as an attribute. Raises ValueError for a taken one."""

        def enter(member: T) -> T:
            known = self.members.get(name)
            if name in self._classes or (known and known.module != member.__module__):
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            member.name = name
            self._classes[name] = member
            self.members.setdefault(name, _described(name, member))
            return member

        return enter

    @cached_property
    def members(self) -> dict[str, Member]:
        """Name -> what is known of it, in the order of tables and lists."""
        found = _scan(self.variable, self.package) if self.package else []
        return {member.name: member for member in sorted(found, key=lambda member: (member.order, member.name))}

    def labels(self) -> dict[str, str]:
        """Name -> label, in the order of tables."""
        return {name: member.label for name, member in self.members.items()}

    def find(self, name: str) -> type:
        """The class called `name`. Raises UsageError that lists the known names."""
        if not isinstance(name, str) or name not in self.members:
            raise UsageError(f"unknown {self.kind} {name!r}{suggestion(name, self)}; known: {', '.join(self)}")
        return self[name]

    def options(self, values: Mapping):
        """The `Config` of the member that `values` names, with those values. Raises UsageError that names the key."""
        config_class = self.find(values.get("name")).Config
        fields = {field.name for field in dataclasses.fields(config_class)}
        given = {key: value for key, value in values.items() if key != "name" or "name" in fields}
        return make_options(config_class, given, self.kind)

    def complete(self, values: Mapping) -> dict:
        """`values` with every option that they leave out at its default, checked. Raises UsageError."""
        return {"name": values["name"], **dataclasses.asdict(self.options(values))}

    def identity(self, values: Mapping) -> dict:
        """What of completed `values` enters a run's hash: all but options that came later, at what runs of before
        behaved as; and the member's `revision`, where it behaves otherwise than at first."""
        member = self[values["name"]]
        revision = getattr(member, "revision", 1)
        return without_later(member.Config, values) | ({"revision": revision} if revision > 1 else {})

    def attribute(self, class_name: str) -> type:
        """The member whose class is called so; for the `__getattr__` of packages. Raises AttributeError."""
        for name, member in self.members.items():
            if member.class_name == class_name:
                return self[name]
        raise AttributeError(f"there is no {self.kind} class {class_name!r}")

    def __getitem__(self, name: str) -> type:
        if name not in self._classes:
            importlib.import_module(self.members[name].module)
        return self._classes[name]

    def __setitem__(self, name: str, member: type) -> None:
        self._classes[name] = member
        self.members.setdefault(name, _described(name, member))

    def __delitem__(self, name: str) -> None:
        del self._classes[name], self.members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, name) -> bool:
        return name in self.members


def _described(name: str, member: type) -> Member:
    """What an imported class says of itself."""
    own = {key: value for key, value in vars(member).items() if key in FACTS}  # a base's label is not its own
    description = (inspect.getdoc(member) or "").partition("\n")[0]
    return Member(name, member.__name__, member.__module__, description=description, **{"label": name} | own)


def _scan(variable: str, package: str) -> Iterator[Member]:
    """The classes in the package's sources that are decorated with `variable.register("name")`."""
    for folder in importlib.util.find_spec(package).submodule_search_locations:
        for file in sorted(Path(folder).glob("*.py")):
            source = file.read_text(encoding="utf-8")
            if f"@{variable}.register(" not in source:
                continue
            for node in ast.parse(source).body:
                if isinstance(node, ast.ClassDef) and (name := _registered_name(node, variable)):
                    facts = {"label": name} | _literals(node)
                    description = (ast.get_docstring(node) or "").partition("\n")[0]
                    yield Member(name, node.name, f"{package}.{file.stem}", description=description, **facts)


def _registered_name(node: ast.ClassDef, variable: str) -> str | None:
    for decorator in node.decorator_list:
        match decorator:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=owner), attr="register"), args=[ast.Constant(value=str(name))]
            ) if owner == variable:
                return name


def _literals(node: ast.ClassDef) -> dict:
    """The facts of `Member` that the class body assigns as literals."""
    found = {}
    for statement in node.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=key)], value=value) if key in FACTS:
                found[key] = ast.literal_eval(value)
    return found
