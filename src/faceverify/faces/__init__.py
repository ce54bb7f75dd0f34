"""Faces in aligned photos: landmarks, alignment, descriptors."""
