"""The service on several hosts: cut off from each other, and with other ways to its Redis and its broker."""
