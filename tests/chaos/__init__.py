"""Kills parts of the running service at random, and counts from outside what became of every job."""
