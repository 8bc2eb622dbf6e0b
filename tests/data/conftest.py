"""A home folder for each test, the real data if they are available, and a local web server."""

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lpss.data import store

REPOSITORY = Path(__file__).resolve().parents[2]
PLACES = [
    Path(place).expanduser()
    for place in (os.environ.get("LPSS_DATA"), "~/.cache/lpss", REPOSITORY.parent / "shared" / "data")
    if place
]


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """No test reads or writes the user's home, or waits between attempts."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LPSS_DATA", raising=False)
    monkeypatch.delenv("LPSS_DATA_MIRROR", raising=False)
    monkeypatch.setattr(store, "PAUSE", 0)


@pytest.fixture(scope="session")
def linked_root(tmp_path_factory):
    """A writable folder with links to whatever real data this machine has."""
    root = tmp_path_factory.mktemp("real")
    for name in ("uci", "MNIST", "FashionMNIST", "cifar-10-batches-py", "tiny-imagenet-50"):
        found = next((place / name for place in PLACES if (place / name).is_dir()), None)
        if found:
            (root / name).symlink_to(found)
    return root


@pytest.fixture
def real(linked_root):
    """real("uci"): the root of the real data, or a skip if that folder is not available."""

    def need(folder):
        if not (linked_root / folder).exists():
            pytest.skip(f"no real data: {folder} is in none of {', '.join(map(str, PLACES))}; set LPSS_DATA")
        return linked_root

    return need


class Web:
    """What the server offers: path -> bytes; `cut` ends the first answer to a path after so many bytes; `slow` answers
    a path in pieces, so many seconds apart."""

    def __init__(self):
        self.pages, self.cut, self.moved, self.broken, self.slow = {}, {}, {}, {}, {}
        self.asked = []
        self.ranges = True
        self.address = ""


@pytest.fixture
def web():
    site = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            site.asked.append((self.path, wanted))
            if self.path in site.moved:
                self.send_response(302)
                self.send_header("Location", site.moved[self.path])
                self.end_headers()
                return
            if site.broken.get(self.path, 0) > 0:
                site.broken[self.path] -= 1
                self.send_error(503)
                return
            if self.path not in site.pages:
                self.send_error(404)
                return
            body = site.pages[self.path]
            start = int(wanted[6:-1]) if wanted and site.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = site.cut.pop(self.path, len(body))
            size = max(1, len(body) // 4 if self.path in site.slow else len(body))
            try:
                for i in range(start, end, size):
                    self.wfile.write(body[i : min(i + size, end)])
                    self.wfile.flush()
                    time.sleep(site.slow.get(self.path, 0))
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has lost patience

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    site.address = f"http://127.0.0.1:{server.server_port}"
    yield site
    server.shutdown()
    server.server_close()
