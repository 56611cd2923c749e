"""Background tasks of every worker: heartbeat, recovery of jobs, scheduled refreshes, compaction."""
