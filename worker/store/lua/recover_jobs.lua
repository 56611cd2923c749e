-- Check the unfinished jobs of one subsystem that are due. ARGV: subsystem, lease ms, grace ms, max worker losses,
-- record TTL ms, fencing token, how many the caller can reconcile.
-- Returns {messages to publish, ids handed to the caller to reconcile, ids that failed}.
-- A job whose lease has expired is stalled; it is taken over only after the grace time, in which its worker could still renew.
allow_when_full()
local sub, lease, grace, max_losses, keep_ms, token, capacity =
  ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local messages, to_reconcile, failed = {}, {}, {}
local BATCH, RECHECK_MS, GAP_MS = 300, 60000, 10000
-- Later than anything is due: no delay, and no other worker's lease, is longer than a check and a lease together.
local FAR_MS = RECHECK_MS + lease
local function number(value) return tonumber(value or '') or 0 end
local function check_at(id, ms) redis.call('ZADD', due_key(sub), ms, id) end

-- Since when have sweeps run without a gap? An expired lease means nothing while Redis was unavailable for renewals.
local last_sweep = redis.call('HMGET', P .. 'last_sweep:' .. sub, 'at', 'since')
local since = number(last_sweep[2])
if number(last_sweep[1]) < now - GAP_MS or number(last_sweep[1]) > now then since = now end
redis.call('HSET', P .. 'last_sweep:' .. sub, 'at', text(now), 'since', text(since))

-- Entries far in the future were written before the clock was set back.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due_key(sub), now + FAR_MS, '+inf', 'LIMIT', 0, BATCH)) do check_at(id, now) end

-- A queued job is in its queue's set, from which each worker with free slots publishes it.
local function check_queued(id, f)
  local not_before = number(f.not_before)
  if not_before > now + FAR_MS then redis.call('HSET', job_key(id), 'not_before', '') end
  enter_queue(f.queue, id, f.seq)
  check_at(id, now + RECHECK_MS)
end

local function add_all(more) for _, b in ipairs(more) do messages[#messages + 1] = b end end

-- Was the lease renewed until the job's deadline had passed? Then its worker hangs, and was not disconnected.
local function overran(f) return number(f.deadline) > 0 and number(f.lease) >= number(f.deadline) end

-- Nothing was sent to the storage system, and nothing can be any more: the former token is no longer valid.
local function requeue_or_fail(id, f)
  if f.state == 'cancelling' then add_all(finish(id, 'cancelled', keep_ms, {})) return end
  local late = overran(f)
  if late or number(f.losses) + 1 >= max_losses then
    add_all(finish(id, 'failed', keep_ms, {error_code = late and 'timed-out' or 'worker-lost'}))
    failed[#failed + 1] = id
    return
  end
  redis.call('HINCRBY', job_key(id), 'losses', 1)
  note_attempt(id, 'worker-lost', 'The worker was lost before anything was changed.', 0)
  requeue(id, f.state, now, '')
  messages[#messages + 1] = message_of(id)
end

-- Something may have been sent: the caller reconciles the outcome.
local function hand_to_reconciler(id, f)
  local first = f.in_doubt_since == ''
  local why = first and overran(f) and 'timed-out' or f.in_doubt_reason
  check_at(id, now + lease)
  change(id, f.version, {}, 'token', token .. ':' .. id, 'lease', text(now + lease), 'stalled_since', '', 'in_doubt_reason', why,
    'in_doubt_since', first and text(now) or f.in_doubt_since, 'cancellable', '0', 'message', 'the outcome is being settled')
  to_reconcile[#to_reconcile + 1] = id
end

local function check_running(id, f)
  local lapses, stalled_since = number(f.lease), number(f.stalled_since)
  if lapses > now and lapses < now + FAR_MS then check_at(id, lapses) return end
  if stalled_since == 0 or stalled_since > now then
    redis.call('HSET', job_key(id), 'stalled_since', text(now))
    check_at(id, now + grace)
    return
  end
  -- Without a token it was handed over, and no worker will renew it.
  local judged_at = f.token == '' and stalled_since + grace or math.max(stalled_since, since) + grace
  if judged_at > now then check_at(id, judged_at)
  elseif f.step == '' then requeue_or_fail(id, f)
  elseif #to_reconcile < capacity then hand_to_reconciler(id, f)
  else check_at(id, now + 1000) end
end

local names = {'state', 'queue', 'seq', 'token', 'lease', 'stalled_since', 'step', 'losses', 'deadline', 'not_before',
  'in_doubt_since', 'in_doubt_reason', 'version'}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due_key(sub), '-inf', now, 'LIMIT', 0, BATCH)) do
  local values, f = get(id, unpack(names)), {}
  for i, name in ipairs(names) do f[name] = values[i] or '' end
  if f.state == '' or is_done(f.state) then
    redis.call('ZREM', due_key(sub), id)
  elseif f.state == 'queued' then
    check_queued(id, f)
  else
    check_running(id, f)
  end
end
return {messages, to_reconcile, failed}
