"""Files under the data folder: find them, check them against published checksums, download missing ones."""

import hashlib
import http.client
import os
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from lpss.data.unpack import MIB, unpack
from lpss.errors import DataError

ATTEMPTS = 4
PAUSE = 0.5  # seconds before the second attempt, doubled for each one after
TIMEOUT = 30.0  # seconds without a byte
ARCHIVE_LIMIT = 400 * MIB  # the largest archive offered, Tiny ImageNet's, has 237 MiB


@dataclass(frozen=True)
class File:
    """One source file: its path under the data folder, its size and its published "md5:..." or "sha256:...".

    `urls` offer the file itself or an archive that holds it, best first; `instead` is another form of the
    same content, accepted where this one is absent.
    """

    path: str
    size: int
    checksum: str
    urls: tuple[str, ...] = ()
    instead: "File | None" = None

    @property
    def forms(self) -> "tuple[File, ...]":
        return (self, self.instead) if self.instead else (self,)


def find(root: Path, file: File) -> tuple[File, Path] | None:
    """The form of the file that is present, and its path; None if none is."""
    return next(((form, root / form.path) for form in file.forms if (root / form.path).is_file()), None)


def checksum(path: Path, kind: str) -> str:
    """The md5 or sha256 of a file, as "kind:hex". Raises DataError where it cannot be read."""
    digest = hashlib.new(kind, usedforsecurity=False)
    try:
        with open(path, "rb") as stream:
            while chunk := stream.read(MIB):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    return f"{kind}:{digest.hexdigest()}"


def intact(form: File, path: Path) -> bool:
    if path.stat().st_size != form.size:
        return False
    return checksum(path, form.checksum.partition(":")[0]) == form.checksum


def verify(name: str, file: File, path: Path) -> None:
    """Raises DataError where `path`, a form of `file`, is not the published content."""
    form = next(form for form in file.forms if Path(form.path).name == path.name)
    if not intact(form, path):
        raise DataError(
            f"{name}: {path} is altered: {path.stat().st_size:,} bytes, not the published {form.size:,} with "
            f"{form.checksum}; remove it and run `lpss-data fetch {name}`"
        )


def status(root: Path, files: Sequence[File]) -> tuple[str, int, str]:
    """("present" | "missing" | "altered", bytes on disk, the first file at fault)."""
    found = [(file, find(root, file)) for file in files]
    size = sum(hit[1].stat().st_size for _, hit in found if hit)
    for _, hit in found:
        if hit and not intact(*hit):
            return "altered", size, hit[0].path
    for file, hit in found:
        if not hit:
            return "missing", size, file.path
    return "present", size, ""


def locate(name: str, root: Path, files: Sequence[File], download: bool) -> list[Path]:
    """The path of each file, downloaded if missing. Raises DataError if that fails."""
    missing = [file for file in files if find(root, file) is None]
    if missing and not download:
        raise absent(name, root, missing[0].path, "was not to be downloaded")
    if missing:
        fetch(name, root, missing)
    return [find(root, file)[1] for file in files]


def absent(name: str, root: Path, path: str, reason: str) -> DataError:
    return DataError(
        f"{name}: {path} is not in {root} and {reason}; put it there or set data.root "
        f"(environment: LPSS_DATA), see `lpss-data`"
    )


@contextmanager
def readable(name: str):
    """Turn errors of the file system into a DataError."""
    try:
        yield
    except OSError as error:
        reason = f"{error.filename} cannot be read ({error.strerror or error})"
        raise DataError(f"{name}: {reason}; set data.root or LPSS_DATA, see `lpss-data`") from error


