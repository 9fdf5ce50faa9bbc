# SPDX-License-Identifier: Apache-2.0
"""Data for keras_rat.calibrate in every form that fit and predict take: the same rows come out, or one sentence."""

import itertools

import keras as keras_3
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

import keras_rat
from keras_rat import feed
from tests.helpers import networks

L = keras.layers
ROWS, BATCH = 12, 5
X = np.random.default_rng(0).random((ROWS, 8, 8, 1), np.float32)
Z = np.random.default_rng(1).random((ROWS, 4), np.float32)
Y = np.arange(ROWS)


@pytest.fixture(scope="module")
def one():
    return keras.Sequential([keras.Input((8, 8, 1), name="image"), L.Flatten(), L.Dense(3)])


@pytest.fixture(scope="module")
def two():
    image, vector = keras.Input((8, 8, 1), name="image"), keras.Input((4,), name="vector")
    joined = L.Concatenate()([L.Dense(4)(L.Flatten()(image)), L.Dense(4)(vector)])
    return keras.Model([image, vector], L.Dense(3)(joined))


def parts(*arrays):
    """Batches of BATCH rows: of one array bare, of several as a tuple."""
    for start in range(0, ROWS, BATCH):
        cut = tuple(array[start : start + BATCH] for array in arrays)
        yield cut[0] if len(arrays) == 1 else cut


class Pairs(keras.utils.Sequence):
    def __len__(self):
        return len(list(parts(X)))

    def __getitem__(self, number):
        return list(parts(X, Y))[number]


class Pairs3(keras_3.utils.PyDataset):
    def __len__(self):
        return len(list(parts(X)))

    def __getitem__(self, number):
        return list(parts(X, Y))[number]


def rows_of(*arrays):
    """A representative dataset, as the TFLite converter takes it."""

    def representative_dataset():
        for row in zip(*arrays, strict=True):
            yield [values[None] for values in row]

    return representative_dataset


def dataset(structure):
    return tf.data.Dataset.from_tensor_slices(structure).batch(BATCH)


ONE = {
    "array": lambda: X,
    "tensor": lambda: tf.constant(X),
    "float64": lambda: X.astype(np.float64),
    "without its last dimension of 1": lambda: X[..., 0],
    "with one dimension of 1 more": lambda: X[..., None],
    "numbers in lists": X.tolist,
    "(x,)": lambda: (X,),
    "(x, y)": lambda: (X, Y),
    "(x, y) of one shape": lambda: (X, 1 - X),
    "(x, y, w)": lambda: (X, Y, Y),
    "([x], y)": lambda: ([X], Y),
    "(dict, y)": lambda: ({"image": X}, Y),
    "[x]": lambda: [X],
    "dict": lambda: {"image": X, "label": Y},
    "dict of any name": lambda: {"x": X},
    "list of batches": lambda: list(parts(X)),
    "list of pairs": lambda: list(parts(X, Y)),
    "list of dicts": lambda: [{"image": batch} for batch in parts(X)],
    "generator": lambda: parts(X),
    "generator of pairs": lambda: parts(X, Y),
    "generator function": lambda: lambda: parts(X, Y),
    "function that returns an array": lambda: lambda: X,
    "representative dataset": lambda: rows_of(X),
    "representative dataset of the converter": lambda: tf.lite.RepresentativeDataset(rows_of(X)),
    "dataset": lambda: dataset(X),
    "dataset of pairs": lambda: dataset((X, Y)),
    "dataset of dicts": lambda: dataset(({"image": X}, Y)),
    "dataset of rows, batched": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(1),
    "sequence": Pairs,
    "sequence of Keras 3": Pairs3,
}
TWO = {
    "[a, b]": lambda: [X, Z],
    "(a, b)": lambda: (X, Z),
    "([a, b], y)": lambda: ([X, Z], Y),
    "((a, b), y, w)": lambda: ((X, Z), Y, Y),
    "dict": lambda: {"vector": Z, "image": X, "label": Y},
    "(dict, y)": lambda: ({"vector": Z, "image": X}, Y),
    "list of pairs": lambda: list(parts(X, Z)),
    "generator of lists": lambda: ([a, b] for a, b in parts(X, Z)),
    "generator of dicts": lambda: ({"vector": b, "image": a} for a, b in parts(X, Z)),
    "representative dataset": lambda: rows_of(X, Z),
    "dataset of pairs": lambda: dataset((X, Z)),
    "dataset of (pair, y)": lambda: dataset(((X, Z), Y)),
    "dataset of (dict, y)": lambda: dataset(({"vector": Z, "image": X}, Y)),
}


