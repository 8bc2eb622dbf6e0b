"""Wrong overrides, config files, data files, places and records by the hundred: no traceback, no failed run that looks
finished. Each ends with exit code 1 or 2 and a line or two that name the key or file, or, where it happens to be
right, with a finished run.

The random part is seeded; LPSS_FUZZ=20 in the environment tries twenty times as much of it.
"""

import gzip
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save

pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.skipif(sys.platform != "linux", reason="the worker uses Linux's memfd, /proc and capabilities"),
]

ROUNDS = int(os.environ.get("LPSS_FUZZ", 1))
SMALL = (
    "dataset=synthetic",
    "dataset.train_size=60",
    "dataset.test_size=20",
    "dataset.classes=3",
    "dataset.model.hidden=[16,16]",
    "train.batch_size=20",
    "train.epochs=1",
    "train.max_steps=1",
)
LONGER = ("train.epochs=2", "train.max_steps=6", "plugins=[stop]")
IMAGES = ("dataset.image_shape=[1,8,8]", "model=wrn", "model.depth=8", "model.width=1")
AUGMENTED = (*IMAGES, "+dataset.augment={crop_pad: 1, pad_mode: zeros, flip: true, cutout: 1}")


@pytest.fixture(scope="module")
def make(case, worker, tmp_path_factory):
    """What sources need. make.train("key=wrong", ...): a case that must be refused, naming the key or one of `names`;
    make.interrupted: a folder in which the run `LONGER` has left a checkpoint, in the folder make.run.
    """

    def train(*overrides, names=(), **more):
        said = names or [overrides[0].partition("=")[0].split(".")[-1]]
        return case(["lpss-train", *SMALL, *overrides], said, **{"wrong": True, **more})

    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "stop.py").write_text(
        "import os\nfrom lpss.record import RunFolder\nRunFolder.write_layers = lambda *layers: os._exit(3)\n"
    )
    assert worker(["lpss-train", *SMALL, *LONGER], folder)["code"] == 3
    (folder / "stop.py").write_text("")
    (checkpoint,) = folder.glob("outputs/*/*/*/checkpoint.pt")
    run = checkpoint.parent.relative_to(folder).as_posix()
    return SimpleNamespace(case=case, train=train, worker=worker, interrupted=folder, run=run)


@pytest.fixture(scope="module")
def cases(make):
    """Source -> its cases."""
    return {name: [*source(make)] for name, source in SOURCES.items()}


def put(files):
    """A `prepare` that writes files: path -> content, or None for a folder."""

    def prepare(folder):
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).mkdir() if content is None else (folder / path).write_bytes(content)

    return prepare


def locked(files, path, mode=0):
    """The same, and then this mode for a path."""

    def prepare(folder):
        put(files)(folder)
        (folder / path).chmod(mode)

    return prepare


# --- overrides ------------------------------------------------------------------------------------------------------
SETTINGS = (
    (),
    ("method=rigl",),
    ("method=snip",),
    ("method=gmp", "optimizer=sgd"),
    ("schedule=multistep",),
    ("schedule=demo",),
    ("method=snip_dynamic", *AUGMENTED),
    ("method=lpss_demo", "model=mlp"),
)
WRONG = (
    "abc", "-1", "0", "nan", "inf", "-inf", "1e400", "99999999999999999999", "1000000000", "2147483648", "-0.5", "1.5",
    "1e-300", "''", "[]", "[1,2]", "[[]]", "[null]", "{}", "{a: 1}", "null", "true", "'???'", "'${nope}'", "'${'",
    "'a\tb'", "é", "0x10", "lpss",
)  # fmt: skip


def leaves(node, key=""):
    """The keys of a nested mapping that hold no mapping, as dotted names."""
    if isinstance(node, dict) and node:
        for name, inner in node.items():
            yield from leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key


def every_key(make):
    """In each round, a wrong value for every key of the composed configs."""
    walked = set()
    for setting in SETTINGS:
        answer = make.worker(["lpss-train", "--cfg", "job", *SMALL, *setting], make.interrupted)
        for key in leaves(yaml.safe_load(answer["stdout"])):
            if key not in walked:
                walked.add(key)
                parts = key.split(".")
                names = [parts[-2 if parts[-1] == "name" else -1], "memory", "nope"]
                for value in Random(key).sample(WRONG, min(ROUNDS, len(WRONG))):
                    override = f"{'++' if 'augment' in key else ''}{key}={value}"
                    yield make.train(*setting, override, names=names, wrong=False)


