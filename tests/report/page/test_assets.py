"""What the page does in a browser: a script at its end does what a reader would, and leaves there what it has seen."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
OPTIONS += ("--disable-background-networking", "--disable-component-update", "--window-size=1300,900", "--dump-dom")
WATCH = """<script>
const seen = { errors: [] };
addEventListener("error", (event) => seen.errors.push(event.message));
</script>"""
ACT = """<script>
const texts = (selector) => [...document.querySelectorAll(selector)].map((one) => one.textContent);
const column = (region, i) => texts(`[aria-label="${region}"] tbody tr td:nth-child(${i})`);
const click = (selector) => document.querySelector(selector).click();
const choose = (element, value, event) => { element.value = value; element.dispatchEvent(new Event(event)); };
const print = () => dispatchEvent(new Event("beforeprint")); // draws what is not in view, too
%s
document.body.append(Object.assign(document.createElement("pre"), { id: "seen", textContent: JSON.stringify(seen) }));
</script>"""


@pytest.fixture
def in_browser(tmp_path):
    """in_browser(page, script) -> what the script put into `seen`, once the page has run without an error."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH to open the page in")

    def act(page: str, script: str) -> dict:
        file = tmp_path / "page.html"
        page = page.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{ACT % script}</body>", 1)
        file.write_text(page, encoding="utf-8")
        command = [CHROMIUM, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", file.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300)
        found = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, flags=re.S)
        assert found, done.stderr
        seen = json.loads(html.unescape(found.group(1)))
        assert seen.pop("errors") == []
        return seen

    return act


def test_tables_are_sorted_by_size_or_name_and_shown_a_page_at_a_time(write_run, write_seeds, page_of, in_browser):
    write_seeds([0.99, 0.97], method="snip", sparsity=0.99, sparsity_weights=0.99, wall_time_s=9.5)
    write_seeds([0.09], method="rigl", sparsity=0.985, sparsity_weights=0.985, wall_time_s=1000.0)
    write_seeds([None], method="gmp", status="diverged", wall_time_s=None)
    for seed in range(120):
        write_run(method="lpss", seed=seed, accuracy_last=1.0, wall_time_s=85.25)
    seen = in_browser(
        page_of(),
        """
        const region = "Accuracy and cost of each cell";
        const head = (i) => `[aria-label="${region}"] th:nth-child(${i})`;
        const by = (i) => { click(`${head(i)} button`); return column(region, 3); };
        const state = (i) => document.querySelector(head(i)).getAttribute("aria-sort");
        Object.assign(seen, { before: column(region, 3), rising: by(4), states: [state(4), state(3)], falling: by(4) });
        Object.assign(seen, { state: state(4), again: by(4), none: state(4), name: by(3), names: by(3) });
        const count = () => texts("#all-runs tbody tr").length;
        const buttons = () => document.querySelectorAll("#all-runs .pages button");
        seen.first = count(); buttons()[1].click(); seen.second = count(); buttons()[2].click(); seen.all = count();
        const kinds = (title) => {
          const place = texts("#all-runs th").indexOf(title) + 1;
          click(`#all-runs th:nth-child(${place}) button`);
          return [...new Set(column("All runs", place))];
        };
        Object.assign(seen, { seconds: kinds("Seconds"), sparsities: kinds("Sparsity") });
        """,
    )
    assert seen["before"] == seen["again"] == ["GMP", "LpSS", "RigL", "SNIP"] and seen["none"] is None
    assert seen["rising"] == ["RigL", "SNIP", "LpSS", "GMP"]  # what did not finish has no number: it comes last
    assert seen["falling"] == ["LpSS", "SNIP", "RigL", "GMP"]
    assert seen["states"] == ["ascending", None] and seen["state"] == "descending"
    assert seen["name"] == seen["names"][::-1] == ["GMP", "LpSS", "RigL", "SNIP"]
    assert (seen["first"], seen["second"], seen["all"]) == (100, 24, 124)
    assert seen["seconds"] == ["9.5", "85.3", "1000.0", "-"] and seen["sparsities"] == [".9", ".985", ".99"]


