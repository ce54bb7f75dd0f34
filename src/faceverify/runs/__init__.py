"""What knows the project: params.yaml, git, DVC, the machine."""
