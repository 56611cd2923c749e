-- A read has failed: delete what `begin_read` wrote, unless the listing holds more than that: something was known before the read, has
-- changed since, or another read has begun. ARGV: cache key
local f = redis.call('HMGET', listing_key(ARGV[1]), 'base', 'epoch', 'invalid', 'seq', 'reading_from', 'read_first')
if f[6] == '1' and f[4] == f[5] and not f[1] and not f[2] and not f[3] then redis.call('DEL', listing_key(ARGV[1])) end
