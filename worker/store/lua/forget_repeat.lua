-- The outcome of a job is about to be sent: the same request makes a new job from now on. ARGV: digest of the request, id
allow_when_full()
local f = redis.call('HMGET', repeat_key(ARGV[1]), 'id', 'subsystem', 'keys')
if f[1] == ARGV[2] then
  redis.call('DEL', repeat_key(ARGV[1]))
  for _, key in ipairs(cjson.decode(f[3])) do redis.call('SREM', repeats_of_key(f[2], key), ARGV[1]) end
end
redis.call('DEL', held_key(ARGV[2]))
return 'OK'
