"""How the service is spoken to, without doing any input or output: generators that say what is to be sent.

A *flow* is a generator. It yields commands (``Send``, ``Pause`` …), is sent what they led to, and returns its result.
The drivers of ``blocking`` and ``aio`` carry the commands out; all that there is to know about jobs, keys, long polls
and repetition is here, once.
"""
