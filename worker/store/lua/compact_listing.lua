-- Make a listing that holds the same records the new base, if the old base is still the current one. ARGV: the commit step
allow_when_full()
listing_steps.commit(cjson.decode(ARGV[1]))
