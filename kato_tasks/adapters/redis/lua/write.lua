-- write: carry out one write of a drain that has no script of its own and that a full store must not refuse.
-- KEYS:
--   key
-- ARGV:
--   command
-- each of words:
--   word       a word of what follows the key in the command
-- Returns what the command answers.
even_if_full()
return call(command, key, unpack(ARGV, words_first, words_last))
