"""What `make bench` measures: the service beside the least that could do the same, in one run."""
