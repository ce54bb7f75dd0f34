"""The verifier judged on any labelled photos: error rates, plots and pictures in one report."""
