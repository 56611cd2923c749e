"""Export policies and their rules: who may mount."""

from __future__ import annotations

from flask.views import MethodView

from api.http.bodies import require_empty_body
from api.jobs.submit import submit
from api.openapi.blueprint import Blueprint
from api.reads.read import read
from api.schemas.resources import NewPolicySchema
from worker.catalog.operations import (
    CREATE_POLICY,
    DELETE_POLICY,
    ENSURE_POLICY_RULE_ABSENT,
    ENSURE_POLICY_RULE_PRESENT,
    GET_POLICY,
    LIST_POLICIES,
)

blp = Blueprint("exports", __name__, url_prefix="/v4/<subsystem>/export", description="Export policies")


@blp.route("")
class PoliciesView(MethodView):
    """All export policies of a subsystem."""

    @blp.performs(LIST_POLICIES)
    def get(self, subsystem):
        """List export policies"""
        return read(LIST_POLICIES, subsystem, {})


@blp.route("/<policy:policy>")
class PolicyView(MethodView):
    """One export policy."""

    @blp.performs(GET_POLICY)
    def get(self, subsystem, policy):
        """Show an export policy"""
        return read(GET_POLICY, subsystem, {"policy": policy})

    @blp.performs(CREATE_POLICY)
    @blp.arguments(NewPolicySchema, example={"rules": ["10.0.0.0/24", "dbhost01.example.org", "@dbas"]})
    def post(self, body, subsystem, policy):
        """Create an export policy"""
        return submit(CREATE_POLICY, subsystem, {"policy": policy, "rules": body["rules"]})

    @blp.performs(DELETE_POLICY)
    def delete(self, subsystem, policy):
        """Delete an export policy

        It is refused while a volume uses it (`policy-in-use`).
        """
        require_empty_body()
        return submit(DELETE_POLICY, subsystem, {"policy": policy})


@blp.route("/<policy:policy>/rule/<anything:rule>")
class RuleView(MethodView):
    """One rule of an export policy."""

    @blp.performs(ENSURE_POLICY_RULE_PRESENT)
    def put(self, subsystem, policy, rule):
        """See to it that a policy has a rule

        It is appended unless it is there.
        """
        require_empty_body()
        return submit(ENSURE_POLICY_RULE_PRESENT, subsystem, {"policy": policy, "rule": rule})

    @blp.performs(ENSURE_POLICY_RULE_ABSENT)
    def delete(self, subsystem, policy, rule):
        """See to it that a policy does not have a rule"""
        require_empty_body()
        return submit(ENSURE_POLICY_RULE_ABSENT, subsystem, {"policy": policy, "rule": rule})
