"""The parts of the benchmarks, each with a `run(bench)`."""
