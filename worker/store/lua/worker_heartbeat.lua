-- Record that a worker is alive. ARGV: node, then the queues it serves.
allow_when_full()
for i = 2, #ARGV do
  redis.call('ZADD', P .. 'workers:' .. ARGV[i], now, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', P .. 'workers:' .. ARGV[i], '-inf', now - 600000)
end
return now
