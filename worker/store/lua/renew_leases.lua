-- Renew the leases of a worker's jobs. ARGV: lease ms, then id and token in turn. Returns GO, CANCEL or LOST for each job.
allow_when_full()
local words = {}
for i = 2, #ARGV, 2 do
  local id = ARGV[i]
  local f = get(id, 'token', 'state', 'subsystem')
  if f[1] ~= ARGV[i + 1] or (f[2] ~= 'running' and f[2] ~= 'cancelling') then
    words[#words + 1] = 'LOST'
  else
    redis.call('ZADD', due_key(f[3]), now + tonumber(ARGV[1]), id)
    redis.call('HSET', job_key(id), 'lease', text(now + tonumber(ARGV[1])), 'stalled_since', '')
    words[#words + 1] = f[2] == 'cancelling' and 'CANCEL' or 'GO'
  end
end
return words
