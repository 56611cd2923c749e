"""What every worker does in the background: heartbeat, recovery of jobs, scheduled refreshes, compaction."""
