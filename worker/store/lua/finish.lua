-- End a job, and update the listings, for the worker that holds it. A worker that lost its lease changes nothing; one
-- that repeats the call because the reply was lost gets the same reply.
-- In the same step the next runnable job of the queue without a message in transit is claimed for the worker's slot, which is free now.
-- ARGV: id, token, state, fields, listing steps, record TTL ms, result ('' none), result TTL ms, largest inline result (bytes),
-- token for the next job ('': claim none), how many to scan, lease ms, time limits of a read and of a change (ms),
-- '1' to include next jobs whose message is in transit, how long the slot waits when there is no next job (ms).
-- Returns {DONE or LOST, messages to publish, record of the next job or an empty list}.
local id = ARGV[1]
local f = get(id, 'token', 'state', 'ended_by', 'subsystem', 'keys', 'queue', 'next_job')
-- The next job was claimed by a call whose reply was lost; its lease restarts with this call.
local function claimed_before()
  local n = f[7] and get(f[7], 'token', 'state')
  if ARGV[10] == '' or not n or n[1] ~= ARGV[10] or n[2] ~= 'running' then return {} end
  redis.call('HSET', job_key(f[7]), 'lease', text(now + tonumber(ARGV[12])))
  return redis.call('HGETALL', job_key(f[7]))
end
if f[3] == ARGV[2] then
  local again = {}
  publish_heads(f[4], cjson.decode(f[5]), again)
  return {'DONE', again, claimed_before()}
end
if f[1] ~= ARGV[2] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then return {'LOST', {}, {}} end
allow_when_full()
local fields = cjson.decode(ARGV[4])
fields.ended_by = ARGV[2]
update_listings(cjson.decode(ARGV[5]))
if fields.result_cache_key then
  local last, changed = readable_until(fields.result_cache_key, tonumber(fields.result_base_seq))
  fields.result_seq, fields.result_changed = text(last), changed
end
if ARGV[7] ~= '' then redis.call('SET', P .. 'result:' .. id, ARGV[7], 'PX', text(record_ttl_ms(id, tonumber(ARGV[8])))) end
local reply = ARGV[3] == 'succeeded' and #ARGV[7] <= tonumber(ARGV[9]) and ARGV[7]
local messages = finish(id, ARGV[3], tonumber(ARGV[6]), fields, reply)
-- None of these messages has been published yet.
for _, message in ipairs(messages) do
  if message[3] ~= 'batch' then redis.call('HDEL', job_key(message[1]), 'dispatched_at') end
end
local next_job = {}
if ARGV[10] ~= '' then
  -- Messages in the queue show that all workers are busy.
  local also_dispatched = redis.call('LLEN', messages_key(f[6])) > 0 and '1' or ARGV[15]
  next_job = claim_next(f[6], ARGV[11], also_dispatched, ARGV[10], ARGV[12], ARGV[13], ARGV[14])
  if next_job[1] then
    redis.call('HSET', job_key(id), 'next_job', pairs_of(next_job).id)
  elseif tonumber(ARGV[16]) > 0 then
    enter_waiting_slot(f[6], ARGV[16], ARGV[10], ARGV[12], ARGV[13], ARGV[14])
  end
end
return {'DONE', for_idle_slots(messages), next_job}
