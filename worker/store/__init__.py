"""Redis: connections with time limits, the Lua scripts as typed methods, counters for metrics.

No other package builds Redis commands by hand where a script exists for the step.
"""
