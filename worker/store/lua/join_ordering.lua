-- The volumes that a job's paths refer to are resolved: add their ordering keys, by the sequence number of its acceptance.
-- ARGV: id, token, ordering keys, fields. Returns {GO, BLOCKED, LOST, or CANCEL when the job must
-- end as cancelled in the place of waiting; messages to publish}.
allow_when_full()
local id = ARGV[1]
local f = get(id, 'token', 'state', 'subsystem', 'seq', 'keys', 'changed', 'repeat')
if f[1] ~= ARGV[2] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then return {'LOST', {}} end
-- This job changes the object of the key: by its sequence number it is after some requests and before others.
local function join_repeats(sub, key, seq, digest)
  supersede_repeats(sub, {key}, seq)
  if not digest or redis.call('HGET', repeat_key(digest), 'id') ~= id then return end
  local later = redis.call('ZRANGEBYSCORE', ordering_key(sub, key), '(' .. seq, '+inf', 'LIMIT', 0, 1)[1]
  if later then redis.call('DEL', repeat_key(digest)) else add_repeat(sub, {key}, digest) end
end
local keys, present, messages = cjson.decode(f[5]), {}, {}
for _, key in ipairs(keys) do present[key] = true end
for _, key in ipairs(cjson.decode(ARGV[3])) do
  if not present[key] then
    keys[#keys + 1] = key
    present[key] = true
    redis.call('ZADD', ordering_key(f[3], key), f[4], id)
    -- A clone does not change its source: only clones have ordering keys of objects that they do not change.
    if not f[6] then join_repeats(f[3], key, f[4], f[7]) end
  end
end
set_all(id, cjson.decode(ARGV[4]), 'keys', cjson.encode(keys), 'references', '')
lift_barrier(id, f[3], messages)
if f[2] == 'running' and is_blocked(id) then
  -- It has only resolved its volume: it has not begun, and this attempt does not count.
  if must_end_with_batch(id, '1') then return {'CANCEL', messages} end
  redis.call('HINCRBY', job_key(id), 'attempt', -1)
  requeue(id, 'running', now + 10000, '')
  redis.call('HSET', job_key(id), 'not_before', '')
  return {'BLOCKED', messages}
end
-- Until now it has only resolved its volume, while earlier changes of that volume may have been running.
redis.call('HSET', job_key(id), 'started', text(now))
return {'GO', messages}
