# SPDX-License-Identifier: Apache-2.0
"""What keras_rat keeps to: no private names of others, nothing patched, nothing global, an annotated public API."""

import ast
import inspect
import pathlib
import subprocess
import sys

import pytest

import keras_rat

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = {path.name: ast.parse(path.read_text()) for path in sorted((ROOT / "keras_rat").glob("*.py"))}
INSIDE = {"python", "src"}  # folders of tensorflow, tfmot and tf_keras that are not their public API


def is_private(name) -> bool:
    return name.startswith("_") and not name.endswith("__")


def own_names(tree) -> set[str]:
    """The underscored names that a file defines: functions, methods, globals, attributes of its own instances."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return names


def is_self(node) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def foreign_private_names(tree) -> list[str]:
    """`line: name` of every private module or attribute that the file itself does not define."""
    found, own = [], own_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            modules = []
        found += [f"{node.lineno}: {m}" for m in modules if any(p in INSIDE or is_private(p) for p in m.split("."))]
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own:
            found.append(f"{node.lineno}: {node.attr}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(name.value):
                found.append(f"{node.lineno}: {name.value}")
    return found


def patches(tree) -> list[str]:
    """`line: what` of every function put on an object that is not the writer's own, and of every `global`."""
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            found.append(f"{node.lineno}: global {', '.join(node.names)}")
        if isinstance(node, ast.Attribute) and node.attr == "MethodType":
            found.append(f"{node.lineno}: MethodType")
        if isinstance(node, ast.Assign):
            value = node.value
            is_function = isinstance(value, ast.Lambda) or (isinstance(value, ast.Name) and value.id in functions)
            foreign = [t for t in node.targets if isinstance(t, ast.Attribute) and not is_self(t.value)]
            found += [f"{node.lineno}: {target.attr}" for target in foreign if is_function]
    return found


@pytest.mark.parametrize("name", [name for name in FILES if name != "tfmot_internals.py"])
def test_private_names_of_others_stay_in_tfmot_internals(name):
    assert foreign_private_names(FILES[name]) == []


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_patched_and_nothing_is_global(name):
    assert patches(FILES[name]) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from tensorflow.python.util import nest", "1: tensorflow.python.util.nest"),
        ("import tf_keras.src.backend", "1: tf_keras.src.backend"),
        ("layer._inbound_nodes", "1: _inbound_nodes"),
        ("layer._kernel = 1", "1: _kernel"),
        ("getattr(layer, '_weights', None)", "1: _weights"),
        ("def f(self):\n  self._own = 1\n  return other._own, other.__name__, other.public", None),
    ],
)
def test_the_search_for_private_names_finds_them(code, found):
    assert foreign_private_names(ast.parse(code)) == ([found] if found else [])


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("layer.call = lambda x: x", "1: call"),
        ("def f(): pass\nlayer.call = f", "2: call"),
        ("layer.call = types.MethodType(f, layer)", "1: MethodType"),
        ("def f():\n  global state", "2: global state"),
        ("self.call = lambda x: x\nlayer.activation = activation", None),
    ],
)
def test_the_search_for_patches_finds_them(code, found):
    assert patches(ast.parse(code)) == ([found] if found else [])


KERAS_3_FIRST = """
import tensorflow as tf, keras
tf.keras.layers
import tf_keras, keras_rat
model = keras_rat.quantize_model(tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))]), bits=2)
print(keras_rat.widths(model))
"""


@pytest.mark.slow
def test_the_order_of_imports_does_not_matter():
    result = subprocess.run(
        [sys.executable, "-c", KERAS_3_FIRST], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stdout == "{'quant_dense': 2}\n", result.stderr[-2000:]


def public_callables():
    """(name, function) of all that `__all__` and the callbacks offer; of classes the constructor and public methods."""
    found = [(name, getattr(keras_rat, name)) for name in keras_rat.__all__]
    found = [(name, value) for name, value in found if not inspect.ismodule(value)]
    found += [(name, value) for name, value in vars(keras_rat.callbacks).items() if inspect.isclass(value)]
    for name, value in found:
        if not inspect.isclass(value):
            yield name, value
        elif value.__module__.startswith("keras_rat") and not is_private(name):
            methods = {"__init__", *(m for m in vars(value) if not m.startswith("_") and not m.startswith("on_"))}
            for method in methods & vars(value).keys():
                if inspect.isfunction(vars(value)[method]):
                    yield f"{name}.{method}", vars(value)[method]


CALLABLES = dict(sorted(set(public_callables()), key=lambda each: each[0]))


@pytest.mark.parametrize(("name", "function"), CALLABLES.items(), ids=CALLABLES)
def test_the_public_api_is_annotated(name, function):
    signature = inspect.signature(function)
    bare = [p for p in signature.parameters.values() if p.annotation is p.empty and p.name != "self"]
    assert bare == []
    assert name.endswith("__init__") or signature.return_annotation is not signature.empty


@pytest.mark.parametrize("name", keras_rat.__all__)
def test_the_public_api_is_documented(name):
    assert inspect.getdoc(getattr(keras_rat, name))
