"""What RFC 9110, 9457, 7240 and Flask ask of every request: problem documents, bodies, preferences, request ids, hooks.

Knows nothing of jobs, volumes or roles.
"""
