-- Record that a worker is alive. ARGV: node, then for each queue it serves its name and how many slots the worker has for it.
allow_when_full()
for i = 2, #ARGV, 2 do
  local queue, node = ARGV[i], ARGV[1]
  redis.call('ZADD', P .. 'workers:' .. queue, now, node)
  redis.call('ZREMRANGEBYSCORE', P .. 'workers:' .. queue, '-inf', now - 600000)
  -- From before the clock was set back: who lives still says so again.
  redis.call('ZREMRANGEBYSCORE', P .. 'workers:' .. queue, now + WORKER_TTL_MS, '+inf')
  redis.call('HSET', P .. 'slots:' .. queue, node, ARGV[i + 1])
  local slots = 0
  for name, count in pairs(pairs_of(redis.call('HGETALL', P .. 'slots:' .. queue))) do
    local seen = tonumber(redis.call('ZSCORE', P .. 'workers:' .. queue, name) or '0')
    if seen < now - WORKER_TTL_MS then redis.call('HDEL', P .. 'slots:' .. queue, name) else slots = slots + tonumber(count) end
  end
  redis.call('SET', capacity_key(queue), slots, 'PX', WORKER_TTL_MS)
end
return now
