-- Shared functions, prepended to every script: key names, the clock (Redis's own), and the state changes of a job record.
-- All values of a record are strings. A script first reads and decides, then writes: Redis refuses it as a whole or executes it as a whole.
local P = KEYS[1]

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- With `noeviction` Redis refuses only the first write of a script when memory is full. Scripts that must not fail for an
-- accepted job begin with a deletion, which is never refused.
local function allow_when_full() redis.call('DEL', P .. 'oom_probe') end

local now = now_ms()
-- A whole number as text. Redis formats a number that is passed to a command as a floating-point one, which takes longer than most
-- commands; so does '%.0f'.
local function text(n) return string.format('%d', n) end
local function job_key(id) return P .. 'job:' .. id end
local function get(id, ...) return redis.call('HMGET', job_key(id), ...) end
local function ordering_key(sub, key) return P .. 'ordering:' .. sub .. ':' .. key end
local function due_key(sub) return P .. 'due:' .. sub end
local function unresolved_key(sub) return P .. 'unresolved:' .. sub end
local function barrier_key(sub) return P .. 'barrier:' .. sub end
local function queued_key(queue) return P .. 'queued:' .. queue end
local function messages_key(queue) return P .. 'celery:' .. queue end
local function capacity_key(queue) return P .. 'capacity:' .. queue end
local function running_key(queue) return P .. 'running:' .. queue end
-- The waiting jobs of one user in a queue; all clients that have not signed in count as one.
local function queued_by_key(queue, requester_key)
  local who = (requester_key or '') ~= '' and requester_key or 'strangers'
  return P .. 'queued_by:' .. queue .. ':' .. who
end
local function listing_key(cache_key) return P .. 'listing:' .. cache_key end
local function delta_key(cache_key) return P .. 'delta:' .. cache_key end
local function inflight_key(cache_key) return P .. 'inflight:' .. cache_key end
-- How many changes of a storage system have ended.
local function changes_key(sub) return P .. 'changes:' .. sub end
-- The request that made a job, kept so that the same request, sent again, finds it; which requests changed what an ordering
-- key names; and whether the request that made a job is held open now.
local function repeat_key(digest) return P .. 'repeat:' .. digest end
local function repeats_of_key(sub, key) return P .. 'repeats_of:' .. sub .. ':' .. key end
local function held_key(id) return P .. 'held:' .. id end
local function is_done(state) return state == 'succeeded' or state == 'failed' or state == 'cancelled' end

-- Write the fields of a table and further name/value pairs in one HSET: the call costs more than the write.
local function set_all(id, fields, ...)
  local flat = {...}
  for name, value in pairs(fields) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('HSET', job_key(id), unpack(flat))
end

-- The event log: one entry for each visible change, with the record's fields that a client may see. Always the same names
-- in the same order, which a stream stores once for many entries. A long request is left out: readers take it from the record.
local EVENT_FIELDS = {'id', 'operation', 'kind', 'subsystem', 'queue', 'target', 'volume', 'batch', 'roles', 'requester',
  'request_id', 'query', 'retry_of', 'request', 'state', 'version', 'attempt', 'seq', 'created', 'updated', 'started', 'finished', 'expires',
  'cancel_requested', 'waiting_reason', 'cancellable', 'waiters', 'current', 'total', 'unit', 'message', 'backend_job',
  'error_code', 'error_detail', 'error_more', 'failures', 'members_queued', 'members_running', 'members_succeeded',
  'members_failed', 'members_cancelled', 'callback', 'trace_id', 'requester_key'}
local MOST_EVENTS, LONGEST_REQUEST_BYTES, REQUEST_AT, STATE_AT, QUEUE_AT = 100000, 1024, 14, 15, 5
local function log_event(id)
  local values, n = get(id, unpack(EVENT_FIELDS)), redis.call('INCR', P .. 'event_seq')
  local queue = values[QUEUE_AT] or ''
  local position = values[STATE_AT] == 'queued' and redis.call('ZRANK', queued_key(queue), id) or 0
  local workers = redis.call('ZCOUNT', P .. 'workers:' .. queue, text(now - 15000), text(now + 15000))
  local entry = {'n', text(n), 'position', text(position), 'workers', text(workers)}
  if values[REQUEST_AT] and #values[REQUEST_AT] > LONGEST_REQUEST_BYTES then values[REQUEST_AT] = '' end
  local used = #entry
  for i, name in ipairs(EVENT_FIELDS) do
    entry[used + 2 * i - 1] = name
    entry[used + 2 * i] = values[i] or ''
  end
  redis.call('XADD', P .. 'event_log', '*', unpack(entry))
  if n % 100 == 0 then redis.call('XTRIM', P .. 'event_log', 'MAXLEN', '~', text(MOST_EVENTS)) end
end

-- A visible change of a record: some fields, the next version (`version` is the present one), an entry in the event log, and
-- a notification.
local function change(id, version, fields, ...)
  set_all(id, fields, 'version', text((tonumber(version) or 0) + 1), 'updated', text(now), ...)
  log_event(id)
  redis.call('PUBLISH', P .. 'events', id)
end
