"""Storage systems behind one contract (`base`): models, errors and journal; drivers in sub-packages.

Knows nothing of HTTP, Celery or Redis. `registry` opens a driver by its class name.
"""
