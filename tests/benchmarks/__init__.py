"""Benchmarks (`make bench`): the service compared with minimal implementations, in one run."""
