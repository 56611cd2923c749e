-- How jobs are given to workers. Prepended to every script after batch_functions.lua.
-- Give a queued job, which is runnable, to a worker; return its record.
local function claim(id, token, lease_ms, read_ms, change_ms)
  local f = get(id, 'subsystem', 'queue', 'kind', 'attempt', 'created', 'version')
  local limit = tonumber(f[3] == 'read' and read_ms or change_ms)
  leave_queue(f[2], id)
  redis.call('ZADD', running_key(f[2]), now, id)
  redis.call('ZADD', due_key(f[1]), now + tonumber(lease_ms), id)
  if f[4] == '0' then observe('wait ' .. f[2], now - tonumber(f[5])) end
  index_state(id, 'queued', 'running')
  change(id, f[6], {}, 'state', 'running', 'attempt', text((tonumber(f[4]) or 0) + 1), 'token', token, 'started', text(now),
    'lease', text(now + tonumber(lease_ms)), 'deadline', text(now + limit), 'stalled_since', '', 'waiting_reason', '', 'step', '',
    'backend_job', '', 'not_before', '', 'message', '')
  return redis.call('HGETALL', job_key(id))
end

-- Give the first runnable job of a queue to a worker; return its record, or an empty list. `also_dispatched`: '1' for one whose
-- message is on its way, too.
local function claim_next(queue, scan, also_dispatched, token, lease_ms, read_ms, change_ms)
  for _, id in ipairs(redis.call('ZRANGE', queued_key(queue), 0, tonumber(scan) - 1)) do
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

-- Of some messages those that idle slots can take, and those of batches, which need no slot.
local function for_idle_slots(messages)
  local kept, by_queue = {}, {}
  for _, message in ipairs(messages) do
    local id, queue = message[1], message[2]
    if message[3] == 'batch' then
      kept[#kept + 1] = message
    elseif message_of(id) and has_idle_slots(queue, by_queue[queue]) then
      by_queue[queue] = (by_queue[queue] or 0) + 1
      redis.call('HSET', job_key(id), 'dispatched_at', text(now))
      kept[#kept + 1] = message
    end
  end
  return kept
end
