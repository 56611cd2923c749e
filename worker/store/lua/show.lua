-- A job with what is told of it while it waits. ARGV: id, workers' time to live ms, largest inline result (bytes)
return shown(ARGV[1], ARGV[2], ARGV[3])
