"""The client's protocol without I/O ("sans-I/O"): generators that yield the requests to send.

A *flow* is a generator. It yields commands (``Send``, ``Pause`` …), receives their results, and returns its own.
The drivers of ``blocking`` and ``aio`` execute the commands. Jobs, idempotency keys, long polls and retries are
implemented here, once for both.
"""
