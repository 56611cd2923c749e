"""Whether the files of `deploy/` and the images are fit to be deployed; most of it needs neither cluster nor engine."""
