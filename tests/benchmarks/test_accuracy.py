# SPDX-License-Identifier: Apache-2.0
"""The accuracy suite: its statistics against closed forms, its cells against LiteRT, and that it resumes."""

import csv
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import accuracy, cells, command, datasets, plots, significance, summary, tasks, widths
from benchmarks.cells import CONTROL, FLOAT, POST_TRAINING, TRAINED, Cell, Settings
from tflm_export import METHODS, UsageError, check, runtimes
from tflm_export.flatbuffer.model import parse
from tflm_export.grid import grid_of

ROOT = pathlib.Path(__file__).resolve().parents[2]
TASK = "digits_autoencoder"
ARGUMENTS = ["--quick", f"--tasks={TASK}", "--bits=1", "--jobs=1"]


def run(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess:
    """The command line without a data folder, so that it takes the tasks that come along with scikit-learn."""
    command = [sys.executable, "-m", "benchmarks.accuracy", *ARGUMENTS, f"--output={folder}", *arguments]
    environment = os.environ | {datasets.DATA_VARIABLE: ""}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600, env=environment)


@pytest.fixture
def bundled(monkeypatch):
    """No data folder in this process either."""
    monkeypatch.delenv(datasets.DATA_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> pathlib.Path:
    """The folder of a small run."""
    folder = tmp_path_factory.mktemp("accuracy")
    done = run(folder, f"--publish={folder / 'published'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "digits_autoencoder: RAT, k = 1, the better grid" in done.stdout
    return folder


def every_cell() -> list[Cell]:
    tuned = [Cell(TASK, 0, model, method, 1) for model in (POST_TRAINING, TRAINED) for method in METHODS]
    return [Cell(TASK, 0, FLOAT), Cell(TASK, 0, CONTROL, "", 31), *tuned]


@pytest.mark.slow
def test_every_cell_is_there_and_its_models_are_trained(finished):
    results = {cell.name: cells.read(cell, finished) for cell in every_cell()}
    assert len(list(finished.glob("cells/**/*.json"))) == len(results) == 6
    for name, result in results.items():
        assert len(result.decisions) == 719
        assert result.width == {"float": None, "qat": result.width}.get(name, 1)
    # Ten classes: chance is 10 %.
    assert results["float"].right.mean() > 0.75
    assert results["rat_requantize_k1"].right.mean() > results["qat"].right.mean() - 0.05
    assert results["rat_keep_k1"].squared_error < results["post-training_keep_k1"].squared_error


@pytest.mark.slow
def test_the_control_is_what_litert_computes(finished, bundled):
    """The stored decisions from the stored file, by a nearest neighbour of scikit-learn's."""
    from sklearn.neighbors import KNeighborsClassifier

    cell = Cell(TASK, 0, CONTROL, "", 31)
    data = cell.path(finished).with_name("qat.tflite").read_bytes()
    assert check(data, 31).max_bits == cells.read(cell, finished).width > 8
    split = tasks.split(tasks.available()[TASK])
    runtime = runtimes.LiteRT(data, reference=True)
    scale, zero_point = runtime.output["quantization"]
    integers = runtimes.run_all(runtime, runtimes.quantize_input(split.test.x, runtime.input))
    nearest = KNeighborsClassifier(1).fit(split.train.x, split.train.labels)
    expected = nearest.predict(scale * (integers - float(zero_point)))
    # Reference kernels and XNNPACK round differently here and there.
    assert np.mean(cells.read(cell, finished).decisions == expected) > 0.98


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_and_gives_the_same(finished):
    lost = Cell(TASK, 0, TRAINED, "keep", 1)
    before = cells.read(lost, finished)
    kept = Cell(TASK, 0, TRAINED, "requantize", 1).path(finished)
    written = kept.stat().st_mtime_ns
    lost.path(finished).unlink()
    done = run(finished)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(cells.read(lost, finished).decisions, before.decisions)
    assert kept.stat().st_mtime_ns == written


@pytest.mark.slow
def test_other_settings_need_another_folder(finished):
    done = run(finished, "--rate=0.5")
    assert done.returncode == 2
    assert "choose another --output" in done.stderr


@pytest.mark.slow
def test_cells_can_be_made_again(finished, tmp_path, bundled, monkeypatch):
    """With other settings, too."""
    shutil.copytree(finished / "cells", tmp_path / "cells")
    shutil.copy(finished / "settings.json", tmp_path)
    wanted = []

    def nothing(todo, *rest):
        wanted.extend(todo)
        yield from ()

    monkeypatch.setattr(accuracy, "_made", nothing)
    arguments = ["accuracy", *ARGUMENTS, f"--output={tmp_path}", "--rate=0.5"]
    assert accuracy.main(arguments) == 2
    assert accuracy.main([*arguments, "--overwrite"]) == 0
    assert [cell for job in wanted for cell in job.what] == every_cell()
    assert not list(tmp_path.glob("cells/**/*.json"))


def test_what_a_job_needs_is_in_an_earlier_stage(bundled):
    """All cells, each once, none before the float model and the control of its seed; k = 1 before the others."""
    suite = accuracy.Suite(["digits", TASK], [0, 1], {POST_TRAINING: [8, 1], TRAINED: [8, 1]})
    stages = [[cell for job in stage for cell in job] for stage in suite.stages()]
    order = [cell for stage in stages for cell in stage]
    assert sorted(map(str, order)) == sorted(map(str, suite.cells()))
    for stage, made in enumerate(stages):
        for cell in made:
            needed = {Cell(cell.task, cell.seed, FLOAT), Cell(cell.task, cell.seed, CONTROL, "", 31)}
            if cell.model == TRAINED:
                assert needed <= {earlier for before in stages[:stage] for earlier in before}
    trained = [cell.bits for cell in order if cell.model == TRAINED]
    assert trained == sorted(trained)


@pytest.mark.slow
def test_where_multipliers_come_from(finished, tmp_path, bundled):
    """The cells that are there stay; a model that is not trained, and multipliers that are nearest, on the grid."""
    folder = tmp_path / "accuracy"
    shutil.copytree(finished, folder)
    written = {path: path.stat().st_mtime_ns for path in folder.glob("cells/**/*.json")}
    done = run(folder, "--multipliers", f"--publish={folder / 'published'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in written} == written
    made = {path.stem for path in folder.glob("cells/**/*.json")} - {path.stem for path in written}
    ways = {"rat_nearest_keep_k1", "calibrated_keep_k1", "calibrated_requantize_k1"}
    assert made == ways | {f"rat_{way}_{method}_k1" for way in ("chosen", "learned") for method in METHODS}
    float_model, calibrated, trained = (
        cells.read(Cell(TASK, 0, *what), folder)
        for what in ((FLOAT,), (cells.CALIBRATED, "keep", 1), (TRAINED, "keep", 1))
    )
    assert calibrated.right.mean() > float_model.right.mean() - 0.05
    assert calibrated.multipliers == trained.multipliers  # training left them alone
    with open(folder / "published" / "accuracy.csv", newline="") as file:
        rows = {(row["model"], row["method"]) for row in csv.DictReader(file)}
    assert rows == {(FLOAT, ""), (CONTROL, "")} | {
        (model, method) for model, recipe in cells.RECIPES.items() if model != CONTROL for method in recipe.methods
    }


def test_requantize_is_compared_at_the_narrowest_width(bundled):
    suite = accuracy.Suite([TASK], [0], {model: [2, 1] for model in cells.RECIPES if model != CONTROL}, compares=True)
    assert {cell.bits for cell in suite.trained(TASK, 0) if cell.method == "requantize"} == {1}
    assert {cell.bits for cell in suite.trained(TASK, 0) if cell.method == "keep"} == {1, 2}
    assert Cell(TASK, 0, "RAT, nearest", "requantize", 1) not in suite.cells()


def test_a_job_that_fails_is_named(tmp_path, bundled, monkeypatch):
    def fail(todo, *rest):
        yield todo[0], ValueError("broken")

    monkeypatch.setattr(accuracy, "_made", fail)
    suite = accuracy.Suite([TASK], [0, 1], {TRAINED: [1]})
    failures = accuracy.run(suite, tmp_path, Settings(), accuracy.Workers(1), command.console())
    assert failures == [f"{TASK}, seed 0, float: ValueError('broken')"]


def test_jobs_need_what_their_cells_begin_with(tmp_path, bundled):
    """Of the same task and seed, and as far as it is not made; a job whose base failed is not tried then."""
    suite = accuracy.Suite(["digits", TASK], [0], {POST_TRAINING: [1], TRAINED: [1]})
    needs = {job.name: job.needs for job in accuracy._jobs(suite, tmp_path)}
    base = {f"{TASK}, seed 0, float", f"{TASK}, seed 0, qat"}
    assert needs[f"{TASK}, seed 0, qat"] == {f"{TASK}, seed 0, float"}
    assert needs[f"{TASK}, seed 0, rat_keep_k1"] == needs[f"{TASK}, seed 0, rat_requantize_k1"] == base
    for path in (cell.path(tmp_path) for cell in suite.base(TASK, 0)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    needs = {job.name: job.needs for job in accuracy._jobs(suite, tmp_path)}
    assert needs.keys() & base == set()
    assert needs[f"{TASK}, seed 0, rat_keep_k1"] == set()


@pytest.mark.slow
def test_published_results_agree_with_the_cells(finished):
    folder = finished / "published"
    assert (folder / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    with open(folder / "accuracy.csv", newline="") as file:
        rows = {(row["model"], row["method"]): row for row in csv.DictReader(file)}
    control = cells.read(Cell(TASK, 0, CONTROL, "", 31), finished)
    trained = cells.read(Cell(TASK, 0, TRAINED, "keep", 1), finished)
    row = rows["RAT", "keep"]
    assert float(row["accuracy"]) == pytest.approx(trained.right.mean(), rel=1e-5)
    assert float(row["agreement"]) == pytest.approx(np.mean(trained.decisions == control.decisions), rel=1e-5)
    assert float(row["difference"]) == pytest.approx(trained.right.mean() - control.right.mean(), abs=1e-6)
    stored = json.loads((folder / "accuracy.json").read_text())
    assert {"tensorflow", "numpy", "python"} <= stored["versions"].keys()
    assert stored["seeds"] == [0]
    text = (folder / "accuracy.md").read_text()
    assert "python -m benchmarks.accuracy --quick" in text
    assert f"{100 * trained.right.mean():.2f} ±" in text
    assert "not run" not in text


@pytest.mark.slow
def test_weights_of_4_bits(tmp_path):
    """Weights are INT4 in the control's file too, and in those that are narrowed from it."""
    done = run(tmp_path, "--weight_bits=4", "--tasks=digits", "--effort=0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "cells" / "digits" / "seed0"
    trained = ("qat", "rat_keep_k1", "rat_requantize_k1")
    narrowed = ("post-training_keep_k1", "post-training_requantize_k1")
    names = {f"{stem}.{end}" for stem in (*trained, *narrowed) for end in ("json", "tflite")}
    names |= {f"{stem}.h5" for stem in ("float", *trained)} | {"float.json"}
    assert {path.name for path in folder.iterdir()} == names
    for stem in ("qat", *narrowed):
        model = parse((folder / f"{stem}.tflite").read_bytes())
        weights = [operator.inputs[1] for operator in model.operators if "CONV" in operator.name]
        assert len(weights) == 6
        assert {tensor.type for tensor in weights} == {"INT4"}
    assert all(not check((folder / f"{stem}.tflite").read_bytes(), 1).offenders for stem in narrowed)
    assert "4-bit weights" in done.stdout
    stored = json.loads((tmp_path / "accuracy.json").read_text())
    assert stored["weight_bits"] == 4
    assert {row["model"] for row in stored["table"]} == {"float", "QAT", "post-training", "RAT"}
    assert "not run" not in (tmp_path / "accuracy.md").read_text()


@pytest.mark.slow
def test_models_that_were_not_run_are_said_to_be(finished, bundled):
    planned = [*every_cell(), Cell(TASK, 0, TRAINED, "keep", 4)]
    results = summary.summarise(planned, finished, Settings(), {"command": "command", "versions": {}})
    row = next(row for row in results.table if row.bits == 4 and row.model == TRAINED and row.method == "keep")
    assert row.seeds == 0
    assert row.accuracy is None
    assert "not run" in summary.markdown(results)


@pytest.mark.slow
def test_a_grid_that_is_no_number_of_bits(tmp_path, bundled):
    """Narrowed and trained on it, and beside k = 3 and 4 in columns and figures, where its rounding error puts it."""
    suite = accuracy.Suite([TASK], [0], {POST_TRAINING: [1, "csd2", 4, 3], TRAINED: ["csd2"]})
    settings, trained = Settings(effort=0.02), Cell(TASK, 0, TRAINED, "keep", "csd2")
    cells.make([*suite.base(TASK, 0), trained], tmp_path, settings)
    for cell in (trained, *(Cell(TASK, 0, POST_TRAINING, method, "csd2") for method in METHODS)):
        assert check(cell.path(tmp_path).with_suffix(".tflite").read_bytes(), "csd2").offenders == ()
    results = summary.summarise(suite.cells(), tmp_path, settings, {"command": "command", "versions": {}})
    assert results.widths == [4, "csd2", 3, 1]
    assert "| task | model | k = 4 | csd2 | k = 3 | k = 1 |" in summary.markdown(results)
    assert set(results.multipliers[TASK]) == {"qat", "rat_keep_csd2"}
    assert summary.Results.from_dict(json.loads(summary._for_report(results))).widths == results.widths
    drawn = plots.svg(plots.accuracy_chart(results, TASK))
    assert "RAT, keep, csd2: " in drawn
    assert "post-training, keep, k = 4: " in drawn


def test_a_grid_stands_among_bits_by_its_mean_rounding_error():
    """0.36 / 2**k is what the bits have."""
    factors = np.exp2((np.arange(100_000) + 0.5) / 100_000)

    def mean_error(grid):
        return np.abs(grid_of(grid).snap(factors) / factors - 1).mean()

    for bits in (2, 3, 4, 6):
        assert mean_error(bits) == pytest.approx(0.36 / 2**bits, rel=0.02)
    assert mean_error("csd2") == pytest.approx(0.36 / 2 ** widths.place("csd2"), rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks=poetry"], "no task poetry; there are digits"),
        (["--bits=one"], "whole numbers"),
        (["--bits=40"], "40"),
        (["--trained_bits=7"], "--trained_bits can be 1, 2, 3, csd2, 4, 6, 8, not 7"),
        (["--bits=5"], "not 5"),
        (["--bits=csd3"], "--bits takes whole numbers, or csd2"),
        (["--jobs=0"], "jobs"),
        (["more"], "unexpected argument more"),
    ],
)
def test_wrong_usage(bundled, tmp_path, capsys, arguments, message):
    assert accuracy.main(["accuracy", f"--output={tmp_path}", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def pairs(rows: int):
    return st.lists(st.tuples(st.booleans(), st.booleans()), min_size=rows, max_size=60)


@given(pairs(1))
def test_mcnemar_is_the_binomial_tail(pairs):
    """Twice the smaller tail of Binomial(b + c, 1/2), summed exactly."""
    right, other = np.array(pairs).T
    b, c = int((right & ~other).sum()), int((~right & other).sum())
    tail = sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
    assert significance.mcnemar(right, other) == pytest.approx(min(1.0, 2 * tail))


@given(pairs(2))
def test_one_seed_has_the_standard_error_of_a_mean(pairs):
    values = np.array(pairs)[:, 0].astype(float)
    found = significance.estimate(values[None])
    variance = sum((value - values.mean()) ** 2 for value in values) / (len(values) - 1)
    assert found.mean == pytest.approx(values.mean())
    assert found.error == pytest.approx(math.sqrt(variance / len(values)))


def test_seeds_add_to_the_error_and_rows_count_once():
    """Two seeds that differ in all rows are sure of nothing; three equal ones are no surer than one."""
    opposite = np.array([[1.0] * 8, [0.0] * 8])
    assert significance.estimate(opposite).error == pytest.approx(0.5)  # sqrt(1/2) / sqrt(2)
    one = np.array([[1, 0, 1, 1, 0, 1, 1, 1.0]])
    assert significance.estimate(one.repeat(3, 0)).error == pytest.approx(significance.estimate(one).error)
    right, other = one.astype(bool), ~one.astype(bool)
    assert significance.mcnemar(right.repeat(3, 0), other.repeat(3, 0)) == significance.mcnemar(right, other)


def test_across_seeds_is_a_paired_t_test():
    """For two seeds the t distribution is Cauchy's: p = 1 - 2/pi * atan|t|."""
    differences = np.array([0.03, 0.01])
    t = differences.mean() / (differences.std(ddof=1) / math.sqrt(2))
    found = significance.across_seeds(0.9 + differences, np.array([0.9, 0.9]))
    assert found == pytest.approx(1 - 2 / math.pi * math.atan(t))
    assert significance.across_seeds([0.9], [0.8]) is None
    assert significance.across_seeds([0.9, 0.9], [0.8, 0.8]) is None
    assert significance.across_seeds([0.9, 0.6, 0.3], [0.8, 0.5, 0.2]) is None


def test_splits_keep_people_and_test_rows_apart():
    """Validation rows are of people whom training never saw; without people, no row is in two parts."""
    if datasets.data_folder() is None:
        pytest.skip(f"no data folder; set {datasets.DATA_VARIABLE}")
    task = tasks.TASKS["har_sp"]
    data, split = task.data(), tasks.split(task)
    held_out = tasks._held_out(data)
    assert not set(data.groups[held_out]) & set(data.groups[~held_out])
    assert len(split.train) + len(split.validation) == len(data.x_train)
    np.testing.assert_array_equal(split.test.x, data.x_test)


def test_parts_of_the_bundled_digits_are_disjoint():
    split = tasks.split(tasks.BUNDLED["digits"])
    data = datasets.digits()
    assert len(split.train) + len(split.validation) == len(data.x_train)
    rows = {part: {row.tobytes() for row in getattr(split, part).x} for part in ("train", "validation")}
    assert not rows["train"] & rows["validation"]
    np.testing.assert_array_equal(split.test.labels, data.y_test)


def test_augmented_images_are_shifted_or_mirrored_ones():
    """Every image comes back as a window on its own border of zeros, with its own label, and differently each epoch."""
    import tf_keras as keras

    images = np.random.default_rng(3).normal(size=(40, 9, 7, 2)).astype(np.float32)
    rows = tasks.Rows(images, np.arange(40), np.arange(40))
    keras.utils.set_random_seed(1)
    batches = cells.moved(rows, 16)
    epochs = [[np.concatenate(part) for part in zip(*batches.as_numpy_iterator(), strict=True)] for _ in range(2)]
    shifts = set()
    for moved, labels in epochs:
        assert moved.shape == images.shape
        np.testing.assert_array_equal(np.sort(labels), np.arange(40))
        for image, label in zip(moved, labels, strict=True):
            border = np.pad(images[label], [(4, 4), (4, 4), (0, 0)])
            found = {
                (mirrored, down, right)
                for mirrored, source in enumerate((border, border[:, ::-1]))
                for down in range(9)
                for right in range(9)
                if np.array_equal(source[down : down + 9, right : right + 7], image)
            }
            assert found
            shifts |= found
    assert len(shifts) > 30
    assert {mirrored for mirrored, _, _ in shifts} == {0, 1}
    assert not np.array_equal(epochs[0][1], epochs[1][1])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*tasks.TASKS, *tasks.BUNDLED])
def test_networks_can_be_trained_with_k_bit_rescales(name):
    """Every layer of every task's network is one that keras_rat takes."""
    import keras_rat
    from keras_rat.quantize import rescale_layers

    task = (tasks.TASKS | tasks.BUNDLED)[name]
    network = task.build()
    weighted = sum(hasattr(layer, "kernel") or hasattr(layer, "depthwise_kernel") for layer in network.layers)
    assert len(rescale_layers(keras_rat.quantize_model(network, 1, "keep"))) == weighted


def test_settings_of_other_tasks_can_join_a_folder(tmp_path, bundled):
    suites = [accuracy.Suite([name], [0], {TRAINED: [1]}) for name in ("digits", TASK)]
    for suite in suites:
        accuracy._require_settings(tmp_path, Settings(), suite)
    stored = json.loads((tmp_path / "settings.json").read_text())
    assert set(stored["tasks"]) == {"digits", TASK}
    stored["tasks"]["digits"]["epochs"] += 1
    (tmp_path / "settings.json").write_text(json.dumps(stored))
    accuracy._require_settings(tmp_path, Settings(), suites[1])
    with pytest.raises(UsageError, match="other settings"):
        accuracy._require_settings(tmp_path, Settings(), suites[0])
