-- Delete finished jobs whose TTL is over, with every index entry: also when memory is full, since that frees it. ARGV: limit.
-- Returns how many were deleted.
allow_when_full()
local gone = redis.call('ZRANGEBYSCORE', P .. 'expiring', '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
for _, id in ipairs(gone) do
  unindex_job(id)
  redis.call('DEL', job_key(id), P .. 'result:' .. id, members_key(id))
  redis.call('ZREM', P .. 'expiring', id)
end
return #gone
