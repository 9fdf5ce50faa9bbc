# SPDX-License-Identifier: Apache-2.0
"""A search whose candidates are measured side by side finds what a search in this process finds."""

import itertools
import sys

import distributed
import numpy as np
import pytest

from tests.helpers.tflite_builder import TFLiteBuilder
from tflm_export import ModelError, cluster
from tflm_export.__main__ import main
from tflm_export.search import _likely, search


def network() -> bytes:
    """Three operators, of which one needs no more than a bit, at least."""
    b = TFLiteBuilder(seed=0)
    x = b.input([1, 8, 8, 3])
    y = b.conv(b.conv(x, 4, name="stem"), 4, 3, name="body")
    return b.build(x, b.fully_connected(b.flatten(y), 10, name="classes"))


def rows(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (count, 8, 8, 3), np.int8)


NETWORK, TRAIN, TEST = network(), {"input": rows(24, 0)}, [rows(60, 1)]


@pytest.fixture(scope="module")
def client():
    with cluster.connected(2) as client:
        yield client


@pytest.mark.sweep(3)
@pytest.mark.parametrize("max_drop", [0.02, 0.1])
def test_the_same_with_and_without_workers(client, max_drop):
    """Whether what was measured ahead is asked for or not: some operators stay as wide as all, and some do not."""
    alone = search(NETWORK, "keep", TRAIN, TEST, max_drop)
    tried = []
    found = search(NETWORK, "keep", TRAIN, TEST, max_drop, lambda: tried.append(1), client=client)
    assert found == alone
    assert len(tried) == found.tried >= 5
    assert 1 in found.rules.values()
    assert max(found.rules.values()) > 1


def test_a_tolerance_out_of_reach(client):
    with pytest.raises(ModelError) as alone:
        search(NETWORK, "keep", TRAIN, TEST, -0.01)
    with pytest.raises(ModelError) as found:
        search(NETWORK, "keep", TRAIN, TEST, -0.01, client=client)
    assert str(found.value) == str(alone.value)


def joined(common: str, item: str) -> str:
    if item == "fails":
        raise ModelError("no such model")
    return common + item


class DeadlyClient:
    """Every process of it dies."""

    def nthreads(self) -> dict[str, int]:
        return {"tcp://127.0.0.1:1": 1}

    def submit(self, *_, **__):
        return self

    def result(self):
        raise distributed.KilledWorker("job", None, 3)


def test_only_what_is_asked_for_can_fail(client):
    ahead = cluster.Ahead(client, joined, "a ")
    assert ahead(iter(["model", "fails"])) == "a model"
    with pytest.raises(ModelError, match="no such model"):
        ahead(iter(["fails"]))
    with pytest.raises(ModelError, match="model: every process that began it died, 4 of them"):
        cluster.Ahead(DeadlyClient(), joined, "a ")(iter(["model"]))


def test_what_is_asked_for_next_is_first_and_the_likely_before_the_others():
    """Every setting that the rest of a search can come to, by the product of its chances."""
    rules, wide = {0: 4, 1: 1, 2: 4, 5: 4}, [0, 2, 5]
    found = [dict(candidate.rules) for candidate in _likely(4, rules, wide, 0.25)]
    chances = []
    for outcome in itertools.product([True, False], repeat=len(wide)):
        for place, index in enumerate(wide):
            before = rules | {index: 1 for index, stays in zip(wide[:place], outcome, strict=False) if stays}
            chances.append((0.25 ** sum(outcome[:place]) * 0.75 ** (place - sum(outcome[:place])), before | {index: 1}))
    expected = {tuple(sorted(candidate.items())): chance for chance, candidate in chances}
    assert sorted(expected) == sorted(tuple(sorted(candidate.items())) for candidate in found)
    ordered = [expected[tuple(sorted(candidate.items()))] for candidate in found]
    assert ordered == sorted(ordered, reverse=True)
    assert found[0] == rules | {0: 1}


@pytest.mark.slow
def test_on_the_command_line(tmp_path, capsys, monkeypatch):
    """Files and what is printed are the same."""
    model, data = tmp_path / "model.tflite", tmp_path / "data.npz"
    model.write_bytes(NETWORK)
    np.savez(data, x=np.concatenate([TRAIN["input"], TEST[0]])[:80])
    printed = []
    for jobs in (1, 2):
        output = tmp_path / f"{jobs}.tflite"
        flags = [
            "--search",
            "--method=keep",
            "--max_drop=0.1",
            f"--calibration={data}",
            f"--jobs={jobs}",
            f"--output={output}",
        ]
        assert main(["tflm_export", *flags, str(model)]) == 0
        printed.append(capsys.readouterr().out.replace(str(output), "OUTPUT"))
    assert printed[0] == printed[1]
    assert (tmp_path / "1.tflite").read_bytes() == (tmp_path / "2.tflite").read_bytes()
    for flags, words in (
        (["--bits=1", "--scheduler=tcp://127.0.0.1:1"], "--scheduler means nothing without --search"),
        (["--search", f"--calibration={data}", "--scheduler=nonsense"], "no scheduler at nonsense: "),
    ):
        assert main(["tflm_export", *flags, "--overwrite", str(model)]) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    flags = ["--search", "--max_drop=0.2", f"--calibration={data}", "--overwrite"]
    assert main(["tflm_export", *flags, "--jobs=2", str(model)]) == 2
    assert 'which is not installed: pip install "keras-rat[cluster]"' in capsys.readouterr().err
    assert main(["tflm_export", *flags, str(model)]) == 0
