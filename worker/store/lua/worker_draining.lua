-- Record that a worker shuts down, so that it does not count as online for its queues any more. ARGV: node, then the queues it served.
allow_when_full()
for i = 2, #ARGV do redis.call('ZREM', P .. 'workers:' .. ARGV[i], ARGV[1]) end
redis.call('ZADD', P .. 'draining', now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', P .. 'draining', '-inf', now - 600000)
return now
