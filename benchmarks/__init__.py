"""`python -m benchmarks`: the runtime against its rivals, on one machine in one run."""
