"""The routes of the v3 API, one short view each."""
