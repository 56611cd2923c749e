"""One trace for each job (OpenTelemetry): switched on by the standard ``OTEL_*`` variables, else not imported.

A job's record holds the context of the request that made it, so that every worker that executes the job continues
the request's trace.
"""
