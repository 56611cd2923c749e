"""The query of the event stream."""

from __future__ import annotations

from api.schemas.jobs import JobQuerySchema


class EventQuerySchema(JobQuerySchema):
    """Which jobs' changes to send: the filters of the job list."""

    class Meta(JobQuerySchema.Meta):  # noqa: D106 - marshmallow's way
        exclude = ("limit", "page_token")
