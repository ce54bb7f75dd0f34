"""What every wing stands on: errors, files, schemas, caches, workers. Imports no other wing."""
