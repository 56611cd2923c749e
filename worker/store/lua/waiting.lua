-- The first jobs of a lane that could start now and were not rung for this second. ARGV: queue, how many, how many to look at
even_if_full()
local found = {}
for _, id in ipairs(redis.call('ZRANGE', lane_key(ARGV[1]), 0, tonumber(ARGV[3]) - 1)) do
  if #found >= tonumber(ARGV[2]) then break end
  local f = get(id, 'state', 'not_before', 'rung')
  local later = tonumber(f[2] or '') or 0
  local rung = tonumber(f[3] or '') or 0
  if f[1] ~= 'queued' then
    redis.call('ZREM', lane_key(ARGV[1]), id)
  elseif later <= now and (rung <= now - 1000 or rung > now) and not blocked(id) then
    redis.call('HSET', job_key(id), 'rung', text(now))
    found[#found + 1] = bell(id)
  end
end
return found
