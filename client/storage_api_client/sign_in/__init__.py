"""Authentication: flows that sign in, and the credentials that they return."""
