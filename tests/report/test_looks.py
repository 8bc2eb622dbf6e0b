import pandas as pd

from lpss.report.looks import COLOURS, DARK_COLOURS, MARKERS, label_of, labelled, looks_of


def test_no_two_of_many_methods_look_alike():
    names = ["dense", *(f"m{i}" for i in range(50))]
    looks = looks_of(labelled(pd.DataFrame({"method": names, "settings": ""})))
    assert looks["Dense"] is None and len(set(looks.values())) == 51
    assert len({(look.colour, look.marker) for look in looks.values() if look}) == 50
    assert len({(look.colour, look.dash) for look in looks.values() if look}) == 50
    assert len(DARK_COLOURS) == len(COLOURS) > len(MARKERS)


def test_settings_are_part_of_a_label_and_in_their_natural_order():
    table = pd.DataFrame({"method": "lpss", "settings": ["optimizer.p=1.2", "optimizer.p=1.15", ""]})
    assert list(looks_of(labelled(table))) == ["LpSS", "LpSS, optimizer.p=1.15", "LpSS, optimizer.p=1.2"]
    assert label_of("unheard_of") == "unheard_of"
