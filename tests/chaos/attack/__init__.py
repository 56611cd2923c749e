"""Denial-of-service attacks from outside, with measurements of how others are affected.

``make chaos ARGS="--attack --seconds 300"``. An anonymous client and a user without roles send requests that cost the
service more than the sender. Meanwhile `/healthz`, a look-up and an administrator's change are measured.
"""