PS = ("1", "0", "-2", "nan", "inf", "abc", "[]", "{}", "{a: 1.2}", "{stem: 1}", "{0.5: 1.3, stem: 1.2}", "true",
      "{linear: 1.2}", "{0.5: abc, 0.95: 1}", "{default: {0.5: [1]}}", "{'[': 1.2}")  # fmt: skip
MISTAKES = (
    "train.batch_size=61", "train.batch_size=0", "train.epochs=0", "train.max_steps=0", "train.validation=1",
    "train.validation=-0.1", "train.precision=float16", "train.channels_last=maybe", "train.checkpoint_every=-1",
    "dataset.features=0", "dataset.classes=1", "dataset.classes=61", "dataset.train_size=0", "dataset.noise=-1",
    "dataset.image_shape=[1,2]", "dataset.image_shape=[1,0,2]", "dataset.image_shape=[1,100000,100000]",
    "dataset.data_seed=4294967296", "dataset.train_size=100000000000", "dataset.features=99999999999999999999",
    "dataset.model.hidden=[9999999999]", "model.hidden=[]", "model.hidden=[0]", "model.hidden=[2.5]",
    "model.hidden=[[]]", "+dataset.augment.flip=true", "seed=-1", "threads=0", "threads=1000000", "device=cuda:99",
    "device=gpu", "device=meta", "device=cpu:x", "sphere.exclude=[heda]", "sphere.exclude=[[]]", "mask.exclude=['*']",
    "mask.exclude=[stem,linear,head]", "method.zeta_w=0", "method.begin=0.9", "method.grow_init=grce",
    "method.update_every=-1", "schedule.warmup=1", "plugins=[no_such]", "plugins=['']", "plugins=[.x]", "plugins=[[]]",
)  # fmt: skip
TOGETHER = (
    ("model=wrn",),
    ("model=cnn_mnist", "dataset.image_shape=[1,27,28]"),
    (*IMAGES, "model.depth=9"),
    (*IMAGES, "model.depth=2000000000"),
    (*IMAGES, "model.width=0"),
    (*IMAGES, "model.width=9999999999"),
    (*IMAGES, "model.blocks=[1,1]"),
    (*IMAGES, "model.blocks=[1000000000,1,1]"),
    (*IMAGES, "+dataset.augment.crop_pad=8"),
    (*IMAGES, "+dataset.augment.pad_mode=mirror"),
    ("method=snip", "method.scope=world"),
    ("method=snip", "method.distribution=earth"),
    ("method=gmp", "method.distribution=earth"),
    ("method=static", "method.distribution=earth"),
    ("method=rigl", "method.drop_fraction=0"),
    ("method=rigl", "method.drop_schedule=line"),
    ("schedule=multistep", "schedule.milestones=[0.7,0.2]"),
    ("schedule=demo", "schedule.knots=[0,1]"),
    ("optimizer=sgd", "optimizer.momentum=1"),
    ("optimizer=lpsgd_m", "optimizer.lr=1.5"),
    ("optimizer=lpsgd_m", "optimizer.weight_decay=-1"),
)


def by_hand(make):
    """Mistakes that people make."""
    yield from (make.train(f"optimizer.p={p}", "sparsity=0.7") for p in PS)
    for sparsity in ("1.0", "-0.1", "1.5", "nan", "abc", "''", "100%"):
        yield make.train(f"sparsity={sparsity}")
    for method in ("lpss", "lpss_demo", "static", "rigl", "snip", "gmp", "dense"):
        yield make.train("sparsity=0.99999", f"method={method}", wrong=False)
    yield from map(make.train, MISTAKES)
    for group in ("dataset", "model", "optimizer", "method", "schedule", "experiment"):
        yield make.train(f"{group}=letterr")
        yield make.train(f"{group}=null", wrong=group != "experiment")
        yield make.train(f"{'' if group == 'experiment' else group + '.'}nme=1")
    yield from (make.train(f"model={value}", names=["model", value]) for value in ("[a,b]", "../config", "''"))
    for overrides in TOGETHER:
        key, _, value = overrides[-1].partition("=")
        yield make.train(*overrides, names=[key.rpartition(".")[2], value, "model=cnn_mnist"])
    yield make.train("plugins=[mine]", prepare=put({"mine.py": b"1 / 0"}))
    yield make.train("plugins=[mine]", prepare=put({"mine.py": b"def"}))


