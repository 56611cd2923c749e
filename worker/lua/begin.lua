-- A read of a listing begins: note which changes it will surely have seen, and keep those that come from now on.
-- ARGV: thing, thing of the collection that a single object belongs to, how long the read may take (ms)
-- Answers {now, seq, epoch of that collection}.
local seq = redis.call('HINCRBY', view_key(ARGV[1]), 'seq', 0)
redis.call('HSET', view_key(ARGV[1]), 'logging', text(now + tonumber(ARGV[3])))
-- Never shortened: an epoch must outlive what was read under it.
if redis.call('PTTL', view_key(ARGV[1])) < tonumber(ARGV[3]) then redis.call('PEXPIRE', view_key(ARGV[1]), tonumber(ARGV[3])) end
return {now, seq, tonumber(redis.call('HGET', view_key(ARGV[2]), 'epoch') or '0')}
