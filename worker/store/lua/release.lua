-- The worker that has the job lets go of it for another to settle. ARGV: id, owner, delay ms, why, grace ms
even_if_full()
local id = ARGV[1]
local f = get(id, 'owner', 'state', 'subsystem', 'settle_since', 'version')
if f[1] ~= ARGV[2] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then return 'LOST' end
redis.call('ZADD', open_key(f[3]), now + tonumber(ARGV[3]), id)
local since = f[4] and f[4] ~= '' and f[4] or text(now)
change(id, f[5], {}, 'owner', '', 'lease', text(now), 'suspect', text(now - tonumber(ARGV[5])), 'settle_since', since,
  'settle_why', ARGV[4], 'cancellable', '0', 'message', 'the outcome is being settled')
return 'DONE'
