"""A simulated identity card: any photo of a face becomes a phone's photo of a printed card."""
