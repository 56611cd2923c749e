-- A read of a listing begins: note which changes it will surely have seen, and keep those that come from now on.
-- ARGV: thing, thing of the collection that a single object belongs to, how long the read may take (ms)
-- Answers {now, seq, epoch of that collection}.
local seq = this_number(ARGV[1], 'seq')
redis.call('HSET', view_key(ARGV[1]), 'logging', text(now + tonumber(ARGV[3])), 'reading_from', text(seq))
keep(view_key(ARGV[1]), ARGV[3])
return {now, seq, tonumber(redis.call('HGET', view_key(ARGV[2]), 'epoch') or '0')}
