-- Request cancellation; that of a batch is executed by `advance_batch`. ARGV: id, requester, record TTL ms
allow_when_full()
local id = ARGV[1]
local f = get(id, 'state', 'kind', 'waiters', 'cancellable', 'version')
if not f[1] then return {'GONE', {}} end
if f[1] == 'cancelling' then return {'CANCELLING', {}} end
if is_done(f[1]) then return {'TOO_LATE', {}} end
if f[2] == 'batch' then
  index_state(id, f[1], 'cancelling')
  change(id, f[5], {}, 'state', 'cancelling', 'cancel_requested', text(now), 'cancelled_by', ARGV[2], 'stopping', '1',
    'stopped_to', '0')
  redis.call('ZADD', P .. 'batches_stopping', now, id)
  return {'CANCELLING', {}}
end
if f[2] == 'read' and tonumber(f[3] or '0') > 0 then return {'SHARED', {}} end
if f[1] == 'queued' then
  return {'CANCELLED', finish(id, 'cancelled', tonumber(ARGV[3]), {cancel_requested = text(now), cancelled_by = ARGV[2]})}
end
if f[4] ~= '1' then return {'TOO_LATE', {}} end
index_state(id, 'running', 'cancelling')
change(id, f[5], {}, 'state', 'cancelling', 'cancel_requested', text(now), 'cancelled_by', ARGV[2])
return {'CANCELLING', {}}
