"""Kills parts of the running service at random, and checks the outcome of every job from outside."""
