-- status: the state of one lane at one instant, at a cost that does not depend on how much it holds, or how large.
--
-- include: now owned
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:delayed
-- KEYS[3]  <prefix>:{<lane>}:dead
-- KEYS[4]  <prefix>:{<lane>}:parked
-- KEYS[5]  <prefix>:{<lane>}:outbox
-- KEYS[6]  <prefix>:{<lane>}:oldest
-- ARGV[1]  consumer group
--
-- Returns {unfinished in the stream, {{consumer, how many it holds}, ...}, delayed, of these due, parked, dead, in the
-- outbox, age of the oldest entry in ms ('' if there is none)}.
local now = now_ms()
local pending = rows_of('XPENDING', KEYS[1], ARGV[1])
local length = redis.call('XLEN', KEYS[1])
local age = ''
if length > 0 then
  -- The oldest entry is the oldest pending one, if there is any. Else it is read once, for that copies all of it, and
  -- remembered for as long as nothing more is delivered. What deletes entries that were never delivered (clear, cancel)
  -- makes it forgotten.
  local oldest = pending[2]
  if not oldest then
    local delivered = 'never'
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
      local about = {}
      for at = 1, #group, 2 do about[group[at]] = group[at + 1] end
      if about.name == ARGV[1] then delivered = about['last-delivered-id'] end
    end
    local known, remembered = string.match(redis.call('GET', KEYS[6]) or '', '^(%S+) (%S+)$')
    oldest = known == delivered and remembered
    if not oldest then
      oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1]
      redis.pcall('SET', KEYS[6], delivered .. ' ' .. oldest, 'EX', 3600) -- a server that is full tells its status too
    end
  end
  age = string.format('%.0f', math.max(0, tonumber(now) - tonumber(string.match(oldest, '^%d+'))))
elseif redis.call('EXISTS', KEYS[6]) == 1 then
  redis.call('DEL', KEYS[6])
end
return {
  length, pending[4] or {}, redis.call('ZCARD', KEYS[2]), redis.call('ZCOUNT', KEYS[2], '-inf', now),
  tonumber(redis.call('HGET', KEYS[4], '') or '0'), redis.call('XLEN', KEYS[3]), tonumber(redis.call('HGET', KEYS[5], '') or '0'), age,
}
