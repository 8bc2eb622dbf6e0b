import pytest
import torch

from lpss.data import DATASETS, load
from lpss.errors import DataError

# name, features, classes, training rows, test rows: Table 3 of the paper
SETS = [
    ("adult", 105, 2, 32_561, 16_281),
    ("connect4", 126, 3, 57_557, 10_000),
    ("dna", 240, 3, 2_590, 600),
    ("mushroom", 126, 2, 6_124, 2_000),
    ("letter", 16, 26, 15_000, 5_000),
    ("climate", 18, 2, 400, 140),
    ("web", 27, 3, 1_153, 200),
]


@pytest.mark.parametrize(("name", "features", "classes", "train", "test"), SETS)
def test_features_classes_and_split_sizes(real, name, features, classes, train, test):
    dataset = load(name, real("uci"), download=False)
    assert dataset.train.x.shape == (train, features) and dataset.test.x.shape == (test, features)
    assert dataset.train.x.dtype == torch.float32 and dataset.train.y.dtype == torch.int64
    assert dataset.classes == classes
    assert set(dataset.train.y.tolist()) == set(range(classes))
    assert dataset.mean is None and dataset.std is None


@pytest.mark.parametrize(
    ("name", "rate"), [("adult", 0.7638), ("letter", 0.0368), ("climate", 0.9214), ("web", 0.4900)]
)
def test_the_training_majority_scores_what_the_paper_prints(real, name, rate):
    dataset = load(name, real("uci"), download=False)
    majority = torch.bincount(dataset.train.y).argmax()
    assert round((dataset.test.y == majority).float().mean().item(), 4) == rate


@pytest.mark.parametrize("name", ["letter", "climate"])
def test_numbers_are_standardised_by_the_training_rows(real, name):
    dataset = load(name, real("uci"), download=False)
    assert dataset.train.x.mean(0).abs().max() < 1e-5
    assert (dataset.train.x.std(0, unbiased=False) - 1).abs().max() < 1e-4
    assert dataset.test.x.mean(0).abs().max() > 1e-3, "the test rows have no say"


def test_adult_row_by_hand(real):
    """39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, Male, ..."""
    dataset = load("adult", real("uci"), download=False)
    # sorted levels: State-gov is 6 of 8, Bachelors 9 of 16, Never-married 4 of 7, Adm-clerical 0 of 14,
    # Not-in-family 1 of 6, White 4 of 5, Male 1 of 2, United-States 38 of 41
    starts = (0, 8, 24, 31, 45, 51, 56, 58)
    places = [start + place for start, place in zip(starts, (6, 9, 4, 0, 1, 4, 1, 38), strict=True)]
    row = dataset.train.x[0]
    assert row[:99].nonzero().flatten().tolist() == places
    # age 39 among ages of mean 38.58, deviation 13.64; 13 years of school, mean 10.08, deviation 2.57
    assert row[99].item() == pytest.approx((39 - 38.5816) / 13.6402, abs=1e-4)
    assert row[101].item() == pytest.approx((13 - 10.0807) / 2.5727, abs=1e-4)
    assert dataset.train.y[:8].tolist() == [0] * 7 + [1]
    # row 15 of the training file has a ? for its country
    assert dataset.train.x[14, 58:99].sum() == 0 and dataset.train.x[14, :99].sum() == 7


def test_web_row_by_hand(real):
    x = load("web", real("uci"), download=False).train.x[0].view(9, 3)
    assert (x.argmax(1) - 1).tolist() == [1, -1, 1, -1, -1, 1, 1, 1, 0] and x.sum() == 9


def parsed(name, root):
    """All rows in file order."""
    source = DATASETS[name]()
    return source.parse([root / file.path for file in source.files], source.Config(name))


def test_connect4_row_by_hand(real):
    x, y = parsed("connect4", real("uci"))
    squares = ["bxo"[i] for i in x[0].view(42, 3).argmax(1)]
    assert "".join(squares) == "bbbbbbbbbbbbxobbbbxoxoxo" + "b" * 18
    assert y[0] == 2 and torch.bincount(y).tolist() == [6_449, 16_635, 44_473]


def test_dna_rows_by_hand(real):
    x, y = parsed("dna", real("uci"))
    bases = ["ACGT"[i] for i in x[0].view(60, 4).argmax(1)]
    assert "".join(bases) == "CCAGCTGCATCACAGGAGGCCAGCGAGCAGGTCTGTTCCAAGGGCCTTCGAGCCAGTCTG"
    assert torch.bincount(y).tolist() == [767, 768, 1_655]
    assert int((x.sum(1) < 60).sum()) == 15 and int(60 * len(x) - x.sum()) == 60, "N, D, R, S are zeros"