def assert_fed(model, data, *arrays):
    """All rows, in batches of BATCH, in the inputs' order and type."""
    fed = list(feed.batches(model, data, BATCH))
    assert [len(batch[0]) for batch in fed] == [5, 5, 2]
    for values, expected in zip(zip(*fed, strict=True), arrays, strict=True):
        np.testing.assert_array_equal(np.concatenate(values), expected, strict=True)


@pytest.mark.parametrize("form", ONE)
def test_one_input(one, form):
    assert_fed(one, ONE[form](), X)


@pytest.mark.parametrize("form", TWO)
def test_two_inputs(two, form):
    assert_fed(two, TWO[form](), X, Z)


@pytest.mark.parametrize("name", ["rows.npy", "rows.npz", "named.npz"])
def test_paths_are_read_as_the_exporter_reads_them(one, tmp_path, name):
    np.save(tmp_path / "rows.npy", X)
    np.savez(tmp_path / "rows.npz", X)
    np.savez(tmp_path / "named.npz", label=Y, image=X)
    assert_fed(one, str(tmp_path / name), X)
    assert_fed(one, tmp_path / name, X)


def test_a_path_for_two_inputs(two, tmp_path):
    np.savez(tmp_path / "both.npz", vector=Z, image=X)
    assert_fed(two, tmp_path / "both.npz", X, Z)


def test_inputs_that_were_given_as_a_dict():
    inputs = {"b": keras.Input((4,), name="second"), "a": keras.Input((8, 8, 1), name="first")}
    model = keras.Model(inputs, L.Concatenate()([L.Flatten()(inputs["a"]), inputs["b"]]))
    assert_fed(model, {"b": Z, "a": X}, X, Z)


def test_integers_become_what_the_input_is(one):
    images = (255 * X).astype(np.uint8)
    assert_fed(one, images, images.astype(np.float32))


def test_open_dimensions_take_any_size():
    model = keras.Sequential([keras.Input((None, None, 1)), L.GlobalAveragePooling2D(), L.Dense(2)])
    fed = list(feed.batches(model, [X, X[:, :4]], BATCH))
    assert [batch[0].shape for batch in fed] == [(ROWS, 8, 8, 1), (ROWS, 4, 8, 1)]


def test_rows_of_several_shapes_are_put_together_shape_by_shape():
    model = keras.Sequential([keras.Input((None, 4)), L.GlobalAveragePooling1D(), L.Dense(2)])
    lengths = [3, 3, 2, 2, 2, 2, 2, 2]
    fed = list(feed.batches(model, (np.ones((1, length, 4)) for length in lengths), BATCH))
    assert [batch[0].shape[:2] for batch in fed] == [(2, 3), (5, 2), (1, 2)]


