# SPDX-License-Identifier: Apache-2.0
"""The report, judged by a real browser: every figure is drawn, nothing is fetched, tables sort, colours can be read."""

import base64
import json
import pathlib
import re
import shutil

import pytest
from matplotlib.figure import Figure

from benchmarks import page as pages
from benchmarks import plots, summary

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
ROOT = pathlib.Path(__file__).resolve().parents[2]
DESKTOP, PHONE = 1300, 390


def row(task, model, method, bits, accuracy, seeds=3, **more) -> dict:
    figures = {
        "difference": accuracy and accuracy - 0.9, "difference_error": 0.004, "p_rows": 0.25, "p_seeds": 0.00001,
        "agreement": accuracy and accuracy + 0.05, "squared_error": None,
    }  # fmt: skip
    return {
        "task": task, "model": model, "method": method, "bits": bits, "seeds": seeds, "rows": 600,
        "accuracy": accuracy, "standard_error": accuracy and 0.01, **figures, **more,
    }  # fmt: skip


def suite() -> dict:
    """A run of two tasks as benchmarks.summary stores it; the second has a hostile name and cells that were not run."""
    table = []
    for task in ("first", "second"):
        table += [row(task, "float", "", None, 0.91), row(task, "QAT", "", 31, 0.9, agreement=None)]
        for model in ("post-training", "RAT"):
            for method in ("requantize", "keep"):
                for bits in (8, 4, 2, 1):
                    low = model == "post-training" and method == "keep"
                    table.append(row(task, model, method, bits, 0.9 - (0.5 / bits**2 if low else 0.002 * (5 - bits))))
    table[-1] = row("second", "RAT", "keep", 1, None, seeds=0)
    layers = {"0 CONV_2D": [-7.2, -6.9, -8.0], "1 FULLY_CONNECTED": [-9.0]}
    return {
        "kind": "accuracy", "command": "python -m benchmarks.accuracy --seeds=0,1,2", "rows": "test", "weight_bits": 8,
        "versions": {"numpy": "1.26.4"}, "seeds": [0, 1, 2],
        "tasks": {
            name: {
                "title": title, "reconstructs": False, "train_rows": 1750, "measured_rows": 600, "float_epochs": 30,
                "tuning_epochs": 8, "batch": 64, "parameters": 2458,
            }
            for name, title in (("first", "First task"), ("second", "<b>Second & last</b>"))
        },
        "table": table,
        "multipliers": {"first": {"qat": layers, "rat_keep_k1": layers, "rat_keep_k4": layers}},
    }  # fmt: skip


def device() -> dict:
    def run(rescale, cycles, flash, cpu="cortex-m4"):
        sizes = {"ram": 3000, "arena": 2000, "stack": 192, "total_instructions": 900.0, "equal": True}
        label = rescale if rescale == "stock" else f"k = {rescale}"
        what = {"model": "KWS", "cpu": cpu, "rescale": rescale, "label": label}
        return {**what, "total_cycles": cycles, "flash": flash, **sizes}

    runs = [run("stock", 8e6, 42000), run(8, 6e6, 44000), run(1, 5.6e6, 38000), run("stock", None, 42000, "cortex-m7")]
    return {"kind": "device", "command": "python -m benchmarks.device --suite mlperf_tiny", "runs": runs}


