-- Make a listing that holds the same records the new base, if the old base still stands. ARGV: the commit step
even_if_full()
view_steps.commit(cjson.decode(ARGV[1]))
