"""The costs of phasescope, beside its peers, on the machine where this runs: `python -m benchmarks`."""
