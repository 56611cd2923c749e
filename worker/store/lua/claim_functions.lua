-- Claims of jobs. Prepended to every script after batch_functions.lua.
-- Mark a job, which must not be in a queue, as running on a worker; return its record.
local function start(id, token, lease_ms, read_ms, change_ms)
  local f = get(id, 'subsystem', 'queue', 'kind', 'attempt', 'created', 'version')
  local limit = tonumber(f[3] == 'read' and read_ms or change_ms)
  redis.call('ZADD', running_key(f[2]), text(now), id)
  redis.call('ZADD', due_key(f[1]), text(now + tonumber(lease_ms)), id)
  local of_read = f[3] == 'read' and {changes_before = redis.call('GET', changes_key(f[1])) or '0'} or {}
  if f[4] == '0' then observe('wait ' .. f[2], now - tonumber(f[5])) end
  change(id, f[6], of_read, 'state', 'running', 'attempt', text((tonumber(f[4]) or 0) + 1), 'token', token, 'started', text(now),
    'lease', text(now + tonumber(lease_ms)), 'deadline', text(now + limit), 'stalled_since', '', 'waiting_reason', '', 'step', '',
    'backend_job', '', 'not_before', '', 'message', '', 'cancellable', '1')
  return redis.call('HGETALL', job_key(id))
end

-- Claim a queued job, which must be runnable, for a worker; return its record.
local function claim(id, ...)
  leave_queue(get(id, 'queue')[1], id)
  index_state(id, 'queued', 'running')
  return start(id, ...)
end

-- Claim the first runnable job of a queue for a worker; return its record, or an empty list. `also_dispatched`: '1' to include jobs
-- whose message is in transit.
local function claim_next(queue, scan, also_dispatched, token, lease_ms, read_ms, change_ms)
  for _, id in ipairs(redis.call('ZRANGE', queued_key(queue), '0', text(tonumber(scan) - 1))) do
    local state, not_before, dispatched_at, batch, released, attempt =
      unpack(get(id, 'state', 'not_before', 'dispatched_at', 'batch', 'released', 'attempt'))
    local due = (tonumber(not_before or '') or 0) <= now and not is_held_back(batch, released, attempt)
    if state ~= 'queued' then
      leave_queue(queue, id)
    elseif due and (also_dispatched == '1' or not is_dispatched(dispatched_at)) and not is_blocked(id) then
      return claim(id, token, lease_ms, read_ms, change_ms)
    end
  end
  return {}
end

-- A slot without a job waits a little for the next one of its queue: it is entered with the terms of its claim, scored
-- by the end of its wait. The script that makes a job runnable claims it for such a slot, and pushes the record onto the list from which
-- the slot pops it. So the job needs no message, and is accepted and claimed in one write.
local LONGEST_WAIT_MS = 1000
local function waiting_slots_key(queue) return P .. 'waiting_slots:' .. queue end
local function enter_waiting_slot(queue, wait_ms, token, lease_ms, read_ms, change_ms)
  redis.call('ZADD', waiting_slots_key(queue), text(now + tonumber(wait_ms)), table.concat({token, lease_ms, read_ms, change_ms}, ' '))
  redis.call('PEXPIRE', waiting_slots_key(queue), wait_ms)
end

local function may_start(id)
  local f = get(id, 'state', 'not_before', 'batch', 'released', 'attempt')
  local due = f[1] == 'queued' and (tonumber(f[2] or '') or 0) <= now
  return due and not is_held_back(f[3], f[4], f[5]) and not is_blocked(id)
end

-- Take a waiting slot for a job; nil when no slot waits, or the job is not runnable yet.
local function take_waiting_slot(id, queue)
  if redis.call('EXISTS', waiting_slots_key(queue)) == 0 or not may_start(id) then return nil end
  local slot = redis.call('ZPOPMAX', waiting_slots_key(queue))
  local left_ms = tonumber(slot[2]) - now
  -- Later than any slot waits: the clock was set back.
  if left_ms <= 0 or left_ms > LONGEST_WAIT_MS then return nil end
  return slot[1]
end

-- Claim a job for a waiting slot that was taken for it. `claim_job`: `claim`, or `start` for a job that is in no queue yet.
local function claim_for_slot(slot, id, claim_job)
  local token, lease_ms, read_ms, change_ms = string.match(slot, '^(%S+) (%d+) (%d+) (%d+)$')
  local key = P .. 'handed:' .. token
  redis.call('RPUSH', key, cjson.encode(claim_job(id, token, lease_ms, read_ms, change_ms)))
  redis.call('PEXPIRE', key, '10000')
end

local function hand_to_waiting_slot(id, queue)
  local slot = take_waiting_slot(id, queue)
  if slot then claim_for_slot(slot, id, claim) end
  return slot ~= nil
end

-- Returns those of the messages that idle slots can take, and those of batches, which need no slot.
local function for_idle_slots(messages)
  local kept, by_queue = {}, {}
  for _, message in ipairs(messages) do
    local id, queue = message[1], message[2]
    if message[3] == 'batch' then
      kept[#kept + 1] = message
    elseif not hand_to_waiting_slot(id, queue) and message_of(id) and has_idle_slots(queue, by_queue[queue]) then
      by_queue[queue] = (by_queue[queue] or 0) + 1
      redis.call('HSET', job_key(id), 'dispatched_at', text(now))
      kept[#kept + 1] = message
    end
  end
  return kept
end
