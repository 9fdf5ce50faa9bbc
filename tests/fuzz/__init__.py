# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of the exporter; `python -m tests.fuzz` for long runs."""
