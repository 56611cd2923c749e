-- Take deliveries that are due. ARGV: target, how many may be under way at a time, lease (ms), '1' for a receiver that is configured,
-- how long a delivery is tried (ms).
-- Returns {id, traceparent} of each. While the target fails, one at a time is tried, and not before its pause is over.
allow_when_full()
local due, running, state = P .. 'webhook_due:' .. ARGV[1], P .. 'webhook_running:' .. ARGV[1], P .. 'webhook_state:' .. ARGV[1]
-- Later than any pause ends: it was written before the clock was set back.
local FAR, BATCH = now + 660000, 100
local function make_due(key, from, to)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, from, to, 'LIMIT', 0, BATCH)) do
    redis.call('ZREM', key, id)
    redis.call('ZADD', due, now, id)
  end
end
make_due(running, '-inf', now)
make_due(running, FAR, '+inf')
make_due(due, FAR, '+inf')
-- How another target does, a host of callbacks or a former receiver, is forgotten when nothing more waits for it.
if ARGV[4] ~= '1' and redis.call('EXISTS', due, running) == 0 then
  redis.call('SREM', P .. 'webhook_targets', ARGV[1])
  redis.call('DEL', state)
  return {}
end
local f = redis.call('HMGET', state, 'failures', 'not_before')
local is_failing = tonumber(f[1] or '0') > 0
-- One at a time is too few for all that a failing target waits for: the oldest ones are given up without another attempt.
local function give_up_oldest()
  for _, id in ipairs(redis.call('ZRANGE', due, 0, BATCH - 1)) do
    local delivery = redis.call('HMGET', P .. 'webhook:' .. id, 'created', 'label')
    if delivery[1] and now - tonumber(delivery[1]) <= tonumber(ARGV[5]) then return end
    redis.call('ZREM', due, id)
    if redis.call('DEL', P .. 'webhook:' .. id) == 1 then count('webhook ' .. (delivery[2] or ARGV[1]) .. ' given-up') end
  end
end
if is_failing then give_up_oldest() end
local not_before = tonumber(f[2] or '') or 0
if not_before > now and not_before < FAR then return {} end
local free = (is_failing and 1 or tonumber(ARGV[2])) - redis.call('ZCARD', running)
if free <= 0 then return {} end
local taken = {}
for i, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, free)) do
  redis.call('ZREM', due, id)
  redis.call('ZADD', running, now + tonumber(ARGV[3]), id)
  taken[i] = {id, redis.call('HGET', P .. 'webhook:' .. id, 'traceparent') or ''}
end
return taken
