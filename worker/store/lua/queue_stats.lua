-- The state of each queue. ARGV: worker TTL ms, then queue names.
-- Returns, for each: {waiting, running, how long its oldest job has waited (ms), names of its workers}.
local stats = {}
for i = 2, #ARGV do
  local queued = queued_key(ARGV[i])
  local first = redis.call('ZRANGE', queued, 0, 0)[1]
  local created = first and get(first, 'created')[1]
  stats[#stats + 1] = {
    redis.call('ZCARD', queued),
    redis.call('ZCARD', running_key(ARGV[i])),
    created and math.max(0, now - tonumber(created)) or 0,
    redis.call('ZRANGEBYSCORE', P .. 'workers:' .. ARGV[i], now - tonumber(ARGV[1]), now + tonumber(ARGV[1]))
  }
end
return stats
