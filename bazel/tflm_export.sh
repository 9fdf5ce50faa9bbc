#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The exporter of this repository, with the Python that has what it imports.
runfiles="${RUNFILES_DIR:-$0.runfiles}"
PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$runfiles/keras_rat" exec "$runfiles/narrow_python/python" -m tflm_export "$@"
