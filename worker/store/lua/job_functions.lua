-- The life of a job: its place in its ordering and in its queue, its status, and its end. Prepended to every script.
-- The first job of an ordering key, with its sequence number. An entry whose record is missing (deleted by hand, or lost
-- with a restored file) is removed, so that it does not block other jobs.
local function first_in_ordering(key, only_looking)
  local first = redis.call('ZRANGE', key, '0', '0', 'WITHSCORES')
  while first[1] and redis.call('EXISTS', job_key(first[1])) == 0 do
    if only_looking then return {} end
    redis.call('ZREM', key, first[1])
    first = redis.call('ZRANGE', key, '0', '0', 'WITHSCORES')
  end
  return first
end

-- Is the job not yet runnable? It runs only at the head of each of its ordering keys, and behind no earlier change whose
-- volume is not resolved yet.
local function is_blocked(id, only_looking)
  local f = get(id, 'subsystem', 'keys', 'seq', 'behind_paths')
  if not f[2] then return true end
  for _, key in ipairs(cjson.decode(f[2])) do
    local head = first_in_ordering(ordering_key(f[1], key), only_looking)[1]
    if head and head ~= id then return true end
  end
  if f[4] == '1' then
    local first = first_in_ordering(unresolved_key(f[1]), only_looking)
    if first[1] and first[1] ~= id and tonumber(first[2]) < tonumber(f[3]) then
      if not only_looking then redis.call('ZADD', barrier_key(f[1]), f[3], id) end
      return true
    end
  end
  return false
end

local function queued_by_requester(queue, id) return queued_by_key(queue, get(id, 'requester_key')[1]) end

-- Fairness: the more jobs a requester has waiting, the later a new one is placed; each counts as so many later arrivals.
local FAIRNESS_STEP = 64
local function enter_queue(queue, id, seq)
  local mine = queued_by_requester(queue, id)
  local place = tonumber(seq) + FAIRNESS_STEP * redis.call('ZCARD', mine)
  redis.call('ZADD', queued_key(queue), 'NX', text(place), id)
  redis.call('ZADD', mine, text(seq), id)
end

local function leave_queue(queue, id)
  redis.call('ZREM', queued_key(queue), id)
  redis.call('ZREM', queued_by_requester(queue, id), id)
end

-- Counters for Prometheus (see worker/store/metrics.py): one hash, a field for each count, and for each bucket of a histogram.
local BOUNDS_MS = {100, 500, 1000, 2000, 5000, 10000, 30000, 60000, 120000, 300000, 600000, 1800000}
local function count(field) redis.call('HINCRBY', P .. 'metrics', field, '1') end
local function observe(series, ms)
  local bucket = 'inf'
  for _, bound in ipairs(BOUNDS_MS) do if ms <= bound then bucket = text(bound) break end end
  count(series .. ' ' .. bucket)
  redis.call('HINCRBY', P .. 'metrics', series .. ' sum', text(math.max(ms, 0) * 1000))
end

-- {id, queue, operation, context of its trace}: what the publisher needs for a job's message.
local function message_of(id)
  local f = get(id, 'queue', 'operation', 'state', 'traceparent')
  if f[3] ~= 'queued' then return nil end
  return {id, f[1], f[2], f[4] or ''}
end

