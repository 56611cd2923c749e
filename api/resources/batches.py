"""Batches: many changes in one order. Their jobs are shown, cancelled and done again as all others."""

from __future__ import annotations

from flask.views import MethodView

from api.batches.submit import submit_batch
from api.openapi import operations as documentation
from api.openapi.blueprint import MAY_CHANGE, Blueprint
from api.schemas.batches import BatchSchema, MemberResultSchema
from api.schemas.jobs import JobSchema

blp = Blueprint("batches", __name__, url_prefix="/v4/batches", description="Batches")

#: The documentation page puts the first configured storage system in the place of `dummy`.
_EXAMPLES = {
    "requests": {
        "summary": "Snapshots of two volumes, listed one by one",
        "value": {
            "name": "before-move",
            "requests": [
                {"method": "POST", "path": f"/v4/dummy/volumes/{volume}/snapshots/before-move", "body": {}}
                for volume in ("dbvol01", "dbvol02")
            ],
        },
    },
    "for_each": {
        "summary": "A snapshot of each volume that a filter chooses",
        "value": {
            "name": "nightly",
            "for_each": {"subsystem": "dummy", "where": "name=dbvol*&state=online"},
            "request": {"method": "POST", "path": "/v4/dummy/volumes/{name}/snapshots/nightly", "body": {}},
        },
    },
}


@blp.route("")
class BatchesView(MethodView):
    """Asking for many changes."""

    @blp.exposes("create_batch", access=MAY_CHANGE, problems=(409, 410, 413, 415, 501, 502, 504))
    @blp.arguments(BatchSchema, examples=_EXAMPLES)
    @blp.doc(parameters=[documentation.PREFER, documentation.IDEMPOTENCY, documentation.CACHE_CONTROL])
    @blp.response(202, JobSchema, description="Accepted: follow the job", headers=documentation.ACCEPTED)
    @blp.response(
        200, MemberResultSchema(many=True), description="It has ended in time", headers=documentation.RESULT[204]
    )
    def post(self, body):
        """Make many changes

        All are checked first, and accepted as a whole or not at all. `requests` lists them; or `request` is made for
        each volume that `for_each` chooses, with its name in the place of `{name}`. Members are ordinary jobs, of which
        at most `parallel` wait in the queues at a time. The batch ends with its last member; then its `result` has an
        answer for each, in the order of the requests.
        """
        return submit_batch(body)
