"""Fuzzing of the exporter; `python -m tests.fuzz` for long runs."""
