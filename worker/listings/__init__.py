"""The cache of listings: versions, the delta log, the in-process copy, and what a change does to them."""
