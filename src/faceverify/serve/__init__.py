"""The verifier as an HTTP service; runs without TensorFlow and without this checkout."""
