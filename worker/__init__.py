"""The queue and the worker processes: job records in Redis, cached listings, Celery, execution and recovery.

At the top: the entry points of processes (`main`, `healthcheck`), and how a worker is put together (`runtime`). `api`
may use `catalog`, `config`, `store`, `jobs`, `listings` (but `updates`) and `messaging.publisher`; the import contracts
in pyproject.toml hold it to that.
"""
