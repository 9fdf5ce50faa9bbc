# SPDX-License-Identifier: Apache-2.0
"""The graph of layers that a model is given as: rebuilt from Keras 3, flattened, in layers that have int8 operators."""
