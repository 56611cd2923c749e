"""Redis: connections with bounded waiting, the Lua scripts as typed methods, counters for metrics.

No other package builds Redis commands by hand where a script exists for the step.
"""
