"""Carrying jobs out: claiming, the lease and its renewal, the executor, reconciliation of in-doubt changes."""
