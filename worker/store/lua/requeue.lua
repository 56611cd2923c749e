-- The worker that has the job gives it back unharmed, to be started again after a delay.
-- ARGV: id, owner, delay ms, reason, '1' when the attempt does not count.
even_if_full()
local id = ARGV[1]
local f = get(id, 'owner', 'state', 'first_failure')
if f[1] == ARGV[2] and f[2] == 'cancelling' then return 'CANCEL' end
if f[1] ~= ARGV[2] or f[2] ~= 'running' then return 'LOST' end
if ARGV[5] == '1' then redis.call('HINCRBY', job_key(id), 'attempt', -1) end
if ARGV[4] ~= '' and (not f[3] or f[3] == '') then redis.call('HSET', job_key(id), 'first_failure', text(now)) end
put_back(id, f[2], now + tonumber(ARGV[3]), ARGV[4])
return 'DONE'
