-- Begin a read of a listing: return the last change that it certainly includes, and keep those that follow.
-- ARGV: cache key, cache key of the collection that a single object belongs to, how long the read may take (ms)
-- Returns {now ms, seq, epoch of that collection}.
local is_first = redis.call('EXISTS', listing_key(ARGV[1])) == 0
local seq = current_number(ARGV[1], 'seq')
redis.call('HSET', listing_key(ARGV[1]), 'logging', text(now + tonumber(ARGV[3])), 'reading_from', text(seq), 'read_first', is_first and '1' or '')
extend_ttl(listing_key(ARGV[1]), ARGV[3])
return {now, seq, tonumber(redis.call('HGET', listing_key(ARGV[2]), 'epoch') or '0')}
