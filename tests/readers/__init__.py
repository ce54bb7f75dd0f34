"""Every reader of files, with hostile files for it; see `__main__`."""
