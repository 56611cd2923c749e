"""Webhooks: the ends of jobs, sent to receivers by Celery workers on a queue of their own.

`dispatcher` reads the event log and makes a delivery for each receiver, in Redis; `outbox` holds deliveries until they
are accepted, retried, or given up; `tasks` sends them. Only these processes know the receivers' secrets.
"""
