-- count: add to the statistics of a lane, or of the processes.
--
-- include: now statistics
-- KEYS[1]  <prefix>:{<lane>}:stats, or <prefix>:statistics:{all}
-- ARGV     fields and the numbers to add to them, in turns
return add_to_statistics(KEYS[1], ARGV, now_ms()) or 'OK'
