-- Make deliveries of the events up to a position of the event log, unless another worker has. ARGV: position that the caller read from
-- (''; none), new position, deliveries as JSON: {{id, target, fields}, ...}. Returns 1, or 0 when another worker was first.
local position = P .. 'webhook_position'
if (redis.call('GET', position) or '') ~= ARGV[1] then return 0 end
for i, delivery in ipairs(cjson.decode(ARGV[3])) do
  local flat = {'created', text(now), 'attempts', '0', 'target', delivery[2]}
  for name, value in pairs(delivery[3]) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  local traceparent = redis.call('HGET', job_key(delivery[3].job_id), 'traceparent')
  if traceparent then flat[#flat + 1], flat[#flat + 2] = 'traceparent', traceparent end
  redis.call('HSET', P .. 'webhook:' .. delivery[1], unpack(flat))
  redis.call('ZADD', P .. 'webhook_due:' .. delivery[2], now - 1 + i / 1000, delivery[1])
  redis.call('SADD', P .. 'webhook_targets', delivery[2])
end
redis.call('SET', position, ARGV[2])
return 1