RIGHT = (
    "sparsity=0.9",
    "dataset.name=synthetic",
    "optimizer.p={0.5: 1.3}",
    "train.epochs=2",
    "seed=3",
    "output=there",
    "method.zeta_w=0.3",
    "sphere.exclude=[head]",
    "experiment_name=mine",
    "data.root=here",
)
NASTY = (
    "../../x", "../../etc", "/proc/x", "/dev/null/x", "$(touch x)", "`id`", "${output}", "${oc.env:NO_SUCH}",
    "${sparsity}", "${oc.decode:'['}", "${nope:1}", "a\nb", "\x01", "\x7f", "🎉", "a" * 300, "a/" * 3000, "\udcff",
    "~nobody_at_all/x", "%s%n", "-", "--", "con", "'", '"', "\\", ",", "a,b", "[", "]", "{", "}", "=", "range(1,3)",
    "choice(1,2)", "glob(*)", "interval(0,1)", "???", "null", "!!python/object:os.system",
)  # fmt: skip


def mutated(make):
    """Overrides changed at random."""
    for number in range(30 * ROUNDS):
        rng = Random(number)
        key, value = rng.choice(RIGHT).split("=", 1)
        quoted = rng.choice(NASTY).replace("\\", "\\\\").replace("'", "\\'")
        place = rng.randrange(len(key))
        typo = key[:place] + rng.choice(["", key[place] * 2, "é", "_", " "]) + key[place + 1 :]
        hydra = rng.choice(["run.dir", "job.name", "sweep", "nope", "output_subdir"])
        override = (
            f"{typo}={value}",
            f"++{typo}={value}",
            f"--{typo}",
            f"{key}{value}",
            f"~{key}",
            f"{key}@nowhere={value}",
            f"{rng.choice(['+', '~', '@', '!', '=', ' ', '-'])}{key}={value}",
            f"{key}={value}{rng.choice('[{(')}",
            f"{key}='{quoted}'",
            f"{key}='{quoted}'",
            f"{key}={rng.choice(NASTY)}",
            f"{key}.{rng.choice(['x', '0', '', '..'])}={value}",
            f"{key}=${{{key}}}",
            f"{key}={value}" * rng.randint(2, 900),
            f"hydra.{hydra}={value}",
        )[number % 15]
        said = override.lstrip("+-~@!= ")
        names = [*key.split("."), typo.split(".")[0], said[:9], said[-9:], "nope", "NO_SUCH", "hydra"]
        yield make.train(override, names=names, wrong=False)


# --- config files ---------------------------------------------------------------------------------------------------
GLOBAL = "# @package _global_\n"
CONFIGS = {  # a file -> what it may hold
    "experiment/mine": [
        "{", "[1, 2]", "a: b: c", "text", "1", "\tx: 1", "a: &x *x", "a: *nowhere", b"\x00\x01\x02\xff", b"\xff\xfe",
        "# @package\nseed: 1", "# @package nowhere.at.all\nseed: 1", "# @package _group_\nseed: 1",
        *(GLOBAL + text for text in (
            "sparsiti: 0.5", "train: [1]", "train: 5", "method: null", "optimizer: []", "seed: [1]", "defaults: 5",
            "defaults:\n  - override /method: mthd", "defaults:\n  - mine", "seed: ${seed}", "seed: ${nope}",
            'output: "a\\0b"', "train: {epochs: 1, epochs: 2}", "? [a]\n: 1", "seed: 2001-01-01",
            "seed: !!python/object/apply:os.getpid []", "optimizer: {p: {0.5: 1.3, stem: 1.2}}",
            "sphere: {exclude: {a: 1}}",
        )),
    ],
    "dataset/mine": [
        "name: mine", "", "{",
        *(GLOBAL + f"dataset: {text}" for text in (
            "[]", "{name: synthetic, nois: 1}", "{name: synthetic}", "{name: synthetic, model: mlp}",
            "{name: [synthetic], model: {name: mlp}}", "{name: synthetic, model: {nme: mlp}}",
            "{name: synthetic, model: {name: [mlp]}}", "{name: synthetic, model: {name: mlp, hiden: [2]}}",
            "{name: synthetic, augment: {flip: 3}, model: {name: mlp}}", "{name: synthetic, model: {name: mlp}, 5: 6}",
            "{name: synthetic, augment: [flip], model: {name: mlp}}",
        )),
    ],
    "method/mine": ["name: mine", "name: lpss\ntau: high", "tau: 1", "name: null", "name: lpss\nname: set", "- lpss"],
    "config": ["{", "", "defaults: [schema]"],
}  # fmt: skip


