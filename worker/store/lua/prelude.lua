-- What every script begins with: key names, the clock (Redis's own), and the few steps in which a job's record moves.
-- All values of a record are strings. A script first reads and decides, then writes: it is refused whole or done whole.
local P = KEYS[1]

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Redis refuses the first write of a script when memory is full, not a later one. What a worker must be able to say of a job
-- that was accepted begins with a removal, which is never refused.
local function even_if_full() redis.call('DEL', P .. 'nothing') end

local now = now_ms()
local function text(n) return string.format('%.0f', n) end
local function job_key(id) return P .. 'job:' .. id end
local function get(id, ...) return redis.call('HMGET', job_key(id), ...) end
local function order_key(sub, key) return P .. 'order:' .. sub .. ':' .. key end
local function open_key(sub) return P .. 'open:' .. sub end
local function unresolved_key(sub) return P .. 'unresolved:' .. sub end
local function barrier_key(sub) return P .. 'barrier:' .. sub end
local function lane_key(queue) return P .. 'lane:' .. queue end
local function running_key(queue) return P .. 'running:' .. queue end
local function view_key(thing) return P .. 'view:' .. thing end
local function log_key(thing) return P .. 'log:' .. thing end
local function flight_key(thing) return P .. 'flight:' .. thing end
local function is_done(state) return state == 'succeeded' or state == 'failed' or state == 'cancelled' end

-- Fields of a record from a table, and others besides, in one call: to ask costs more than what is done.
local function set_all(id, fields, ...)
  local flat = {...}
  for name, value in pairs(fields) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('HSET', job_key(id), unpack(flat))
end

-- A visible change of a record: some fields, a new version (`version` is the present one), word to those who wait for any.
local function change(id, version, fields, ...)
  set_all(id, fields, 'version', text((tonumber(version) or 0) + 1), 'updated', text(now), ...)
  redis.call('PUBLISH', P .. 'events', id)
end

-- The indexes of a job among its requester's jobs: all of them, and by each filter.
local function index_keys(requester_key, operation, sub, volume, state)
  if not requester_key or requester_key == '' then return {} end
  local base = P .. 'mine:' .. requester_key
  local keys = {base, base .. ':operation:' .. operation, base .. ':subsystem:' .. sub, base .. ':state:' .. state}
  if volume and volume ~= '' then keys[#keys + 1] = base .. ':volume:' .. volume end
  return keys
end

-- The job has another state: where it stands among its requester's jobs.
local function move(id, requester_key, seq, old, new)
  if not requester_key or requester_key == '' then return end
  local base = P .. 'mine:' .. requester_key .. ':state:'
  redis.call('ZREM', base .. old, id)
  redis.call('ZADD', base .. new, seq, id)
end

-- The first in a line, with its place; what has lost its record (by an operator's hand, or a restored file) holds nobody up.
local function first_in(key, only_looking)
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  while first[1] and redis.call('EXISTS', job_key(first[1])) == 0 do
    if only_looking then return {} end
    redis.call('ZREM', key, first[1])
    first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  end
  return first
end

-- May the job start? Only at the head of every order it stands in, and behind no change whose volume is not known yet.
local function blocked(id, only_looking)
  local f = get(id, 'subsystem', 'keys', 'seq', 'behind_paths')
  if not f[2] then return true end
  for _, key in ipairs(cjson.decode(f[2])) do
    local head = first_in(order_key(f[1], key), only_looking)[1]
    if head and head ~= id then return true end
  end
  if f[4] == '1' then
    local first = first_in(unresolved_key(f[1]), only_looking)
    if first[1] and first[1] ~= id and tonumber(first[2]) < tonumber(f[3]) then
      if not only_looking then redis.call('ZADD', barrier_key(f[1]), f[3], id) end
      return true
    end
  end
  return false
end

-- Figures for Prometheus (see worker/store/metrics.py): one hash, a field for each count, and for each bucket of a histogram.
local BOUNDS_MS = {100, 500, 1000, 2000, 5000, 10000, 30000, 60000, 120000, 300000, 600000, 1800000}
local function count(field) redis.call('HINCRBY', P .. 'figures', field, 1) end
local function observe(series, ms)
  local bucket = 'inf'
  for _, bound in ipairs(BOUNDS_MS) do if ms <= bound then bucket = text(bound) break end end
  count(series .. ' ' .. bucket)
  redis.call('HINCRBY', P .. 'figures', series .. ' sum', text(math.max(ms, 0) * 1000))
end

-- {id, queue, operation}: what a bell needs to be rung for a job.
local function bell(id)
  local f = get(id, 'queue', 'operation', 'state')
  if f[3] ~= 'queued' then return nil end
  return {id, f[1], f[2]}
end

local function ring_heads(sub, keys, bells)
  for _, key in ipairs(keys) do
    local head = redis.call('ZRANGE', order_key(sub, key), 0, 0)[1]
    local b = head and bell(head)
    if b then bells[#bells + 1] = b end
  end
end

local function lift_barrier(id, sub, bells)
  if redis.call('ZREM', unresolved_key(sub), id) == 0 then return end
  -- A few: workers that have room ring for the others, and a ring that finds none costs as much as one that does.
  for _, waiting in ipairs(redis.call('ZRANGE', barrier_key(sub), 0, 9)) do
    local b = bell(waiting)
    if b then bells[#bells + 1] = b end
  end
  redis.call('DEL', barrier_key(sub))
end

-- Back into its lane: nobody has it, and it may start at `start`.
local function put_back(id, state, start, reason)
  local f = get(id, 'queue', 'seq', 'subsystem', 'version', 'requester_key')
  redis.call('ZREM', running_key(f[1]), id)
  redis.call('ZADD', lane_key(f[1]), f[2], id)
  redis.call('ZADD', open_key(f[3]), start, id)
  move(id, f[5], f[2], state, 'queued')
  change(id, f[4], {}, 'state', 'queued', 'owner', '', 'suspect', '', 'started', '', 'not_before', text(start),
    'reason', reason)
end

-- A job with what is told of it while it waits:
-- {record, now, position, workers online, behind others or not, mean run time ms, result}.
local function shown(id, workers_ttl_ms, most_inline_bytes)
  local f = get(id, 'subsystem', 'queue', 'operation', 'state', 'expires')
  if not f[4] or (tonumber(f[5] or '') or now + 1) <= now then return {{}, now, 0, 0, 0, 0, ''} end
  local position, behind, result = 0, 0, ''
  local online = redis.call('ZCOUNT', P .. 'workers:' .. f[2], now - tonumber(workers_ttl_ms), '+inf')
  if f[4] == 'queued' then
    position = redis.call('ZRANK', lane_key(f[2]), id) or 0
    behind = (position > 0 or blocked(id, true)) and 1 or 0
  elseif f[4] == 'succeeded' and redis.call('STRLEN', P .. 'result:' .. id) <= tonumber(most_inline_bytes) then
    result = redis.call('GET', P .. 'result:' .. id) or ''
  end
  local mean = redis.call('HGET', P .. 'durations:' .. f[1], f[3]) or '0'
  return {redis.call('HGETALL', job_key(id)), now, position, online, behind, tonumber(mean), result}
end

-- The end of a job: it leaves every order and queue, those behind it are rung, and it will not change again.
-- Begins with removals: Redis lets a script that has written go on when memory is full, so an end is never refused.
-- `answer`: the result, for whoever asked for the job and waits; without it they look for themselves.
local function finish(id, state, keep_ms, fields, answer)
  local f = get(id, 'subsystem', 'queue', 'keys', 'state', 'flight', 'operation', 'started', 'version', 'requester_key', 'seq',
    'awaited')
  local sub, keys, bells = f[1], cjson.decode(f[3]), {}
  redis.call('ZREM', open_key(sub), id)
  redis.call('ZREM', lane_key(f[2]), id)
  redis.call('ZREM', running_key(f[2]), id)
  for _, key in ipairs(keys) do redis.call('ZREM', order_key(sub, key), id) end
  redis.call('ZREM', barrier_key(sub), id)
  if f[5] and f[5] ~= '' and redis.call('GET', flight_key(f[5])) == id then redis.call('DEL', flight_key(f[5])) end
  change(id, f[8], fields, 'state', state, 'owner', '', 'finished', text(now), 'expires', text(now + keep_ms),
    'cancellable', '0')
  move(id, f[9], f[10], f[4], state)
  redis.call('ZADD', P .. 'finished', now + keep_ms, id)
  count('ended ' .. sub .. ' ' .. f[6] .. ' ' .. state)
  if state == 'failed' then
    count('failed ' .. sub .. ' ' .. (fields.error_code or 'unknown'))
    redis.call('LPUSH', P .. 'failures', id)
    redis.call('LTRIM', P .. 'failures', 0, 99)
  end
  local took = f[7] and f[7] ~= '' and now - tonumber(f[7])
  if took then observe('run ' .. sub .. ' ' .. f[6], took) end
  if took and state == 'succeeded' then
    local mean = tonumber(redis.call('HGET', P .. 'durations:' .. sub, f[6]) or took)
    redis.call('HSET', P .. 'durations:' .. sub, f[6], text(mean * 0.7 + took * 0.3))
  end
  lift_barrier(id, sub, bells)
  ring_heads(sub, keys, bells)
  if f[11] == '1' then
    redis.call('RPUSH', P .. 'answer:' .. id, answer or '')
    redis.call('PEXPIRE', P .. 'answer:' .. id, 10000)
  end
  redis.call('PUBLISH', P .. 'ends', id)
  return bells
end
