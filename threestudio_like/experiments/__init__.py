"""Works across runs: sweeps, clusters, comparisons, their statistics and reports."""