def config_files(make):
    """Files below --config-dir."""
    for place, contents in CONFIGS.items():
        group, _, name = place.rpartition("/")
        for content in contents:
            argv = ["lpss-train", "--config-dir", "conf", f"{group}={name}" if group else "seed=1", "train.max_steps=1"]
            words = content.translate(str.maketrans(":[]{},", "      ")).split() if isinstance(content, str) else []
            raw = content.encode() if isinstance(content, str) else content
            said = [name, f"{group}.name", *(word for word in words if len(word) > 3)]
            yield make.case(argv, said, put({f"conf/{place}.yaml": raw}))
    for option in ("--config-dir", "--config-name", "--config-path"):
        yield make.train(option, "/nowhere", names=["nowhere"])


# --- data files -----------------------------------------------------------------------------------------------------
ADULT = "39, Private, 77516, Bachelors, 13, Divorced, Sales, Wife, White, Male, 0, 0, 40, Cuba, <=50K"
TABLES = {  # set -> its files and a few right lines of each; the last is repeated
    "adult": {"adult.data": [ADULT], "adult.test": ["|1x3 Cross validator", ADULT + "."]},
    "connect4": {"connect-4.data": ["b," * 42 + "win"]},
    "dna": {"splice.data": ["EI,X-1," + "ACGT" * 15, "N,X-2," + "ACGN" * 15]},
    "mushroom": {"agaricus-lepiota.data": ["p,x,s,n,t,p,f,c,n,k,e,e,s,s,w,w,p,w,o,p,k,s,u"]},
    "letter": {"letter-recognition.data": ["T,2,8,3,5,1,8,13,0,6,6,10,8,0,8,0,8"]},
    "climate": {"pop_failures.dat": ["Study Run", "1 1" + " 0.5" * 18 + " 0"]},
    "web": {"PhishingData.arff": ["@data", "1,-1,1,-1,-1,1,1,1,0"]},
}
CELLS = (
    "",
    "nan",
    "inf",
    "1e999",
    "1e39",
    "?",
    "unknown",
    "-",
    "9" * 30,
    "é",
    "x" * 200_000,
    "\0",
    "1_0",
    "0x1",
    '"1"',
)


def with_a_wrong_cell(rng, lines, separator):
    """The lines, one of which lacks a cell, has one too many or a wrong one."""
    row = rng.randrange(1, len(lines))
    cells = lines[row].split(separator)
    place = rng.randrange(len(cells))
    cells[place : place + 1] = rng.choice([[], [cells[place]] * 2, [rng.choice(CELLS)], [rng.choice(CELLS)]])
    return [*lines[:row], separator.join(cells), *lines[row + 1 :]]


def with_wrong_bytes(rng, content):
    """The content cut, flipped, filled, doubled or as something else."""
    start = rng.randrange(len(content))
    end = start + rng.randint(1, 64)
    flipped = bytes([content[start] ^ 1 << rng.randrange(8)])
    noise = rng.randbytes(end - start)
    changes = (
        lambda: b"",
        lambda: content[:start],
        lambda: content[start:],
        lambda: content[:start] + flipped + content[start + 1 :],
        lambda: content[:start] + noise + content[end:],
        lambda: content[:start] + bytes(end - start) + content[end:],
        lambda: content[:start] + content[end:],
        lambda: content[:end] + content[start:],
        lambda: b"<html>try later</html>",
        lambda: b"\n" * 99,
        lambda: gzip.compress(content, mtime=0),
        lambda: content.decode("latin-1").encode("utf-16"),
        lambda: content.replace(b"\n", b"\r"),
    )
    return rng.choice(changes)()


