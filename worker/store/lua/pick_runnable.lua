-- The first runnable jobs of a queue that were not published within this second. ARGV: queue, limit, how many to scan
allow_when_full()
local messages = {}
for _, id in ipairs(redis.call('ZRANGE', queued_key(ARGV[1]), 0, tonumber(ARGV[3]) - 1)) do
  if #messages >= tonumber(ARGV[2]) then break end
  local f = get(id, 'state', 'not_before', 'dispatched_at')
  local later = tonumber(f[2] or '') or 0
  if f[1] ~= 'queued' then
    leave_queue(ARGV[1], id)
  elseif later <= now and not is_dispatched(f[3]) and not is_blocked(id) then
    redis.call('HSET', job_key(id), 'dispatched_at', text(now))
    messages[#messages + 1] = message_of(id)
  end
end
return messages
