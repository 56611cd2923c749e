"""Celery: the application, its transport, messages and their publisher, task events for Flower."""
