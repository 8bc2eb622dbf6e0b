"""One contract for methods, optimizers, models, data sets and schedules."""

import dataclasses
import subprocess
import sys

import pytest

from lpss import registries
from lpss.errors import LpssError, UsageError, suggestion
from lpss.options import later
from lpss.registry import LAST, Registry


def registry_of(*names: str) -> Registry:
    found = Registry("method")
    for name in names:
        found.register(name)(type(name, (), {}))
    return found


def test_register_and_find():
    things = Registry("thing")

    @things.register("rigl")
    class RigL:
        """Drops and grows.

        More about it.
        """

        label = "RigL"

    assert things.find("rigl") is things["rigl"] is things.attribute("RigL") is RigL and RigL.name == "rigl"
    assert list(things) == ["rigl"] and things.labels() == {"rigl": "RigL"}
    member = things.members["rigl"]
    assert (member.description, member.reference, member.order) == ("Drops and grows.", "", LAST)
    with pytest.raises(AttributeError, match="no thing class 'SET'"):
        things.attribute("SET")


def test_a_label_and_a_reference_are_not_inherited():
    things = Registry("thing")

    @things.register("a")
    class A:
        label, reference = "A!", "Somebody 2020"
        label = "A!"

    @things.register("b")
    class B(A):
        pass

    assert things.labels() == {"a": "A!", "b": "b"} and things.members["b"].reference == ""


def test_a_name_is_taken_once():
    things = registry_of("a")
    with pytest.raises(ValueError, match="method 'a' is registered twice"):
        things.register("a")(type("Other", (), {}))
    with pytest.raises(ValueError, match="method 'rigl' is registered twice"):
        registries.METHODS.register("rigl")(type("Other", (), {}))


def test_an_unknown_name_lists_the_known_ones():
    things = registry_of("rigl", "set", "static")
    with pytest.raises(UsageError, match=r"^unknown method 'rigel', did you mean 'rigl'\?; known: rigl, set, static$"):
        things.find("rigel")
    with pytest.raises(UsageError, match="^unknown method 'xyz'; known: rigl, set, static$"):
        things.find("xyz")


def test_options_are_the_members_config_with_its_defaults():
    things = Registry("thing")

    @things.register("a")
    class A:
        @dataclasses.dataclass
        class Config:
            x: int = 1
            y: float = 2.0

    assert things.options({"name": "a", "x": 3}) == A.Config(3, 2.0)
    assert things.complete({"name": "a", "y": 5}) == {"name": "a", "x": 1, "y": 5.0}
    with pytest.raises(UsageError, match="unknown key thing.z"):
        things.options({"name": "a", "z": 3})


def test_a_file_alone_makes_a_member_and_lists_need_no_import_of_it(tmp_path, monkeypatch):
    """Sources are read, not run: this one could not be."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "first.py").write_text(
        "import nothing_of_this_name\n\n\n@PARTS.register('first')\nclass First:\n    'One line.'\n"
        "    label = 'The first'\n    reference = ('Somebody 2020, '\n        'https://example.org')\n    order = 7\n"
        "\n\n"
        "@OTHERS.register('no')\nclass No:\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    parts = Registry("part", "PARTS", "parts")
    assert parts.labels() == {"first": "The first"} and "first" in parts and len(parts) == 1
    member = parts.members["first"]
    assert (member.class_name, member.module, member.order) == ("First", "parts.first", 7)
    assert (member.description, member.reference) == ("One line.", "Somebody 2020, https://example.org")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        parts.find("first")


def test_suggestion():
    assert suggestion("sparsty", ["seed", "sparsity"]) == ", did you mean 'sparsity'?"
    assert suggestion("qqq", ["seed", "sparsity"]) == suggestion(3, []) == ""


def test_exit_codes_of_errors():
    assert (LpssError.exit_code, UsageError.exit_code, issubclass(UsageError, LpssError)) == (1, 2, True)
    assert issubclass(UsageError, ValueError), "what users of a library expect of a wrong argument"


@pytest.mark.parametrize("registry", registries.REGISTRIES.values(), ids=lambda registry: registry.kind)
def test_every_member_says_all_that_is_known_of_it(registry):
    assert len(registry) >= 3
    for name, member in registry.members.items():
        found = registry.find(name)
        assert found.__name__ == member.class_name and found.__module__ == member.module and found.name == name
        assert member.label != name or registry.kind == "model", f"{registry.kind} {name} has no label"
        assert member.description.endswith("."), f"the first line of {name} must be a sentence"
        assert dataclasses.is_dataclass(found.Config)
        assert found.label == member.label and getattr(found, "order", LAST) == member.order
        if registry.kind in ("method", "optimizer") and name not in ("dense", "sgd"):
            assert "https://" in member.reference, f"{registry.kind} {name} has no reference with an address"


def test_listing_members_needs_no_torch():
    code = (
        "import sys; from lpss import registries as r\n"
        "for one in (r.DATASETS, r.METHODS, r.MODELS, r.OPTIMIZERS, r.SCHEDULES): assert one.labels()\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_identity_leaves_out_later_options_at_what_runs_of_before_behaved_as():
    things = Registry("thing")

    @things.register("a")
    class A:
        @dataclasses.dataclass
        class Config:
            old: int = 1
            new: str = later("x")
            changed: int = later(5, before=3)
            names: list[str] = later([])

    def identity(**values):
        return things.identity(things.complete({"name": "a"} | values))

    assert identity() == {"name": "a", "old": 1, "changed": 5}
    assert identity(changed=3) == {"name": "a", "old": 1}
    assert identity(new="y", names=["b"]) == {"name": "a", "old": 1, "new": "y", "changed": 5, "names": ["b"]}
    assert A.Config().names is not A.Config().names


def test_a_members_revision_is_a_part_of_its_identity_where_it_is_not_the_first():
    things = Registry("thing")

    @things.register("a")
    class A:
        @dataclasses.dataclass
        class Config:
            x: int = 1

    assert things.identity({"name": "a", "x": 1}) == {"name": "a", "x": 1}
    A.revision = 2
    assert things.identity({"name": "a", "x": 1}) == {"name": "a", "x": 1, "revision": 2}
