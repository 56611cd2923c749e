-- Record a job, its idempotency key, its ordering keys and its place in the queue, in one step; or return why not.
-- ARGV: id, fields, request (see Jobs.accept), worker TTL ms, largest inline result (bytes), Celery message ('': published
-- later). Returns {outcome, id, status or ''}.
local id, fields, r = ARGV[1], cjson.decode(ARGV[2]), cjson.decode(ARGV[3])

if r.idempotency ~= '' then
  local earlier = redis.call('HMGET', P .. 'idem:' .. r.idempotency, 'id', 'hash')
  if earlier[1] then
    local word = earlier[2] == r.request_hash and 'REPLAYED' or 'REUSED'
    return {word, earlier[1], job_status(earlier[1], ARGV[4], ARGV[5])}
  end
end
-- The job of the same request of a client that knows nothing of jobs, if that request is not held open any more.
local function known_repeat(digest)
  local id = redis.call('HGET', repeat_key(digest), 'id')
  if not id then return nil end
  local f = get(id, 'state', 'seq', 'queue', 'references', 'behind_paths', 'subsystem')
  if not f[1] then return nil end
  if redis.call('EXISTS', held_key(id)) == 1 then return {'HELD', id, ''} end
  if f[5] == '1' then
    -- A later change by path may be of the same volume; while this job's own path is not resolved, so may any later change.
    local later = '(' .. f[2]
    local by_path = redis.call('ZRANGEBYSCORE', unresolved_key(f[6]), later, '+inf', 'LIMIT', 0, 1)[1]
    local is_unresolved = not is_done(f[1]) and f[4] and f[4] ~= '' and redis.call('ZCOUNT', queued_key(f[3]), later, '+inf') > 0
    if by_path or is_unresolved then return {'UNSETTLED', id, ''} end
  end
  return {'REPEATED', id, job_status(id, ARGV[4], ARGV[5])}
end
if r['repeat'] and r['repeat'] ~= '' then
  local earlier = known_repeat(r['repeat'])
  if earlier and not (earlier[1] == 'HELD' and r.beside == earlier[2]) then return earlier end
end
-- May the request join a read that is running? Only to a listing of the whole storage system are changes applied that end while it is
-- read: any other one may have been read before the volume, policy or path was what it is now.
local function may_join_running(other)
  if not r.may_join_running or not r.one_of_many then return r.may_join_running end
  return get(other, 'changes_before')[1] == (redis.call('GET', changes_key(fields.subsystem)) or '0')
end
if r.inflight ~= '' then
  local other = redis.call('GET', inflight_key(r.inflight))
  local state = other and get(other, 'state')[1]
  if state == 'queued' or (state == 'running' and may_join_running(other)) then
    if not r.refresh then
      redis.call('HINCRBY', job_key(other), 'waiters', 1)
      -- A client that joins with another query: the job's result is then the whole listing, unless asked for with a query.
      if (get(other, 'query')[1] or '') ~= (fields.query or '') then redis.call('HSET', job_key(other), 'query', '') end
    end
    return {'COALESCED', other, job_status(other, ARGV[4], ARGV[5])}
  end
end
if (r.seen or '') ~= '' and (redis.call('HGET', listing_key(r.inflight), 'as_of') or '0') ~= r.seen then return {'CHANGED', '', ''} end
if redis.call('ZCARD', queued_key(fields.queue)) >= r.queue_limit then return {'FULL', '', ''} end

-- The requester's share of the queue. Entries of records that were deleted by hand are found and dropped a few at a time.
local mine = queued_by_key(fields.queue, fields.requester_key)
if (r.share_limit or 0) > 0 and redis.call('ZCARD', mine) >= r.share_limit then
  for _, waiting in ipairs(redis.call('ZRANGE', mine, 0, 9)) do
    if not redis.call('ZSCORE', queued_key(fields.queue), waiting) then redis.call('ZREM', mine, waiting) end
  end
  if redis.call('ZCARD', mine) >= r.share_limit then return {'SHARE_FULL', '', ''} end
end
-- Reads of the storage system, counted per minute: {{requester, limit}, ...}.
local minute = text(math.floor(now / 60000))
local function rate_key(who) return P .. 'reads_of:' .. who .. ':' .. minute end
for _, rate in ipairs(r.read_rates or {}) do
  if tonumber(redis.call('GET', rate_key(rate[1])) or '0') >= rate[2] then return {'READS_LIMITED', '', ''} end
end
for _, rate in ipairs(r.read_rates or {}) do
  redis.call('INCR', rate_key(rate[1]))
  redis.call('PEXPIRE', rate_key(rate[1]), '60000')
end

local seq = text(redis.call('INCR', P .. 'seq'))
set_all(id, fields, 'state', 'queued', 'seq', seq, 'version', '1', 'attempt', '0', 'created', text(now),
  'updated', text(now), 'waiters', '0')
local sub = fields.subsystem
for _, key in ipairs(cjson.decode(fields.keys)) do redis.call('ZADD', ordering_key(sub, key), seq, id) end
if fields.references ~= '' and fields.kind == 'change' then redis.call('ZADD', unresolved_key(sub), seq, id) end
if fields.kind == 'change' then note_change(id, fields, seq, r) end
if r.inflight ~= '' then redis.call('SET', inflight_key(r.inflight), id) end
if r.idempotency ~= '' then
  redis.call('HSET', P .. 'idem:' .. r.idempotency, 'id', id, 'hash', r.request_hash)
  redis.call('PEXPIRE', P .. 'idem:' .. r.idempotency, text(r.idempotency_ms))
end
local slot = r.to_waiting_slot and take_waiting_slot(id, fields.queue)
if slot then
  -- It begins at once, so it is entered into no queue, and into the index as running.
  index_job(id, fields, tonumber(seq), 'running')
  log_event(id)
  claim_for_slot(slot, id, start)
  return {'NEW', id, job_status(id, ARGV[4], ARGV[5])}
end
redis.call('ZADD', due_key(sub), text(now + r.first_check_ms), id)
enter_queue(fields.queue, id, seq)
index_job(id, fields, tonumber(seq), 'queued')
log_event(id)
if ARGV[6] ~= '' and has_idle_slots(fields.queue) then
  redis.call('LPUSH', messages_key(fields.queue), ARGV[6])
  redis.call('HSET', job_key(id), 'dispatched_at', text(now))
end
return {'NEW', id, job_status(id, ARGV[4], ARGV[5])}
