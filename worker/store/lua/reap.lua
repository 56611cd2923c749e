-- Forget finished jobs whose time is over, with every index entry. ARGV: how many at most. Answers how many went.
local gone = redis.call('ZRANGEBYSCORE', P .. 'finished', '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
for _, id in ipairs(gone) do
  local f = get(id, 'requester_key', 'operation', 'subsystem', 'volume', 'state')
  if f[5] then
    for _, key in ipairs(index_keys(unpack(f))) do redis.call('ZREM', key, id) end
  end
  redis.call('DEL', job_key(id), P .. 'result:' .. id)
  redis.call('ZREM', P .. 'finished', id)
end
return #gone