def tables(make):
    """UCI files with a wrong cell or wrong bytes, past the checksums: the parsers must notice by themselves."""
    for name, files in TABLES.items():
        whole = {place: lines + lines[-1:] * 20 for place, lines in files.items()}
        for number in range(9 * ROUNDS):
            rng = Random(f"{name}{number}")
            contents = {f"data/uci/{name}/{place}": "\n".join(lines).encode() for place, lines in whole.items()}
            place = rng.choice(list(whole))
            path = f"data/uci/{name}/{place}"
            if number % 3:
                lines = with_a_wrong_cell(rng, whole[place], " " if name == "climate" else ",")
                contents[path] = "\n".join(lines).encode()
            else:
                contents[path] = with_wrong_bytes(rng, contents[path])
            yield make.case(["load", name], [path, f"uci/{name}"], put(contents), True, {"unverified": True})


def idx(shape):
    array = np.ones(shape, np.uint8)
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


IDX = {
    "train-images-idx3": (3, 28, 28),
    "train-labels-idx1": (3,),
    "t10k-images-idx3": (2, 28, 28),
    "t10k-labels-idx1": (2,),
}
SHAPES = ((), (0,), (0, 28, 28), (3, 28, 27), (2, 2, 2, 2, 2))
BATCHES = [f"cifar-10-batches-py/{name}" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
LAYERS = {"layers.0.weight": (4, 3), "layers.0.bias": (4,), "layers.1.weight": (2, 4), "layers.1.bias": (2,)}


def binaries(make):
    """The same for idx files, CIFAR-10's pickles, archives and a run's weights."""
    batch = pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [3, 7]}, protocol=2)
    batch = batch.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    archives = {"a.zip": zipped(), "a.tar.gz": tarred(), "a.data.Z": b"\x1f\x9d\x90" + bytes(range(64))}
    weights = save({f"net.{name}": torch.zeros(shape) for name, shape in LAYERS.items()})
    for number in range(15 * ROUNDS):
        rng = Random(number)
        wrong = rng.choice(list(IDX))
        plain = {name: idx(shape) for name, shape in IDX.items()}
        if number % 3 == 0:
            plain[wrong] = idx(SHAPES[number // 3 % len(SHAPES)])
        elif number % 3 == 1:
            plain[wrong] = with_wrong_bytes(rng, plain[wrong])
        packed = {name: gzip.compress(content, mtime=0) for name, content in plain.items()}
        if number % 3 == 2:
            packed[wrong] = with_wrong_bytes(rng, packed[wrong])
        files = {f"data/MNIST/raw/{name}-ubyte.gz": content for name, content in packed.items()}
        yield make.case(["load", "mnist"], [wrong, "MNIST/raw"], put(files), True, {"unverified": True})

        wrong = rng.choice(BATCHES)
        files = {f"data/{path}": with_wrong_bytes(rng, batch) if path == wrong else batch for path in BATCHES}
        yield make.case(["load", "cifar10"], [wrong, "cifar-10-batches-py"], put(files), True, {"unverified": True})

        for name, content in archives.items():
            files = {name: with_wrong_bytes(rng, content), "out": None}
            yield make.case([rng.choice(["unpack", "unpack_tree"]), name], [name, "a.data", "b.data"], put(files))
        yield make.case(["load_weights", "w"], ["w does not hold"], put({"w": with_wrong_bytes(rng, weights)}))


def zipped():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("x/a.data"), b"one")
        archive.writestr(zipfile.ZipInfo("b.data"), b"two")
    return packed.getvalue()


def tarred():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("x/a.data", "b.data"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"one"))
    return gzip.compress(packed.getvalue(), mtime=0)


