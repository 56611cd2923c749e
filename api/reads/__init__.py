"""Reads answered from the cached listings or through a job: freshness, filters, sorting, pages, results."""
