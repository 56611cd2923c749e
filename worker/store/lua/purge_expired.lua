-- Delete finished jobs whose TTL is over, with every index entry. ARGV: limit. Returns how many were deleted.
local gone = redis.call('ZRANGEBYSCORE', P .. 'expiring', '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
for _, id in ipairs(gone) do
  local f = get(id, 'requester_key', 'operation', 'subsystem', 'volume', 'state')
  if f[5] then
    for _, key in ipairs(index_keys(unpack(f))) do redis.call('ZREM', key, id) end
  end
  redis.call('DEL', job_key(id), P .. 'result:' .. id)
  redis.call('ZREM', P .. 'expiring', id)
end
return #gone
