-- Make a key live at least this long. ARGV: key, TTL (ms)
extend_ttl(ARGV[1], ARGV[2])
