-- Stop some members of a batch that is being cancelled, or stopped after a failure: those that have not begun are cancelled,
-- and if the batch is being cancelled, cancellation of the running ones is requested. ARGV: id, how many members to visit, record TTL ms
-- Returns {1 when there are more, messages to publish}.
allow_when_full()
local batch, messages = ARGV[1], {}
local f = get(batch, 'stopping', 'stopped_to', 'total', 'cancel_requested', 'cancelled_by', 'state')
if f[1] ~= '1' or is_done(f[6]) then
  redis.call('ZREM', P .. 'batches_stopping', batch)
  return {0, messages}
end
local from, total = tonumber(f[2] or '0'), tonumber(f[3])
local to = math.min(from + tonumber(ARGV[2]), total)
redis.call('HSET', job_key(batch), 'stopped_to', text(to))
for _, id in ipairs(redis.call('LRANGE', members_key(batch), from, to - 1)) do
  local m = get(id, 'state', 'attempt', 'cancellable', 'version')
  if m[1] == 'queued' and (m[2] == '0' or (f[4] or '') ~= '') then
    local fields = {cancel_requested = text(now), cancelled_by = f[5] or ''}
    for _, b in ipairs(finish(id, 'cancelled', tonumber(ARGV[3]), fields)) do messages[#messages + 1] = b end
  elseif m[1] == 'running' and (f[4] or '') ~= '' and m[3] == '1' then
    index_state(id, 'running', 'cancelling')
    change(id, m[4], {}, 'state', 'cancelling', 'cancel_requested', text(now), 'cancelled_by', f[5] or '')
  end
end
if to < total then return {1, messages} end
redis.call('ZREM', P .. 'batches_stopping', batch)
return {0, messages}
