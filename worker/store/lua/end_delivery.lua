-- Note how an attempt to deliver came out. ARGV: id, '1' when it was taken by its receiver, what was wrong, first back-off (ms), longest
-- back-off (ms), how long it is tried (ms). Returns 'delivered', 'again' or 'given-up'.
allow_when_full()
local id, key = ARGV[1], P .. 'webhook:' .. ARGV[1]
local f = redis.call('HMGET', key, 'target', 'attempts', 'created', 'label')
if not f[1] then return 'delivered' end
local target, attempts = f[1], tonumber(f[2]) + 1
local state, due = P .. 'webhook_state:' .. target, P .. 'webhook_due:' .. target
redis.call('ZREM', P .. 'webhook_running:' .. target, id)
local function backoff(n) return math.min(tonumber(ARGV[5]), tonumber(ARGV[4]) * 2 ^ math.min(n - 1, 20)) end
local outcome = 'delivered'
if ARGV[2] == '1' then
  redis.call('HSET', state, 'failures', '0', 'not_before', '', 'failing_since', '', 'last_success', text(now), 'last_error', '')
else
  outcome = now + backoff(attempts) - tonumber(f[3]) > tonumber(ARGV[6]) and 'given-up' or 'again'
  local failures = redis.call('HINCRBY', state, 'failures', 1)
  redis.call('HSETNX', state, 'failing_since', '')
  if redis.call('HGET', state, 'failing_since') == '' then redis.call('HSET', state, 'failing_since', text(now)) end
  redis.call('HSET', state, 'last_failure', text(now), 'last_error', ARGV[3], 'not_before', text(now + backoff(failures)))
end
if outcome == 'again' then
  redis.call('HSET', key, 'attempts', text(attempts))
  redis.call('ZADD', due, now + backoff(attempts), id)
else
  redis.call('DEL', key)
  redis.call('ZREM', due, id)
end
count('webhook ' .. (f[4] or target) .. ' ' .. outcome)
return outcome
