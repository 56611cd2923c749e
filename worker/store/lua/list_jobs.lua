-- Ids that are in all of some indexes, newest first. ARGV: below which seq, limit, how many entries to scan, then index names.
-- Returns {ids, seq to continue below, or '' at the end}.
local below, limit, budget, found, last = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), {}, ''
-- The shortest index is walked, the others are asked.
local walked, length = ARGV[4], redis.call('ZCARD', P .. ARGV[4])
for k = 5, #ARGV do
  local other = redis.call('ZCARD', P .. ARGV[k])
  if other < length then walked, length = ARGV[k], other end
end
local entries = redis.call('ZREVRANGEBYSCORE', P .. walked, '(' .. below, '-inf', 'WITHSCORES', 'LIMIT', 0, budget)
for i = 1, #entries, 2 do
  local everywhere = true
  for k = 4, #ARGV do
    if ARGV[k] ~= walked and not redis.call('ZSCORE', P .. ARGV[k], entries[i]) then everywhere = false break end
  end
  last = entries[i + 1]
  if everywhere then
    found[#found + 1] = entries[i]
    if #found >= limit then return {found, last} end
  end
end
return {found, #entries / 2 >= budget and last or ''}