-- How long a worker counts as online after a heartbeat.
local WORKER_TTL_MS = 15000
local function pairs_of(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end

-- May a slot be idle? Slots are free except for running jobs and for messages that wait for a worker.
-- While all slots are busy no message is needed: each slot claims the next job by itself when its job ends.
local function has_idle_slots(queue, already)
  local slots = redis.call('GET', capacity_key(queue))
  if not slots then return true end
  local busy = redis.call('ZCARD', running_key(queue)) + redis.call('LLEN', messages_key(queue))
  return busy + (already or 0) < tonumber(slots)
end

-- Was a message of the job published within this second? Then it is in transit to an idle slot.
local function is_dispatched(dispatched_at)
  local at = tonumber(dispatched_at or '') or 0
  return at > now - 1000 and at <= now
end

local function publish_heads(sub, keys, messages)
  for _, key in ipairs(keys) do
    local head = redis.call('ZRANGE', ordering_key(sub, key), '0', '0')[1]
    local b = head and message_of(head)
    if b then messages[#messages + 1] = b end
  end
end

local function lift_barrier(id, sub, messages)
  if redis.call('ZREM', unresolved_key(sub), id) == 0 then return end
  -- Only a few: workers with free slots pick the others themselves, and a message that finds no slot costs as much.
  for _, waiting in ipairs(redis.call('ZRANGE', barrier_key(sub), '0', '9')) do
    local b = message_of(waiting)
    if b then messages[#messages + 1] = b end
  end
  redis.call('DEL', barrier_key(sub))
end

-- Record why and for how long a job is delayed; the last ten entries are kept.
local function note_attempt(id, code, detail, delay_ms)
  local recorded = get(id, 'attempts')[1]
  local attempts = recorded and recorded ~= '' and cjson.decode(recorded) or {}
  attempts[#attempts + 1] = {at = now, code = code, detail = detail, retry_in_ms = delay_ms}
  if #attempts > 10 then table.remove(attempts, 1) end
  redis.call('HSET', job_key(id), 'attempts', cjson.encode(attempts))
end

-- Return a job to its queue: no worker has it, and it may start at `start` (ms).
local function requeue(id, state, start, reason)
  local f = get(id, 'queue', 'seq', 'subsystem', 'version')
  redis.call('ZREM', running_key(f[1]), id)
  enter_queue(f[1], id, f[2])
  redis.call('ZADD', due_key(f[3]), text(start), id)
  index_state(id, state, 'queued')
  change(id, f[4], {}, 'state', 'queued', 'token', '', 'stalled_since', '', 'started', '', 'not_before', text(start),
    'waiting_reason', reason)
end

-- Codes of failures caused by the request (REQUEST_FAULTS in worker/jobs/failure.py): operators need not see these.
local REQUEST_FAULTS = ' already-exists batch-failed lock-held no-such-policy no-such-snapshot no-such-volume not-a-data-volume ' ..
  'not-found not-supported policy-in-use resource-busy too-many-snapshots validation-failed '

-- A job's status: {record, now ms, position, workers online, 1 when behind others, mean run time ms, small result}.
local function job_status(id, workers_ttl_ms, most_inline_bytes)
  local f = get(id, 'subsystem', 'queue', 'operation', 'state', 'expires', 'batch', 'released')
  local is_prepared = f[6] and f[6] ~= '' and redis.call('EXISTS', job_key(f[6])) == 0
  if not f[4] or is_prepared or (tonumber(f[5] or '') or now + 1) <= now then return {{}, now, 0, 0, 0, 0, ''} end
  local position, behind, result = 0, 0, ''
  -- A heartbeat of the future is from before the clock was set back.
  local ttl = tonumber(workers_ttl_ms)
  local online = redis.call('ZCOUNT', P .. 'workers:' .. f[2], text(now - ttl), text(now + ttl))
  if f[4] == 'queued' then
    position = redis.call('ZRANK', queued_key(f[2]), id) or 0
    local is_held = (f[6] or '') ~= '' and f[7] ~= '1'
    behind = (position > 0 or is_held or is_blocked(id, true)) and 1 or 0
  elseif f[4] == 'succeeded' and redis.call('STRLEN', P .. 'result:' .. id) <= tonumber(most_inline_bytes) then
    result = redis.call('GET', P .. 'result:' .. id) or ''
  end
  local mean = redis.call('HGET', P .. 'mean_durations:' .. f[1], f[3]) or '0'
  return {redis.call('HGETALL', job_key(id)), now, position, online, behind, tonumber(mean), result}
end

-- How long the record is kept after the end; the record of a read has a field for it.
local function record_ttl_ms(id, otherwise_ms)
  local ttl_ms = get(id, 'record_ttl_ms')[1] or ''
  return ttl_ms ~= '' and math.min(tonumber(ttl_ms), otherwise_ms) or otherwise_ms
end

-- Another change of the objects of these ordering keys was accepted (by a job with this sequence number): the results of earlier jobs
-- may be undone, so a repetition of an earlier request is a new request.
local function supersede_repeats(sub, keys, seq)
  for _, key in ipairs(keys) do
    local requests = repeats_of_key(sub, key)
    for _, digest in ipairs(redis.call('SMEMBERS', requests)) do
      local earlier = redis.call('HGET', repeat_key(digest), 'seq')
      if not earlier or tonumber(earlier) < tonumber(seq) then
        redis.call('DEL', repeat_key(digest))
        redis.call('SREM', requests, digest)
      end
    end
  end
end

local WEEK_MS = '604800000'
local function add_repeat(sub, keys, digest)
  for _, key in ipairs(keys) do
    redis.call('SADD', repeats_of_key(sub, key), digest)
    redis.call('PEXPIRE', repeats_of_key(sub, key), WEEK_MS)
  end
end

-- A change was accepted: forget the requests that it supersedes, and record its own for repetitions (`r`: see Jobs.accept).
local function note_change(id, fields, seq, r)
  local sub, changed, digest = fields.subsystem, fields.changed or fields.keys, fields['repeat']
  supersede_repeats(sub, cjson.decode(changed), seq)
  if not digest then return end
  redis.call('HSET', repeat_key(digest), 'id', id, 'seq', seq, 'keep_ms', text(r.repeat_ms), 'subsystem', sub, 'keys', changed)
  redis.call('PEXPIRE', repeat_key(digest), WEEK_MS)
  add_repeat(sub, cjson.decode(changed), digest)
  redis.call('SET', held_key(id), '0', 'PX', text(r.held_ms))
end

-- End a job: it leaves every ordering key and queue, the next ones are published, and the record never changes again.
-- Begins with deletions, so that Redis does not refuse it when memory is full.
-- `reply`: the result for a request that waits on the reply key; when nil, an empty reply makes it read the record.
local function finish(id, state, keep_ms, fields, reply)
  local f = get(id, 'subsystem', 'queue', 'keys', 'state', 'inflight', 'operation', 'started', 'version', 'wants_reply',
    'repeat', 'batch', 'kind')
  local sub, keys, messages = f[1], cjson.decode(f[3]), {}
  keep_ms = record_ttl_ms(id, keep_ms)
  redis.call('ZREM', due_key(sub), id)
  leave_queue(f[2], id)
  redis.call('ZREM', running_key(f[2]), id)
  for _, key in ipairs(keys) do redis.call('ZREM', ordering_key(sub, key), id) end
  redis.call('ZREM', barrier_key(sub), id)
  if f[5] and f[5] ~= '' and redis.call('GET', inflight_key(f[5])) == id then redis.call('DEL', inflight_key(f[5])) end
  change(id, f[8], fields, 'state', state, 'token', '', 'finished', text(now), 'expires', text(now + keep_ms),
    'cancellable', '0')
  index_state(id, f[4], state)
  redis.call('ZADD', P .. 'expiring', text(now + keep_ms), id)
  local code = state == 'failed' and (fields.error_code or 'unknown') or ''
  count('ended ' .. sub .. ' ' .. f[6] .. ' ' .. state .. ' ' .. code)
  if state == 'failed' then
    count('failed ' .. sub .. ' ' .. code)
    if not string.find(REQUEST_FAULTS, ' ' .. code .. ' ', 1, true) then
      redis.call('LPUSH', P .. 'failures', id)
      redis.call('LTRIM', P .. 'failures', 0, 99)
    end
  end
  local took = f[7] and f[7] ~= '' and now - tonumber(f[7])
  if took then observe('run ' .. sub .. ' ' .. f[6], took) end
  if took and state == 'succeeded' then
    local mean = tonumber(redis.call('HGET', P .. 'mean_durations:' .. sub, f[6]) or took)
    redis.call('HSET', P .. 'mean_durations:' .. sub, f[6], text(math.floor(mean * 0.7 + took * 0.3 + 0.5)))
  end
  if f[12] == 'change' then redis.call('INCR', changes_key(sub)) end
  lift_barrier(id, sub, messages)
  publish_heads(sub, keys, messages)
  if f[9] == '1' then
    redis.call('RPUSH', P .. 'reply:' .. id, reply or '')
    redis.call('PEXPIRE', P .. 'reply:' .. id, '10000')
  end
  local request = f[10] and f[10] ~= '' and redis.call('HMGET', repeat_key(f[10]), 'id', 'keep_ms')
  if request and request[1] == id then redis.call('PEXPIRE', repeat_key(f[10]), request[2]) end
  redis.call('PUBLISH', P .. 'ends', id)
  if f[11] and f[11] ~= '' then member_ended(f[11], id, state, keep_ms, messages) end
  return messages
end
