-- The status of a job. ARGV: id, worker TTL ms, largest inline result (bytes)
return job_status(ARGV[1], ARGV[2], ARGV[3])
