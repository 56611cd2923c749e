"""General HTTP handling (RFC 9110, 9457, 7240): problem documents, bodies, preferences, request ids, hooks.

Knows nothing of jobs, volumes or roles.
"""