@contextmanager
def scratch(name: str, root: Path):
    """A temporary folder below the root, so that processes that fetch the same set share no unfinished file."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as folder:
            yield Path(folder)
    except OSError as error:
        place = error.filename or root
        raise DataError(f"{name}: {place} cannot be written ({error.strerror}); set data.root or LPSS_DATA") from error


def offers(path: str, urls: Sequence[str]) -> tuple[str, ...]:
    """The addresses to try for a file: below LPSS_DATA_MIRROR (an address or a folder) if set, else `urls`."""
    mirror = os.environ.get("LPSS_DATA_MIRROR")
    if not mirror:
        return tuple(urls)
    if "://" in mirror:
        return (f"{mirror.rstrip('/')}/{quote(path)}",)
    return ((Path(mirror).expanduser().resolve() / path).as_uri(),)


def fetch(name: str, root: Path, files: Sequence[File]) -> None:
    """Download the files; each is checked before it is moved to its final name. Raises DataError."""
    with scratch(name, root) as folder:
        unpacked: dict[str, Path | DataError] = {}  # an archive is downloaded once for all the files it holds
        for file in files:
            reasons = []
            for url in offers(file.path, file.urls):
                if url not in unpacked:
                    wanted = {Path(f.path).name: f.size for f in files if url in offers(f.path, f.urls)}
                    unpacked[url] = _try(url, folder / f"{len(unpacked)}", wanted)
                reason = _accept(file, unpacked[url], root / file.path)
                if reason is None:
                    break
                reasons.append(f"{url}: {reason}")
            else:
                raise absent(name, root, file.path, f"could not be downloaded ({'; '.join(reasons)})")


def _try(url: str, folder: Path, wanted: dict[str, int]) -> "Path | DataError":
    packed = folder / "packed" / Path(unquote(urlsplit(url).path)).name
    packed.parent.mkdir(parents=True)
    try:
        download(url, packed, ARCHIVE_LIMIT)
        unpack(packed, wanted, folder)
    except DataError as error:
        return error
    return folder


def _accept(file: File, source: "Path | DataError", target: Path) -> str | None:
    """Move the checked file to its target, or return the reason why not."""
    if isinstance(source, DataError):
        return str(source)
    part = source / target.name
    if not part.is_file():
        return f"holds no {target.name}"
    if not intact(file, part):
        return f"the checksum of {target.name} is wrong, expected {file.checksum}"
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, target)
    return None


def download(url: str, target: Path, limit: int) -> None:
    """Download `url` to `target`, resuming after interruptions. Raises DataError that holds the reason alone."""
    for attempt in range(ATTEMPTS):
        try:
            return _continue(url, target, limit)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if attempt == ATTEMPTS - 1 or not _worth_retrying(error):
                raise DataError(_reason(error)) from error
            if isinstance(error, HTTPError) and error.code == 416:  # we have more than the server offers
                target.unlink()
            time.sleep(PAUSE * 2**attempt)


def _worth_retrying(error: Exception) -> bool:
    if isinstance(error, HTTPError):
        return error.code in (408, 416, 429) or error.code >= 500
    if isinstance(error, URLError):  # no such host, no such file in a mirror folder: do not ask again
        return not isinstance(error.reason, (socket.gaierror, FileNotFoundError, str))
    return not isinstance(error, ValueError)


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(getattr(error, "reason", error) or type(error).__name__)


def _continue(url: str, target: Path, limit: int) -> None:
    have = target.stat().st_size if target.exists() else 0
    request = Request(url, headers={"User-Agent": "lpss", **({"Range": f"bytes={have}-"} if have else {})})
    with urlopen(request, timeout=TIMEOUT) as answer:
        part = answer.headers.get("Content-Range", "")
        resumed = answer.status == 206 and part.startswith(f"bytes {have}-")
        if answer.status == 206 and not resumed:
            target.unlink()
            raise ConnectionError("the server answered with another part than the one asked for")
        length = answer.headers.get("Content-Length")
        start = have if resumed else 0
        total = start + int(length) if length else None
        if total is not None and total > limit:
            raise ValueError(f"{total:,} bytes are offered, more than the limit of {limit:,}")
        with (
            open(target, "ab" if resumed else "wb") as out,
            tqdm(None, target.name, total, initial=start, unit="B", unit_scale=True, disable=None) as bar,
        ):
            while chunk := answer.read1(MIB // 4):  # keep what has arrived, even if the rest does not
                if out.tell() + len(chunk) > limit:
                    raise ValueError(f"more than the limit of {limit:,} bytes")
                out.write(chunk)
                bar.update(len(chunk))
            if total is not None and out.tell() != total:
                raise ConnectionError(f"cut off after {out.tell():,} of {total:,} bytes")
