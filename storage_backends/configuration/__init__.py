"""The configuration of storage systems: the two formats, and the typed options of each driver."""
