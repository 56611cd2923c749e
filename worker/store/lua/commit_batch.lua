-- Accept a batch whose members are prepared: this step makes it and all of them visible. ARGV: id, fields, request (see
-- Batches.accept), worker TTL ms, largest inline result (bytes). Returns {outcome, id, status or '', messages to publish}.
local id, fields, r = ARGV[1], cjson.decode(ARGV[2]), cjson.decode(ARGV[3])

if r.idempotency ~= '' then
  local earlier = redis.call('HMGET', P .. 'idem:' .. r.idempotency, 'id', 'hash')
  if earlier[1] then
    local word = earlier[2] == r.request_hash and 'REPLAYED' or 'REUSED'
    return {word, earlier[1], job_status(earlier[1], ARGV[4], ARGV[5]), {}}
  end
end
for _, queue in ipairs(r.queues) do
  if redis.call('ZCARD', queued_key(queue)) >= r.queue_limit then return {'FULL', '', '', {}} end
  if redis.call('ZCARD', queued_by_key(queue, fields.requester_key)) >= r.share_limit then return {'SHARE_FULL', '', '', {}} end
end
-- Its preparation took so long that it was discarded.
if redis.call('LLEN', members_key(id)) ~= r.total or not redis.call('ZSCORE', P .. 'batches_preparing', id) then
  return {'CHANGED', '', '', {}}
end

local seq, total = tonumber(redis.call('INCR', P .. 'seq')), text(r.total)
set_all(id, fields, 'state', 'queued', 'seq', text(seq), 'version', '1', 'attempt', '0', 'created', text(now),
  'updated', text(now), 'waiters', '0', 'total', total, 'current', '0', 'next_member', '0', 'in_queues', '0',
  'members_queued', total, 'members_running', '0', 'members_succeeded', '0', 'members_failed', '0', 'members_cancelled', '0')
redis.call('ZREM', P .. 'batches_preparing', id)
index_job(id, fields, seq, 'queued')
if r.idempotency ~= '' then
  redis.call('HSET', P .. 'idem:' .. r.idempotency, 'id', id, 'hash', r.request_hash)
  redis.call('PEXPIRE', P .. 'idem:' .. r.idempotency, r.idempotency_ms)
end
log_event(id)
local messages = {}
notify_worker(id, messages)
release_members(id, messages)
return {'NEW', id, job_status(id, ARGV[4], ARGV[5]), messages}
