"""The Siamese network: brain, tower, losses, training, stored and exported models."""
