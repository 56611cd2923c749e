"""One trace for each job (OpenTelemetry): switched on by the standard ``OTEL_*`` variables, else not imported.

A job's record holds the context of the request that made it, so that whichever worker goes on with the job goes on with
its trace.
"""
