"""Reconciliation on the filer: the outcome of a change whose response was lost."""
