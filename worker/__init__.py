"""The queue and who works on it.

The front end may import ``operations, views, jobs, records, shown, listings, ids, settings, celery_app, bell,
redis_access, events, answers, logs``; ``perform, tasks, sweeper, main, desk`` and what they open belong to worker
processes only.
"""
