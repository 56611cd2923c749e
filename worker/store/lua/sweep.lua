-- Look after the open jobs of one subsystem whose time for a look has come. ARGV: subsystem, lease ms, grace ms, attempts,
-- keep ms, owner, how many may be settled. Answers {bells to ring, ids given to the caller to settle, ids that failed}.
-- A lapsed lease makes a job suspect; only when it stays so for the grace time (its worker could renew it) is it taken.
even_if_full()
local sub, lease, grace, losses, keep, owner, room =
  ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local bells, settle, failed = {}, {}, {}
local LOOKS, LOOK_AGAIN_MS, GAP_MS, FAR_MS = 300, 60000, 10000, 600000
local function number(value) return tonumber(value or '') or 0 end
local function look_at(id, ms) redis.call('ZADD', open_key(sub), ms, id) end

-- Since when has somebody looked all the time? While Redis was away or frozen no lease could be renewed: that is no sign.
local looked = redis.call('HMGET', P .. 'looked:' .. sub, 'at', 'since')
local since = number(looked[2])
if number(looked[1]) < now - GAP_MS or number(looked[1]) > now then since = now end
redis.call('HSET', P .. 'looked:' .. sub, 'at', text(now), 'since', text(since))

-- What lies far ahead was written before the clock was set back.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', open_key(sub), now + FAR_MS, '+inf', 'LIMIT', 0, LOOKS)) do look_at(id, now) end

-- A queued job stands in its lane: from there each worker that has room rings for it.
local function sweep_queued(id, f)
  local not_before = number(f.not_before)
  if not_before > now + FAR_MS then redis.call('HSET', job_key(id), 'not_before', '') end
  redis.call('ZADD', lane_key(f.queue), f.seq, id)
  look_at(id, now + LOOK_AGAIN_MS)
end

local function add_all(found) for _, b in ipairs(found) do bells[#bells + 1] = b end end

-- Was it renewed until its time limit was over? (Its worker hangs in it, and was not cut off before.)
local function overran(f) return number(f.deadline) > 0 and number(f.lease) >= number(f.deadline) end

-- Nothing that changes anything was sent, and nothing can be any more: whoever had it has lost its owner's mark.
local function give_back(id, f)
  if f.state == 'cancelling' then add_all(finish(id, 'cancelled', keep, {})) return end
  local late = overran(f)
  if late or number(f.losses) + 1 >= losses then
    add_all(finish(id, 'failed', keep, {error_code = late and 'timed-out' or 'worker-lost'}))
    failed[#failed + 1] = id
    return
  end
  redis.call('HINCRBY', job_key(id), 'losses', 1)
  put_back(id, f.state, now, '')
  bells[#bells + 1] = bell(id)
end

-- Something may have been sent: the caller finds out.
local function give_to_settle(id, f)
  local first = f.settle_since == ''
  local why = first and f.settle_why == '' and overran(f) and 'timed-out' or f.settle_why
  look_at(id, now + lease)
  change(id, f.version, {}, 'owner', owner .. ':' .. id, 'lease', text(now + lease), 'suspect', '', 'settle_why', why,
    'settle_since', first and text(now) or f.settle_since, 'cancellable', '0', 'message', 'the outcome is being settled')
  settle[#settle + 1] = id
end

local function sweep_running(id, f)
  local lapses, suspect = number(f.lease), number(f.suspect)
  if lapses > now and lapses < now + FAR_MS then look_at(id, lapses) return end
  if suspect == 0 or suspect > now then
    redis.call('HSET', job_key(id), 'suspect', text(now))
    look_at(id, now + grace)
    return
  end
  -- Without an owner it was let go of, and nobody is going to renew it.
  local judged_at = f.owner == '' and suspect + grace or math.max(suspect, since) + grace
  if judged_at > now then look_at(id, judged_at)
  elseif f.step == '' then give_back(id, f)
  elseif #settle < room then give_to_settle(id, f)
  else look_at(id, now + 1000) end
end

local names = {'state', 'queue', 'seq', 'owner', 'lease', 'suspect', 'step', 'losses', 'deadline', 'not_before',
  'settle_since', 'settle_why', 'version'}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', open_key(sub), '-inf', now, 'LIMIT', 0, LOOKS)) do
  local values, f = get(id, unpack(names)), {}
  for i, name in ipairs(names) do f[name] = values[i] or '' end
  if f.state == '' or is_done(f.state) then
    redis.call('ZREM', open_key(sub), id)
  elseif f.state == 'queued' then
    sweep_queued(id, f)
  else
    sweep_running(id, f)
  end
end
return {bells, settle, failed}
