-- Look after the open jobs of one subsystem whose time for a look has come. ARGV: subsystem, lease ms, grace ms, attempts,
-- keep ms, owner, settle or not. Answers {bells to ring, ids given to the caller to settle, ids that failed}.
-- A lapsed lease makes a job suspect; only when it stays so for the grace time (its worker could renew it) is it taken.
even_if_full()
local sub, lease, grace, attempts, keep, owner = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local bells, settle, failed = {}, {}, {}

local function sweep_queued(id, f)
  local not_before = tonumber(f.not_before ~= '' and f.not_before or '0')
  if not_before > now then redis.call('ZADD', open_key(sub), not_before, id) return end
  if blocked(id) then redis.call('ZADD', open_key(sub), now + 10000, id) return end
  local rings = redis.call('HINCRBY', job_key(id), 'rings', 1)
  redis.call('ZADD', open_key(sub), now + math.min(2000 * 2 ^ math.min(rings, 4), 20000), id)
  bells[#bells + 1] = bell(id)
end

local function add_all(found) for _, b in ipairs(found) do bells[#bells + 1] = b end end

local function sweep_lapsed(id, f)
  if f.step == '' then
    -- Nothing that changes anything was sent, and nothing can be any more: whoever had it has lost its owner's mark.
    if f.state == 'cancelling' then add_all(finish(id, 'cancelled', keep, {})) return end
    local late = f.deadline ~= '' and tonumber(f.deadline) < now
    if late or tonumber(f.attempt) >= attempts then
      local code = late and 'timed-out' or 'worker-lost'
      add_all(finish(id, 'failed', keep, {error_code = code}))
      failed[#failed + 1] = id
      return
    end
    put_back(id, f.state, now, '')
    redis.call('ZADD', open_key(sub), now + 2000, id)
    bells[#bells + 1] = bell(id)
    return
  end
  redis.call('HSET', job_key(id), 'owner', owner .. ':' .. id, 'lease', text(now + lease), 'suspect', '',
    'cancellable', '0', 'message', 'the outcome is being settled')
  if f.settle_since == '' then redis.call('HSET', job_key(id), 'settle_since', text(now)) end
  redis.call('ZADD', open_key(sub), now + lease, id)
  announce(id, touch(id), f.state)
  settle[#settle + 1] = id
end

local names = {'state', 'lease', 'suspect', 'step', 'attempt', 'deadline', 'not_before', 'settle_since'}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', open_key(sub), '-inf', now, 'LIMIT', 0, 100)) do
  local values, f = get(id, unpack(names)), {}
  for i, name in ipairs(names) do f[name] = values[i] or '' end
  if f.state == '' or is_done(f.state) then
    redis.call('ZREM', open_key(sub), id)
  elseif f.state == 'queued' then
    sweep_queued(id, f)
  elseif tonumber(f.lease) > now then
    redis.call('ZADD', open_key(sub), f.lease, id)
  elseif f.suspect == '' then
    redis.call('HSET', job_key(id), 'suspect', text(now))
    redis.call('ZADD', open_key(sub), now + grace, id)
  elseif tonumber(f.suspect) + grace > now then
    redis.call('ZADD', open_key(sub), tonumber(f.suspect) + grace, id)
  elseif f.step == '' or ARGV[7] == '1' then
    sweep_lapsed(id, f)
  end
end
return {bells, settle, failed}
