-- Batches. Prepended to every script after job_functions.lua, which calls `member_moved` and `member_ended`.
-- The record of a batch is a job's. It counts its members by state, and how many of them are in the queues: a member is recorded
-- with its place in the order of its volume, and enters its queue when it is released.
local function members_key(batch) return P .. 'members:' .. batch end
local MEMBER_STATES = {queued = 'members_queued', running = 'members_running', cancelling = 'members_running',
  succeeded = 'members_succeeded', failed = 'members_failed', cancelled = 'members_cancelled'}

-- A member has changed its state: count it, and begin the batch with its first member.
function member_moved(batch, old, new)
  local f = get(batch, 'state', 'version', 'current')
  if not f[1] then return end
  if MEMBER_STATES[old] ~= MEMBER_STATES[new] then
    redis.call('HINCRBY', job_key(batch), MEMBER_STATES[old], -1)
    redis.call('HINCRBY', job_key(batch), MEMBER_STATES[new], 1)
  end
  local fields = {}
  if is_done(new) then fields.current = text(tonumber(f[3]) + 1) end
  if new == 'running' and f[1] == 'queued' then
    index_state(batch, 'queued', 'running')
    fields.state = 'running'
    fields.started = text(now)
  end
  change(batch, f[2], fields)
end

-- Release members in their order, as long as fewer than `parallel` are in the queues.
local function release_members(batch, messages)
  local f = get(batch, 'next_member', 'total', 'in_queues', 'parallel')
  local place, total, in_queues, parallel = tonumber(f[1]), tonumber(f[2]), tonumber(f[3]), tonumber(f[4])
  while place < total and in_queues < parallel do
    local id = redis.call('LINDEX', members_key(batch), place)
    local m = id and get(id, 'state', 'subsystem', 'queue', 'seq') or {}
    if m[1] == 'queued' then
      redis.call('HSET', job_key(id), 'released', '1', 'dispatched_at', text(now))
      redis.call('ZADD', due_key(m[2]), now + 2000, id)
      enter_queue(m[3], id, m[4])
      log_event(id)
      messages[#messages + 1] = message_of(id)
      in_queues = in_queues + 1
    end
    place = place + 1
  end
  redis.call('HSET', job_key(batch), 'next_member', text(place), 'in_queues', text(in_queues))
end

local function note_failure(batch, id, recorded)
  local failures = recorded and recorded ~= '' and cjson.decode(recorded) or {}
  if #failures >= 10 then return end
  local f = get(id, 'member', 'error_code', 'error_detail')
  failures[#failures + 1] = {member = tonumber(f[1]), job = id, code = f[2] or 'unknown', detail = f[3] or ''}
  redis.call('HSET', job_key(batch), 'failures', cjson.encode(failures))
end

-- The batch needs more than one step (see advance_batch.lua), or an event for Flower must be emitted.
local function notify_worker(batch, messages)
  messages[#messages + 1] = {batch, get(batch, 'queue')[1], 'batch'}
end

local function end_batch(batch, keep_ms, messages)
  local f = get(batch, 'members_succeeded', 'total', 'cancel_requested')
  local state, fields = 'succeeded', {}
  if f[1] ~= f[2] then
    state = f[3] and f[3] ~= '' and 'cancelled' or 'failed'
    if state == 'failed' then fields.error_code = 'batch-failed' end
  end
  redis.call('ZREM', P .. 'batches_stopping', batch)
  -- Nothing waits for a batch: it has no ordering keys.
  finish(batch, state, keep_ms, fields)
  notify_worker(batch, messages)
end

-- A member has ended: release the next one, stop the rest, or end the batch.
function member_ended(batch, id, state, keep_ms, messages)
  local f = get(batch, 'state', 'current', 'total', 'on_failure', 'stopping', 'failures')
  if not f[1] or is_done(f[1]) then return end
  if get(id, 'released')[1] == '1' then redis.call('HINCRBY', job_key(batch), 'in_queues', -1) end
  if state == 'failed' then note_failure(batch, id, f[6]) end
  if tonumber(f[2]) >= tonumber(f[3]) then return end_batch(batch, keep_ms, messages) end
  if f[5] == '1' then return end
  if state == 'failed' and f[4] == 'stop' then
    redis.call('HSET', job_key(batch), 'stopping', '1')
    redis.call('ZADD', P .. 'batches_stopping', now, batch)
    notify_worker(batch, messages)
  else
    release_members(batch, messages)
  end
end

-- May a member be claimed? It must have been released, and its batch must not be stopping unless it has begun before.
local function is_held_back(batch, released, attempt)
  if not batch or batch == '' then return false end
  return released ~= '1' or (attempt == '0' and get(batch, 'stopping')[1] == '1')
end

-- A running member is to be returned to its queue, where `advance_batch` may not visit it any more. Where its batch is being cancelled, or
-- stops and the member counts as not begun, note that it is cancelled, and return true: its worker ends it in the place of that.
-- `uncounted`: '1' when the attempt does not count.
local function must_end_with_batch(id, uncounted)
  local m = get(id, 'batch', 'attempt')
  if (m[1] or '') == '' then return false end
  local f = get(m[1], 'stopping', 'cancel_requested', 'cancelled_by')
  local must_end = (f[2] or '') ~= '' or (f[1] == '1' and uncounted == '1' and m[2] == '1')
  if must_end then redis.call('HSET', job_key(id), 'cancel_requested', text(now), 'cancelled_by', f[3] or '') end
  return must_end
end
