-- The outcome of a job is about to be answered: from now on the same request is a new one. ARGV: digest of the request, id
allow_when_full()
if redis.call('HGET', repeat_key(ARGV[1]), 'id') == ARGV[2] then redis.call('DEL', repeat_key(ARGV[1])) end
redis.call('DEL', held_key(ARGV[2]))
return 'OK'
