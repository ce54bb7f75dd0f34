"""Face verification: from CelebA photos to a Siamese verifier. The library that the stage scripts share."""
