# SPDX-License-Identifier: Apache-2.0
"""The metadata entries as Netron shows them, in a real browser."""

import contextlib
import shutil

import pytest

from tests.helpers.tflite_builder import residual_network
from tflm_export import metadata, narrow

netron = pytest.importorskip("netron", reason="the PyPI package netron is not installed")
webdriver = pytest.importorskip("selenium.webdriver", reason="the PyPI package selenium is not installed")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *"--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split(),
    *"--disable-component-update --disable-sync --window-size=1200,900".split(),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",  # Netron reports its use to its makers
)
# Netron stops to ask for an update half a year after its release; a clock that stands still keeps the test alive.
CLOCK = "window.Date = class extends Date { constructor(...when) { super(...(when.length ? when : [0])); } };"
SECONDS = 30  # until the page has drawn what is waited for


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not CHROMIUM or not DRIVER:
        pytest.skip("needs chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": CLOCK})
    yield driver
    driver.quit()


@contextlib.contextmanager
def served(data: bytes):
    """The address of a page on which Netron shows a model."""
    address = netron.serve("model.tflite", data, ("localhost", 0))
    try:
        yield f"http://{address[0]}:{address[1]}/"
    finally:
        netron.stop(address)


def model_properties(browser, url: str) -> dict[str, str]:
    """What the sidebar with the model's properties says, value by name."""
    from selenium.webdriver.support.expected_conditions import element_to_be_clickable
    from selenium.webdriver.support.wait import WebDriverWait

    browser.execute_cdp_cmd("Network.setCookie", {"url": url, "name": "consent", "value": "0"})
    browser.get(url)
    wait = WebDriverWait(browser, SECONDS)
    wait.until(element_to_be_clickable(("id", "sidebar-model-button"))).click()
    items = wait.until(lambda b: b.find_elements("css selector", "#sidebar .sidebar-item"))
    return {
        item.find_element("css selector", ".sidebar-item-name input").get_property("value"): item.find_element(
            "css selector", ".sidebar-item-value"
        ).get_property("textContent")
        for item in items
    }


@pytest.mark.parametrize("bits", [1, 8, "csd2"])
def test_the_entries_are_among_the_model_properties(browser, bits):
    narrowed, report = narrow(residual_network(), bits)
    with served(metadata.attach(narrowed, report)) as url:
        shown = model_properties(browser, url)
    assert shown["format"] == "TensorFlow Lite v3"
    assert shown["keras_rat.rescale"] == "?"  # what stands for anything but a short text
    assert shown["keras_rat.summary"] == f"requantize: {report.summary()}"


def test_without_metadata_there_are_no_entries(browser):
    with served(narrow(residual_network(), 1)[0]) as url:
        assert "keras_rat.rescale" not in model_properties(browser, url)