def photographs(make):
    """A Tiny ImageNet of two classes that lacks or holds what it should not."""
    picture = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).save(picture, "JPEG")
    whole = {f"train/{wnid}/images/{i}.JPEG": picture.getvalue() for wnid in ("n1", "n2") for i in range(2)}
    whole |= {
        "val/images/v.JPEG": picture.getvalue(),
        "val/val_annotations.txt": b"v.JPEG\tn1\n",
        "wnids.txt": b"n1\nn2\n",
    }

    def case(files, wrong):
        files = {f"data/tiny/{path}": content for path, content in files.items()}
        return make.case(["load", "tiny_imagenet", "tiny"], ["data/tiny"], put(files), wrong)

    for path in whole:
        without = {name: content for name, content in whole.items() if name != path}
        yield case(without, True)
        yield case(without | {path: None}, True)
    for lines in (b"", b"n1\nn1\n", b"n1\nn2\nn3\n", b"/\n", b"..\nn1\n", b"\0\n"):
        yield case(whole | {"wnids.txt": lines}, True)
    for lines in (b"", b"v.JPEG\n", b"w.JPEG\tn1\n", b"v.JPEG\tn7\n"):
        yield case(whole | {"val/val_annotations.txt": lines}, True)
    for number in range(15 * ROUNDS):
        rng = Random(number)
        path = rng.choice(list(whole))
        yield case(whole | {path: with_wrong_bytes(rng, whole[path])}, False)


LETTER, WEB = "uci/letter/letter-recognition.data", "uci/web/PhishingData.arff"
REAL = [Path(place).expanduser() for place in (os.environ.get("LPSS_DATA", ""), "~/.cache/lpss", "../shared/data")]


def data_folders(make):
    """Data folders as lpss-train and lpss-data meet them."""
    train = ["lpss-train", "dataset=letter", "data.root=data", "data.download=false"]
    fetch = ["lpss-data", "fetch", "letter", "--root", "data"]
    mirror = {"environment": {"LPSS_DATA_MIRROR": "mirror"}}
    for files in ({}, {f"data/{LETTER}": b"x"}, {f"data/{LETTER}": None}, {"data": b""}, {"data/uci": b""}):
        yield make.case(train, [LETTER], put(files), True)
        yield make.case(fetch, [LETTER, "data"], put(files), True, mirror)
        yield make.case(["lpss-data", "--root", "data"], ["data"], put(files))
    for path in (f"data/{LETTER}", "data/uci/letter", "data/uci", "data"):
        files = locked({f"data/{LETTER}": b"x", f"data/{WEB}": b"x"}, path)
        for argv in (train, fetch):
            yield make.case(argv, [LETTER], files, True, {"unprivileged": True})
        yield make.case(["lpss-data", "--root", "data"], ["data"], files, False, {"unprivileged": True})
    for root in ("~nobody_at_all/x", "a" * 300, "/dev/null", "/proc/none"):
        yield make.case(["lpss-train", "dataset=letter", f"data.root='{root}'"], [root], wrong=True)
        yield make.case(["lpss-data", "fetch", "letter", "--root", root], [root], wrong=True)
        yield make.case(["lpss-data", "--root", root], [root])
    for content in (b"x", b"<html>"):
        yield make.case(fetch, [LETTER], put({f"mirror/{LETTER}": content}), True, mirror)
    for argv in (["fetch"], ["fetch", "leter"], ["fetsh"], ["--rot"], ["--root"]):
        yield make.case(["lpss-data", *argv], [argv[-1], "NAME"], wrong=True)
    for folder in ("''", "../..", "tiny", "x" * 300):
        argv = [
            "lpss-train",
            "dataset=tiny_imagenet",
            "data.root=data",
            "data.download=false",
            f"dataset.folder={folder}",
        ]
        yield make.case(argv, ["wnids.txt", "x" * 300], put({"data/tiny/wnids.txt": b""}), True)
    for root in REAL:
        if (root / LETTER).is_file() and (root / WEB).is_file():
            for path in (LETTER, WEB):
                content = bytearray((root / path).read_bytes())
                content[len(content) // 2] ^= 1
                name = path.split("/")[1]
                argv = ["lpss-train", f"dataset={name}", "data.root=data"]
                yield make.case(argv, [path], put({f"data/{path}": bytes(content)}), True)
                for number in range(4 * ROUNDS):
                    files = put({f"data/{path}": with_wrong_bytes(Random(number), bytes(content))})
                    yield make.case(["load", name], [path], files, False, {"unverified": True})
            break


# --- places and records ---------------------------------------------------------------------------------------------
def places(make):
    """Folders that cannot be used, full disks, and what is left in a run's folder."""

    def left(path, content):
        """A `prepare`: the interrupted run with this in place of what is at `path`."""

        def prepare(folder):
            shutil.copytree(make.interrupted, folder, dirs_exist_ok=True)
            target = folder / path
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
            put({path: content})(folder)

        return prepare

    def longer(path, content, **more):
        name = path.rpartition("/")[2]
        return make.train(*LONGER, names=[name, "output"], prepare=left(path, content), **more)

    for output in ("/proc/x", "/dev/null", "/dev/null/x", "a" * 300, "file", "file/x"):
        yield make.train(f"output={output}", prepare=put({"file": b""}))
    yield from (longer(path, b"") for path in ("outputs", "outputs/synthetic-mlp", make.run))
    for name in ("run.json", "config.yaml", "metrics.csv", "weights.safetensors", "run.log", ".lock"):
        yield longer(f"{make.run}/{name}", None)
    for mode in (0o000, 0o400, 0o500):
        yield make.train("output=no", prepare=locked({"no": None}, "no", mode), options={"unprivileged": True})
    files = locked({"no/synthetic-mlp": None}, "no/synthetic-mlp", 0o500)
    yield make.train("output=no", names=["no/"], prepare=files, options={"unprivileged": True})
    large = "dataset.model.hidden=[128,64]"  # weights of 50 kB, a checkpoint of 200
    for size in (700, 1_500, 4_000, 40_000, 100_000):
        yield make.train(large, *LONGER[:2], names=["could not be written"], options={"file_size": size})
    yield make.train(large, "output=disk", names=["disk/"], prepare=put({"disk": None}), options={"tmpfs": "disk"})
    for content in (
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"status": "finished"}',
        b'{"status": ["finished"]}',
        b"\xff",
        b"[" * 100_000,
        b'{"status": NaN, "accuracy_last": {}}',
    ):
        yield longer(f"{make.run}/run.json", content, wrong=False)
    saved = (make.interrupted / make.run / "checkpoint.pt").read_bytes()
    states = [{"hash": make.run[-12:]}, [1], 5, {"hash": make.run[-12:], "net": {}, "progress": 5}]
    contents = [None, *map(stored, states), *(with_wrong_bytes(Random(i), saved) for i in range(6 * ROUNDS))]
    yield from (longer(f"{make.run}/checkpoint.pt", content, wrong=False) for content in contents)


