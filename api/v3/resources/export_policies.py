"""Export policies and their rules below /v3."""

from __future__ import annotations

from flask.views import MethodView

from api.schemas.resources import PolicySchema
from api.v3.blueprint import blp
from api.v3.bodies import V3NewPolicySchema
from api.v3.changes import change, no_body
from api.v3.problems import name_in_messages
from api.v3.reads import read
from api.v3.schemas import EMPTY_TEXT
from worker.catalog.operations import (
    CREATE_POLICY,
    DELETE_POLICY,
    ENSURE_POLICY_RULE_ABSENT,
    ENSURE_POLICY_RULE_PRESENT,
    GET_POLICY,
    LIST_POLICIES,
)


@blp.route("/export")
class PoliciesView(MethodView):
    """All export policies of a subsystem."""

    @blp.serves("v3_get_all_exports", LIST_POLICIES, takes_mask=True)
    @blp.response(200, PolicySchema(many=True, partial=True))
    def get(self, subsystem):
        """List export policies"""
        return read(LIST_POLICIES, subsystem, {})


@blp.route("/export/<policy:policy>")
class PolicyView(MethodView):
    """One export policy."""

    @blp.serves("v3_get_export", GET_POLICY, takes_mask=True)
    @blp.response(200, PolicySchema(partial=True))
    def get(self, subsystem, policy):
        """Show an export policy"""
        return read(GET_POLICY, subsystem, {"policy": policy})

    @blp.serves("v3_post_export", CREATE_POLICY)
    @blp.arguments(V3NewPolicySchema)
    @blp.response(201, EMPTY_TEXT, description='""')
    def post(self, body, subsystem, policy):
        """Create an export policy"""
        name_in_messages(exists=f"Policy {policy} already exists!")
        return change(CREATE_POLICY, subsystem, {"policy": policy, **body}, fields=body)

    @blp.serves("v3_delete_export", DELETE_POLICY)
    @blp.response(204)
    def delete(self, subsystem, policy):
        """Delete an export policy"""
        return change(DELETE_POLICY, subsystem, {"policy": policy}, status=204, body=no_body)


@blp.route("/export/<policy:policy>/rule/<anything:rule>")
class RuleView(MethodView):
    """One rule of an export policy."""

    @blp.serves("v3_put_export_rule", ENSURE_POLICY_RULE_PRESENT)
    @blp.response(201, EMPTY_TEXT, description='""')
    def put(self, subsystem, policy, rule):
        """Add a rule unless it is there"""
        return change(ENSURE_POLICY_RULE_PRESENT, subsystem, {"policy": policy, "rule": rule})

    @blp.serves("v3_delete_export_rule", ENSURE_POLICY_RULE_ABSENT)
    @blp.response(204)
    def delete(self, subsystem, policy, rule):
        """Remove a rule if it is there"""
        arguments = {"policy": policy, "rule": rule}
        return change(ENSURE_POLICY_RULE_ABSENT, subsystem, arguments, status=204, body=no_body)
