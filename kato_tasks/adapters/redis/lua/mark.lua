-- mark: set a mark that expires. KEYS[1] the mark. ARGV: 1 ms. Returns 1; 0: it stands already.
even_if_full()
return call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[1]) and 1 or 0