def stored(state):
    torch.save(state, content := io.BytesIO())
    return content.getvalue()


RUN = {
    "schema": 1, "status": "finished", "experiment": "x", "dataset": "digits", "model": "mlp", "method": "set",
    "optimizer": "sgd", "sparsity": 0.9, "seed": 0, "p": None, "accuracy_last": 0.9, "accuracy_best": 0.9, "epochs": 5,
    "accuracy_best_epoch": 3, "evaluated_on": "test", "loss_last": 0.3, "steps": 9, "sparsity_weights": 0.9,
    "train_flops_relative": 0.3, "versions": {"torch": "2.6"}, "git_commit": "ab", "config_hash": "h",
    "config": {"seed": 0, "method": {"name": "set"}}, "warnings": [], "finished": "2026-01-01T00:10:00+00:00",
}  # fmt: skip
GOOD = json.dumps(RUN).encode()
VALUES = (None, True, -1, 10**30, 1e999, float("nan"), "", "abc", "{", "[1]", [], [1], {}, {"a": 1}, {"": {"": []}})
LAYERS_CSV = "layer,role,shape,p,weights,density_requested,density_reached,sparsity_reached,hoyer_sparsity\n"


def records(make):
    """lpss-table on broken records beside a good one, and lpss-train --from them."""
    wrong = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"5",
        b"\xff\xfe",
        bytes(range(256)),
        b"[" * 100_000,
        b"{" * 999,
        GOOD[:-30],
        GOOD * 2,
        GOOD + b"x" * 10**6,
        GOOD.replace(b"test", b""),
        GOOD.replace(b"set", rb"\ud800"),
        GOOD.replace(b"set", rb"a\nb|c"),
        GOOD.replace(b"set", rb"$\\frac{$"),
        *(GOOD.replace(b"0.9", number) for number in (b"NaN", b"1e999", b"-1" + b"0" * 400, b"9" * 5000)),
    ]
    for key in RUN:
        wrong += [
            json.dumps(RUN | {key: value}).encode() for value in Random(key).sample(VALUES, min(ROUNDS, len(VALUES)))
        ]
    for key in ("schema", "status", "dataset", "sparsity", "seed", "accuracy_last", "config", "finished"):
        wrong.append(json.dumps({name: value for name, value in RUN.items() if name != key}).encode())
    for number, content in enumerate(wrong):
        files = put({"runs/a/run.json": content, "runs/b/run.json": GOOD})
        how = (["--format", "latex"], ["--format", "csv", "--layout", "wide"], ["--published"])[number % 3]
        yield make.case(["lpss-table", "runs", *how], ["a/run.json"], files)
        if number % 3 == 0:
            yield make.case(["lpss-table", "runs/a", "--results", "r.csv"], ["runs/a"], files)
        if number % 5 == 0:
            yield make.case(
                ["lpss-train", "--from", "runs/a/run.json"], ["runs/a/run.json", "dataset.name", "Key"], files, True
            )
    for content in (
        b"",
        b"\xff\xfe",
        LAYERS_CSV.encode(),
        f"{LAYERS_CSV}a,b\n".encode(),
        f"{LAYERS_CSV}a,b,c,d,e,f,g,h,i\n".encode(),
        f"{LAYERS_CSV},,,,1e999,nan,0,inf,\n".encode(),
        f"{LAYERS_CSV}$\\frac{{,linear,2x2,1.2,4,.5,.5,.5,.5\n".encode(),
    ):
        files = put({"runs/a/run.json": GOOD, "runs/a/layers.csv": content})
        yield make.case(["lpss-table", "runs", "--figure", "f.png"], ["layers.csv"], files)
    for content in (b"", b"\xff\xfe", b"a,b\n1,2\n", b"\0", b'"' * 200_000, None):
        yield make.case(["lpss-table", "r.csv"], ["r.csv"], put({"r.csv": content}), True)
    for argv in (
        ["nowhere"],
        ["x" * 300],
        ["runs", "--output", "runs"],
        ["runs", "--source", "papr"],
        ["runs", "--figure", "f"],
        ["--format", "xml"],
        ["runs", "--results", "runs/a/run.json/x"],
    ):
        yield make.case(["lpss-table", *argv], argv[-1:], put({"runs/a/run.json": GOOD}), True)


