"""The predecessor's API below /v3, for clients that nobody rewrites: the same jobs and reads as /v4 in the old form.

A change is held open until its job ends. One module each translates problems, records, dates, masks, bodies and names.
Deleting this folder and the line in `api.app` that names it takes the API out.
"""

from api.v3.setup import init_app

__all__ = ["init_app"]
