-- Keep a key for at least so long. ARGV: key, time (ms)
keep(ARGV[1], ARGV[2])