def test_choices_words_and_methods_leave_what_they_name(sweep, page_of, in_browser):
    seen = in_browser(
        page_of(),
        """
        const [dataset, sparsity] = document.querySelectorAll("#choices select");
        const words = document.querySelector("#choices input");
        const state = () => [texts("#all-runs tbody tr").length, texts("[data-chart=flops] figcaption").length];
        const series = () => { print(); return texts("[data-chart=flops] .series").length; };
        const chip = document.querySelector("#side .chip");
        seen.series = [series()];
        chip.click(); seen.series.push(series()); seen.pressed = chip.getAttribute("aria-pressed");
        chip.dispatchEvent(new Event("dblclick")); seen.series.push(series());
        click("#side .everyone"); seen.series.push(series());
        seen.all = [...state(), texts("[data-chart=ranks] svg").length];
        choose(dataset, "DNA", "change"); seen.dna = state();
        choose(sparsity, ".9", "change"); seen.half = state(); seen.titles = texts("[data-chart=sparsity] figcaption");
        choose(words, "LPSS seed1", "input"); seen.words = state();
        choose(words, "nowhere", "input"); seen.none = texts("#all-runs tbody");
        """,
    )
    assert seen == {
        "series": [18, 12, 6, 18],
        "pressed": "false",
        "all": [36, 6, 3],
        "dna": [12, 2],
        "half": [6, 1],
        "titles": ["DNA, sparsity .9"],
        "words": [1, 1],
        "none": ["No row has all of this."],
    }


def test_curves_layers_and_what_is_under_the_pointer(write_seeds, write_metrics, page_of, in_browser):
    layers = [["<fc1>", "linear", "(8, 4)", 1.1, 32, 0.1, 0.12, 0.88, 0.7]]
    for folder in write_seeds([0.9, 0.92], layers=layers):
        write_metrics(folder, [0.5, 0.7, 0.9], train_loss=[2, 1, 0.5])
    seen = in_browser(
        page_of(),
        """
        print();
        seen.measures = texts("[data-measures=epochs] button"); seen.lines = texts("[data-chart=epochs] .line").length;
        click("[data-measures=epochs] [data-measure=train_loss]"); print();
        seen.label = document.querySelector("[data-chart=epochs] svg").getAttribute("aria-label");
        const box = document.querySelector("[data-chart=layers] .mark").getBoundingClientRect();
        const at = { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
        document.querySelector("[data-chart=layers] svg").dispatchEvent(new PointerEvent("pointermove", at));
        seen.tip = [...document.getElementById("tip").children].map((line) => line.textContent);
        """,
    )
    assert seen["measures"] == ["accuracy", "training loss"] and seen["lines"] == 1
    assert seen["label"] == "training loss by epoch. Digits, sparsity .9" and seen["tip"] == ["SET", "<fc1>: .880"]


def test_hostile_names_and_numbers_draw_without_an_error(write_run, page_of, in_browser):
    evil = "</script><script>seen.errors.push('run')</script><img src=x onerror=\"seen.errors.push('img')\">"
    for seed in (0, 1):
        write_run(f"a{seed}", seed=seed, dataset=evil, method=evil, sparsity=seed * 0.99, sparsity_weights=1.0,
                  train_flops_relative=1e300, wall_time_s=1e-9, accuracy_last=0.5)  # fmt: skip
    write_run("b", dataset="lost", status="failed", accuracy_last=None, sparsity=None)
    script = (
        'print(); seen.drawn = texts("[data-chart=flops] svg").length; seen.none = texts("[data-chart=time] .none");'
    )
    assert in_browser(page_of(evil), script) == {"drawn": 2, "none": []}


def test_a_page_of_failed_runs_alone(write_run, page_of, in_browser):
    write_run(status="failed", accuracy_last=None)
    assert in_browser(page_of(), 'print(); seen.none = texts("[data-chart] .none").length;') == {"none": 3}
