"""Marshmallow schemas and name rules of what clients send and receive. No Flask views, no Redis."""
