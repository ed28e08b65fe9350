-- handover: make everything that a dead worker held claimable at once. It stays the dead one's in name, so that its
-- next owner counts the crash and says whom it recovered the message from.
--
-- include: notify claimable_now
-- KEYS[1]  <prefix>:{<lane>}:stream
-- ARGV[1]  consumer group
-- ARGV[2]  the dead consumer
-- ARGV[3]  <prefix>:wake
-- ARGV[4]  the lane's name
--
-- Returns how many messages it held.
local reply = redis.pcall('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000000, ARGV[2])
if reply.err then return 0 end
for _, row in ipairs(reply) do
  if row[3] < CLAIMABLE_NOW then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, row[1], 'IDLE', CLAIMABLE_NOW + row[3], 'JUSTID')
  end
end
if #reply > 0 then notify_claimable(ARGV[3], ARGV[4]) end
return #reply
