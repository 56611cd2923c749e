"""Batches: many changes in one order. What was asked for, which changes that means, and what became of them."""