SOURCES = {
    source.__name__: source
    for source in (
        every_key,
        by_hand,
        mutated,
        config_files,
        tables,
        binaries,
        photographs,
        data_folders,
        places,
        records,
    )
}


def test_there_are_hundreds_of_cases(cases):
    assert sum(map(len, cases.values())) >= 500, {name: len(some) for name, some in cases.items()}


@pytest.mark.parametrize("source", SOURCES)
def test_what_is_wrong_is_a_line_or_two(source, cases, attempt):
    impossible = attempt(cases[source])
    if impossible:
        pytest.skip(f"all but the cases for which there is {'; '.join(impossible)}")


def test_the_same_in_processes_of_their_own(make, attempt):
    """What the worker's forks share could hide errors: a few cases as a user runs them."""

    def run(argv, folder, environment=None):
        module = {"lpss-train": "train", "lpss-table": "table", "lpss-data": "data"}[argv[0]]
        command = [sys.executable, "-m", f"lpss.cli.{module}", *argv[1:]]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=make.worker.environment)
        return {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr, "on_disk": []}

    attempt(
        [
            make.train("seed=-1"),
            make.train("dataset=null"),
            make.train("sparsity='???'"),
            make.train("output=file", prepare=put({"file": b""})),
            make.train("experiment=mine", "--config-dir", "conf", prepare=put({"conf/experiment/mine.yaml": b"{"})),
            make.train(b"experiment_name=\xff", names=["experiment_name"]),
            make.train("optimizer.p=1", names=["optimizer"]),
            make.train("train.validation=2"),
            make.train("seed=5", wrong=False),
            make.case(["lpss-train", "--from", "a.json"], ["a.json"], put({"a.json": b"[" * 100_000}), True),
            make.case(["lpss-table", "runs"], ["run.json"], put({"runs/run.json": b"[" * 100_000}), True),
            make.case(["lpss-data", "--root", "~nobody_at_all/x"], ["nobody"], wrong=True),
        ],
        run,
    )
