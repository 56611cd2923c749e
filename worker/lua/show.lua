-- A job with what is told of it while it waits. ARGV: id, workers' time to live ms, largest inline result (bytes)
-- Answers {record, now, position, workers online, behind others or not, mean run time ms, result}.
local id = ARGV[1]
local record = redis.call('HGETALL', job_key(id))
if #record == 0 then return {record, now, 0, 0, 0, 0, ''} end
local f = get(id, 'subsystem', 'queue', 'operation', 'state')
local position, behind, result = 0, 0, ''
local online = redis.call('ZCOUNT', P .. 'workers:' .. f[2], now - tonumber(ARGV[2]), '+inf')
if f[4] == 'queued' then
  position = redis.call('ZRANK', lane_key(f[2]), id) or 0
  behind = (position > 0 or blocked(id)) and 1 or 0
elseif f[4] == 'succeeded' and redis.call('STRLEN', P .. 'result:' .. id) <= tonumber(ARGV[3]) then
  result = redis.call('GET', P .. 'result:' .. id) or ''
end
local mean = redis.call('HGET', P .. 'durations:' .. f[1], f[3]) or '0'
return {record, now, position, online, behind, tonumber(mean), result}
