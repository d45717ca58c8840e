"""What phasescope costs, beside its peers, on the machine where this runs: `python -m benchmarks`."""
