"""Batches: many changes in one request. Parsing the request, planning its jobs, submission and results."""