WRONG_ONE = {
    "labels in a list": ([X, Y], r"input image takes \[rows, 8, 8, 1\], got int64 \[12\] in batch 1"),
    "labels alone": (Y, r"got int64 \[12\] in the data"),
    "one row": (X[0], r"got float32 \[8, 8, 1\] in the data; that is one row: stack them"),
    "rows not batched": (tf.data.Dataset.from_tensor_slices(X), r"in batch 0 .*one row.*\.batch\(32\)"),
    "channels first": (np.zeros((2, 1, 8, 8)), r"\[2, 1, 8, 8\] in the data; transpose it to \[rows, 8, 8, 1\]"),
    "flat": (X.reshape(ROWS, 64), r"reshape it to \[rows, 8, 8, 1\]"),
    "text": (np.array(["a", "b"]), r"input image takes real numbers, got <U1 \[2\]"),
    "objects": (np.array([X[0], None], dtype=object), r"takes real numbers, got object \[2\]"),
    "complex": (X.astype(complex), r"takes real numbers, got complex128"),
    "four in a tuple": ((X, Y, Y, Y), r"one input, image, got a tuple of 4 .*an array, or \(inputs, labels\)"),
    "pairs in a tuple": (((X, Y), (X, Y)), r"one input, image, got a tuple of 2"),
    "other names": ({"x": X, "y": Y}, r"no data for inputs image in the data, which has x, y; name each so"),
    "a number": (3, r"data is of type int; give an array"),
    "None": (None, r"data is of type NoneType; give an array"),
    "numbers": (iter([1.0]), r"input image takes arrays, got float in batch 0"),
    "ragged lists": ([[1.0], [1.0, 2.0]], r"the lists of the data make no array"),
    "a model": (keras.Sequential(name="other"), r"data is the Sequential other; give inputs"),
    "a class": (dict, r"data is a type that takes arguments"),
    "a function of arguments": (lambda row: row, r"data is a function that takes arguments"),
    "no file": ("nothing.npz", r"cannot read nothing\.npz"),
    "infinite": (np.full_like(X, np.inf), r"batch 0 of the calibration data has values that are not finite"),
    "too large": (X.astype(np.float64) + 1e300, r"values that are not finite"),
}  # fmt: skip
WRONG_TWO = {
    "one array": (X, r"2 inputs, image, vector, got one array \[12, 8, 8, 1\] .* \[image, vector\], or a dict"),
    "three arrays": ([X, Z, Y], r"2 inputs, .* got one array \[12, 8, 8, 1\] in batch 0"),
    "the other order": ([Z, X], r"input image takes \[rows, 8, 8, 1\], got float32 \[12, 4\].*give \[image, vector\]"),
    "one name": ({"image": X}, r"no data for inputs vector in the data, which has image"),
    "unequal rows": ([X, Z[:3]], r"unequal numbers of rows in the data: image 12, vector 3"),
}  # fmt: skip


@pytest.mark.parametrize("form", WRONG_ONE)
def test_what_one_input_does_not_take(one, form):
    data, message = WRONG_ONE[form]
    with pytest.raises(ValueError, match=message) as error:
        list(feed.batches(one, data, BATCH))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("form", WRONG_TWO)
def test_what_two_inputs_do_not_take(two, form):
    data, message = WRONG_TWO[form]
    with pytest.raises(ValueError, match=message):
        list(feed.batches(two, data, BATCH))


def test_calibration_takes_pairs_and_endless_data(digits):
    images, labels = digits[:2]
    quantized = keras_rat.quantize_model(networks.build(networks.flatten_dense), 4)
    found = []
    for data in (images[:64], (images[:64], labels[:64]), itertools.repeat((images[:32], labels[:32]))):
        keras_rat.calibrate(quantized, data, steps=3, multipliers="nearest")
        found.append(networks.ranges(quantized)["quantize_layer"])
    assert found[0] == found[1]
    assert found[2] == pytest.approx((0.0, images[:32].max()))


def test_counts():
    quantized = keras_rat.quantize_model(networks.build(networks.flatten_dense))
    for option, value in itertools.product(["steps", "batch_size"], [0, -1, 1.5, True]):
        with pytest.raises(ValueError, match=rf"{option} must be an integer from 1, got {value}"):
            keras_rat.calibrate(quantized, X, **{option: value})


def test_data_that_goes_bad_leaves_the_model_as_it_was(digits):
    """The ranges and multipliers of a calibrated model come back where the second batch does not fit."""
    quantized = keras_rat.quantize_model(networks.build(networks.flatten_dense), 2, "keep")
    for _ in range(2):  # before and after it is calibrated
        before = quantized.get_weights()
        with pytest.raises(ValueError, match="batch 1"):
            keras_rat.calibrate(quantized, [digits[0][:32], digits[0][:32, :4]])
        for old, new in zip(before, quantized.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        keras_rat.calibrate(quantized, digits[0][:32])
