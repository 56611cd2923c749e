-- Release an in-doubt change for another worker to reconcile. ARGV: id, token, delay ms, reason, grace ms,
-- the cause as JSON ("": as before)
allow_when_full()
local id = ARGV[1]
local f = get(id, 'token', 'state', 'subsystem', 'in_doubt_since', 'version')
if f[1] ~= ARGV[2] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then return 'LOST' end
redis.call('ZADD', due_key(f[3]), now + tonumber(ARGV[3]), id)
local since = f[4] and f[4] ~= '' and f[4] or text(now)
change(id, f[5], {}, 'token', '', 'lease', text(now), 'stalled_since', text(now - tonumber(ARGV[5])), 'in_doubt_since', since,
  'in_doubt_reason', ARGV[4], 'cancellable', '0', 'message', 'the outcome is being settled')
if ARGV[6] ~= '' then redis.call('HSET', job_key(id), 'in_doubt_cause', ARGV[6]) end
return 'DONE'