def training() -> dict:
    def cost(network, kind, milliseconds, megabytes):
        ratios = {"ratio": milliseconds / 10, "low": 0.9, "high": 1.3, "memory_ratio": megabytes and megabytes / 80}
        return {"network": network, "kind": kind, "milliseconds": milliseconds, "megabytes": megabytes, **ratios}

    return {
        "kind": "training", "command": "python -m benchmarks.training --batch=32", "versions": {"numpy": "1.26.4"},
        "rounds": 40, "batch": 32, "bits": 1,
        "results": [
            cost("dense", "tfmot QAT", 10.0, 80.0), cost("dense", "RAT requantize", 11.0, 88.4),
            cost("resnet8", "tfmot QAT", 10.0, None), cost("resnet8", "RAT keep", 9.0, None),
        ],
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, stored in (
        ("accuracy/accuracy.json", suite()),
        ("device/report.json", device()),
        ("training/training.json", training()),
        ("other/report.json", [1, 2]),
    ):
        path = folder / name
        path.parent.mkdir()
        path.write_text(json.dumps(stored))
    assert pages.main(["page", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="the PyPI package selenium is not installed")
    if not (BROWSER and DRIVER):
        pytest.skip("no Chromium with its chromedriver is installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, folder):
    """Opens the page: page(width, scheme, media)."""

    def show(width=DESKTOP, scheme="light", media="screen"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < DESKTOP}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get((folder / "report.html").as_uri())
        return browser

    return show


@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
def test_every_figure_is_drawn_and_nothing_complains(page, width, scheme):
    browser = page(width, scheme)
    figures = browser.execute_script("""
        for (const details of document.querySelectorAll("details")) details.open = true;
        return [...document.querySelectorAll("figure")].map(figure => {
          const svg = figure.querySelector("svg"), frame = svg.getBoundingClientRect();
          const boxes = [...svg.querySelectorAll(".mark")].map(mark => mark.getBoundingClientRect());
          const texts = [...svg.querySelectorAll("text")].map(text => text.getBoundingClientRect());
          const inside = b => b.left >= frame.left - 1 && b.right <= frame.right + 1
            && b.top >= frame.top - 1 && b.bottom <= frame.bottom + 1;
          return {title: figure.querySelector("figcaption").textContent, width: frame.width, height: frame.height,
                  marks: boxes.filter(b => b.width > 1 && b.height > 1 && inside(b)).length, all: boxes.length,
                  outside: texts.filter(b => !inside(b)).length};
        });""")
    # Accuracy, difference and agreement of two tasks, two heat maps; cycles of one core, flash of two; time and memory.
    assert [figure["title"] for figure in figures] == [
        *["First task", "<b>Second & last</b>"] * 3, "QAT, 31 bits", "RAT, keep, k = 1",
        "cortex-m4: modelled cycles an inference", "cortex-m4: flash", "cortex-m7: flash", "time of a training step",
        "memory",
    ]  # fmt: skip
    for figure in figures:
        assert figure["marks"] == figure["all"] > 0, figure
        assert figure["outside"] == 0, figure
        assert figure["width"] > 250, figure
        assert figure["height"] > 60, figure
    assert browser.get_log("browser") == []


def test_marks_stand_where_their_values_are(page):
    """The first panel's RAT requantize line: 0.9 - 0.002 (5 - k), so the heights are linear in k."""
    browser = page()
    found = browser.execute_script("""
        const marks = [...document.querySelector("figure svg").querySelectorAll(".mark")];
        return marks.map(m => { const b = m.getBoundingClientRect();
          return [m.querySelector("title").textContent, (b.top + b.bottom) / 2, m.textContent]; });""")
    heights = {title: y for title, y, _ in found}
    y1, y2, y4, y8 = (heights[f"RAT, requantize, k = {k}: {90 - 0.2 * (5 - k):.2f} ± 1.00 %"] for k in (1, 2, 4, 8))
    assert y1 > y2 > y4 > y8
    assert (y4 - y8) / (y1 - y2) == pytest.approx(4, rel=0.15)  # pixels
    below = [text for title, _, text in found if title == "post-training, keep, k = 1: 40.00 ± 1.00 %"]
    assert below[0].rstrip().endswith("40 ↓")  # far below the axis, and written out


def test_the_page_needs_nothing_else(page, folder):
    text = (folder / "report.html").read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!#|data:)", text)
    assert not re.findall(r"@import|url\((?!#)|https?://", text)
    browser = page()
    assert browser.execute_script("return performance.getEntriesByType('resource').map(r => r.name)") == []
    assert browser.execute_script("return document.querySelectorAll('td b').length") == 0  # names are text


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_nothing_is_wider_than_the_screen(page, width):
    browser = page(width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page, scheme):
    """Contrast of at least 4.5 to 1 (WCAG AA) for text of every colour in use; relative luminance by its definition."""
    browser = page(scheme=scheme)
    colours = browser.execute_script("""
        const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
            if (c !== "rgba(0, 0, 0, 0)") return c; } return "rgb(255, 255, 255)"; };
        const found = {};
        for (const e of document.querySelectorAll("p, h1, th, td, .chip, a, figcaption, svg text, pre")) {
          if (e.closest(".mark")) continue;  // written on the mark's own colour
          const style = getComputedStyle(e);
          found[[e instanceof SVGElement ? style.fill : style.color, behind(e)].join(" on ")] = e.textContent;
        }
        return Object.keys(found);""")
    assert len(colours) >= 4

    def luminance(colour):
        channels = [int(c) / 255 for c in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for pair in colours:
        bright, dark = sorted(map(luminance, pair.split(" on ")), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, pair
    page_is_dark = luminance(browser.execute_script("return getComputedStyle(document.body).backgroundColor")) < 0.2
    assert page_is_dark == (scheme == "dark")


def number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-"))


def column(browser, table: int, index: int) -> list[str]:
    script = "return [...document.querySelectorAll('table')[arguments[0]].tBodies[0].rows].filter(r => !r.hidden)"
    return browser.execute_script(f"{script}.map(r => r.cells[arguments[1]].textContent)", table, index)


def test_tables_sort_by_number_and_by_text(page):
    browser = page()
    headers = browser.find_elements("css selector", "#figures-1 th button")
    names = [header.text.split(" ↕")[0] for header in headers]
    accuracy = names.index("accuracy, %")
    before = column(browser, 1, accuracy)
    headers[accuracy].click()
    rising = column(browser, 1, accuracy)
    numbers = [float(text) for text in rising if text]
    assert sorted(before) == sorted(rising)
    assert numbers == sorted(numbers)
    assert numbers[0] == 40
    assert rising[-1] == ""  # what was not run comes last
    headers[accuracy].click()
    falling = [float(text) for text in column(browser, 1, accuracy) if text]
    assert falling == numbers[::-1]
    difference = names.index("difference, points")
    headers[difference].click()
    signed = [number(text) for text in column(browser, 1, difference) if text]
    assert signed == sorted(signed)
    headers[names.index("grid")].click()
    grids = [text for text in column(browser, 1, 2) if text]
    assert grids == sorted(grids)
    assert browser.get_log("browser") == []


def test_the_filter_hides_rows(page):
    browser = page()
    everything = column(browser, 1, 0)
    browser.find_element("css selector", "input").send_keys("first RAT keep")
    assert column(browser, 1, 0) == ["First task"] * 4
    browser.find_element("css selector", "input").clear()
    browser.find_element("css selector", "input").send_keys(" ")
    assert column(browser, 1, 0) == everything


def test_print_shows_all_rows_in_dark_ink(page):
    browser = page(760, "dark", "print")
    shown = browser.execute_script("""
        const box = document.querySelector(".tall");
        return [box.scrollHeight - box.clientHeight, getComputedStyle(document.body).color,
                getComputedStyle(document.querySelector("input")).display];""")
    assert shown[0] <= 1
    assert shown[1] == "rgb(28, 33, 39)"
    assert shown[2] == "none"
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert base64.b64decode(pdf["data"]).startswith(b"%PDF")


def test_the_overview_says_what_holds():
    def judged(*trained):
        rows = [row("t", "QAT", "", 31, 0.9, difference=None), *(row("t", "RAT", *given) for given in trained)]
        return pages.overview({found.key: found for found in (summary.Row(**given) for given in rows)})

    floating, plain, best, keep, shifts = judged(("requantize", 1, 0.893), ("keep", 2, 0.889))
    assert (floating.share, plain.share, shifts.share) == ("not run", "90.00 ± 1.00", "not run")
    assert best.holds is True  # 0.7 points below, standard error 0.4
    assert best.note == "requantize, \N{MINUS SIGN}0.70 ± 0.40 points"
    assert keep.holds is False  # 1.1 points below
    assert judged(("requantize", 1, 0.891))[2].holds is False
    both = judged(("requantize", 1, 0.891), ("keep", 1, 0.8971))
    assert both[2].note.startswith("keep, \N{MINUS SIGN}0.29")
    assert both[4].holds is True  # 0.3 points are allowed
    assert judged(("keep", 1, 0.8969))[4].holds is False
    assert shifts.holds is None


def test_published_results_can_be_shown():
    """Those in docs/results, also of other multipliers and with weights of 4 bits: figures of every task, and a verdict
    on every goal.

    Those of two signed digits have no k = 1, and are judged at k = 2 alone.
    """
    wide, ways, digits, narrow = pages.collect(ROOT / "docs" / "results")["accuracy"]
    assert (len(wide.overview), len(ways.overview), len(digits.overview), len(narrow.overview)) == (8, 8, 6, 5)
    assert digits.results.widths == [4, "csd2", 3, 2]
    for view in (wide, ways, digits, narrow):
        assert {len(charts) for charts in view.charts.values()} == {len(view.overview)}
        assert {len(charts) for _, charts in view.multipliers.values()} == {3}
    for figures in digits.overview.values():
        assert [figure.holds is None for figure in figures] == [True, True, True, False, True]
    for view in (wide, ways, narrow):
        for figures in view.overview.values():
            assert [figure.holds is None for figure in figures] == [True, True, False, False, False]


def test_the_commands_are_on_the_page(folder):
    page = (folder / "report.html").read_text()
    for stored in (suite(), device(), training()):
        assert f"<pre>{stored['command']}</pre>" in page


@pytest.mark.parametrize("content", ["{", '{"kind": "accuracy"}', '{"kind": "device", "runs": [{"cpu": "cortex-m4"}]}'])
def test_damaged_files_are_named(tmp_path, capsys, content):
    (tmp_path / "report.json").write_text(content)
    assert pages.main(["page", str(tmp_path)]) == 2
    assert "report.json is damaged" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_wrong_usage(tmp_path, capsys):
    for arguments, message in (
        ([], "name the folder"),
        ([str(tmp_path)], "no run in"),
        ([str(tmp_path / "none")], "there is no folder"),
        ([str(tmp_path), "--colour=red"], "colour"),
    ):
        assert pages.main(["page", *arguments]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("values", [[99.9, 100.0], [50.0, 51.0], [100.0, 100.0], [3.0, 97.0], [0.0, 0.0]])
def test_axes_reach_from_the_lowest_shown_to_the_highest(values):
    stored = suite()
    stored["table"] = [row("first", "QAT", "", 31, max(values) / 100, agreement=None)]
    stored["table"] += [row("first", "RAT", "keep", k, value / 100) for k, value in zip((1, 8), values, strict=True)]
    chart = plots.accuracy_chart(summary.Results.from_dict(stored), "first")
    axes = Figure().subplots()
    chart.draw(axes)
    low, high = axes.get_ylim()
    assert low <= max(min(values), max(values) - plots.REACH["accuracy"])
    assert max(values) < high <= 102
    text = plots.svg(chart)
    assert len(re.findall('class="mark"', text)) == 2
    assert (f"{min(values):.0f} ↓" in text) == (min(values) < low)
