"""The library of the stage scripts: from CelebA photos to a Siamese face verifier."""
