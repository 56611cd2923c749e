"""Tries from outside to stop the service for others, and measures what an administrator notices of it.

``make chaos ARGS="--attack --seconds 300"``. A stranger and a user without roles do at the same time whatever costs the
service more than them. Meanwhile `/healthz`, a look-up and an administrator's change are measured.
"""
