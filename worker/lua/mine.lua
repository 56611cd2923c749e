-- Ids in all of some indexes, newest first. ARGV: below which seq, how many, how many to look at, then index names (the first
-- is walked). Answers {ids, seq to go on below, or '' at the end}.
local below, limit, budget, found, last = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), {}, ''
local entries = redis.call('ZREVRANGEBYSCORE', P .. ARGV[4], '(' .. below, '-inf', 'WITHSCORES', 'LIMIT', 0, budget)
for i = 1, #entries, 2 do
  local everywhere = true
  for k = 5, #ARGV do
    if not redis.call('ZSCORE', P .. ARGV[k], entries[i]) then everywhere = false break end
  end
  last = entries[i + 1]
  if everywhere then
    found[#found + 1] = entries[i]
    if #found >= limit then return {found, last} end
  end
end
return {found, #entries / 2 >= budget and last or ''}
