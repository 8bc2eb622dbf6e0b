import pytest

from lpss.errors import LpssError, UsageError
from lpss.registry import Registry, suggestion


def test_register_and_find():
    things = Registry("thing")

    @things.register("rigl")
    class RigL:
        pass

    assert things.find("rigl") is things["rigl"] is RigL
    assert list(things) == ["rigl"]


def test_a_name_is_taken_once():
    things = Registry("thing")
    things.register("a")(1)
    with pytest.raises(ValueError, match="thing 'a' is registered twice"):
        things.register("a")(2)
    assert things["a"] == 1


def test_an_unknown_name_lists_the_known_ones():
    things = Registry("method")
    for name in ("rigl", "set", "static"):
        things.register(name)(name)
    with pytest.raises(UsageError, match=r"^unknown method 'rigel', did you mean 'rigl'\?; known: rigl, set, static$"):
        things.find("rigel")
    with pytest.raises(UsageError, match="^unknown method 'xyz'; known: rigl, set, static$"):
        things.find("xyz")


def test_suggestion():
    assert suggestion("sparsty", ["seed", "sparsity"]) == ", did you mean 'sparsity'?"
    assert suggestion("qqq", ["seed", "sparsity"]) == suggestion(3, []) == ""


def test_exit_codes_of_errors():
    assert (LpssError.exit_code, UsageError.exit_code, issubclass(UsageError, LpssError)) == (1, 2, True)


@pytest.mark.parametrize("registry", ["methods", "optimizers", "models", "schedules"])
def test_every_entry_has_a_config_that_knows_its_name(registry):
    from lpss.models import MODELS
    from lpss.optim.build import OPTIMIZERS
    from lpss.optim.schedules import SCHEDULES
    from lpss.sparse.methods import METHODS

    expected = {
        "methods": (METHODS, {"dense", "static", "set", "rigl", "snip", "snip_dynamic", "gmp", "lpss", "lpss_demo"}),
        "optimizers": (OPTIMIZERS, {"sgd", "lpsgd", "lpsgd_m"}),
        "models": (MODELS, {"mlp", "wrn", "cnn_mnist", "cnn_fashion_mnist"}),
        "schedules": (SCHEDULES, {"constant", "cosine", "multistep", "piecewise"}),
    }
    found, names = expected[registry]
    assert set(found) == names
    for name, entry in found.items():
        assert getattr(entry, "Config", entry)().name == name
