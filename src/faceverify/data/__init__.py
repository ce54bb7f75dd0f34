"""CelebA's lists and photos on their way to training: selection, pairs, records."""