def test_mushroom_uses_the_documented_levels(real):
    x, y = parsed("mushroom", real("uci"))
    assert torch.equal(x.sum(1), torch.full((8_124,), 22.0))
    assert int((x.sum(0) > 0).sum()) == 117
    widths = [6, 4, 10, 2, 9, 4, 3, 2, 12, 2, 7, 4, 4, 9, 9, 2, 4, 3, 8, 9, 6, 7]
    assert [len(levels) for levels in DATASETS["mushroom"].levels] == widths
    assert int(x[:, sum(widths[:11]) - 1].sum()) == 2_480, "the question marks of stalk-root"
    assert torch.bincount(y).tolist() == [4_208, 3_916]


def test_random_splits_follow_split_seed(real):
    def split(seed):
        return load(DATASETS["dna"].Config("dna", split_seed=seed), real("uci"), download=False)

    first, again, other = split(0), split(0), split(1)
    assert torch.equal(first.train.x, again.train.x) and torch.equal(first.test.y, again.test.y)
    assert not torch.equal(first.train.y, other.train.y)
    x, y = parsed("dna", real("uci"))
    assert torch.equal(torch.cat([other.train.x, other.test.x]).sum(0), x.sum(0)), "no row is lost or doubled"


ADULT = "39, Private, 77516, Bachelors, 13, Divorced, Sales, Wife, White, Male, 0, 0, 40, Cuba, <=50K\n"


def adult(tmp_path, train, test):
    paths = [tmp_path / "adult.data", tmp_path / "adult.test"]
    for path, text in zip(paths, (train, test), strict=True):
        path.write_text(text)
    source = DATASETS["adult"]()
    return source.parse(paths, source.Config("adult"))


def test_adult_reads_remarks_full_stops_and_empty_lines(tmp_path):
    test = "|1x3 Cross validator\n" + ADULT.replace("<=50K", ">50K.").replace("Private", "?") + "\n"
    x, y = adult(tmp_path, ADULT + "\n", test)
    assert y.tolist() == [0, 1]
    assert x.tolist() == [[1] * 8 + [39, 77516, 13, 0, 0, 40], [0] + [1] * 7 + [39, 77516, 13, 0, 0, 40]]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("Cuba", "Atlantis", r"adult\.test, line 2, column 14: 'Atlantis' is none of Cuba, \?"),
        ("<=50K.", "<=50K", r"adult\.test, line 2, column 15: '<=50K' is none of"),
        ("39", "nan", r"adult\.test, line 2, column 1: 'nan' is no finite number"),
        (", 40", "", r"adult\.test, line 2: 14 columns where 15"),
        (", 40", ", 40, 41", r"adult\.test, line 2: 16 columns where 15"),
    ],
)
def test_adult_errors_name_file_and_line(tmp_path, old, new, problem):
    test = "|remark\n" + ADULT.replace("<=50K", "<=50K.").replace(old, new)
    with pytest.raises(DataError, match=problem):
        adult(tmp_path, ADULT, test)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("connect4", ",".join("b" * 41 + "z") + ",win", "line 1, column 42: 'z' is none of b, x, o"),
        ("dna", "EI, X-1, " + "ACGT" * 14 + "ACG", "line 1, column 3: .* does not have the 60 letters"),
        ("dna", "EI, X-1, " + "ACGT" * 14 + "ACGE", "line 1, column 60: 'E' is none of A, C, G, T, N"),
        ("mushroom", "e,x,s,n,t,p,f,c,n,k,e,e,s,s,w,w,p,w,o,p,k,s,q", "line 1, column 23: 'q' is none of"),
        ("letter", "t," + "1," * 15 + "1", "line 1, column 1: 't' is none of A, B"),
        ("climate", "header\n1 1" + " .5" * 18 + " 2", "line 2, column 21: '2' is none of 0, 1"),
        ("web", "@data\n" + "1," * 8 + "2,1", "line 2, column 9: '2' is none of -1, 0, 1"),
    ],
)
def test_a_cell_out_of_place_is_refused(tmp_path, name, text, problem):
    path = tmp_path / "file.data"
    path.write_text(text)
    source = DATASETS[name]()
    with pytest.raises(DataError, match=rf"file\.data, {problem}"):
        source.parse([path], source.Config(name))
