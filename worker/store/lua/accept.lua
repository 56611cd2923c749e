-- Record a job, its idempotency key, its place in the order and in its lane, in one step; or say why not.
-- ARGV: id, fields, request (see Jobs.accept), then as for show, the ring as a message ('': rung for later).
-- Answers {word, id, the job as shown or ''}.
local id, fields, r = ARGV[1], cjson.decode(ARGV[2]), cjson.decode(ARGV[3])

if r.idempotency ~= '' then
  local known = redis.call('HMGET', P .. 'idem:' .. r.idempotency, 'id', 'hash')
  if known[1] then
    local word = known[2] == r.request_hash and 'REPLAYED' or 'REUSED'
    return {word, known[1], shown(known[1], ARGV[4], ARGV[5])}
  end
end
if r.flight ~= '' then
  local other = redis.call('GET', flight_key(r.flight))
  local state = other and get(other, 'state')[1]
  if state == 'queued' or (state == 'running' and r.join_begun) then
    if not r.refresh then
      redis.call('HINCRBY', job_key(other), 'joins', 1)
      -- Who joins wants another part of the listing: the result is the whole, unless it is asked for with a query.
      if (get(other, 'query')[1] or '') ~= (fields.query or '') then redis.call('HSET', job_key(other), 'query', '') end
    end
    return {'JOINED', other, shown(other, ARGV[4], ARGV[5])}
  end
end
if (r.seen or '') ~= '' and (redis.call('HGET', view_key(r.flight), 'as_of') or '0') ~= r.seen then return {'CHANGED', '', ''} end
if redis.call('ZCARD', lane_key(fields.queue)) >= r.queue_limit then return {'FULL', '', ''} end

local seq = text(redis.call('INCR', P .. 'seq'))
set_all(id, fields, 'state', 'queued', 'seq', seq, 'version', '1', 'attempt', '0', 'created', text(now),
  'updated', text(now), 'rings', '0', 'joins', '0')
local sub = fields.subsystem
redis.call('ZADD', open_key(sub), now + r.first_sweep_ms, id)
redis.call('ZADD', lane_key(fields.queue), seq, id)
for _, key in ipairs(cjson.decode(fields.keys)) do redis.call('ZADD', order_key(sub, key), seq, id) end
if fields.references ~= '' and fields.kind == 'change' then redis.call('ZADD', unresolved_key(sub), seq, id) end
local indexes = index_keys(fields.requester_key, fields.operation, sub, fields.volume, 'queued')
for _, key in ipairs(indexes) do redis.call('ZADD', key, seq, id) end
if r.flight ~= '' then redis.call('SET', flight_key(r.flight), id) end
if r.idempotency ~= '' then
  redis.call('HSET', P .. 'idem:' .. r.idempotency, 'id', id, 'hash', r.request_hash)
  redis.call('PEXPIRE', P .. 'idem:' .. r.idempotency, r.idempotency_ms)
end
if ARGV[6] ~= '' then redis.call('LPUSH', fields.queue, ARGV[6]) end
return {'NEW', id, shown(id, ARGV[4], ARGV[5])}
