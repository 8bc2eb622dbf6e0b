import json
from html.parser import HTMLParser

import pandas as pd
import pytest

from lpss.record import EPOCH_FIELDS
from lpss.report.collect import collect, layers_of, metrics_of
from lpss.report.page.page import page


class Page(HTMLParser):
    """What a page holds: data (its JSON), tables (label -> rows of texts, the header first), words, ids, addresses."""

    VOID = {"meta", "br", "input", "link", "img"}

    def __init__(self, text: str):
        super().__init__()
        self.tables, self.words, self.ids, self.addresses, self.open = {}, [], set(), [], []
        self.region, self.scripts = None, []
        self.feed(text)
        self.close()
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes["id"]} if "id" in attributes else set()
        self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "div" and attributes.get("role") == "region":
            self.region = self.tables.setdefault(attributes["aria-label"], [])
        elif tag == "tr":
            self.region.append([])
        elif tag in ("td", "th"):
            self.region[-1].append("")
        elif tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # well-formed

    def handle_data(self, text):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += text
            return
        if "style" not in self.open:
            self.words.append(text)
        if "td" in self.open or "th" in self.open:
            self.region[-1][-1] += text

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def column(self, table: str, name: str) -> list[str]:
        header, *rows = self.tables[table]
        return [row[header.index(name)] for row in rows]


@pytest.fixture
def read_page():
    """read_page(html) -> `Page`."""
    return Page


@pytest.fixture
def page_of(tmp_path):
    """page_of() -> the HTML of the runs in tmp_path/outputs, as lpss-report reads them; `page`'s options."""

    def build(title="Runs", **options) -> str:
        runs = collect(tmp_path / "outputs")
        return page(runs, title, metrics_of(runs), layers_of(runs), **options)

    return build


@pytest.fixture
def write_metrics():
    """Write metrics.csv of accuracies, from epoch 1 on, and of other columns, into a run's folder."""

    def write(folder, accuracies, **columns):
        rows = pd.DataFrame({"epoch": range(1, len(accuracies) + 1), "eval_accuracy": accuracies, **columns})
        rows.reindex(columns=list(EPOCH_FIELDS)).to_csv(folder / "metrics.csv", index=False)

    return write
