"""The OpenAPI document and the blueprint that declares routes with their operations, roles and answers."""
