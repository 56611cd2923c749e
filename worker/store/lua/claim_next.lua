-- Claim the first runnable job of a queue for a worker, also one whose message is in transit: it may have been turned away.
-- ARGV: queue, how many to scan, token, lease ms, time limits of a read and of a change (ms).
-- Returns its record, or an empty list.
allow_when_full()
return claim_next(ARGV[1], ARGV[2], '1', ARGV[3], ARGV[4], ARGV[5], ARGV[6])
