-- Return a job that changed nothing to its queue, to start again after a delay.
-- ARGV: id, token, delay ms, waiting reason, '1' when the attempt does not count, code and detail of the cause ('': none;
-- the detail is shown to clients while the job waits)
-- Returns DONE, LOST, or CANCEL when the job must end as cancelled in the place of waiting.
allow_when_full()
local id = ARGV[1]
local f = get(id, 'token', 'state', 'first_failure')
if f[1] == ARGV[2] and f[2] == 'cancelling' then return 'CANCEL' end
if f[1] ~= ARGV[2] or f[2] ~= 'running' then return 'LOST' end
if must_end_with_batch(id, ARGV[5]) then return 'CANCEL' end
if ARGV[5] == '1' then redis.call('HINCRBY', job_key(id), 'attempt', -1) end
if ARGV[4] ~= '' and (not f[3] or f[3] == '') then redis.call('HSET', job_key(id), 'first_failure', text(now)) end
redis.call('HSET', job_key(id), 'message', ARGV[7])
if ARGV[6] ~= '' then note_attempt(id, ARGV[6], ARGV[7], tonumber(ARGV[3])) end
requeue(id, f[2], now + tonumber(ARGV[3]), ARGV[4])
return 'DONE'
