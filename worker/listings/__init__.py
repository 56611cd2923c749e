"""The cache of listings: versions, the delta log, the in-process copy, and how changes update them."""
