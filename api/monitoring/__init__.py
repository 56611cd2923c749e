"""Readiness, metrics, and the state of the service for the status page."""
