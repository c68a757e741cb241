-- write: one write of a drain that has no script of its own. KEYS[1] the key. ARGV: command, then what follows the key.
even_if_full()
return call(ARGV[1], KEYS[1], unpack(ARGV, 2))
