"""Readiness, the figures of `/metrics`, and the state of the service that the status page shows."""
