"""Benchmarks: ratios against a reference measured in the same run, because machines are noisy."""
