-- Give a queued job to a worker, if it is runnable, and say how many others wait in its queue.
-- ARGV: id, token, lease ms, time limits of a read and of a change (ms)
allow_when_full()
local id, token = ARGV[1], ARGV[2]
local f = get(id, 'state', 'subsystem', 'queue', 'not_before', 'kind', 'attempt', 'created', 'version', 'batch', 'released')
if not f[1] then return {'GONE'} end
if f[1] ~= 'queued' then return {f[1] == 'cancelled' and 'CANCELLED' or 'TAKEN'} end
if f[4] and f[4] ~= '' and tonumber(f[4]) > now then return {'LATER'} end
if is_held_back(f[9], f[10], f[6]) then return {'BLOCKED'} end
if is_blocked(id) then return {'BLOCKED'} end
local limit = tonumber(f[5] == 'read' and ARGV[4] or ARGV[5])
leave_queue(f[3], id)
redis.call('ZADD', running_key(f[3]), now, id)
redis.call('ZADD', due_key(f[2]), now + tonumber(ARGV[3]), id)
if f[6] == '0' then observe('wait ' .. f[3], now - tonumber(f[7])) end
index_state(id, 'queued', 'running')
change(id, f[8], {}, 'state', 'running', 'attempt', text((tonumber(f[6]) or 0) + 1), 'token', token, 'started', text(now),
  'lease', text(now + tonumber(ARGV[3])), 'deadline', text(now + limit), 'stalled_since', '', 'waiting_reason', '', 'step', '',
  'backend_job', '', 'not_before', '', 'message', '')
return {'CLAIMED', redis.call('HGETALL', job_key(id)), redis.call('ZCARD', queued_key(f[3]))}
