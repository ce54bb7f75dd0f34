"""Two photos in, a decision out; runs without TensorFlow and without this checkout."""
