"""The HTTP front end: routes, roles, the OpenAPI document, cached reads, and submission of jobs.

At the top: the process's entry points (`wsgi`, `app`), its `settings`, and the shared `services` object. Each
sub-package says what belongs there. Nothing here opens a storage back-end or knows a filer's credentials.
"""
